"""Aggregates answered from statistics, rollups or rows say what the rows say."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstem_engine import Engine, EngineOptions
from mainstem_engine.aggregate_queries import AggregateQueries
from mainstem_engine.errors import NotFoundError, SchemaError
from mainstem_engine.windows import FUNCTIONS

NUMBERS = {"f": FUNCTIONS, "s": FUNCTIONS, "i": FUNCTIONS, "u": FUNCTIONS, "b": FUNCTIONS}
ALL: dict[str, tuple[str, ...]] = {
    **NUMBERS,
    "t": ("count", "first", "last"),
    "x": ("count", "min", "max", "first", "last"),
    "*": ("count",),
}


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with opened(tmp_path) as engine:
        yield engine


def opened(path: Path, block_rows: int = 100) -> Engine:
    options = EngineOptions(durability="os", background=False, block_rows=block_rows)
    engine = Engine.open(path, options)
    engine.sql(
        "CREATE STABLE m (ts TIMESTAMP, f DOUBLE, s FLOAT, i INT64, u UINT64, b BOOLEAN, t TEXT,"
        " x TIMESTAMP) TAGS (loc TEXT)"
    )
    engine.device_ids(
        "m", [f"root.a.d{n}" for n in range(4)], tags={"loc": ["x", "y", "x", "y"]}, create=True
    )
    return engine


def random_columns(rng: np.random.Generator, count: int, *, odd: bool) -> dict[str, Any]:
    f = np.round(rng.normal(20, 5, count), 2)
    s = rng.normal(size=count).astype(np.float32)
    if odd:
        f[rng.random(count) < 0.001] = np.nan
        f[rng.random(count) < 0.01] = -0.0
        s[rng.random(count) < 0.001] = np.inf
    mask = rng.random(count) < (0.02 if odd else 0)
    return {
        "f": (f, mask),
        "s": s,
        "i": (rng.integers(-(2**62), 2**62, count), rng.random(count) < (0.3 if odd else 0)),
        "u": rng.integers(0, 2**63, count).astype(np.uint64) * 2,
        "b": rng.random(count) < 0.5,
        "t": rng.choice(np.array(["a", "b"], object), count),
        "x": rng.integers(0, 10**12, count),
    }


def write(engine: Engine, device: int, times: Any, rng: np.random.Generator, odd: bool) -> None:
    ids = np.full(len(times), device, np.uint32)
    columns = random_columns(rng, len(times), odd=odd)
    if odd and rng.random() < 0.5:
        columns = {name: columns[name] for name in ("f", "i")}
    engine.write("m", ids, np.asarray(times, np.int64), columns).wait()


def expected(
    rows: pa.Table, functions: dict[str, tuple[str, ...]], every: int | None, by: str | None
) -> list[dict[str, Any]]:
    """By brute force from rows."""
    time, device = rows["time"].to_numpy(), np.array(rows["device"].to_pylist())
    window = np.zeros(len(time), np.int64) if every is None else time - time % every
    path = device if by else np.zeros(len(time), np.int64)
    groups = sorted({(p, int(w)) for p, w in zip(path.tolist(), window, strict=True)}, key=str)
    if every is None and by is None:
        groups = [(0, 0)]
    answer = []
    for group, start in groups:
        index = np.flatnonzero((path == group) & (window == start))
        # By time; of equal times the lower device first.
        index = index[np.lexsort((device[index], time[index]))]
        row: dict[str, Any] = {}
        if every is not None:
            row["time"] = start
        if by is not None:
            row["device"] = group
        for name, asked in functions.items():
            if name == "*":
                row["count"] = len(index)
                continue
            for function in asked:
                order = index
                if function == "last":
                    order = index[np.lexsort((device[index], -time[index]))]
                column = rows[name].take(pa.array(order, pa.int64()))
                values = [v for v in column.to_pylist() if v is not None]
                row[f"{name}_{function}"] = brute(values, function)
        answer.append(row)
    return answer


def brute(values: list[Any], function: str) -> Any:
    if function == "count":
        return len(values)
    if not values:
        return None
    if function in ("first", "last"):
        return values[0]
    if function in ("sum", "mean"):
        exact = all(isinstance(v, int) for v in values)
        total = float(sum(values)) if exact else math_sum(values)
        return total if function == "sum" else total / len(values)
    real = [v for v in values if v == v]
    if function == "max" and len(real) < len(values):
        return math.nan
    return (min if function == "min" else max)(real) if real else math.nan


def math_sum(values: list[float]) -> float:
    if any(math.isnan(v) for v in values):
        return math.nan
    if any(math.isinf(v) for v in values):
        return sum(values)
    return math.fsum(values)


def assert_same(found: pa.Table, wanted: list[dict[str, Any]], scale: float) -> None:
    rows = sorted(found.to_pylist(), key=lambda r: (str(r.get("device", "")), r.get("time", 0)))
    wanted = sorted(wanted, key=lambda r: (str(r.get("device", "")), r.get("time", 0)))
    assert len(rows) == len(wanted)
    for row, want in zip(rows, wanted, strict=True):
        assert list(row) == list(want)
        for name, value in want.items():
            got = row[name]
            if name.endswith(("_sum", "_mean")) and value is not None and math.isfinite(value):
                assert got == pytest.approx(value, rel=1e-12, abs=1e-12 * scale), name
            else:
                assert repr(got) == repr(value) or (got == value == 0), (name, got, value)


def check(engine: Engine, every: int | None, by: str | None, **where: Any) -> None:
    rows = engine.scan("m", **where).read_all()
    found = engine.aggregate("m", ALL, every=every, by=by, **where)
    assert_same(found, expected(rows, ALL, every, by), scale=2.0**64)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    odd=st.booleans(),
    steps=st.lists(
        st.sampled_from(["write", "late", "flush", "compact", "delete"]), min_size=2, max_size=6
    ),
    every=st.sampled_from([None, 100, 1000, 7]),
    by=st.sampled_from([None, "device"]),
    bounds=st.sampled_from([(None, None), (0, 1500), (137, 2950), (700, 700)]),
)
def test_the_answer_is_that_of_the_rows(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    odd: bool,
    steps: list[str],
    every: int | None,
    by: str | None,
    bounds: tuple[int | None, int | None],
) -> None:
    rng = np.random.default_rng(seed)
    with opened(tmp_path_factory.mktemp("engine")) as engine:
        at = 0
        for step in steps:
            if step == "write":
                for device in range(2):
                    write(engine, device, np.arange(at, at + 1100), rng, odd)
                write(engine, 2, [at + 5], rng, odd)
                at += 1100
            elif step == "late":
                write(engine, 1, np.sort(rng.integers(0, at + 1, 20)), rng, odd)
            elif step == "flush":
                engine.flush()
            elif step == "compact":
                engine.compact()
            else:
                start = int(rng.integers(0, at + 1))
                engine.delete("m", devices="root.a.d1", start=start, end=start + 30).ack.wait()
        check(engine, every, by, start=bounds[0], end=bounds[1])
        check(engine, every, by, tags={"loc": "y"})


def answered(engine: Engine, functions: Any = None, **options: Any) -> Any:
    """(blocks, answered from statistics) of an aggregate over everything."""
    wide = (-(2**62), 2**62)
    _, found = engine.aggregate_pieces(
        "m", functions or {"f": ["mean"]}, options.get("devices"), *options.get("range_ns", wide),
        every_ns=options.get("every_ns"), by_device=True,
    )  # fmt: skip
    return found.blocks, found.from_statistics


def regular(engine: Engine, device: int, first: int, count: int) -> None:
    times = np.arange(first, first + count, dtype=np.int64)
    engine.write(
        "m", np.full(count, device, np.uint32), times, {"f": times * 0.5, "i": times}
    ).wait()


def test_statistics_answer_what_lies_wholly_inside(engine: Engine) -> None:
    regular(engine, 0, 0, 2000)
    regular(engine, 1, 0, 2000)
    engine.flush()
    assert answered(engine) == (40, 40)
    ms = 1_000_000
    assert answered(engine, range_ns=(50 * ms, 2000 * ms)) == (40, 38)
    assert answered(engine, devices=np.array([1], np.uint32)) == (20, 20)
    # Windows of 1000 hold ten blocks each; in windows of 30 no block lies alone.
    assert answered(engine, every_ns=1000 * ms) == (40, 40)
    assert answered(engine, every_ns=30 * ms) == (40, 0)


def test_rows_of_the_head_only_cost_the_blocks_that_they_touch(engine: Engine) -> None:
    regular(engine, 0, 0, 2000)
    engine.flush()
    regular(engine, 0, 2000, 100)
    assert answered(engine) == (20, 20)
    regular(engine, 0, 150, 1)
    assert answered(engine)[1] < 20
    check(engine, None, "device")


def test_late_rows_and_fragments_are_merged_before_they_count(engine: Engine) -> None:
    regular(engine, 0, 0, 2000)
    engine.flush()
    engine.write("m", "root.a.d0", [10, 20], {"f": [1.0, 2.0]}).wait()
    engine.flush()
    blocks, known = answered(engine)
    assert known < blocks
    counted = engine.aggregate("m", {"*": ["count"], "f": ["sum"]})
    assert counted["count"].to_pylist() == [2000]
    check(engine, 100, "device")
    engine.compact()
    blocks, known = answered(engine)
    assert known == blocks
    check(engine, 100, "device")


def test_unusable_statistics_are_not_used(engine: Engine) -> None:
    times = np.arange(1000, dtype=np.int64)
    values = times * 1.0
    values[150] = np.nan
    engine.write("m", np.zeros(1000, np.uint32), times, {"f": values})
    engine.flush()
    assert answered(engine, {"f": ["max"]}) == (10, 9)
    assert answered(engine, {"f": ["sum"]}) == (10, 9)
    assert answered(engine, {"f": ["count"]}) == (10, 10)
    found = engine.aggregate("m", {"f": ["max", "min", "count"]}).to_pylist()[0]
    assert math.isnan(found["f_max"])
    assert (found["f_min"], found["f_count"]) == (0.0, 1000)


def test_deleted_rows_are_in_no_answer(engine: Engine) -> None:
    regular(engine, 0, 0, 2000)
    engine.flush()
    engine.delete("m", devices="root.a.d0", start=100, end=200).ack.wait()
    assert engine.aggregate("m", {"f": ["count"]})["f_count"].to_pylist() == [1900]
    assert answered(engine) == (20, 19)


def test_an_answer_is_cut_without_a_trace(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mainstem_engine.aggregates.PIECES_MAX", 8)
    monkeypatch.setattr("mainstem_engine.scan.STEP_VALUES", 300)
    rng = np.random.default_rng(5)
    for device in range(3):
        write(engine, device, np.arange(1500), rng, odd=True)
    check(engine, 40, None)
    check(engine, 40, "device")


def test_no_rows(engine: Engine) -> None:
    assert engine.aggregate("m", ALL, every=10).num_rows == 0
    assert engine.aggregate("m", ALL, by="device").num_rows == 0
    row = engine.aggregate("m", ALL).to_pylist()[0]
    assert {value for name, value in row.items() if name.endswith("count")} == {0}
    assert {value for name, value in row.items() if not name.endswith("count")} == {None}


@pytest.mark.parametrize(
    ("functions", "options", "error"),
    [
        ({"nothing": ["min"]}, {}, NotFoundError),
        ({"f": ["median"]}, {}, SchemaError),
        ({"t": ["min"]}, {}, SchemaError),
        ({"x": ["sum"]}, {}, SchemaError),
        ({"*": ["min"]}, {}, SchemaError),
        ({"f": ["min"]}, {"every": 0}, SchemaError),
        ({"f": ["min"]}, {"by": "loc"}, SchemaError),
        ({"f": ["min"]}, {"tags": {"no": 1}}, NotFoundError),
    ],
)
def test_what_cannot_be_asked(
    engine: Engine, functions: Any, options: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        engine.aggregate("m", functions, **options)
    assert issubclass(Engine, AggregateQueries)
