"""The merge rule, against dictionaries."""

from __future__ import annotations

import bisect
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstem_engine.merge import (
    concat_ranges,
    concat_rows,
    empty_rows,
    is_strictly_sorted,
    key_order,
    lower_bounds,
    match_keys,
    merge_call,
    merge_settled,
    merge_versions,
    part_sorted,
    stable_device_order,
    version_sorted,
)
from mainstem_engine.model import Column, Rows, VersionedRows
from mainstem_engine.testing.model_store import ModelTable

EPOCHS = np.array([0, 0, 1], np.uint32)
Fragment = tuple[int, int, int, int, int | None, str | None]

fragments = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 70_000]),
        st.integers(0, 2),
        st.integers(0, 2),
        st.integers(1, 8),
        st.none() | st.integers(0, 9),
        st.none() | st.sampled_from(["x", "y"]),
    ),
    max_size=25,
    unique_by=lambda f: (f[0], f[1], f[2], f[3]),
)


def rows_of(some: list[Fragment]) -> VersionedRows:
    """(device, time, origin, lsn, measurement 0, measurement 1)."""
    text = np.empty(len(some), object)
    text[:] = [f[5] for f in some]
    return VersionedRows(
        np.array([f[0] for f in some], np.uint32),
        np.array([f[1] for f in some], np.int64),
        np.array([f[2] for f in some], np.uint16),
        np.array([f[3] for f in some], np.uint64),
        {
            0: Column(
                np.array([f[4] or 0 for f in some], np.int32),
                np.array([f[4] is not None for f in some], np.bool_),
            ),
            1: Column(text, np.array([f[5] is not None for f in some], np.bool_)),
        },
    )


def model_of(some: list[Fragment], *, whole_rows: bool) -> dict[tuple[str, int], dict[str, Any]]:
    table = ModelTable(whole_rows)
    for device, time, origin, lsn, number, text in some:
        version = (int(EPOCHS[origin]), origin, lsn)
        table.add(str(device), time, version, {"0": number, "1": text})
    return table.rows()


def plain(rows: VersionedRows) -> dict[tuple[str, int], dict[str, Any]]:
    assert is_strictly_sorted(rows.device, rows.time)
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for i in range(len(rows)):
        cells = {
            str(key): column.values[i]
            for key, column in rows.columns.items()
            if column.valid is None or column.valid[i]
        }
        found[str(rows.device[i]), int(rows.time[i])] = cells
    return found


def without_nulls(rows: dict[tuple[str, int], dict[str, Any]]) -> Any:
    return {k: {n: v for n, v in row.items() if v is not None} for k, row in rows.items()}


@given(fragments, st.booleans())
def test_the_greatest_version_wins_per_measurement(some: list[Fragment], whole: bool) -> None:
    merged = merge_versions(rows_of(some), EPOCHS, whole_rows=whole)
    assert plain(merged) == without_nulls(model_of(some, whole_rows=whole))


@given(
    fragments,
    st.lists(st.integers(0, 8), min_size=3, max_size=3),
    st.integers(0, 25),
    st.booleans(),
)
@settings(max_examples=200)
def test_settling_in_any_order_changes_no_answer(
    some: list[Fragment], settled: list[int], cut: int, whole: bool
) -> None:
    """What arrives first is merged as far as it is settled; the rest comes above that."""
    early = [f for i, f in enumerate(some) if f[3] <= settled[f[2]] or i < cut]
    late = [f for f in some if f not in early]
    stored = merge_settled(part_sorted(rows_of(early)), settled.__getitem__, whole_rows=whole)
    merged = merge_versions(concat_rows([stored, rows_of(late)]), EPOCHS, whole_rows=whole)
    assert plain(merged) == without_nulls(model_of(some, whole_rows=whole))


def test_fragments_of_two_origins_or_unsettled_ones_stay_side_by_side() -> None:
    rows = part_sorted(
        rows_of([(1, 1, 0, 5, 1, None), (1, 1, 0, 6, None, "x"), (1, 1, 1, 9, 2, None)])
    )
    assert len(merge_settled(rows, lambda origin: 6, whole_rows=False)) == 2
    assert len(merge_settled(rows, lambda origin: 5, whole_rows=False)) == 3
    assert len(merge_settled(rows, lambda origin: 9, whole_rows=False)) == 2
    assert len(merge_settled(rows, lambda origin: -1, whole_rows=False)) == 3


def test_a_settled_row_carries_the_greatest_version() -> None:
    rows = part_sorted(rows_of([(1, 1, 0, 6, None, "x"), (1, 1, 0, 5, 1, None)]))
    merged = merge_settled(rows, lambda origin: 6, whole_rows=False)
    assert merged.lsn.tolist() == [6]
    assert plain(merged) == {("1", 1): {"0": 1, "1": "x"}}


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2),
            st.integers(0, 3),
            st.none() | st.integers(0, 9),
            st.none() | st.just("x"),
        )
    )
)
def test_within_a_call_the_later_row_wins(some: list[Any]) -> None:
    versioned = rows_of([(d, t, 0, i, a, b) for i, (d, t, a, b) in enumerate(some)])
    merged = merge_call(Rows(versioned.device, versioned.time, versioned.columns))
    expected = merge_versions(versioned, EPOCHS, whole_rows=False)
    again = VersionedRows(merged.device, merged.time, expected.origin, expected.lsn, merged.columns)
    assert plain(again) == plain(expected)


@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(-5, 5), st.integers(0, 3))))
def test_orders_are_those_of_python(some: list[tuple[int, int, int]]) -> None:
    device = np.array([s[0] for s in some], np.uint32)
    time = np.array([s[1] for s in some], np.int64)
    tie = np.array([s[2] for s in some], np.uint16)
    by_key = [int(i) for i in key_order(device, time, tie)]
    assert by_key == sorted(range(len(some)), key=lambda i: some[i])
    by_device = [int(i) for i in stable_device_order(device)]
    assert by_device == sorted(range(len(some)), key=lambda i: some[i][0])


@given(
    st.sets(st.tuples(st.integers(0, 3), st.integers(0, 3))),
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3))),
)
def test_keys_are_found_where_they_are(keys: set[tuple[int, int]], wanted: Any) -> None:
    ordered = sorted(keys)
    place = match_keys(
        np.array([k[0] for k in ordered], np.uint32),
        np.array([k[1] for k in ordered], np.int64),
        np.array([k[0] for k in wanted], np.uint32),
        np.array([k[1] for k in wanted], np.int64),
    )
    assert place.tolist() == [ordered.index(k) if k in keys else -1 for k in wanted]


def test_a_column_that_a_batch_lacks_is_null_there() -> None:
    one, two = rows_of([(1, 1, 0, 1, 5, None)]), rows_of([(1, 2, 0, 2, None, "x")])
    del one.columns[1]
    one.columns[0].valid = None
    both = concat_rows([one, two])
    assert plain(both) == {("1", 1): {"0": 5}, ("1", 2): {"1": "x"}}
    assert len(concat_rows([])) == len(empty_rows()) == 0
    assert concat_rows([one]) is one


@pytest.mark.parametrize(
    ("device", "time", "expected"),
    [
        ([], [], True),
        ([1], [5], True),
        ([1, 1], [1, 2], True),
        ([1, 1], [1, 1], False),
        ([1, 2, 1], [1, 2, 3], False),
        ([1, 2], [5, 1], True),
    ],
)
def test_strictly_sorted(device: list[int], time: list[int], expected: bool) -> None:
    assert is_strictly_sorted(np.array(device, np.uint32), np.array(time, np.int64)) is expected


def test_sorted_rows_are_not_copied() -> None:
    rows = rows_of([(1, 1, 0, 1, 5, None), (1, 2, 0, 1, 5, None)])
    assert part_sorted(rows) is rows
    assert version_sorted(rows, EPOCHS) is rows
    assert merge_settled(rows, lambda origin: 9, whole_rows=False) is rows
    shuffled = rows_of([(1, 2, 0, 1, 5, None), (1, 1, 0, 1, 5, None)])
    assert part_sorted(shuffled).time.tolist() == [1, 2]


@pytest.mark.parametrize("far", [1, 2**58])
@pytest.mark.parametrize("devices", [1, 5, 2**32 - 2])
def test_keys_are_found_and_sorted_however_far_apart(far: int, devices: int) -> None:
    """Near keys are packed into one integer, far ones are not: the answers are the same."""
    rng = np.random.default_rng(3)
    device = rng.choice([0, devices // 2, devices], 300).astype(np.uint32)
    time = rng.integers(-8, 8, 300) * far
    order = key_order(device, time)
    expected = sorted(range(300), key=lambda row: (device[row], time[row], row))
    assert order.tolist() == expected
    lsn = rng.integers(0, 3, 300).astype(np.uint64)
    order = key_order(device, time, lsn)
    expected = sorted(range(300), key=lambda row: (device[row], time[row], lsn[row], row))
    assert order.tolist() == expected
    keys = sorted(set(zip(device[:150].tolist(), time[:150].tolist(), strict=True)))
    place = match_keys(
        np.array([key[0] for key in keys], np.uint32),
        np.array([key[1] for key in keys], np.int64),
        device,
        time,
    )
    where = {key: number for number, key in enumerate(keys)}
    pairs = zip(device.tolist(), time.tolist(), strict=True)
    assert place.tolist() == [where.get(pair, -1) for pair in pairs]
    none = match_keys(device[:0], time[:0], device, time)
    assert none.tolist() == [-1] * 300
    assert len(match_keys(device[:1], time[:1], device[:0], time[:0])) == 0


keys = st.tuples(st.integers(0, 3), st.integers(0, 6))


@given(st.lists(keys, max_size=30), st.lists(keys, max_size=10))
def test_lower_bounds_are_those_of_a_sorted_list(
    held: list[tuple[int, int]], wanted: list[tuple[int, int]]
) -> None:
    held.sort()
    found = lower_bounds(
        np.array([k[0] for k in held], np.uint32),
        np.array([k[1] for k in held], np.int64),
        np.array([k[0] for k in wanted], np.uint32),
        np.array([k[1] for k in wanted], np.int64),
    )
    assert found.tolist() == [bisect.bisect_left(held, key) for key in wanted]


def test_ranges_one_after_the_other() -> None:
    starts, ends = np.array([3, 9, 5, 1], np.intp), np.array([5, 9, 4, 3], np.intp)
    assert concat_ranges(starts, ends).tolist() == [3, 4, 1, 2]
    assert concat_ranges(starts[:0], ends[:0]).tolist() == []


@pytest.mark.parametrize(
    ("ranges", "merged"),
    [
        ([], [10]),
        ([(1, 3), (10, 12)], [10]),
        ([(4, 9)], [3, 10]),
        ([(1, 20)], [3, 10]),
        ([(3, 3), (10, 10)], [10]),
    ],
)
def test_a_version_elsewhere_keeps_fragments_apart(
    ranges: list[tuple[int, int]], merged: list[int]
) -> None:
    rows = VersionedRows(
        np.zeros(2, np.uint32),
        np.zeros(2, np.int64),
        np.ones(2, np.uint16),
        np.array([3, 10], np.uint64),
        {0: Column(np.array([7, 0]), np.array([True, False]))},
    )
    found = merge_settled(rows, lambda _: 99, whole_rows=False, elsewhere={1: ranges, 0: [(5, 6)]})
    assert found.lsn.tolist() == merged
    whole = merge_settled(rows, lambda _: 99, whole_rows=True, elsewhere={1: ranges})
    assert whole.lsn.tolist() == [10]
