"""Samples of equal-size buckets: worked examples, and a model that cuts lists."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstem_engine.analysis.rows import Timeline
from mainstem_engine.errors import SqlError

from .calls import MS, at, call, values_of
from .timelines import partitions_of, signal, timeline, timelines

HUNDRED = timeline(list(range(100)), tick=MS)
MODELS: dict[str, Callable[[list[int]], float]] = {
    "avg": statistics.fmean,
    "max": max,
    "min": min,
    "sum": sum,
    "extreme": lambda bucket: max(bucket, key=lambda value: (abs(value), value)),
    "variance": statistics.pvariance,
}


def spiked(remainder: int) -> list[int]:
    return [n + 100 if n % 10 == remainder else n for n in range(100)]


@pytest.mark.parametrize("kind", sorted(MODELS))
@settings(max_examples=30)
@given(
    line=timelines(tick=MS),
    data=st.data(),
    proportion=st.sampled_from([0.1, 0.3, 0.5, 1.0]),
)
def test_aggregates_as_a_model_has_them(
    kind: str, line: Timeline, data: st.DataObject, proportion: float
) -> None:
    value: st.SearchStrategy[Any] = st.none() | st.integers(-9, 9)
    values = data.draw(st.lists(value, min_size=len(line), max_size=len(line)))
    size = {0.1: 10, 0.3: 3, 0.5: 2, 1.0: 1}[proportion]
    expected = []
    for partition, rows in enumerate(partitions_of(line)):
        known = [row for row in rows if values[row] is not None]
        for begin in range(0, len(known), size):
            bucket = [values[row] for row in known[begin : begin + size]]
            expected.append((partition, int(line.times[known[begin]]) // MS, MODELS[kind](bucket)))
    found = call(
        "equal_size_bucket_agg_sample",
        line,
        signal(*values),
        proportion=str(proportion),
        type=kind.upper(),
    )
    assert [point[:2] for point in found] == [point[:2] for point in expected]
    assert values_of(found) == pytest.approx(values_of(expected))


def test_sums_are_exact_or_refused() -> None:
    line = timeline([0, 1], tick=MS)
    options = {"proportion": 0.5, "type": "sum"}
    name = "equal_size_bucket_agg_sample"
    assert values_of(call(name, line, signal(2**62, 2**62 - 1), **options)) == [2**63 - 1]
    with pytest.raises(SqlError, match="64 bits"):
        call(name, line, signal(2**62, 2**62), **options)


def test_a_random_point_of_each_bucket() -> None:
    found = at(call("equal_size_bucket_random_sample", HUNDRED, signal(*range(100))))
    assert [time // 10 for time, _ in found] == list(range(10))
    assert len({time % 10 for time, _ in found}) > 3, "not always the same place"


def test_m4_of_each_bucket_looks_between_its_ends() -> None:
    found = call("equal_size_bucket_m4_sample", HUNDRED, signal(*range(1, 101)), proportion="0.1")
    assert values_of(found) == [1, 2, 39, 40, 41, 42, 79, 80, 81, 82, 99, 100]
    few = call("equal_size_bucket_m4_sample", timeline([1, 2], [3], tick=MS), signal(7, 8, 9))
    assert few == [(0, 1, 7), (0, 2, 8), (1, 3, 9)]


@pytest.mark.parametrize(
    ("kind", "remainder"), [("avg", 5), ("stendis", 6), ("cos", 7), ("prenextdis", 8)]
)
def test_outliers_stand_out(kind: str, remainder: int) -> None:
    found = call(
        "equal_size_bucket_outlier_sample",
        HUNDRED,
        signal(*spiked(remainder)),
        proportion="0.1",
        type=kind,
        number="2",
    )
    assert values_of(found) == [value for value in spiked(remainder) if value % 10 == remainder]


def test_the_earlier_of_equal_outliers() -> None:
    line = timeline(list(range(20)), tick=MS)
    found = call(
        "equal_size_bucket_outlier_sample",
        line,
        signal(*range(20)),
        proportion=0.5,
        type="cos",
        number=1,
    )
    assert values_of(found) == list(range(0, 20, 2))


@pytest.mark.parametrize(
    ("kind", "values", "inner"),
    [
        ("cos", [0, 0, 1, 0, 0, 90, 0, 0, 1, 0], [2, 8]),
        ("cos", [0, 1, 0, 0, 90, 0, 0, 0, 1, 0], [1, 8]),
        ("prenextdis", [0, 0, 5, 0, 0, 90, 90, 85, 90, 90], [2, 7]),
    ],
)
def test_the_ends_of_a_bucket_have_no_two_neighbours_in_it(
    kind: str, values: list[int], inner: list[int]
) -> None:
    found = call(
        "equal_size_bucket_outlier_sample",
        timeline(list(range(10)), tick=MS),
        signal(*values),
        proportion=0.2,
        type=kind,
        number=1,
    )
    assert [time for time, _ in at(found)] == inner


@pytest.mark.parametrize("proportion", [0, 1.5, "nan", -0.1])
def test_a_proportion_is_between_0_and_1(proportion: Any) -> None:
    with pytest.raises(SqlError, match="proportion"):
        call("equal_size_bucket_random_sample", HUNDRED, signal(*range(100)), proportion=proportion)
