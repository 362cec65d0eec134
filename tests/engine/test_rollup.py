"""Rollups, against sums in plain Python."""

from __future__ import annotations

import math
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstem_engine import (
    Column,
    ColumnType,
    Engine,
    Measurement,
    RollupDefinition,
    Rollups,
    Rows,
    SchemaError,
    Template,
    rollup_work,
)
from mainstem_engine.aggregate import aggregate_windows, rollup_template
from mainstem_engine.catalog.templates import Table, checked_template
from mainstem_engine.columns import to_column
from mainstem_engine.model import Origin

MS = 1_000_000
MINUTE = 60_000 * MS
MINUTES = RollupDefinition("t", MINUTE, "1m", lateness_ns=1_000 * MS)
KINDS = {
    "b": ColumnType.BOOLEAN,
    "i": ColumnType.INT64,
    "u": ColumnType.UINT64,
    "f": ColumnType.FLOAT,
    "d": ColumnType.DOUBLE,
    "s": ColumnType.TEXT,
    "x": ColumnType.BLOB,
    "t": ColumnType.TIMESTAMP,
}
SOURCE = checked_template(
    Template("src", tuple(Measurement(0, n, kind) for n, kind in KINDS.items()))
)
TARGET = checked_template(rollup_template(SOURCE, "1m", 10))
T = Template("t", (Measurement(0, "x", ColumnType.DOUBLE), Measurement(0, "s", ColumnType.TEXT)))

cell_values: dict[str, st.SearchStrategy[Any]] = {
    "b": st.booleans(),
    "i": st.integers(-(2**63), 2**63 - 1),
    "u": st.integers(0, 2**64 - 1),
    "f": st.floats(width=32),
    "d": st.floats(allow_infinity=True),
    "s": st.text(max_size=2),
    "x": st.binary(max_size=2),
    "t": st.integers(-100, 100),
}
row_cells = st.fixed_dictionaries({n: st.none() | s for n, s in cell_values.items()})


def naive(cells: list[tuple[int, Any]], kind: ColumnType) -> dict[str, Any]:
    """Aggregates of (time, value) in order of time; nulls left out."""
    known = [(t, int(v) if kind == ColumnType.BOOLEAN else v) for t, v in cells if v is not None]
    found: dict[str, Any] = {"count": len(known)}
    if not known:
        return found
    values = [v for _, v in known]
    if not kind.is_variable:
        plain = [v for v in values if v == v]
        found["sum"] = sum(float(v) for v in values)
        found["sumsq"] = sum(float(v) * float(v) for v in values)
        found["min"] = min(plain) if plain else math.nan
        found["max"] = max(plain) if len(plain) == len(values) else math.nan
    found["first_time"], found["first"] = known[0]
    found["last_time"], found["last"] = known[-1]
    return found


def same(name: str, found: Any, expected: Any, cells: list[tuple[int, Any]]) -> bool:
    if isinstance(expected, float) and math.isnan(expected):
        return math.isnan(found)
    if name in ("sum", "sumsq") and not math.isinf(expected):
        # Terms may cancel: what counts is the error against their size.
        size = sum(
            abs(float(v)) ** (2 if name == "sumsq" else 1) for _, v in cells if v is not None
        )
        return math.isclose(found, expected, rel_tol=1e-12, abs_tol=1e-12 * size)
    return bool(found == expected)


@given(
    st.lists(
        st.tuples(st.integers(0, 1), st.integers(-15, 15), row_cells),
        min_size=1,
        unique_by=lambda r: r[:2],
    )
)
@settings(max_examples=80, deadline=None)
def test_aggregates_are_those_of_plain_python(some: list[tuple[int, int, dict[str, Any]]]) -> None:
    some.sort(key=lambda row: row[:2])
    rows = Rows(
        np.array([r[0] for r in some], np.uint32),
        np.array([r[1] for r in some], np.int64),
        {
            m.id: to_column(m, [r[2][m.name] for r in some], len(some), 1)
            for m in SOURCE.measurements
        },
    )
    out = aggregate_windows(rows, 10, Table(SOURCE, False), target := Table(TARGET, False))
    keys = sorted({(device, time // 10 * 10) for device, time, _ in some})
    assert list(zip(out.device.tolist(), out.time.tolist(), strict=True)) == keys
    for name, kind in KINDS.items():
        for row, key in enumerate(keys):
            cells = [(t, v[name]) for d, t, v in some if (d, t // 10 * 10) == key]
            expected = naive(cells, kind)
            for suffix in (
                "count",
                "sum",
                "sumsq",
                "min",
                "max",
                "first",
                "first_time",
                "last",
                "last_time",
            ):
                measurement = target.measurement(f"{name}_{suffix}")
                if measurement is None:
                    assert kind.is_variable
                    continue
                column = out.columns[measurement.id]
                valid = column.valid is None or column.valid[row]
                assert valid == (suffix in expected), (name, suffix)
                if valid:
                    assert same(suffix, column.values[row], expected[suffix], cells), (name, suffix)


def test_sums_of_integers_are_exact() -> None:
    values = np.array([2**53, 1, 1, -(2**53)], np.int64)
    rows = Rows(np.zeros(4, np.uint32), np.arange(4), {1: Column(values)})
    out = aggregate_windows(rows, 10, Table(SOURCE, False), Table(TARGET, False))
    measurement = Table(TARGET, False).measurement("i_sum")
    assert measurement is not None
    assert out.columns[measurement.id].values.tolist() == [2.0]


def test_the_table_of_a_rollup(open_engine: Any) -> None:
    engine: Engine = open_engine()
    engine.create_template(T)
    made = engine.create_rollup("T", "1m", MINUTE)
    assert (made.name, made.rollup_of, made.every_ns) == ("t_1m", "t", MINUTE)
    assert [m.name for m in made.measurements[:9]] == [
        f"x_{s}"
        for s in ("count", "sum", "sumsq", "min", "max", "first", "first_time", "last", "last_time")
    ]
    assert [m.name for m in made.measurements[9:]] == [
        "s_count", "s_first", "s_first_time", "s_last", "s_last_time",
    ]  # fmt: skip
    assert engine.create_rollup("t", "1m", MINUTE) == made
    engine.extend_template("t", [Measurement(0, "y", ColumnType.INT8)])
    assert len(engine.create_rollup("t", "1m", MINUTE).measurements) == 23
    with pytest.raises(SchemaError, match="another table"):
        engine.create_rollup("t", "1m", 2 * MINUTE)
    with pytest.raises(SchemaError, match="roll up its source"):
        engine.create_rollup("t_1m", "1h", 60 * MINUTE)


def opened(open_engine: Any, *definitions: RollupDefinition) -> tuple[Engine, Rollups]:
    rollups = Rollups(definitions or (MINUTES,))
    engine: Engine = open_engine(consumers=[rollups])
    engine.create_template(T, if_not_exists=True)
    rollups.bind(engine)
    return engine, rollups


def counts(engine: Engine, table: str = "t_1m") -> dict[tuple[str, int], tuple[int, float | None]]:
    rows = engine.scan(table).read_all().to_pylist()
    return {(r["device"][-1], r["time"] // 60_000): (r["x_count"], r["x_sum"]) for r in rows}


def write(engine: Engine, device: str, seconds: list[int], value: float = 1.0) -> None:
    times = [s * 1000 for s in seconds]
    engine.write("t", f"root.a.{device}", times, {"x": [value] * len(times)}).wait()


def test_windows_close_with_the_frontier_and_open_for_late_rows(open_engine: Any) -> None:
    engine, rollups = opened(open_engine)
    write(engine, "d", [0, 30, 59, 60, 61])
    write(engine, "e", [10])
    assert rollups.run(60_000 * MS) == 0, "lateness is not over"
    assert rollups.run(61_000 * MS) == 2
    assert counts(engine) == {("d", 0): (3, 3.0), ("e", 0): (1, 1.0)}
    assert rollups.run(61_000 * MS) == 0
    assert rollups.pending() == 1
    assert rollups.run(121_000 * MS) == 1
    write(engine, "d", [45], 7.0)
    assert rollups.run(121_000 * MS) == 1
    assert counts(engine)["d", 0] == (4, 10.0)
    write(engine, "d", [45])
    assert rollups.run(121_000 * MS) == 1
    assert counts(engine)["d", 0] == (4, 4.0)
    assert engine.store_accounting()["t_1m"].logged == 5


@pytest.mark.parametrize("clean_stop", [True, False])
def test_a_restart_knows_what_is_done(open_engine: Any, clean_stop: bool) -> None:
    engine, rollups = opened(open_engine)
    write(engine, "d", [0, 60, 120])
    assert rollups.run(61_000 * MS) == 1
    write(engine, "d", [1])
    if clean_stop:
        engine.close()
    else:
        engine.abandon()
    engine, rollups = opened(open_engine)
    assert rollups.pending() == 3
    assert rollups.run(121_000 * MS) == 2
    assert counts(engine) == {("d", 0): (2, 2.0), ("d", 1): (1, 1.0)}


def test_a_row_that_comes_while_its_window_is_computed_is_not_forgotten(
    open_engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, rollups = opened(open_engine)
    write(engine, "d", [0])
    original = Engine.whole_rows

    def interrupted(self: Engine, table: str, **arguments: Any) -> Rows:
        rows = original(self, table, **arguments)
        monkeypatch.setattr(Engine, "whole_rows", original)
        write(self, "d", [5])
        return rows

    monkeypatch.setattr(Engine, "whole_rows", interrupted)
    assert rollups.run(61_000 * MS) == 1
    assert counts(engine) == {("d", 0): (1, 1.0)}
    assert rollups.run(61_000 * MS) == 1
    assert counts(engine) == {("d", 0): (2, 2.0)}


def test_history_is_computed_in_pieces(open_engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollup_work, "SCAN_ROWS", 40)
    monkeypatch.setattr(rollup_work, "WINDOWS_FIRST", 3)
    engine, rollups = opened(open_engine)
    for device in "defg":
        write(engine, device, list(range(0, 1200, 10)))
        write(engine, device, [10**6])
    before = engine.log.appended_lsn
    assert rollups.run(10**7 * 1000 * MS) == 4 * 21
    assert engine.log.appended_lsn - before > 5
    found = counts(engine)
    assert len(found) == 84
    assert {found[device, minute] for device in "defg" for minute in range(20)} == {(6, 6.0)}


def test_rows_of_others_only_when_asked(open_engine: Any) -> None:
    everything = RollupDefinition("t", MINUTE, "all", all=True)
    engine, rollups = opened(open_engine, MINUTES, everything)
    write(engine, "d", [0])
    ids = engine.device_ids("t", ["root.a.d"])
    foreign = Rows(ids, np.array([5_000 * MS]), {0: Column(np.array([1.0]))})
    engine._store.application.add_foreign_rows("t", Origin("f" * 32, "child"), foreign, 1, 99)
    assert rollups.run(10 * MINUTE) == 2
    assert counts(engine) == {("d", 0): (1, 1.0)}
    assert counts(engine, "t_all") == {("d", 0): (2, 2.0)}


def test_a_source_that_does_not_exist_yet(open_engine: Any) -> None:
    rollups = Rollups([RollupDefinition("later", MINUTE, "1m")])
    with pytest.raises(RuntimeError, match="bind"):
        rollups.run(0)
    engine: Engine = open_engine(consumers=[rollups])
    rollups.bind(engine)
    assert rollups.run(1 << 60) == 0
    engine.create_template(Template("Later", T.measurements))
    engine.write("later", "root.a.d", [0], {"x": [1.0]}).wait()
    assert rollups.run(1 << 60) == 1
    assert engine.scan("later_1m").read_all()["x_count"].to_pylist() == [1]


def test_rows_without_values_make_a_window_of_zero(open_engine: Any) -> None:
    engine, rollups = opened(open_engine)
    engine.write("t", "root.a.d", [0], {}).wait()
    assert rollups.run(1 << 60) == 1
    assert counts(engine) == {("d", 0): (0, None)}


def test_a_snapshot_of_other_definitions_is_left_alone() -> None:
    one = Rollups([MINUTES, RollupDefinition("t", 2 * MINUTE, "2m", all=True)])
    for definition in one.definitions:
        one._of(definition, "t").mark(np.array([1], np.uint32), np.array([0]), 7)
    other = Rollups([MINUTES, RollupDefinition("t", 3 * MINUTE, "2m")])
    other.restore(one.snapshot())
    assert other.pending() == 1


def test_a_snapshot_of_format_1_is_read() -> None:
    arrays = (np.array([1], np.uint32), np.array([0]), np.array([7], np.uint64))
    old = msgpack.packb([["t", "1m", MINUTE, *(a.tobytes() for a in arrays)]])
    rollups = Rollups([MINUTES])
    rollups.restore(old)
    assert rollups.pending() == 1
    assert MINUTES in rollups._begun
