"""What tombstones cover and erase, against a plain model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstem_engine.deletes import (
    NONE,
    TOMBSTONES_MAX,
    Tombstone,
    Tombstones,
    decode_tombstones,
    encode_tombstones,
)
from mainstem_engine.model import Column, VersionedRows
from mainstem_engine.part.manifest import PartMeta


def u32(*values: int) -> Any:
    return np.array(values, np.uint32)


def i64(*values: int) -> Any:
    return np.array(values, np.int64)


def make_rows(
    entries: list[tuple[int, int, int, int, int | None, int | None]],
) -> VersionedRows:
    """Rows of (device, time, origin, lsn, value of 0, value of 1)."""
    columns = {}
    for key in (0, 1):
        values = [entry[4 + key] for entry in entries]
        columns[key] = Column(
            np.array([v or 0 for v in values], np.int64),
            np.array([v is not None for v in values], np.bool_),
        )
    return VersionedRows(
        np.array([e[0] for e in entries], np.uint32),
        np.array([e[1] for e in entries], np.int64),
        np.array([e[2] for e in entries], np.uint16),
        np.array([e[3] for e in entries], np.uint64),
        columns,
    )


def entries_of(rows: VersionedRows) -> list[tuple[int, int, int, int, int | None, int | None]]:
    found = []
    for at in range(len(rows)):
        values = []
        for key in (0, 1):
            column = rows.columns[key]
            valid = column.valid is None or bool(column.valid[at])
            values.append(int(column.values[at]) if valid else None)
        found.append(
            (
                int(rows.device[at]),
                int(rows.time[at]),
                int(rows.origin[at]),
                int(rows.lsn[at]),
                values[0],
                values[1],
            )
        )
    return found


def covers(item: Tombstone, device: int, time: int, origin: int, lsn: int) -> bool:
    if origin != item.origin or lsn > item.as_of or not item.start_ns <= time < item.end_ns:
        return False
    if item.devices is None:
        return True
    if item.times is None:
        return device in item.devices.tolist()
    ends = item.times + 1 if item.ends is None else item.ends
    ranges = zip(item.devices.tolist(), item.times.tolist(), ends.tolist(), strict=True)
    return any(d == device and a <= time < b for d, a, b in ranges)


times_strategy = st.integers(0, 12)
entry_strategy = st.tuples(
    st.integers(0, 25),
    times_strategy,
    st.integers(0, 1),
    st.integers(1, 9),
    st.none() | st.integers(-3, 3),
    st.none() | st.integers(-3, 3),
)


@st.composite
def tombstone_strategy(draw: st.DrawFn) -> Tombstone:
    start = draw(times_strategy)
    end = start + draw(st.integers(1, 6))
    measurements = draw(st.sampled_from([None, None, (0,), (1,), (0, 1)]))
    shape = draw(st.sampled_from(["all", "devices", "times", "ranges"]))
    common: dict[str, Any] = {
        "lsn": draw(st.integers(1, 20)),
        "origin": draw(st.integers(0, 1)),
        "as_of": draw(st.integers(0, 9)),
        "applied_before": None,
        "start_ns": start,
        "end_ns": end,
        "measurements": measurements,
    }
    if shape == "all":
        return Tombstone(devices=None, **common)
    if shape == "devices":
        chosen = draw(st.sets(st.integers(0, 25), min_size=1))
        return Tombstone(devices=u32(*sorted(chosen)), **common)
    pairs = sorted(draw(st.sets(st.tuples(st.integers(0, 25), times_strategy), min_size=1)))
    device, time = u32(*(p[0] for p in pairs)), i64(*(p[1] for p in pairs))
    common |= {"start_ns": int(time.min()), "end_ns": int(time.max()) + 1}
    if shape == "times":
        return Tombstone(devices=device, times=time, **common)
    ends = time + 1
    for at in range(len(pairs)):
        follows = at + 1 < len(pairs) and pairs[at + 1][0] == pairs[at][0]
        room = pairs[at + 1][1] if follows else pairs[at][1] + 4
        ends[at] = draw(st.integers(pairs[at][1] + 1, room))
    common["end_ns"] = int(ends.max())
    return Tombstone(devices=device, times=time, ends=ends, **common)


@settings(max_examples=200)
@given(st.lists(entry_strategy, max_size=40), st.lists(tombstone_strategy(), max_size=5))
def test_erase_is_what_the_model_says(
    entries: list[tuple[int, int, int, int, int | None, int | None]], items: list[Tombstone]
) -> None:
    expected = []
    for device, time, origin, lsn, *values in entries:
        gone = touched = False
        for item in items:
            if covers(item, device, time, origin, lsn):
                gone |= item.measurements is None
                touched = True
                for key in item.measurements or ():
                    values[key] = None
        if not gone and not (touched and values == [None, None]):
            expected.append((device, time, origin, lsn, *values))
    found = Tombstones(items).erase(make_rows(entries))
    assert entries_of(found) == expected
    again = Tombstones(reversed(items)).erase(found)
    assert entries_of(again) == expected


@settings(max_examples=100)
@given(
    st.lists(entry_strategy, min_size=1, max_size=20),
    st.lists(tombstone_strategy(), max_size=6),
    st.sets(st.integers(0, 25), min_size=1),
    times_strategy,
    st.integers(1, 6),
)
def test_what_does_not_overlap_erases_nothing(
    entries: list[tuple[int, int, int, int, int | None, int | None]],
    items: list[Tombstone],
    devices: set[int],
    start: int,
    length: int,
) -> None:
    inside = [e for e in entries if e[0] in devices and start <= e[1] < start + length]
    near = Tombstones(items).overlapping(u32(*sorted(devices)), start, start + length)
    rows = make_rows(inside)
    assert entries_of(near.erase(rows)) == entries_of(Tombstones(items).erase(rows))


@given(st.lists(tombstone_strategy(), max_size=6))
def test_they_survive_the_checkpoint(items: list[Tombstone]) -> None:
    found = decode_tombstones(encode_tombstones({"a": Tombstones(items), "b": NONE}))
    assert encode_tombstones(found) == encode_tombstones({"a": Tombstones(items)})
    assert [repr(item) for item in found.get("a", NONE)] == [repr(item) for item in items]


def whole(lsn: int, as_of: int, start: int = 0, end: int = 10, **more: Any) -> Tombstone:
    return replace(Tombstone(lsn, 0, as_of, None, None, start, end), **more)


def test_an_image_replaces_only_what_came_before_it() -> None:
    rows = make_rows([(1, 5, 0, 3, 1, 1)])
    image = Tombstones([whole(7, 9, applied_before=7)])
    assert len(image.erase(rows, (1, 6))) == 0
    assert len(image.erase(rows, (7, 7))) == 1
    assert len(image.erase(rows, (8, 9))) == 1


def meta(erased_through: int, **more: Any) -> PartMeta:
    bounds = {"time_min_ns": 0, "time_max_ns": 5, "device_min": 0, "device_max": 9}
    return PartMeta("1", "t", 0, 1, 1, **{**bounds, **more}, erased_through=erased_through)


def test_a_tombstone_goes_when_nothing_needs_it() -> None:
    items = Tombstones([whole(5, 4)])

    def settled(origin: int) -> int:
        return 4

    assert len(items.needed([], 4, settled)) == 1  # not in a checkpoint yet
    assert len(items.needed([], 5, settled)) == 0
    assert len(items.needed([], 5, lambda origin: 3)) == 1  # older rows may still arrive
    assert len(items.needed([meta(4)], 5, settled)) == 1  # a part still has its rows
    assert len(items.needed([meta(5)], 5, settled)) == 0
    assert len(items.needed([meta(0, time_min_ns=10, time_max_ns=11)], 5, settled)) == 0
    image = Tombstones([whole(5, 4, applied_before=5)])
    assert len(image.needed([], 5, lambda origin: 0)) == 0


def test_a_part_needs_only_what_came_after_it() -> None:
    items = Tombstones([whole(5, 4), whole(9, 8, devices=u32(3))])
    assert [t.lsn for t in items.of_part(meta(0))] == [5, 9]
    assert [t.lsn for t in items.of_part(meta(5))] == [9]
    assert [t.lsn for t in items.of_part(meta(0, device_min=4))] == [5]
    assert not items.of_part(meta(9))
    assert [t.lsn for t in items.through(5)] == [5]
    assert [t.lsn for t in items.after(5)] == [9]


def test_blocks_that_are_touched_have_no_statistics() -> None:
    items = Tombstones([whole(5, 4, devices=u32(3, 7)), whole(6, 5, 20, 30)])
    assert items.covers_block(0, 4, 0, 9)
    assert not items.covers_block(4, 6, 0, 9)
    assert not items.covers_block(4, 6, 30, 40)
    assert items.covers_block(4, 6, 29, 40)


def test_equal_and_adjacent_deletes_are_folded() -> None:
    items = NONE.adding(whole(5, 4, rows=2), fold_above=0).adding(whole(7, 6, rows=1), fold_above=0)
    assert [(t.lsn, t.rows) for t in items] == [(7, 3)]
    kept = Tombstones([whole(5, 4, rows=2)]).adding(whole(7, 6, rows=1), fold_above=5)
    assert [t.lsn for t in kept] == [5, 7]
    first, second = whole(5, 4, devices=u32(1, 2), rows=1), whole(6, 4, devices=u32(3), rows=1)
    pieces = NONE.adding(first, fold_above=0).adding(second, fold_above=0)
    assert [(t.devices.tolist(), t.rows) for t in pieces if t.devices is not None] == [
        ([1, 2, 3], 2)
    ]
    partial = whole(7, 6, measurements=(1,))
    assert len(NONE.adding(whole(5, 4), fold_above=0).adding(partial, fold_above=0)) == 2


def test_what_a_delete_erased_is_not_counted_once_more_by_the_next() -> None:
    """Of the later one the flush has to count, for damage took records: as one they would both be
    counted."""
    known = NONE.adding(whole(5, 4, rows=2), fold_above=0)
    items = known.adding(whole(7, 6, rows=None), fold_above=0)
    assert [(t.lsn, t.rows) for t in items] == [(5, 2), (7, None)]
    assert [(t.lsn, t.rows) for t in items.adding(whole(9, 8, rows=None), fold_above=0)] == [
        (5, 2), (9, None)
    ]  # fmt: skip


@pytest.mark.parametrize("count", [TOMBSTONES_MAX - 1, TOMBSTONES_MAX])
def test_a_table_has_a_bound(count: int) -> None:
    items = Tombstones(whole(n + 1, n, n, n + 1) for n in range(count))
    assert items.full == (count == TOMBSTONES_MAX)
