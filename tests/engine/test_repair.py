"""After a repair a directory is whole, opens and answers; only what was damaged is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mainstem_engine import (
    CorruptionError,
    Engine,
    EngineOptions,
    LockedError,
    NotFoundError,
    StoreCounts,
    Template,
)
from mainstem_engine.check import check_directory
from mainstem_engine.filesystem import Filesystem
from mainstem_engine.log.layout import SEGMENT_HEADER_BYTES
from mainstem_engine.losses import Losses
from mainstem_engine.part import layout
from mainstem_engine.part.manifest import PartList
from mainstem_engine.repair import RepairReport, plan_repair, repair_directory

fs = Filesystem()
T0 = 1_790_000_000_000
ROWS = 3000


@pytest.fixture
def data(open_engine: Any, meters: Template, tmp_path: Path) -> Path:
    """Two parts of one device each, a part of many devices, and records above the checkpoint."""
    engine: Engine = open_engine(block_rows=1000)
    engine.create_template(meters)
    for device in ("root.a.d1", "root.a.d2"):
        times = T0 + np.arange(ROWS)
        columns = {"voltage": np.arange(ROWS), "current": np.sin(np.arange(ROWS))}
        engine.write("meters", device, times, columns).wait()
        engine.flush()
    paths = [f"root.a.small{i}" for i in range(40)]
    engine.write("meters", paths, [T0] * 40, {"note": [f"n{i}" for i in range(40)]}).wait()
    engine.flush()
    engine._store.release_log()
    for number in range(5):
        engine.write("meters", "root.a.d1", [T0 + 9000 + number], {"voltage": [number]}).wait()
    engine.abandon()
    for path in (tmp_path / "data" / "log").iterdir():
        if path.stat().st_size == SEGMENT_HEADER_BYTES:
            path.unlink()
    return tmp_path / "data"


def flip(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 0xFF
    path.write_bytes(content)


def contents(data: Path) -> dict[Path, bytes]:
    """Every file but the lock, which says who looked last."""
    return {p: p.read_bytes() for p in data.rglob("*") if p.is_file() and p.name != "LOCK"}


def parts_of(data: Path) -> list[Path]:
    return sorted(data.glob("parts/*.part"))


def column_offset(path: Path, number: int, key: int) -> int:
    """Where the values of a column of a block are."""
    footer = layout.unpack_footer(path, memoryview(path.read_bytes()))
    position = layout.HEAD.size
    for block in range(number + 1):
        for column, index in footer.columns.items():
            if (block, column) == (number, key):
                return position
            position += int(index.bytes[block]) + int(index.valid_bytes[block])
    raise AssertionError(key)


def repaired(data: Path) -> RepairReport:
    """The report of a repair after which the directory is whole, and stays so when it is opened."""
    before = contents(data)
    report = repair_directory(data)
    assert report.after.whole, report.after.damages
    assert not repair_directory(data).actions, "a second repair finds nothing to do"
    if report.kept is not None:
        for path in report.kept.rglob("*"):
            if path.is_file():
                assert path.read_bytes() == before[data / path.relative_to(report.kept)]
    with Engine.open(data, EngineOptions(background=False)) as engine:
        assert all(counts.balanced for counts in engine.store_accounting().values())
        write = engine.write("meters", "root.a.d1", [T0 + 99_999], {engine_column(engine): [1]})
        write.wait()
    assert check_directory(data).whole
    return report


def engine_column(engine: Engine) -> str:
    names = [m.name for m in engine.catalog.template("meters").measurements]
    return "voltage" if "voltage" in names else "m1"


def voltages(data: Path, device: str) -> list[Any]:
    with Engine.open(data, EngineOptions(background=False)) as engine:
        found: list[Any] = engine.scan("meters", devices=[device]).read_all()["voltage"].to_pylist()
        return found


def counts(data: Path) -> StoreCounts:
    with Engine.open(data, EngineOptions(background=False)) as engine:
        return engine.store_accounting()["meters"]


def test_a_whole_directory_is_left_alone(data: Path) -> None:
    before = {p: p.read_bytes() for p in data.rglob("*") if p.is_file() and p.name != "LOCK"}
    assert plan_repair(data).actions == ()
    report = repair_directory(data)
    assert (report.actions, report.kept) == ((), None)
    assert {
        p: p.read_bytes() for p in data.rglob("*") if p.is_file() and p.name != "LOCK"
    } == before


def test_a_plan_changes_nothing(data: Path) -> None:
    flip(parts_of(data)[0], 30)
    before = contents(data)
    (action,) = plan_repair(data).actions
    assert "root.a.d1" in action
    assert contents(data) == before


def test_a_block_whose_keys_are_lost(data: Path) -> None:
    path = parts_of(data)[1]
    flip(path, column_offset(path, 1, layout.TIME_COLUMN))
    logged = 2 * ROWS + 40 + 5
    report = repaired(data)
    assert report.lost_rows == {"meters": 1000}
    assert report.kept is not None
    found = voltages(data, "root.a.d2")
    assert found == [*range(1000), *range(2000, ROWS)]
    assert counts(data) == StoreCounts(logged + 1, logged + 1 - 1000, lost_local=1000)
    # A flush and a compaction change nothing about it.
    with Engine.open(data, EngineOptions(background=False)) as engine:
        engine.write("meters", "root.a.d2", [T0 + 50_000], {"voltage": [7]}).wait()
        engine.flush()
        engine.compact()
        assert engine.store_accounting()["meters"].lost_local == 1000
    assert counts(data).lost_local == 1000


def test_a_block_that_lost_one_measurement(data: Path) -> None:
    path = parts_of(data)[0]
    flip(path, column_offset(path, 2, 1))
    report = repaired(data)
    assert report.lost_rows == {"meters": 0}
    found = voltages(data, "root.a.d1")
    assert found[:2000] == list(range(2000))
    assert found[2000:ROWS] == [None] * 1000
    assert found[ROWS : ROWS + 5] == list(range(5))


def test_rows_that_lose_their_only_value_go(data: Path) -> None:
    path = parts_of(data)[2]
    flip(path, column_offset(path, 0, 3))
    report = repaired(data)
    assert report.lost_rows == {"meters": 40}
    assert counts(data).lost_local == 40


@pytest.mark.parametrize("offset", [2, 9, 14])
def test_a_part_whose_head_is_damaged_loses_nothing(data: Path, offset: int) -> None:
    flip(parts_of(data)[0], offset)
    report = repaired(data)
    assert report.lost_rows == {"meters": 0}
    assert voltages(data, "root.a.d1")[:ROWS] == list(range(ROWS))
    assert not list((data / "parts").glob("*-head.part"))


@pytest.mark.parametrize("spoil", ["footer", "cut", "gone"])
def test_a_part_of_which_nothing_is_left(data: Path, spoil: str) -> None:
    path = parts_of(data)[0]
    if spoil == "footer":
        flip(path, -60)
    elif spoil == "cut":
        path.write_bytes(path.read_bytes()[:-7])
    else:
        path.unlink()
    report = repaired(data)
    assert report.lost_rows == {"meters": ROWS}
    assert voltages(data, "root.a.d1")[:5] == list(range(5))
    assert voltages(data, "root.a.d2") == list(range(ROWS))


@pytest.mark.parametrize("spoil", ["bits", "gone", "other"])
def test_an_identity(data: Path, spoil: str) -> None:
    path = data / "identity.json"
    uuid = check_directory(data).node_uuid
    if spoil == "gone":
        path.unlink()
    else:
        path.write_text("{}" if spoil == "bits" else "nonsense")
    repaired(data)
    assert check_directory(data).node_uuid == uuid


def record_offsets(data: Path) -> list[int]:
    """Where each change of the part list starts."""
    from mainstem_engine.part_list_records import part_list_records

    return [r.offset for r in part_list_records((data / "part-list").read_bytes())]


@pytest.mark.parametrize("record", [0, 1, 2])
def test_a_change_of_the_part_list(data: Path, record: int) -> None:
    flip(data / "part-list", record_offsets(data)[record] + 20)
    report = repaired(data)
    assert report.lost_rows == {}
    assert voltages(data, "root.a.d1")[:ROWS] == list(range(ROWS))
    assert voltages(data, "root.a.d2") == list(range(ROWS))
    assert counts(data).lost_local == 0


@pytest.mark.parametrize("spoil", ["head", "gone", "blank"])
def test_the_part_list_as_a_whole(data: Path, spoil: str) -> None:
    path = data / "part-list"
    if spoil == "head":
        flip(path, 3)
    elif spoil == "gone":
        path.unlink()
    else:
        path.write_bytes(bytes(10_000))
    repaired(data)
    assert voltages(data, "root.a.d2") == list(range(ROWS))


def test_a_part_list_that_lost_a_compaction(data: Path) -> None:
    with Engine.open(data, EngineOptions(background=False)) as engine:
        engine.flush()
        engine.compact()
    offsets = record_offsets(data)
    flip(data / "part-list", offsets[-1] + 20)
    report = repaired(data)
    assert report.lost_rows == {}
    assert voltages(data, "root.a.d2") == list(range(ROWS))


def section_offset(data: Path, name: str) -> int:
    from mainstem_engine.checkpoint import inspect_checkpoint

    (path,) = data.glob("checkpoint/*.ckpt")
    _, sections = inspect_checkpoint(fs, path.parent, path.name)
    return next(s.offset for s in sections if s.name == name)


@pytest.mark.parametrize("name", ["accounts", "origins", "retention_clock"])
def test_a_section_of_the_checkpoint(data: Path, name: str) -> None:
    (path,) = data.glob("checkpoint/*.ckpt")
    flip(path, section_offset(data, name) + 1)
    report = repaired(data)
    assert report.unknown or name == "origins", "this node is the only origin"
    assert voltages(data, "root.a.d1")[:ROWS] == list(range(ROWS))
    assert voltages(data, "root.a.d2") == list(range(ROWS))


@pytest.mark.parametrize("spoil", ["section", "index", "gone"])
def test_a_catalog_that_is_lost(data: Path, spoil: str) -> None:
    """Rows stay readable under the ids they had; names are made up, and it is said so."""
    (path,) = data.glob("checkpoint/*.ckpt")
    if spoil == "section":
        flip(path, section_offset(data, "catalog") + 3)
    elif spoil == "index":
        flip(path, 20)
    else:
        path.unlink()
    report = repair_directory(data)
    assert report.after.whole, report.after.damages
    assert any("paths and tags of devices 0 to 41" in text for text in report.unknown)
    with Engine.open(data, EngineOptions(background=False)) as engine:
        table = engine.scan("meters", devices=["root.lost.d1"]).read_all()
        assert table["m1"].to_pylist() == list(range(ROWS))
        assert engine.scan("meters").read_all().num_rows == 2 * ROWS + 40 + 5
        assert all(each.balanced for each in engine.store_accounting().values())
    assert check_directory(data).whole


def test_a_catalog_whose_base_is_whole(open_engine: Any, meters: Template, tmp_path: Path) -> None:
    engine: Engine = open_engine()
    engine.create_template(meters)
    paths = [f"root.a.d{i}" for i in range(300)]
    engine.write("meters", paths, [T0] * 300, {"voltage": list(range(300))}).wait()
    engine._store.catalog_files.merge_next = True
    engine.flush()
    engine.close()
    data = tmp_path / "data"
    (path,) = data.glob("checkpoint/*.ckpt")
    flip(path, section_offset(data, "catalog") + 3)
    report = repair_directory(data)
    assert report.after.whole, report.after.damages
    with Engine.open(data, EngineOptions(background=False)) as again:
        table = again.scan("meters", devices=["root.a.d17"]).read_all()
        assert table["m1"].to_pylist() == [17]


def test_damaged_records_of_the_log(data: Path) -> None:
    (path,) = data.glob("log/*.log")
    flip(path, SEGMENT_HEADER_BYTES + 160)
    report = repaired(data)
    ((first, last),) = report.lost_lsns
    assert first == last
    part_list = PartList.read(fs, data / "part-list")
    assert Losses.of(part_list.facts).declares(first, last)


def test_the_header_of_a_segment(data: Path) -> None:
    (path,) = data.glob("log/*.log")
    flip(path, 30)
    repaired(data)
    assert voltages(data, "root.a.d1")[ROWS : ROWS + 5] == list(range(5))


def test_a_log_that_is_gone(data: Path) -> None:
    for path in data.glob("log/*.log"):
        path.unlink()
    lsn = check_directory(data).checkpoint_lsn
    repaired(data)
    assert check_directory(data).log.last_lsn > lsn
    assert voltages(data, "root.a.d2") == list(range(ROWS))


def test_everything_at_once(data: Path) -> None:
    flip(data / "part-list", record_offsets(data)[1] + 20)
    flip(parts_of(data)[0], column_offset(parts_of(data)[0], 0, 1))
    (checkpoint,) = data.glob("checkpoint/*.ckpt")
    flip(checkpoint, section_offset(data, "accounts") + 1)
    (data / "identity.json").unlink()
    (log,) = data.glob("log/*.log")
    flip(log, SEGMENT_HEADER_BYTES + 160)
    report = repair_directory(data)
    assert report.after.whole, report.after.damages
    assert len(report.actions) >= 4
    assert voltages(data, "root.a.d2") == list(range(ROWS))


def test_refusals(data: Path, tmp_path: Path) -> None:
    for function in (plan_repair, repair_directory):
        with pytest.raises(NotFoundError):
            function(tmp_path)
    with Engine.open(data):
        for function in (plan_repair, repair_directory):
            with pytest.raises(LockedError):
                function(data)


def test_losses() -> None:
    losses = Losses().plus({"t": 3, "u": 0}, [(5, 6), (1, 2)]).plus({"t": 1}, [(7, 9)])
    assert losses == Losses({"t": 4}, ((1, 2), (5, 9)))
    assert Losses.of(losses.to_facts()) == losses
    assert losses.declares(6, 8)
    assert not losses.declares(2, 5)


def test_the_newest_row_of_a_device_was_in_a_lost_block(data: Path) -> None:
    path = parts_of(data)[1]
    flip(path, column_offset(path, 2, layout.TIME_COLUMN))
    repaired(data)
    with Engine.open(data, EngineOptions(background=False)) as engine:
        (last,) = engine.last("meters", devices=["root.a.d2"]).to_pylist()
        assert last["voltage"] == 1999
        engine.write("meters", "root.a.d2", [T0 + 2500], {"voltage": [7]}).wait()
        (last,) = engine.last("meters", devices=["root.a.d2"]).to_pylist()
        assert last["voltage"] == 7
        engine.flush()
        assert engine.sql("SELECT last(voltage) FROM meters WHERE device = 'root.a.d2'").rows() == [
            [7]
        ]
    everything = counts(data)
    assert (everything.unresolved, everything.balanced) == (0, True)


@pytest.mark.parametrize("record", [0, 1, 2, 3])
def test_a_part_list_that_was_cut(data: Path, record: int) -> None:
    """It looks like one that a crash left; acting on it would delete what it no longer names."""
    with Engine.open(data, EngineOptions(background=False)) as engine:
        engine.compact()
    offsets = record_offsets(data)
    content = (data / "part-list").read_bytes()
    (data / "part-list").write_bytes(content[: offsets[record]])
    files = {path for path in data.rglob("*") if path.is_file()}
    with pytest.raises(CorruptionError, match="its end is lost"):
        Engine.open(data)
    assert {path for path in data.rglob("*") if path.is_file()} == files
    report = repaired(data)
    assert report.lost_rows == {}
    assert voltages(data, "root.a.d1")[:ROWS] == list(range(ROWS))
    assert voltages(data, "root.a.d2") == list(range(ROWS))


def test_a_missing_part_list_deletes_nothing(data: Path) -> None:
    (data / "part-list").unlink()
    files = {path for path in data.rglob("*") if path.is_file()}
    with pytest.raises(CorruptionError, match="is missing"):
        Engine.open(data)
    assert {path for path in data.rglob("*") if path.is_file()} == files


def test_a_sector_of_the_part_list_that_reads_as_zeros(data: Path) -> None:
    with Engine.open(data, EngineOptions(background=False)) as engine:
        engine.compact()
    content = bytearray((data / "part-list").read_bytes())
    first = record_offsets(data)[0]
    content[first : first + 1024] = bytes(len(content[first : first + 1024]))
    (data / "part-list").write_bytes(content)
    with pytest.raises(CorruptionError, match="its end is lost"):
        Engine.open(data)
    assert (data / "part-list").read_bytes() == content
    assert repaired(data).lost_rows == {}
    assert voltages(data, "root.a.d2") == list(range(ROWS))
