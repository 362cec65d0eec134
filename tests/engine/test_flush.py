"""Flushes: partitions, late rows, failures, power cuts."""

from __future__ import annotations

import errno
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from mainstem_engine import ColumnType, Engine, EngineOptions, Measurement, Template
from mainstem_engine import late_rows as late_rows_module
from mainstem_engine import table_flush as table_flush_module
from mainstem_engine.errors import CorruptionError
from mainstem_engine.merge import concat_rows
from mainstem_engine.model import VersionedRows
from mainstem_engine.part.reader import Part
from mainstem_engine.table_flush import split_partitions, whole_partitions
from mainstem_engine.testing.crash_states import crash_states
from mainstem_engine.testing.faulty_filesystem import FaultyFilesystem

DAY_MS = 86_400_000
T = Template("t", (Measurement(0, "x", ColumnType.INT64), Measurement(0, "s", ColumnType.TEXT)))


def times_of(engine: Engine) -> list[int]:
    found: list[int] = engine.scan("t", columns=["x"]).read_all()["time"].to_pylist()
    return found


def versioned(times: list[int]) -> VersionedRows:
    count = len(times)
    return VersionedRows(
        np.zeros(count, np.uint32),
        np.array(times, np.int64),
        np.zeros(count, np.uint16),
        np.ones(count, np.uint64),
    )


def test_rows_are_split_by_partition_in_order() -> None:
    rows = versioned([-25, -5, 3, 9, 10, 11, 30])
    pieces = split_partitions(rows, 10)
    assert [(start, piece.time.tolist()) for start, piece in pieces] == [
        (-30, [-25]),
        (-10, [-5]),
        (0, [3, 9]),
        (10, [10, 11]),
        (30, [30]),
    ]
    ((start, piece),) = split_partitions(rows, 10_000_000)[1:]
    assert (start, piece.time.tolist()) == (0, [3, 9, 10, 11, 30])


def test_rows_over_very_many_partitions_share_files() -> None:
    rows = versioned(list(range(0, 100_000, 10)))
    pieces = split_partitions(rows, whole_partitions(10, 0, 99_990))
    assert len(pieces) <= table_flush_module.PARTITIONS_MAX
    assert concat_rows([piece for _, piece in pieces]).time.tolist() == rows.time.tolist()


def test_each_database_has_parts_of_its_own(open_engine: Any) -> None:
    engine: Engine = open_engine()
    engine.create_template(T)
    engine.create_database("a", duration_ns=DAY_MS * 1_000_000)
    for path in ("root.a.d", "root.b.d"):
        engine.write("t", path, [0, 3 * DAY_MS], {"x": [1, 2]}).wait()
    engine.flush()
    metas = [part.meta for part in engine._store.inventory.of_table("t")]
    found = sorted((m.device_min, m.device_max, m.rows, m.partition_start_ns) for m in metas)
    assert found == [(0, 0, 1, 0), (0, 0, 1, 3 * DAY_MS * 1_000_000), (1, 1, 2, 0)]


def test_a_flush_without_news_does_nothing_and_a_checkpoint_is_written(open_engine: Any) -> None:
    engine: Engine = open_engine()
    engine.create_template(T)
    engine.flush()
    before = engine.statistics().housekeeping.flushes
    engine.flush()
    assert engine.statistics().housekeeping.flushes == before
    engine.checkpoint()
    assert engine.statistics().housekeeping.flushes == before + 1


def test_late_rows_read_only_the_blocks_of_their_keys(
    open_engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine: Engine = open_engine(block_rows=100)
    engine.create_template(T)
    times = np.arange(0, 10_000, 10)
    for path in ("root.a.d1", "root.a.d2"):
        engine.write("t", path, times, {"x": times}).wait()
    engine.flush()
    read: list[int] = []
    original = Part.read

    def counted(self: Part, blocks: Any, ids: Any, *, versions: bool) -> VersionedRows:
        read.extend(int(block) for block in blocks)
        assert (list(ids), versions) == ([], False)
        return original(self, blocks, ids, versions=versions)

    engine.write("t", "root.a.d1", [500, 505], {"x": [1, 2]}).wait()
    engine.write("t", "root.a.d2", [20_000], {"x": [3]}).wait()
    assert engine.store_accounting()["t"].unresolved == 2
    monkeypatch.setattr(Part, "read", counted)
    engine.flush()
    assert read == [0]
    counts = engine.store_accounting()["t"]
    assert (counts.live, counts.overwritten, counts.unresolved) == (2002, 1, 0)


def test_many_late_keys_are_compared_in_pieces(
    open_engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(late_rows_module, "LOOKUP_ROWS", 150)
    engine: Engine = open_engine(block_rows=100)
    engine.create_template(T)
    times = np.arange(1000)
    engine.write("t", "root.a.d1", times, {"x": times}).wait()
    engine.flush()
    engine.write("t", "root.a.d1", times, {"x": times}).wait()
    engine.write("t", "root.a.d1", times[:500], {"x": times[:500]}).wait()
    engine.write("t", "root.a.d1", times[:10] - 20, {"x": times[:10]}).wait()
    engine.flush()
    counts = engine.store_accounting()["t"]
    assert (counts.logged, counts.live, counts.overwritten) == (2510, 1010, 1500)


@pytest.mark.parametrize(
    ("kind", "where", "skip"),
    [
        ("write", ".part", 0),
        ("sync", ".part", 0),
        ("rename", ".part", 1),
        ("create", ".ckpt", 0),
        ("sync_directory", "checkpoint", 0),
        ("write", "part-list", 0),
        ("sync", "part-list", 0),
    ],
)
def test_a_failed_flush_is_tried_again(
    open_engine: Any, tmp_path: Path, kind: str, where: str, skip: int
) -> None:
    fs = FaultyFilesystem(tmp_path / "data")
    engine: Engine = open_engine(fs=fs)
    engine.create_template(T)
    engine.write("t", "root.a.d", [1, 20 * DAY_MS], {"x": [1, 2]}).wait()
    fs.fail(kind, path_part=where, skip=skip, error=errno.ENOSPC)
    with pytest.raises(OSError, match="injected"):
        engine.flush()
    found = engine.statistics().housekeeping
    assert found.flush_failures == 1
    assert found.last_error is not None
    engine.write("t", "root.a.d", [2], {"x": [3]}).wait()
    assert times_of(engine) == [1, 2, 20 * DAY_MS]
    engine.flush()
    assert engine.statistics().housekeeping.last_error is None
    assert times_of(engine) == [1, 2, 20 * DAY_MS]
    assert engine.statistics().head_rows == 0
    counts = engine.store_accounting()["t"]
    assert counts.balanced
    assert counts.live == 3
    engine.abandon()
    again: Engine = open_engine()
    assert times_of(again) == [1, 2, 20 * DAY_MS]
    assert again.statistics().replayed_records == 0


def test_whatever_a_power_cut_leaves_what_was_acknowledged_is_there(tmp_path: Path) -> None:
    """Every prefix of what reached the disk, with torn writes, around two flushes."""
    root = tmp_path / "data"
    fs = FaultyFilesystem(root)
    options = EngineOptions(background=False)
    acknowledged: list[tuple[int, int]] = []
    engine = Engine.open(root, options, fs=fs)
    engine.create_template(T)
    for time in range(6):
        engine.write("t", "root.a.d", [time], {"x": [time]}).wait()
        acknowledged.append((len(fs.journal), time))
        if time in (2, 4):
            engine.flush()
            if time == 4:
                engine.compact()
    engine.abandon()
    first = acknowledged[0][0]
    states = [state for state in crash_states(fs.journal, {}) if state.operations >= first]
    for number, state in enumerate(Random(7).sample(states, 60)):
        target = tmp_path / f"after{number}"
        state.write(target)
        with Engine.open(target, options) as again:
            found = times_of(again)
            durable = [t for at, t in acknowledged if at <= state.operations]
            assert found[: len(durable)] == durable, state.label
            assert found == list(range(len(found)))
            counts = again.store_accounting()["t"]
            assert counts.balanced
            assert counts.live == len(found)
            again.write("t", "root.a.d", [100], {"x": [1]}).wait()
            again.flush()
            assert times_of(again) == [*found, 100]


def test_a_damaged_part_fails_only_the_queries_that_need_it(open_engine: Any) -> None:
    engine: Engine = open_engine()
    engine.create_template(T)
    for day in (0, 20):
        engine.write("t", "root.a.d", [day * DAY_MS], {"x": [1]}).wait()
        engine.flush()
    first = min(engine._store.inventory.of_table("t"), key=lambda part: part.meta.time_min_ns)
    path = engine._store.inventory.directory / f"{first.meta.name}.part"
    engine.close()
    data = bytearray(path.read_bytes())
    data[-40] ^= 0xFF
    path.write_bytes(data)
    again: Engine = open_engine()
    assert again.statistics().damages
    assert again.scan("t", start=DAY_MS).read_all().num_rows == 1
    assert again.scan("t", devices=np.array([99], np.uint32)).read_all().num_rows == 0
    with pytest.raises(CorruptionError, match="damaged"):
        again.scan("t").read_all()
    with pytest.raises(CorruptionError, match="damaged"):
        again.last("t")
    again.write("t", "root.a.d", [21 * DAY_MS], {"x": [1]}).wait()
    again.compact()
    again.flush()
    assert again.scan("t", start=DAY_MS).read_all().num_rows == 2


def test_a_log_that_ends_before_the_parts_is_refused(open_engine: Any, tmp_path: Path) -> None:
    engine: Engine = open_engine()
    engine.create_template(T)
    engine.close()
    for segment in (tmp_path / "data" / "log").iterdir():
        segment.unlink()
    with pytest.raises(CorruptionError, match="the log ends at LSN 0"):
        open_engine()
