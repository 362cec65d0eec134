"""Which windows of a rollup are not, or no longer, true: marks of single ones, and spans.

1. A *mark* is one (device, window) with the LSN of the newest change in it. Many small batches are
   folded: equal marks become one.
2. A *span* is all windows of a range of devices and time. The history that a new rollup has yet to
   be computed from is a span, and so is a delete of much.
3. Above MARKS_MAX distinct marks the windows with the most of them are widened to spans of all
   devices, and above SPANS_MAX spans the nearest are joined. So what is kept is bounded: that
   computes more than needed, never less. A mark in a span of all devices is not kept: it makes
   the stretch around it a newer span, and leaves the rest as old as it was.
4. What was computed from everything up to LSN ``asof`` is clean where no newer change came.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mainstem_engine.merge import Index, key_order, run_starts
from mainstem_engine.model import BoolMask, DeviceIds, Lsns, TimesNs

FOLD_MARKS = 1 << 16
"""Marks that may pile up before equal ones are folded: sorting so many takes milliseconds."""
MARKS_MAX = 1 << 20
"""Distinct marks of one rollup: 20 MB, in memory and in every checkpoint."""
SPANS_MAX = 1024
"""Spans of one rollup. Joining two neighbours has their gap computed again, which is mostly empty.
"""
DEVICE_MAX = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Span:
    """Windows that begin in [start, end) of devices in [low, high], with changes up to ``lsn``."""

    low: int
    high: int
    start_ns: int
    end_ns: int
    lsn: int

    def pack(self) -> list[int]:
        return [self.low, self.high, self.start_ns, self.end_ns, self.lsn]

    def without(self, other: Span) -> list[Span]:
        """What is left of it: before, beside and after ``other``. Time is cut first: of a span that
        is computed device after device, what is left is two spans, however many are done."""
        low, high = max(self.low, other.low), min(self.high, other.high)
        start, end = max(self.start_ns, other.start_ns), min(self.end_ns, other.end_ns)
        if low > high or start >= end:
            return [self]
        pieces = [
            replace(self, end_ns=start),
            replace(self, high=low - 1, start_ns=start, end_ns=end),
            replace(self, low=high + 1, start_ns=start, end_ns=end),
            replace(self, start_ns=end),
        ]
        return [p for p in pieces if p.low <= p.high and p.start_ns < p.end_ns]


class DirtyWindows:
    """See the module. ``every_ns``: length of a window. Not thread-safe."""

    def __init__(self, every_ns: int = 1) -> None:
        self._every_ns = every_ns
        # The first arrays are folded; what was marked since follows.
        self._device: list[DeviceIds] = [np.empty(0, np.uint32)]
        self._window: list[TimesNs] = [np.empty(0, np.int64)]
        self._lsn: list[Lsns] = [np.empty(0, np.uint64)]
        self._clean: BoolMask = np.zeros(0, np.bool_)
        """Which of the folded marks are clean already."""
        self._is_folded = True
        self._marks = 0
        self._spans: list[Span] = []
        self._bounds: npt.NDArray[np.int64] = np.empty((0, 2), np.int64)
        """Start and end of the spans of all devices, (0, 0) for others."""

    @property
    def spans(self) -> tuple[Span, ...]:
        """By start."""
        return tuple(self._spans)

    def mark(self, device: DeviceIds, window: TimesNs, lsn: int) -> None:
        """Rows of these windows changed at ``lsn``."""
        if self._spans:
            device, window = self._not_in_spans(device, window, lsn)
        self._device.append(device)
        self._window.append(window)
        self._lsn.append(np.full(len(device), lsn, np.uint64))
        self._is_folded = False
        self._marks += len(device)
        if self._marks > 2 * FOLD_MARKS:
            self.fold()
            if len(self._device[0]) > MARKS_MAX:
                self._widen()
            # Genuinely distinct marks may be many: then fold less often, not at every batch.
            self._marks = max(0, self._marks - len(self._device[0]))

    def mark_span(self, span: Span) -> None:
        """All windows of a span changed, or were never computed."""
        if span.start_ns < span.end_ns:
            self._set_spans([*self._spans, span])

    def clean(self, device: DeviceIds, window: TimesNs, asof: int) -> None:
        """These windows were computed from everything up to ``asof``."""
        known_device, known_window, lsn = self._merged()
        place = _places(known_device, known_window, device, window)
        place = place[place >= 0]
        place = place[lsn[place] <= asof]
        self._clean[place] = True
        # Few of very many are cleaned at a time: they are taken out together.
        if 2 * int(np.count_nonzero(self._clean)) > len(lsn):
            self._take_out()

    def clean_span(self, done: Span) -> None:
        """All windows of ``done`` were computed from everything up to its LSN."""
        left: list[Span] = []
        for span in self._spans:
            left += [span] if span.lsn > done.lsn else span.without(done)
        self._set_spans(left)
        device, window, lsn = self.fold()
        gone = (device >= done.low) & (device <= done.high) & (lsn <= done.lsn)
        gone &= (window >= done.start_ns) & (window < done.end_ns)
        self._set(device[~gone], window[~gone], lsn[~gone])

    def fold(self) -> tuple[DeviceIds, TimesNs, Lsns]:
        """The distinct marks, sorted by device and window, each with its greatest LSN."""
        self._merged()
        self._take_out()
        return self._device[0], self._window[0], self._lsn[0]

    def _merged(self) -> tuple[DeviceIds, TimesNs, Lsns]:
        """As fold(), with those that are clean and have not been taken out."""
        if not self._is_folded:
            if len(self._clean):
                self._take_out()
            device = np.concatenate(self._device)
            window = np.concatenate(self._window)
            lsn = np.concatenate(self._lsn)
            order = key_order(device, window)
            device, window, lsn = device[order], window[order], lsn[order]
            starts = run_starts(device, window)
            newest = np.maximum.reduceat(lsn, starts) if len(starts) else lsn
            self._set(device[starts], window[starts], newest)
        return self._device[0], self._window[0], self._lsn[0]

    def _take_out(self) -> None:
        """The first array without those that are clean."""
        if self._clean.any():
            keep = ~self._clean
            self._device[0] = self._device[0][keep]
            self._window[0] = self._window[0][keep]
            self._lsn[0] = self._lsn[0][keep]
            self._clean = np.zeros(len(self._lsn[0]), np.bool_)

    def touches(self, start_ns: int, end_ns: int) -> bool:
        """True when a window that overlaps [start, end) is not clean."""
        if any(s.start_ns < end_ns and s.end_ns > start_ns for s in self._spans):
            return True
        _, window, _ = self.fold()
        return bool(((window < end_ns) & (window > start_ns - self._every_ns)).any())

    def pack(self) -> list[Any]:
        """Plain values for a checkpoint."""
        return [*(a.tobytes() for a in self.fold()), [span.pack() for span in self._spans]]

    def restore(self, device: bytes, window: bytes, lsn: bytes, spans: Iterable[Any] = ()) -> None:
        """The inverse of pack()."""
        self._set(
            np.frombuffer(device, np.uint32),
            np.frombuffer(window, np.int64),
            np.frombuffer(lsn, np.uint64),
        )
        self._set_spans([Span(*(int(value) for value in values)) for values in spans])

    def _not_in_spans(
        self, device: DeviceIds, window: TimesNs, lsn: int
    ) -> tuple[DeviceIds, TimesNs]:
        """Marks that lie in no span of all devices; where they do, the span is as new as they."""
        if not len(window):
            return device, window
        oldest, newest = int(window.min()), int(window.max())
        hit = (self._bounds[:, 0] <= newest) & (self._bounds[:, 1] > oldest)
        if not hit.any():
            return device, window
        spans: list[Span] = []
        for number, span in enumerate(self._spans):
            inside = (window >= span.start_ns) & (window < span.end_ns)
            if not hit[number] or not inside.any():
                spans.append(span)
                continue
            first, last = int(window[inside].min()), int(window[inside].max())
            touched = Span(0, DEVICE_MAX, first, last + self._every_ns, max(span.lsn, lsn))
            spans += [*span.without(touched), touched]
            device, window = device[~inside], window[~inside]
        self._set_spans(spans)
        return device, window

    def _widen(self) -> None:
        """Makes spans of the windows with the most marks, until half of the marks are gone."""
        device, window, lsn = self.fold()
        windows, place, counts = np.unique(window, return_inverse=True, return_counts=True)
        order = np.argsort(-counts, kind="stable")
        enough = int(np.searchsorted(np.cumsum(counts[order]), len(window) // 2)) + 1
        chosen = np.zeros(len(windows), np.bool_)
        chosen[order[:enough]] = True
        newest = np.zeros(len(windows), np.uint64)
        np.maximum.at(newest, place, lsn)
        made = [
            Span(0, DEVICE_MAX, int(w), int(w) + self._every_ns, int(n))
            for w, n in zip(windows[chosen], newest[chosen], strict=True)
        ]
        keep = ~chosen[place]
        self._set(device[keep], window[keep], lsn[keep])
        self._set_spans([*self._spans, *made])

    def _set_spans(self, spans: list[Span]) -> None:
        spans.sort(key=lambda span: (span.start_ns, span.low))
        self._spans = _joined(spans)
        bounds = [
            (s.start_ns, s.end_ns) if (s.low, s.high) == (0, DEVICE_MAX) else (0, 0)
            for s in self._spans
        ]
        self._bounds = np.array(bounds, np.int64).reshape(-1, 2)

    def _set(self, device: DeviceIds, window: TimesNs, lsn: Lsns) -> None:
        self._device, self._window, self._lsn = [device], [window], [lsn]
        self._clean = np.zeros(len(device), np.bool_)
        self._is_folded = True
        self._marks = len(device)


def _places(
    device: DeviceIds, window: TimesNs, wanted_device: DeviceIds, wanted_window: TimesNs
) -> Index:
    """Where each wanted key stands among the marks (sorted, distinct), -1 where it does not.

    A binary search each: few are looked up among very many, which must not be sorted for that.
    """
    low = device.searchsorted(wanted_device, side="left")
    end = device.searchsorted(wanted_device, side="right")
    high = end.copy()
    active = np.flatnonzero(low < high)
    while len(active):
        middle = (low[active] + high[active]) >> 1
        below = window[middle] < wanted_window[active]
        low[active[below]] = middle[below] + 1
        high[active[~below]] = middle[~below]
        active = active[low[active] < high[active]]
    found = low < end
    found[found] = window[low[found]] == wanted_window[found]
    return np.where(found, low, -1)


def _joined(spans: list[Span]) -> list[Span]:
    """Neighbours of equal devices and LSN as one; above SPANS_MAX the nearest of all."""
    found: list[Span] = []
    for span in spans:
        last = found[-1] if found else None
        same = last is not None and (last.low, last.high, last.lsn) == (
            span.low, span.high, span.lsn,
        )  # fmt: skip
        if last is not None and same and span.start_ns <= last.end_ns:
            found[-1] = _around(last, span)
        else:
            found.append(span)
    while len(found) > SPANS_MAX:
        gaps = [b.start_ns - a.end_ns for a, b in itertools.pairwise(found)]
        limit = sorted(gaps)[len(gaps) // 2]
        joined = found[:1]
        for gap, span in zip(gaps, found[1:], strict=True):
            if gap <= limit:
                joined[-1] = _around(joined[-1], span)
            else:
                joined.append(span)
        found = joined
    return found


def _around(a: Span, b: Span) -> Span:
    return Span(
        min(a.low, b.low),
        max(a.high, b.high),
        min(a.start_ns, b.start_ns),
        max(a.end_ns, b.end_ns),
        max(a.lsn, b.lsn),
    )
