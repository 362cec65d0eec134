"""Every damage is found and named; what is whole is called whole; nothing is changed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mainstem_engine import Engine, LockedError, NotFoundError, Template
from mainstem_engine.check import CheckReport, check_directory
from mainstem_engine.damage import DAMAGES_MAX, Damage, Findings
from mainstem_engine.filesystem import Filesystem
from mainstem_engine.identity import IDENTITY_NAME
from mainstem_engine.log.layout import SEGMENT_HEADER_BYTES
from mainstem_engine.model import VersionedRows
from mainstem_engine.part import layout
from mainstem_engine.part.manifest import PartList
from mainstem_engine.part.reader import Part

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture
def data(open_engine: Any, meters: Template, tmp_path: Path) -> Path:
    """Two parts of one device each, a part of many devices, and records above the checkpoint."""
    engine: Engine = open_engine(block_rows=1000)
    engine.create_template(meters)
    for device in ("root.a.d1", "root.a.d2"):
        times = np.arange(3000)
        columns = {"voltage": times.astype(np.int32), "current": np.sin(times).astype("f4")}
        engine.write("meters", device, times, columns).wait()
        engine.flush()
    paths = [f"root.a.small{i}" for i in range(40)]
    notes = {"note": [f"n{i}" for i in range(40)], "on": [True, None] * 20}
    engine.write("meters", paths, [5] * 40, notes).wait()
    engine.flush()
    engine._store.release_log()
    for number in range(5):
        engine.write("meters", "root.a.d1", [9000 + number], {"voltage": [number]}).wait()
    engine.abandon()
    for path in (tmp_path / "data" / "log").iterdir():
        if path.stat().st_size == SEGMENT_HEADER_BYTES:
            path.unlink()  # one segment holds it all; an empty one after it says nothing
    return tmp_path / "data"


def contents(root: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 0xFF
    path.write_bytes(data)


def only(report: CheckReport) -> Damage:
    (damage,) = report.damages
    return damage


def test_a_whole_directory(data: Path) -> None:
    before = contents(data)
    report = check_directory(data)
    assert contents(data) == before
    assert report.whole
    assert report.remarks == ()
    assert (report.parts, report.blocks, report.rows) == (3, 7, 6040)
    assert report.log.last_lsn == report.checkpoint_lsn + 5
    assert report.log.records == 5
    assert report.node_uuid is not None


@pytest.mark.parametrize("name", ["engine-1"])
def test_what_releases_wrote_is_whole(tmp_path: Path, name: str) -> None:
    shutil.copytree(FIXTURES / name, tmp_path / "data")
    assert check_directory(tmp_path / "data").damages == ()


def test_a_new_directory_is_whole(open_engine: Callable[..., Engine], tmp_path: Path) -> None:
    open_engine().abandon()
    assert check_directory(tmp_path / "data").whole


def test_an_owned_directory_is_left_alone(open_engine: Any, tmp_path: Path) -> None:
    engine: Engine = open_engine()
    with pytest.raises(LockedError) as caught:
        check_directory(engine.path)
    assert caught.value.pid is not None


def test_what_is_no_data_directory(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(NotFoundError, match=r"identity\.json"):
            check_directory(path)


def block_offset(data: Path, name: str, number: int, key: int) -> int:
    """Where the values of a column of a block are."""
    part_list = PartList.read(Filesystem(), data / "part-list")
    path = data / "parts" / f"{part_list.parts[name].name}.part"
    footer = layout.unpack_footer(path, memoryview(path.read_bytes()))
    position = layout.HEAD.size
    for block in range(number + 1):
        for column, index in footer.columns.items():
            if (block, column) == (number, key):
                return position
            position += int(index.bytes[block]) + int(index.valid_bytes[block])
    raise AssertionError(key)


def test_a_damaged_column_of_a_block(data: Path) -> None:
    part = sorted(PartList.read(Filesystem(), data / "part-list").parts)[1]
    path = data / "parts" / f"{part}.part"
    offset = block_offset(data, part, 1, 1)
    flip(path, offset)
    damage = only(check_directory(data))
    assert (damage.file, damage.offset) == (f"parts/{part}.part", offset)
    assert (damage.table, damage.block, damage.columns) == ("meters", 1, ("voltage",))
    assert damage.devices == ("root.a.d2", "root.a.d2")
    assert (damage.rows, damage.start_ns, damage.end_ns) == (1000, 10**9, 1_999_000_000)
    assert "voltage of 1000 rows of meters, root.a.d2" in damage.lost


def test_a_damaged_key_costs_the_rows_of_the_block(data: Path) -> None:
    part = sorted(PartList.read(Filesystem(), data / "part-list").parts)[0]
    flip(data / "parts" / f"{part}.part", block_offset(data, part, 2, layout.TIME_COLUMN))
    damage = only(check_directory(data))
    assert (damage.block, damage.columns, damage.rows) == (2, (), 1000)
    assert "1000 rows of meters, root.a.d1" in damage.lost


@pytest.mark.parametrize("spoil", ["footer", "cut", "gone"])
def test_a_part_that_cannot_be_opened(data: Path, spoil: str) -> None:
    path = sorted(data.glob("parts/*.part"))[2]
    if spoil == "footer":
        flip(path, -60)
    elif spoil == "cut":
        path.write_bytes(path.read_bytes()[:-7])
    else:
        path.unlink()
    damage = only(check_directory(data))
    assert (damage.rows, damage.block) == (40, None)
    assert damage.devices == ("root.a.small0", "root.a.small39")


def test_an_index_that_lies(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = sorted(data.glob("parts/*.part"))[0]
    footer = layout.unpack_footer(path, memoryview(path.read_bytes()))
    statistics = footer.statistics[1]
    lies = {
        "minimum": statistics.minimum - 1,
        "total": statistics.total + 1,
        "first": statistics.first + 1,
    }
    index = replace(footer.blocks, time_max_ns=footer.blocks.time_max_ns + 1)
    honest = layout.unpack_footer

    def lying(where: Path, view: memoryview) -> layout.PartFooter:
        if where != path:
            return honest(where, view)
        told = {**footer.statistics, 1: replace(statistics, **lies)}
        return replace(footer, blocks=index, statistics=told)

    monkeypatch.setattr("mainstem_engine.part.reader.unpack_footer", lying)
    report = check_directory(data)
    problems = " ".join(damage.problem for damage in report.damages)
    for word in ("times", "extremes", "the sum", "first is", "last time"):
        assert word in problems
    assert {damage.block for damage in report.damages} == {0, 1, 2, None}


def test_rows_that_the_index_calls_distinct(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Part.read

    def doubled(self: Part, *args: Any, **options: Any) -> VersionedRows:
        rows = read(self, *args, **options)
        rows.time[1] = rows.time[0]
        return rows

    monkeypatch.setattr(Part, "read", doubled)
    problems = {damage.problem for damage in check_directory(data).damages}
    assert "the index calls its rows distinct, and two share device and time" in problems


@pytest.mark.parametrize(
    ("pattern", "offset", "file"),
    [
        ("identity.json", 2, "identity.json"),
        ("part-list", 3, "part-list"),
        ("checkpoint/*.ckpt", -1, "checkpoint/"),
        ("checkpoint/*.ckpt", 20, "checkpoint/"),
        ("log/*.log", 3, "log/"),
        ("log/*.log", 64 + 120, "log/"),
    ],
)
def test_damage_anywhere_is_found(data: Path, pattern: str, offset: int, file: str) -> None:
    (path,) = data.glob(pattern)
    flip(path, offset)
    report = check_directory(data)
    assert not report.whole
    assert report.damages[0].file.startswith(file)


def test_lost_records_say_what_they_were(data: Path) -> None:
    (path,) = data.glob("log/*.log")
    flip(path, 64 + 160)
    damage = only(check_directory(data))
    assert damage.records == 1
    assert damage.first_lsn is not None
    assert f"lost: LSN {damage.first_lsn}, with all rows" in damage.lost


def test_a_torn_tail_is_a_remark(data: Path) -> None:
    (path,) = data.glob("log/*.log")
    path.write_bytes(path.read_bytes()[:-5])
    report = check_directory(data)
    assert report.whole
    assert any("torn write" in remark for remark in report.remarks)


def test_a_log_that_ends_below_the_parts(data: Path) -> None:
    (path,) = data.glob("log/*.log")
    path.unlink()
    assert "there is no log" in only(check_directory(data)).problem


def test_what_a_crash_left_is_a_remark(data: Path) -> None:
    (data / "parts" / "000000000099.part").write_bytes(b"left")
    (data / "checkpoint" / "x.ckpt.tmp").write_bytes(b"left")
    report = check_directory(data)
    assert report.whole
    assert len(report.remarks) == 2


def test_a_missing_part_list_and_a_missing_identity(data: Path) -> None:
    (data / "part-list").unlink()
    assert any("there are parts" in d.problem for d in check_directory(data).damages)
    (data / "part-list").write_bytes(b"")
    (data / IDENTITY_NAME).unlink()
    files = [damage.file for damage in check_directory(data).damages]
    assert files[:2] == [IDENTITY_NAME, "part-list"]


def test_the_list_of_damages_is_bounded() -> None:
    findings = Findings()
    findings.extend([Damage("f", 0, "p")] * (DAMAGES_MAX + 3))
    assert (len(findings.damages), findings.unlisted) == (DAMAGES_MAX, 3)


def test_damage_to_the_catalogs_base_is_named(
    open_engine: Any, meters: Template, tmp_path: Path
) -> None:
    engine = open_engine()
    engine.create_template(meters)
    engine.device_ids("meters", [f"root.a.d{i}" for i in range(30_000)], create=True)
    engine.close()
    assert check_directory(tmp_path / "data").whole
    (base,) = (tmp_path / "data" / "catalog").iterdir()
    data = bytearray(base.read_bytes())
    data[-1000] ^= 1
    base.write_bytes(data)
    (damage,) = check_directory(tmp_path / "data").damages
    assert damage.file == f"catalog/{base.name}"
    assert "checksum" in damage.problem
