"""Late, repeated and unchanged rows, against a model that looks at one row after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mainstem_edge.device_memory import (
    NEVER_NS,
    DeviceMemory,
    Judgement,
    NewestTimes,
    row_hashes,
)
from mainstem_edge.value_memory import EXACT_MAX, ValueFilter, ValueMemory
from mainstem_engine.model import Column

BAND = 1.0
HEARTBEAT = 100


def memory_of(
    bands: dict[int, float], heartbeat_ns: int, newest: NewestTimes | None = None
) -> DeviceMemory:
    filters = {key: ValueFilter(band=band) for key, band in bands.items()}
    return DeviceMemory(ValueMemory(filters, heartbeat_ns), newest)


class Model:
    """The same rules, row by row. Measurement 0 has a deadband, 1 has none."""

    def __init__(self) -> None:
        self.newest: dict[int, int] = {}
        self.row: dict[int, tuple[int, tuple[Any, ...]]] = {}
        self.kept: dict[int, tuple[float, int]] = {}

    def judge(
        self, device: int, time: int, a: float | None, b: int | None
    ) -> tuple[bool, bool, float | None]:
        """(keep, late, what is stored of measurement 0)."""
        late = time < self.newest.get(device, NEVER_NS)
        repeat = self.row.get(device) == (time, (a, b))
        self.newest[device] = max(time, self.newest.get(device, NEVER_NS))
        self.row[device] = (time, (a, b))
        if repeat:
            return False, late, a
        stored = a
        if a is not None and not late:
            value, since = self.kept.get(device, (float("nan"), 0))
            if abs(a - value) <= BAND and time - since < HEARTBEAT:
                stored = None
            else:
                self.kept[device] = (a, time)
        return stored is not None or b is not None, late, stored


def judge(memory: DeviceMemory, rows: list[tuple[int, int, float | None, int | None]]) -> Judgement:
    a = [row[2] for row in rows]
    b = [row[3] for row in rows]
    columns = {
        0: Column(np.array([v or 0.0 for v in a]), np.array([v is not None for v in a])),
        1: Column(np.array([v or 0 for v in b], np.int64), np.array([v is not None for v in b])),
    }
    return memory.judge(
        np.array([row[0] for row in rows], np.uint32),
        np.array([row[1] for row in rows], np.int64),
        columns,
    )


ROW = st.tuples(
    st.integers(0, 3),
    st.integers(0, 400),
    st.none() | st.sampled_from([0.5, 1.0, 1.25, 2.0, 5.0]),
    st.none() | st.integers(0, 1),
).filter(lambda row: row[2] is not None or row[3] is not None)


@given(st.lists(st.lists(ROW, max_size=12), max_size=6))
def test_a_batch_is_judged_as_its_rows_one_after_the_other(batches: list[list[Any]]) -> None:
    memory, model = memory_of({0: BAND}, HEARTBEAT), Model()
    for batch in batches:
        found = judge(memory, batch)
        expected = [model.judge(*row) for row in batch]
        assert found.keep.tolist() == [keep for keep, _, _ in expected]
        assert found.late.tolist() == [late for _, late, _ in expected]
        if batch:
            column = found.columns[0]
            valid = np.ones(len(batch), bool) if column.valid is None else column.valid
            for row, (keep, _, stored) in enumerate(expected):
                if keep:
                    assert (column.values[row] if valid[row] else None) == stored


def test_the_first_value_and_one_per_heartbeat_are_kept() -> None:
    memory = memory_of({0: BAND}, HEARTBEAT)
    found = judge(memory, [(0, t, 7.0, None) for t in range(0, 301, 50)])
    assert found.keep.tolist() == [True, False, True, False, True, False, True]


def test_a_drift_below_the_band_is_seen_once_it_adds_up() -> None:
    memory = memory_of({0: BAND}, 10**9)
    found = judge(memory, [(0, t, t * 0.25, None) for t in range(1, 14)])
    assert np.flatnonzero(found.keep).tolist() == [0, 5, 10]


def test_without_deadbands_only_exact_repeats_go() -> None:
    memory = memory_of({}, HEARTBEAT)
    found = judge(memory, [(0, 1, 5.0, None), (0, 1, 5.0, None), (0, 1, 6.0, None), (0, 2, 6.0, 0)])
    assert found.keep.tolist() == [True, False, True, True]
    assert found.repeated == 1
    again = judge(memory, [(0, 2, 6.0, 0)])
    assert again.keep.tolist() == [False]


def test_numbers_that_are_not_exact_as_double_are_always_kept() -> None:
    memory = memory_of({1: 0.0}, 10**9)
    big = int(EXACT_MAX) + 2
    found = judge(memory, [(0, 1, None, big), (0, 2, None, big), (0, 3, None, 5), (0, 4, None, 5)])
    assert found.keep.tolist() == [True, True, True, False]


def test_the_store_is_asked_once_for_what_it_holds() -> None:
    asked: list[list[int]] = []

    def newest(devices: Any) -> Any:
        asked.append(devices.tolist())
        return np.full(len(devices), 50, np.int64)

    memory = memory_of({}, HEARTBEAT, newest)
    assert judge(memory, [(3, 40, 1.0, None), (1, 60, 1.0, None)]).late.tolist() == [True, False]
    judge(memory, [(3, 70, 1.0, None)])
    assert asked == [[1, 3]]


def test_hashes_tell_values_nulls_and_columns_apart() -> None:
    values = np.array([1.0, 2.0, 0.0, -0.0])
    one = row_hashes({0: Column(values)}, 4)
    assert len(set(one.tolist())) == 4
    assert (row_hashes({1: Column(values)}, 4) != one).all()
    nulls = Column(values, np.zeros(4, np.bool_))
    assert (row_hashes({0: Column(values), 1: nulls}, 4) == one).all()
    texts = np.array(["a", "b", "a", None], object)
    found = row_hashes({0: Column(texts)}, 4)
    assert found[0] == found[2] != found[1]


def test_no_rows_change_nothing() -> None:
    memory = memory_of({0: BAND}, HEARTBEAT)
    assert len(judge(memory, []).keep) == 0
