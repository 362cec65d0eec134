"""Filters of values, against models that look at one value after the other."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstem_edge.value_memory import TEXTS_MAX, Filtered, ValueFilter, ValueMemory
from mainstem_engine.model import Column, ColumnType

NS = 10**9
HEARTBEAT_S = 100
KEY = 3
MORE = 4


def memory(rule: ValueFilter, last: Any = None) -> ValueMemory:
    found = ValueMemory({KEY: rule}, HEARTBEAT_S * NS, last)
    found.grow(4)
    return found


def judge(
    target: ValueMemory, rows: list[tuple[int, int, Any]], kind: Any = np.float64
) -> Filtered:
    """Rows of (device, second, value)."""
    device = np.array([row[0] for row in rows], np.uint32)
    times = np.array([row[1] for row in rows], np.int64) * NS
    valid = np.array([row[2] is not None for row in rows], np.bool_)
    values = np.array([0 if row[2] is None else row[2] for row in rows], kind)
    return target.judge(device, times, {KEY: Column(values, valid)}, np.ones(len(rows), np.bool_))


def listed(column: Column) -> list[Any]:
    valid = np.ones(len(column.values), np.bool_) if column.valid is None else column.valid
    return [v if ok else None for v, ok in zip(column.values.tolist(), valid.tolist(), strict=True)]


VALUES = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.integers(1, 40),
        st.one_of(st.none(), st.integers(-20, 20).map(lambda n: n / 2)),
    ),
    min_size=1,
    max_size=40,
)


def in_order(steps: list[tuple[int, int, Any]]) -> list[tuple[int, int, Any]]:
    """Second by second for each device: late rows are not judged."""
    clocks = dict.fromkeys(range(4), 0)
    rows = []
    for device, step, value in steps:
        clocks[device] += step
        rows.append((device, clocks[device], value))
    return rows


def in_batches(target: ValueMemory, rows: list[tuple[int, int, Any]], size: int) -> list[Any]:
    found: list[Any] = []
    for start in range(0, len(rows), size):
        found += listed(judge(target, rows[start : start + size]).columns[KEY])
    return found


@given(VALUES, st.integers(1, 50))
def test_a_relative_deadband_is_a_share_of_the_last_value_kept(
    steps: list[tuple[int, int, Any]], size: int
) -> None:
    rows = in_order(steps)
    kept: dict[int, tuple[float, int]] = {}
    expected: list[float | None] = []
    for device, second, value in rows:
        if value is None:
            expected.append(None)
            continue
        last, since = kept.get(device, (math.nan, 0))
        same = abs(value - last) <= 0.1 * abs(last) and second - since < HEARTBEAT_S
        expected.append(None if same else value)
        if not same:
            kept[device] = (value, second)
    assert in_batches(memory(ValueFilter(band=0.1, relative=True)), rows, size) == expected


@given(VALUES, st.integers(1, 50))
def test_a_value_that_came_too_fast_is_refused_until_it_can_be(
    steps: list[tuple[int, int, Any]], size: int
) -> None:
    rows = in_order(steps)
    target = memory(ValueFilter(max_rate=0.5))
    taken: dict[int, tuple[float, int]] = {}
    for start in range(0, len(rows), size):
        batch = rows[start : start + size]
        found = judge(target, batch)
        expected: list[int] = []
        for at, (device, second, value) in enumerate(batch):
            if value is None:
                continue
            last, since = taken.get(device, (value, second))
            if abs(value - last) > 0.5 * (second - since):
                expected.append(at)
            else:
                taken[device] = (value, second)
        refused = found.refused.get(KEY, np.zeros(0, np.intp)).tolist()
        assert refused == expected
        assert all(listed(found.columns[KEY])[at] is None for at in refused)


@dataclass
class Door:
    """One device's swinging door, point by point."""

    width: float
    anchor: tuple[int, float] | None = None
    low: float = -math.inf
    high: float = math.inf
    held: tuple[int, float] | None = None
    stored: list[tuple[int, float]] = field(default_factory=list)

    def put(self, second: int, value: float) -> None:
        if self.anchor is None:
            self._keep(second, value)
            return
        low, high = self._slopes(second, value)
        if low > high and self.held is not None:
            self._keep(*self.held)
            low, high = self._slopes(second, value)
        if second - self.anchor[0] >= HEARTBEAT_S:
            self._keep(second, value)
        else:
            self.low, self.high, self.held = low, high, (second, value)

    def _slopes(self, second: int, value: float) -> tuple[float, float]:
        assert self.anchor is not None
        run = second - self.anchor[0]
        return (
            max(self.low, (value - self.width - self.anchor[1]) / run),
            min(self.high, (value + self.width - self.anchor[1]) / run),
        )

    def _keep(self, second: int, value: float) -> None:
        self.stored.append((second, value))
        self.anchor, self.low, self.high, self.held = (second, value), -math.inf, math.inf, None


@settings(max_examples=200)
@given(VALUES, st.integers(1, 50))
def test_the_swinging_door_keeps_what_a_point_by_point_one_keeps(
    steps: list[tuple[int, int, Any]], size: int
) -> None:
    rows = in_order(steps)
    target = memory(ValueFilter(door=1.0))
    models = [Door(1.0) for _ in range(4)]
    for device, second, value in rows:
        if value is not None:
            models[device].put(second, value)
    kept = [
        (device, second, value)
        for (device, second, _), value in zip(rows, in_batches(target, rows, size), strict=True)
        if value is not None
    ]
    restored = target.restored
    kept += [
        (device, time_ns // NS, value)
        for device, time_ns, value in zip(
            restored.device, restored.time_ns, restored.value, strict=True
        )
    ]
    assert set(restored.measurement) <= {KEY}
    expected = [(d, *point) for d, model in enumerate(models) for point in model.stored]
    assert sorted(kept) == sorted(expected)


@settings(max_examples=100)
@given(VALUES)
def test_what_the_door_dropped_lies_on_the_line_give_or_take_its_width(
    steps: list[tuple[int, int, Any]],
) -> None:
    rows = in_order([step for step in steps if step[2] is not None])
    target = memory(ValueFilter(door=1.0))
    stored: dict[int, list[tuple[int, float]]] = {device: [] for device in range(4)}
    for row, value in zip(rows, in_batches(target, rows, 7), strict=True):
        if value is not None:
            stored[row[0]].append((row[1], value))
    target.release()
    restored = target.restored
    for at, device in enumerate(restored.device):
        stored[device].append((restored.time_ns[at] // NS, restored.value[at]))
    for device, second, value in rows:
        seconds, values = zip(*sorted(stored[device]), strict=True)
        assert abs(np.interp(second, seconds, values) - value) <= 2.0 + 1e-9


@given(st.lists(st.integers(0, 99), min_size=2, max_size=30), st.integers(1, 10))
def test_increments_know_rollovers_and_resets(counts: list[int], size: int) -> None:
    rule = ValueFilter(increment=(MORE, ColumnType.INT64), rollover=100)
    rows = [(0, second, count) for second, count in enumerate(counts)]
    target = memory(rule)
    found: list[Any] = []
    for start in range(0, len(rows), size):
        batch = judge(target, rows[start : start + size], np.int64)
        found += listed(batch.columns[MORE])
        assert listed(batch.columns[KEY]) == counts[start : start + size]
    expected: list[Any] = [None]
    for old, new in itertools.pairwise(counts):
        if new >= old:
            expected.append(new - old)
        else:
            expected.append(new + 100 - old if old - new > 50 else new)
    assert found == expected


def test_increments_go_on_from_what_is_stored() -> None:
    rule = ValueFilter(increment=(MORE, ColumnType.DOUBLE))
    asked: list[list[int]] = []

    def last(devices: Any, key: int) -> Any:
        assert key == KEY
        asked.append(devices.tolist())
        return np.where(devices == 1, 40.0, np.nan), np.zeros(len(devices), np.int64)

    target = memory(rule, last)
    target.meet(np.array([1, 2], np.uint32))
    found = judge(target, [(1, 5, 42.0), (2, 5, 7.0), (2, 6, 9.0)])
    assert listed(found.columns[MORE]) == [2.0, None, 2.0]
    assert asked == [[1, 2]]


@pytest.mark.parametrize(
    ("values", "kind", "dtype"),
    [
        (["off", "off", "on", "on", None, "off"], ColumnType.TEXT, object),
        ([False, False, True, True, None, False], ColumnType.BOOLEAN, np.bool_),
    ],
)
def test_a_change_carries_the_state_before_it(values: list[Any], kind: Any, dtype: Any) -> None:
    rule = ValueFilter(band=0.0, previous=(MORE, kind))
    rows = [(0, second, value) for second, value in enumerate(values)]
    found = judge(memory(rule), rows, dtype)
    off, on = values[0], values[2]
    assert listed(found.columns[KEY]) == [off, None, on, None, None, off]
    assert listed(found.columns[MORE]) == [None, None, off, None, None, on]


def test_texts_are_told_apart_by_a_bounded_memory() -> None:
    target = memory(ValueFilter(band=0.0))
    rows = [(0, second, f"text {second}") for second in range(TEXTS_MAX + 1)]
    assert None not in listed(judge(target, rows, object).columns[KEY])
    again = judge(target, [(0, TEXTS_MAX + 1, "a"), (0, TEXTS_MAX + 2, "a")], object)
    assert listed(again.columns[KEY]) == ["a", None]
    assert len(target._texts) == 1
