"""Which parts of a table may hold rows: none that does is missed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstem_engine.part.manifest import PartMeta
from mainstem_engine.part_index import FEW_PARTS, PartIndex, near_parts, newest_first


@dataclass(frozen=True)
class Stub:
    meta: PartMeta


def stub(name: int, devices: tuple[int, int], times: tuple[int, int], vnode: int) -> Stub:
    low, high = sorted(devices)
    first, last = sorted(times)
    return Stub(PartMeta(str(name), "t", 0, 1, 1, first, last, low, high, {}, vnode, 3))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    parts=st.lists(
        st.tuples(
            st.tuples(st.integers(0, 9), st.integers(0, 9)),
            st.tuples(st.integers(-9, 9), st.integers(-9, 9)),
            st.integers(0, 2),
        ),
        max_size=12,
    ),
    devices=st.one_of(st.none(), st.sets(st.integers(0, 9))),
    span=st.tuples(st.integers(-10, 10), st.integers(-10, 10)),
)
def test_every_part_with_rows_is_near(
    parts: list[tuple[tuple[int, int], tuple[int, int], int]],
    devices: set[int] | None,
    span: tuple[int, int],
) -> None:
    index = PartIndex(stub(number, *part) for number, part in enumerate(parts))
    wanted = None if devices is None else np.array(sorted(devices), np.uint32)
    near = list(index.near(wanted, *span))
    assert near == [part for part in index if part in near]
    for part in index:
        meta = part.meta
        asked = range(10) if devices is None else devices
        holds = any(
            meta.device_min <= device <= meta.device_max and device % 3 == meta.vnode
            for device in asked
        )
        if holds and meta.time_max_ns >= span[0] and meta.time_min_ns < span[1]:
            assert part in near
    ends = [part.meta.time_max_ns for part in newest_first(list(index))]
    assert ends == sorted(ends, reverse=True)


def test_far_parts_are_left_out() -> None:
    parts = [stub(number, (number, number + 1), (10 * number, 10 * number + 9), 0)
             for number in range(FEW_PARTS + 20)]  # fmt: skip
    index = PartIndex(parts)
    assert [part.meta.name for part in index.near(None, 35, 50)] == ["3", "4"]
    some = np.array([6], np.uint32)
    assert [part.meta.name for part in index.near(some, -99, 999)] == ["5", "6"]
    assert list(index.near(np.array([7], np.uint32), -99, 999)) == []
    assert list(near_parts(parts, some, 0, 1)) == parts
    assert len(index.near(np.array([], np.uint32), 0, 1)) == len(index)
