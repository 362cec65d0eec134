"""A directory whose log has segments of both versions: restarts, kills, backups, damage, readers.

It begins as ``fixtures/engine-2``, whose log is of version 1, and is written on.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.engine.test_engine_format_2 import AGED, DAY, FIXTURES, T0, open_engine, shown

from mainstem_engine import Engine, check_directory, restore
from mainstem_engine.log.layout import RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES
from mainstem_engine.log.records import RecordKind
from mainstem_engine.repair import repair_directory

NOW = T0 + AGED * DAY
NEW = "root.plant.new"
KIND_OFFSET = 16


def versions(path: Path) -> list[int]:
    """Of each segment of the log, in order."""
    return [segment.read_bytes()[8] for segment in sorted((path / "log").iterdir())]


def times_of(engine: Engine) -> list[int]:
    rows = engine.scan("press", devices=[NEW]).read_all()
    times: list[int] = rows["time"].cast("int64").to_pylist()
    return times


def write(engine: Engine, number: int) -> None:
    engine.write("press", NEW, [NOW + number], {"int64": [number]}).wait()


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Both versions above the checkpoint; rows 0, 1 and 2 are new, the last two after a kill."""
    path = tmp_path / "data"
    shutil.copytree(FIXTURES / "engine-2", path)
    for number in range(3):
        engine, _, _ = open_engine(path)
        write(engine, number)
        engine.abandon()
    assert set(versions(path)) == {1, 2}
    return path


def test_starts_and_kills(mixed: Path) -> None:
    engine, _, _ = open_engine(mixed)
    assert times_of(engine) == [NOW, NOW + 1, NOW + 2]
    chains = {lsn: engine.log.chain_at(lsn) for lsn in lsns(engine)}
    before = shown(engine)
    engine.close()
    assert check_directory(mixed).damages == ()
    engine, _, _ = open_engine(mixed)
    assert shown(engine)["tables"] == before["tables"]
    known = set(lsns(engine)) & set(chains)
    assert {lsn: engine.log.chain_at(lsn) for lsn in known} == {lsn: chains[lsn] for lsn in known}
    engine.flush()
    engine.abandon()
    engine, _, _ = open_engine(mixed)
    assert shown(engine)["tables"] == before["tables"]
    engine.close()
    assert check_directory(mixed).whole


def lsns(engine: Engine) -> list[int]:
    return [record.lsn for record in engine.log.read(engine.log.first_lsn)]


def test_a_backup_and_its_restoration(mixed: Path, tmp_path: Path) -> None:
    engine, _, _ = open_engine(mixed)
    before = shown(engine)["tables"]
    engine.backup(tmp_path / "backup")
    write(engine, 3)
    engine.close()
    assert set(versions(tmp_path / "backup")) >= {1, 2}
    restore(tmp_path / "backup", tmp_path / "restored")
    engine, _, _ = open_engine(tmp_path / "restored")
    assert shown(engine)["tables"] == before
    write(engine, 4)
    assert times_of(engine)[-1] == NOW + 4
    engine.close()
    assert check_directory(tmp_path / "restored").damages == ()


@pytest.mark.parametrize("number", range(3))
def test_a_damaged_header_is_repaired_in_its_version(mixed: Path, number: int) -> None:
    segments = sorted((mixed / "log").iterdir())
    segment = segments[number]
    before = versions(mixed)
    data = bytearray(segment.read_bytes())
    data[:12] = b"\xff" * 12
    segment.write_bytes(data)
    assert check_directory(mixed).damages != ()
    repair_directory(mixed)
    assert check_directory(mixed).damages == ()
    assert versions(mixed)[number] == before[number]
    engine, _, _ = open_engine(mixed)
    assert times_of(engine) == [NOW, NOW + 1, NOW + 2]
    engine.close()


def test_a_damaged_record_costs_itself(mixed: Path) -> None:
    """The row 0, in the first segment of version 2."""
    segment = sorted((mixed / "log").iterdir())[versions(mixed).index(2)]
    data = bytearray(segment.read_bytes())
    place = SEGMENT_HEADER_BYTES
    while data[place + KIND_OFFSET] != RecordKind.PTS:
        length = int.from_bytes(data[place : place + 4], "little")
        place += -(-(RECORD_HEADER_BYTES + length) // 8) * 8
    data[place + RECORD_HEADER_BYTES + 5] ^= 1
    segment.write_bytes(data)
    assert check_directory(mixed).damages != ()
    repair_directory(mixed)
    assert check_directory(mixed).damages == ()
    engine, _, _ = open_engine(mixed)
    assert times_of(engine) == [NOW + 1, NOW + 2]
    write(engine, 9)
    assert times_of(engine)[-1] == NOW + 9
    engine.close()
    assert check_directory(mixed).damages == ()
