"""Dirty windows: what is marked stays marked until it was computed, in bounded memory."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstem_engine import dirty_windows
from mainstem_engine.dirty_windows import DEVICE_MAX, DirtyWindows, Span


def _mark(dirty: DirtyWindows, device: int, window: int, lsn: int) -> None:
    dirty.mark(np.array([device], np.uint32), np.array([window]), lsn)


def test_marks_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dirty_windows, "FOLD_MARKS", 4)
    dirty = DirtyWindows()
    for lsn in range(1, 40):
        _mark(dirty, lsn % 3, 0, lsn)
        assert len(dirty._device) <= 10
    device, window, newest = dirty.fold()
    assert (device.tolist(), window.tolist(), newest.tolist()) == ([0, 1, 2], [0] * 3, [39, 37, 38])
    dirty.clean(np.array([0, 1, 9], np.uint32), np.array([0, 0, 0]), 37)
    assert dirty.fold()[0].tolist() == [0, 2]


def test_what_is_left_of_a_span() -> None:
    span = Span(0, 9, 0, 100, 5)
    assert span.without(Span(20, 30, 0, 100, 5)) == [span]
    left = span.without(Span(3, 5, 40, 60, 9))
    cells = {(d, t) for s in left for d in range(s.low, s.high + 1) for t in range(*_times(s))}
    whole = set(itertools.product(range(10), range(100)))
    assert cells == whole - set(itertools.product(range(3, 6), range(40, 60)))


def _times(span: Span) -> tuple[int, int]:
    return span.start_ns, span.end_ns


def test_a_span_is_computed_piece_by_piece() -> None:
    dirty = DirtyWindows(10)
    dirty.mark_span(Span(0, DEVICE_MAX, 0, 100, 5))
    _mark(dirty, 3, 20, 4)
    _mark(dirty, 3, 90, 9)
    newer = Span(0, DEVICE_MAX, 90, 100, 9)
    assert list(dirty.spans) == [Span(0, DEVICE_MAX, 0, 90, 5), newer], "a mark in it is not kept"
    assert len(dirty.fold()[0]) == 0
    dirty.clean_span(Span(0, DEVICE_MAX, 0, 100, 8))
    assert list(dirty.spans) == [newer]
    dirty.mark_span(Span(0, DEVICE_MAX, 0, 90, 9))
    assert list(dirty.spans) == [Span(0, DEVICE_MAX, 0, 100, 9)]
    dirty.clean_span(Span(0, DEVICE_MAX, 0, 50, 9))
    assert list(dirty.spans) == [Span(0, DEVICE_MAX, 50, 100, 9)]
    assert dirty.touches(95, 200)
    assert not dirty.touches(0, 50)
    assert not dirty.touches(100, 200)
    restored = DirtyWindows(10)
    restored.restore(*dirty.pack())
    assert restored.spans == dirty.spans


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.integers(0, 30), st.booleans()), min_size=1, max_size=60
    )
)
@settings(max_examples=60, deadline=None)
def test_bounded_and_never_less_than_what_changed(
    steps: list[tuple[int, int, bool]],
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dirty_windows, "FOLD_MARKS", 2)
        patch.setattr(dirty_windows, "MARKS_MAX", 6)
        patch.setattr(dirty_windows, "SPANS_MAX", 3)
        dirty = DirtyWindows(1)
        wanted: dict[tuple[int, int], int] = {}
        for lsn, (device, window, clean) in enumerate(steps, 1):
            if clean:
                done = Span(0, DEVICE_MAX, window, window + 3, lsn - 2)
                dirty.clean_span(done)
                wanted = {
                    key: at
                    for key, at in wanted.items()
                    if not (window <= key[1] < window + 3 and at <= lsn - 2)
                }
            else:
                _mark(dirty, device, window, lsn)
                wanted[device, window] = lsn
            assert len(dirty.spans) <= 3
        marks = {(int(d), int(w)): int(at) for d, w, at in zip(*dirty.fold(), strict=True)}
        assert len(marks) <= 6 + 4
        for (device, window), at in wanted.items():
            covering = [s.lsn for s in dirty.spans if s.start_ns <= window < s.end_ns]
            assert max([*covering, marks.get((device, window), 0)]) >= at


def test_marks_that_were_cleaned_a_few_at_a_time_are_gone() -> None:
    dirty = DirtyWindows()
    devices = np.arange(100, dtype=np.uint32)
    dirty.mark(devices[::-1], np.zeros(100, np.int64), 5)
    for first in range(0, 40, 4):
        dirty.clean(devices[first : first + 4], np.zeros(4, np.int64), 5)
    _mark(dirty, 3, 0, 6)
    assert dirty.fold()[0].tolist() == [3, *range(40, 100)]
    dirty.clean(devices, np.zeros(100, np.int64), 5)
    assert dirty.fold()[0].tolist() == [3]
