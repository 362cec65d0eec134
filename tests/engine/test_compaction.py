"""Compaction: the plan, and what it keeps."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mainstem_engine.housekeeping as housekeeping_module
from mainstem_engine import (
    ColumnType,
    Engine,
    Measurement,
    Template,
    compaction,
    housekeeping,
    part_join,
)
from mainstem_engine.compaction import PARTS_MAX, PARTS_MIN, Policy, plan_compactions
from mainstem_engine.inventory import BrokenPart
from mainstem_engine.part.manifest import PartMeta
from mainstem_engine.part.reader import Part
from mainstem_engine.testing.faulty_filesystem import FaultyFilesystem

T = Template("t", (Measurement(0, "x", ColumnType.INT64),))


class FakePart(Part):
    """Only what the planner looks at."""

    def __init__(self, meta: PartMeta) -> None:
        self.meta = meta

    @property
    def types(self) -> dict[int, ColumnType]:
        return {0: ColumnType.INT64}


def part(
    number: int,
    rows: int,
    *,
    table: str = "t",
    start: int = 0,
    device: int = 0,
    vnode: int = 0,
    vnodes: int = 1,
) -> FakePart:
    name = f"{number:012d}"
    return FakePart(PartMeta(name, table, start, rows, 9, 0, 9, device, device, {}, vnode, vnodes))


def plan(parts: Any, **settings: Any) -> list[tuple[str, int, list[int]]]:
    policy = Policy(**{"parts_min": 3, "growth_max": 4.0, **settings})
    plans = plan_compactions(parts, lambda device: device // 10, policy)
    return [(p.table, p.partition_start_ns, [int(name) for name in p.names]) for p in plans]


def test_parts_of_one_table_database_and_partition_go_together() -> None:
    parts = [part(i, 10) for i in range(1, 5)]
    parts += [part(i, 10, table="u") for i in range(5, 7)]
    parts += [part(i, 10, start=77) for i in range(7, 10)]
    parts += [part(i, 10, device=15) for i in range(10, 13)]
    assert plan(parts) == [
        ("t", 0, [1, 2, 3, 4]),
        ("t", 77, [7, 8, 9]),
        ("t", 0, [10, 11, 12]),
    ]
    assert plan(parts, parts_min=5) == []


def test_a_large_part_waits_until_the_small_ones_have_grown() -> None:
    assert plan([part(1, 1000), part(2, 10), part(3, 10), part(4, 10)]) == [("t", 0, [2, 3, 4])]
    assert plan([part(1, 100), part(2, 10), part(3, 10), part(4, 10)]) == [("t", 0, [1, 2, 3, 4])]
    assert plan([part(1, 1), part(2, 10), part(3, 100)]) == []


def test_a_tiny_part_keeps_no_others_from_being_joined() -> None:
    """Otherwise one short flush before a stop would let parts pile up for ever."""
    parts = [part(1, 2), *(part(i, 1000) for i in range(2, 12))]
    assert plan(parts) == [("t", 0, list(range(2, 12)))]
    assert plan([part(0, 2), *parts]) == [("t", 0, [0, 1])], "two tiny ones are joined first"


def test_so_many_parts_join_at_once() -> None:
    parts = [part(i, 100) for i in range(1, PARTS_MAX + 9)]
    assert plan(parts) == [("t", 0, list(range(1, PARTS_MAX + 1)))]


def test_parts_of_other_vnodes_stay_apart() -> None:
    parts = [part(i, 10, vnode=i % 2, vnodes=2) for i in range(1, 7)]
    parts += [part(i, 10) for i in range(7, 10)]
    assert plan(parts) == [("t", 0, [1, 3, 5]), ("t", 0, [2, 4, 6]), ("t", 0, [7, 8, 9])]


def test_broken_parts_stay() -> None:
    broken: Any = BrokenPart(part(9, 10).meta, OSError("x"))
    assert plan([broken, part(1, 10), part(2, 10)]) == []


def content(engine: Engine) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = engine.scan("t").read_all().to_pylist()
    return found


def filled(engine: Engine, flushes: int) -> None:
    engine.create_template(T)
    for i in range(flushes):
        engine.write("t", "root.a.d", [i, 1000 - i], {"x": [i, i]}).wait()
        engine.flush()


def test_one_part_remains_and_the_files_go(open_engine: Any, tmp_path: Path) -> None:
    engine: Engine = open_engine()
    filled(engine, 5)
    before = content(engine)
    engine.compact()
    assert content(engine) == before
    files = [p.name for p in (tmp_path / "data" / "parts").iterdir()]
    assert len(files) == engine.statistics().parts == 1
    assert engine.statistics().housekeeping.compactions == 1
    engine.compact()
    assert engine.statistics().housekeeping.compactions == 1


def test_many_parts_are_compacted_when_due(open_engine: Any) -> None:
    engine: Engine = open_engine()
    filled(engine, PARTS_MIN - 1)
    engine._housekeeping.compact_due()
    assert engine.statistics().parts == PARTS_MIN - 1
    engine.write("t", "root.a.d", [5000], {"x": [1]}).wait()
    engine.flush()
    engine._housekeeping.compact_due()
    assert engine.statistics().parts == 1


@pytest.mark.parametrize(("kind", "where"), [("write", ".part"), ("rename", ".part")])
def test_a_failed_compaction_is_counted_and_changes_nothing(
    open_engine: Any, tmp_path: Path, kind: str, where: str
) -> None:
    fs = FaultyFilesystem(tmp_path / "data")
    engine: Engine = open_engine(fs=fs)
    filled(engine, 3)
    before = content(engine)
    fs.fail(kind, path_part=where, error=errno.ENOSPC)
    engine.compact()
    statistics = engine.statistics().housekeeping
    assert statistics.compaction_failures == 1
    assert statistics.last_error is not None
    assert "compaction of t" in statistics.last_error
    assert content(engine) == before
    assert engine.statistics().parts == 3
    engine.compact()
    assert content(engine) == before
    statistics = engine.statistics().housekeeping
    assert (engine.statistics().parts, statistics.last_error) == (1, None)


def test_what_fails_for_another_reason_is_left_alone_until_the_next_start(
    open_engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine: Engine = open_engine()
    filled(engine, 3)
    before = content(engine)

    def fails(*_: Any) -> Any:
        raise MemoryError("too large")

    with monkeypatch.context() as patched:
        patched.setattr(housekeeping_module, "join_parts", fails)
        engine.compact()
    engine.compact()
    assert (engine.statistics().parts, content(engine)) == (3, before)
    engine.close()
    again: Engine = open_engine()
    again.compact()
    assert (again.statistics().parts, content(again)) == (1, before)


def test_a_column_added_later_is_null_in_older_rows(open_engine: Any) -> None:
    engine: Engine = open_engine()
    filled(engine, 1)
    engine.extend_template("t", [Measurement(0, "y", ColumnType.TEXT)])
    engine.write("t", "root.a.d", np.array([5]), {"y": ["new"]}).wait()
    engine.flush()
    engine.compact()
    assert [(r["time"], r["x"], r["y"]) for r in content(engine)] == [
        (0, 0, None),
        (5, None, "new"),
        (1000, 0, None),
    ]


# -- beside other work ---------------------------------------------------------------------------


def instead_of_join(monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], None]) -> None:
    """Something happens while parts are joined."""
    real = part_join.join_parts

    def join(*arguments: Any) -> Any:
        meta = real(*arguments)
        meanwhile()
        return meta

    monkeypatch.setattr(housekeeping, "join_parts", join)


def test_a_flush_does_not_wait_for_a_compaction(
    open_engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine: Engine = open_engine()
    filled(engine, 3)

    def meanwhile() -> None:
        engine.write("t", "root.a.d", [1, 7000], {"x": [70, 71]}).wait()
        engine.flush()

    instead_of_join(monkeypatch, meanwhile)
    engine.compact()
    assert engine.statistics().parts == 2
    found = {row["time"]: row["x"] for row in content(engine)}
    assert (found[1], found[7000], found[1000]) == (70, 71, 0)


def test_a_compaction_of_parts_that_are_gone_is_thrown_away(
    open_engine: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    engine: Engine = open_engine()
    filled(engine, 3)
    inventory = engine._store.inventory

    def meanwhile() -> None:
        gone = inventory.of_table("t")[1]
        inventory.record([], [gone.meta.name])
        engine._store.publish_compaction([], [gone.meta.name])
        inventory.unlink([gone.meta])

    instead_of_join(monkeypatch, meanwhile)
    engine.compact()
    statistics = engine.statistics()
    assert (statistics.parts, statistics.housekeeping.compactions) == (2, 0)
    assert statistics.housekeeping.compaction_failures == 0
    assert len(list((tmp_path / "data" / "parts").iterdir())) == 2


def test_close_does_not_wait_for_a_compaction(
    open_engine: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    engine: Engine = open_engine()
    filled(engine, 3)
    before = content(engine)
    real = part_join.join_parts

    def join(*arguments: Any) -> Any:
        engine._housekeeping.stop()
        return real(*arguments)

    monkeypatch.setattr(housekeeping, "join_parts", join)
    engine.compact()
    statistics = engine.statistics().housekeeping
    assert (statistics.compactions, statistics.compaction_failures) == (0, 0)
    assert content(engine) == before
    assert len(list((tmp_path / "data" / "parts").iterdir())) == 3


def test_what_a_compaction_did_is_counted(open_engine: Any) -> None:
    engine: Engine = open_engine()
    filled(engine, 4)
    before = sum(part.meta.bytes for part in engine._store.inventory.all())
    engine.compact()
    after = sum(part.meta.bytes for part in engine._store.inventory.all())
    statistics = engine.statistics().housekeeping
    assert statistics.compaction_bytes == after
    assert statistics.compaction_freed_bytes == before - after > 0


def test_deletes_give_their_space_back(open_engine: Any) -> None:
    engine: Engine = open_engine()
    engine.create_template(T)
    times = np.arange(20_000)
    engine.write("t", "root.a.d", times, {"x": times}).wait()
    engine.flush()
    housekeeper = engine._housekeeping
    housekeeper.compact_due()
    engine.delete("t", start=0, end=100).ack.wait()
    engine.flush()
    housekeeper.compact_due()
    assert engine.statistics().housekeeping.compactions == 0, (
        "what lies in one of five blocks is left for later"
    )
    engine.delete("t", start=100, end=15_000).ack.wait()
    engine.flush()
    housekeeper.compact_due()
    assert engine.statistics().housekeeping.compactions == 1
    assert [part.meta.rows for part in engine._store.inventory.all()] == [5000]
    assert not engine._store.tombstones.get("t")
    assert [row["time"] for row in content(engine)] == list(range(15_000, 20_000))


def test_a_few_rows_deleted_one_by_one_are_no_reason_to_rewrite(open_engine: Any) -> None:
    engine: Engine = open_engine()
    engine.create_template(T)
    times = np.arange(20_000)
    engine.write("t", "root.a.d", times, {"x": times % 1000}).wait()
    engine.flush()
    engine.delete("t", where=lambda rows: np.asarray(rows["x"]) == 7).ack.wait()
    engine.flush()
    engine._housekeeping.compact_due()
    assert engine.statistics().housekeeping.compactions == 0
    engine.compact()
    assert engine.statistics().housekeeping.compactions == 1
    assert [part.meta.rows for part in engine._store.inventory.all()] == [19_980]


def test_more_parts_than_are_joined_at_once(
    open_engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "PARTS_MAX", 3)
    engine: Engine = open_engine()
    filled(engine, 8)
    before = content(engine)
    engine.compact()
    assert engine.statistics().parts == 1
    assert content(engine) == before
