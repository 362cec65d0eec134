"""Blocks that have a row in every window, added place by place, are those grouped row by row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mainstem_engine import Engine, EngineOptions, block_groups
from mainstem_engine.aggregates import aggregate
from mainstem_engine.aggregation import Aggregation
from mainstem_engine.even_blocks import pieces_of_even_span
from mainstem_engine.model import AnyArray, ColumnType
from mainstem_engine.scan import Selection
from mainstem_engine.windows import Pieces, Wanted

MS = 1_000_000
EVERY = 500
ASKED = frozenset({"count", "min", "max", "sum"})
WANTED = {
    0: Wanted(ColumnType.DOUBLE, ASKED),
    1: Wanted(ColumnType.INT64, ASKED),
    2: Wanted(ColumnType.FLOAT, ASKED),
    3: Wanted(ColumnType.BOOLEAN, frozenset({"count"})),
    4: Wanted(ColumnType.INT16, ASKED),
}
BEGINS = {
    "aligned": [0] * 9,
    "each at another time": [0, 120, 500, 730, 1_000, 4_500, -2_000, -2_499, 0],
    "far apart": [number << 25 for number in range(9)],
}


def pieces_of(engine: Engine, aggregation: Aggregation) -> Pieces:
    found, _ = aggregate(engine._store.current("m")[1], Selection(), aggregation)
    assert found is not None
    return found


def written(engine: Engine, begins: list[int], large: int, *, with_nulls: bool) -> None:
    """Devices with a row every half second; integers up to ``large``, zeros of both signs, NaN."""
    rng = np.random.default_rng(7)
    for number, begin in enumerate(begins):
        rows = 1_200 + 30 * number
        v = rng.normal(size=rows).round(1) + 0.0
        v[rng.random(rows) < 0.1] = -0.0
        v[rng.random(rows) < 0.05] = np.nan
        missing = np.zeros(rows, np.bool_)
        missing[5] = with_nulls
        columns: dict[str, AnyArray | tuple[AnyArray, AnyArray]] = {
            "v": (v, missing),
            "n": rng.integers(-large, large, rows),
            "f": rng.normal(size=rows).astype(np.float32),
            "b": rng.random(rows) < 0.5,
        }
        times = begin + EVERY * np.arange(rows)
        engine.write("m", f"root.x.d{number}", times, columns).wait()
    engine.flush()


@pytest.mark.parametrize("begins", list(BEGINS))
@pytest.mark.parametrize("large", [1_000, 2**62])
@pytest.mark.parametrize("with_nulls", [False, True])
def test_they_are_grouped_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begins: str, large: int, with_nulls: bool
) -> None:
    options = EngineOptions(durability="os", background=False)
    with Engine.open(tmp_path, options) as engine:
        engine.sql("CREATE SCHEMA TEMPLATE m (v DOUBLE, n INT64, f FLOAT, b BOOLEAN, none INT16)")
        written(engine, BEGINS[begins], large, with_nulls=with_nulls)
        calls: list[bool] = []

        def counted(*arguments: object) -> Pieces | None:
            pieces = pieces_of_even_span(*arguments)  # type: ignore[arg-type]
            calls.append(pieces is not None)
            return pieces

        for row_times in (False, True):
            aggregation = Aggregation(WANTED, EVERY * MS, False, row_times=row_times)
            monkeypatch.setattr(block_groups, "pieces_of_even_span", counted)
            found = pieces_of(engine, aggregation)
            monkeypatch.setattr(block_groups, "pieces_of_even_span", lambda *_: None)
            same(found, pieces_of(engine, aggregation), row_times=row_times)
    assert any(calls) == (begins != "far apart" and not with_nulls)


def same(found: Pieces, wanted: Pieces, *, row_times: bool) -> None:
    assert found.window.tolist() == wanted.window.tolist()
    assert found.rows.tolist() == wanted.rows.tolist()
    if row_times:
        assert found.begin_ns.tolist() == wanted.begin_ns.tolist()
        assert found.end_ns.tolist() == wanted.end_ns.tolist()
    for key in WANTED:
        left, right = found.values[key], wanted.values[key]
        assert left.count.tolist() == right.count.tolist()
        there = left.count > 0
        for name in ("low", "high"):
            one, two = getattr(left, name), getattr(right, name)
            if two is not None:
                assert one[there].tobytes() == two[there].tobytes()
                assert one.dtype == two.dtype
        if right.total is not None:
            assert left.total is not None
            one, two = totals(left.total)[there], totals(right.total)[there]
            if one.dtype == object:
                assert one.tolist() == two.tolist()
            else:
                np.testing.assert_allclose(one, two, rtol=1e-12)


def totals(total: AnyArray) -> AnyArray:
    """Integers as they are, from their halves."""
    if total.ndim == 1:
        return total
    whole: AnyArray = (total[:, 0].astype(object) << 32) + total[:, 1].astype(object)
    return whole


def test_a_range_that_cuts_blocks_is_grouped_by_rows(tmp_path: Path) -> None:
    with Engine.open(tmp_path, EngineOptions(durability="os", background=False)) as engine:
        engine.sql("CREATE SCHEMA TEMPLATE m (v DOUBLE)")
        for device in range(8):
            times = EVERY * np.arange(1_000)
            engine.write("m", f"root.x.d{device}", times, {"v": np.ones(1_000)}).wait()
        engine.flush()
        aggregation = Aggregation({0: WANTED[0]}, EVERY * MS, False)
        selection = Selection(None, 10_000 * MS, 20_250 * MS)
        found, _ = aggregate(engine._store.current("m")[1], selection, aggregation)
        assert found is not None
        assert found.rows.tolist() == [8] * 21
        assert found.window.tolist() == [t * MS for t in range(10_000, 20_250, EVERY)]
