"""One table's flush: partitions, databases and late rows, whatever the size of the pieces."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mainstem_engine import ColumnType, Engine, Measurement, Template
from mainstem_engine import table_flush as table_flush_module

DAY_NS = 86_400_000_000_000
DAY_MS = 86_400_000
T = Template("t", (Measurement(0, "x", ColumnType.INT64),))


def content(engine: Engine) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = engine.scan("t").read_all().to_pylist()
    return found


def test_rows_of_more_partitions_than_writers_all_arrive(open_engine: Any) -> None:
    engine: Engine = open_engine()
    engine.create_database("a", duration_ns=DAY_NS)
    engine.create_template(T)
    days = table_flush_module.PARTS_AT_ONCE * 2 + 1
    for path in ("root.a.d1", "root.a.d2", "root.b.d"):
        times = np.arange(days * 4) * (DAY_MS // 4)
        engine.write("t", path, times, {"x": times}).wait()
    engine.write("t", "root.a.d1", [5, DAY_MS], {"x": [1, 2]}).wait()
    before = content(engine)
    engine.flush()
    assert content(engine) == before
    metas = [part.meta for part in engine._store.inventory.of_table("t")]
    starts = [m.partition_start_ns for m in metas if m.device_min < 2]
    assert sorted(starts) == [day * DAY_NS for day in range(days)]
    assert sum(m.rows for m in metas) == days * 12 + 1
    counts = engine.store_accounting()["t"]
    assert (counts.live, counts.overwritten, counts.unresolved) == (days * 12 + 1, 1, 0)


@pytest.mark.parametrize("piece_rows", [3, 40])
@pytest.mark.parametrize("vnodes", [1, 2])
def test_small_pieces_give_the_same_answers(
    open_engine: Any, monkeypatch: pytest.MonkeyPatch, piece_rows: int, vnodes: int
) -> None:
    monkeypatch.setattr(table_flush_module, "PIECE_ROWS", piece_rows)
    monkeypatch.setattr(table_flush_module, "PIECE_ROWS_MIN", piece_rows)
    engine: Engine = open_engine(vnodes=vnodes, block_rows=8)
    engine.create_template(T)
    rng = np.random.default_rng(piece_rows)
    expected: dict[tuple[str, int], int] = {}
    logged = 0
    for _ in range(3):
        for _ in range(12):
            path = f"root.a.d{rng.integers(5)}"
            times = np.unique(rng.integers(0, 60, 9))
            values = rng.integers(0, 1000, len(times))
            engine.write("t", path, times, {"x": values}).wait()
            logged += len(times)
            expected.update({(path, int(t)): int(v) for t, v in zip(times, values, strict=True)})
        engine.flush()
        found = {(row["device"], row["time"]): row["x"] for row in content(engine)}
        assert found == expected
        counts = engine.store_accounting()["t"]
        assert (counts.logged, counts.live, counts.unresolved) == (logged, len(expected), 0)


def test_a_table_whose_rows_are_all_deleted_leaves_no_part(open_engine: Any) -> None:
    engine: Engine = open_engine()
    engine.create_template(T)
    engine.write("t", "root.a.d", np.arange(10), {"x": np.arange(10)}).wait()
    engine.delete("t").ack.wait(10)
    engine.flush()
    assert engine._store.inventory.of_table("t") == ()
    assert content(engine) == []
    assert engine.store_accounting()["t"].deleted == 10
