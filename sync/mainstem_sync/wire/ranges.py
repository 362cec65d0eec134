"""Sets of LSNs, kept as sorted, disjoint, non-adjacent inclusive ranges.

1. Adding merges with every range that overlaps or touches; the set is always in normal form.
2. ``watermark`` is the greatest d with [1..d] in the set: the delivery watermark D.
3. With a ``limit`` the set refuses to grow beyond that many ranges (RangeLimitError) and is left
   unchanged: holes must be filled before new ones may appear.

On the wire a set is a flat list ``[first, last, first, last, ...]``.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from mainstem_sync.errors import RangeLimitError, WireError

RANGES_MAX = 10_000
"""Holes that one origin may have at a receiver: 160 kB on the wire, and a hello still fits."""

LSN_MAX = (1 << 63) - 1
"""LSNs also live in int64 columns."""


class RangeSet:
    """A mutable set of positive integers. Not thread-safe."""

    __slots__ = ("_first", "_last", "limit")

    def __init__(self, ranges: Iterable[tuple[int, int]] = (), *, limit: int | None = None) -> None:
        self._first: list[int] = []
        self._last: list[int] = []
        self.limit = limit
        for first, last in ranges:
            self.add(first, last)

    @classmethod
    def _of(cls, firsts: list[int], lasts: list[int], limit: int | None = None) -> RangeSet:
        """The set of ranges that are in normal form; the lists become its own."""
        result = cls(limit=limit)
        result._first, result._last = firsts, lasts
        return result

    @classmethod
    def from_wire(cls, flat: object, *, limit: int | None = None) -> RangeSet:
        """The set of a flat list. WireError unless it is in normal form and within bounds."""
        if not isinstance(flat, list) or len(flat) % 2:
            raise WireError("a range set is a list of pairs")
        if len(flat) > 2 * RANGES_MAX:
            raise RangeLimitError(len(flat) // 2, RANGES_MAX)
        previous = -1
        for at in range(0, len(flat), 2):
            first, last = flat[at], flat[at + 1]
            if type(first) is not int or type(last) is not int:
                raise WireError("a range is a pair of integers")
            if not (max(previous + 2, 1) <= first <= last <= LSN_MAX):
                raise WireError(f"range [{first}, {last}] is out of order")
            previous = last
        result = cls(limit=limit)
        result._first, result._last = flat[0::2], flat[1::2]
        return result

    def to_wire(self) -> list[int]:
        """``[first, last, first, last, ...]``, ascending."""
        flat = [0] * (2 * len(self._first))
        flat[0::2], flat[1::2] = self._first, self._last
        return flat

    def copy(self) -> RangeSet:
        """An independent copy, with the same limit."""
        return RangeSet._of(self._first.copy(), self._last.copy(), self.limit)

    def add(self, first: int, last: int | None = None) -> None:
        """Add ``[first, last]`` (or one LSN). Empty ranges add nothing."""
        last = first if last is None else last
        if last < first:
            return
        begin = bisect_left(self._last, first - 1)
        end = bisect_right(self._first, last + 1)
        if begin < end:
            first, last = min(first, self._first[begin]), max(last, self._last[end - 1])
        elif self.limit is not None and len(self._first) >= self.limit:
            raise RangeLimitError(len(self._first) + 1, self.limit)
        self._first[begin:end] = [first]
        self._last[begin:end] = [last]

    def update(self, other: RangeSet) -> None:
        """Add every LSN of ``other``."""
        if not self._first and (self.limit is None or len(other._first) <= self.limit):
            self._first, self._last = other._first.copy(), other._last.copy()
            return
        for first, last in other:
            self.add(first, last)

    def remove(self, first: int, last: int | None = None) -> None:
        """Take ``[first, last]`` (or one LSN) out."""
        last = first if last is None else last
        begin = bisect_left(self._last, first)
        end = bisect_right(self._first, last)
        if begin >= end or last < first:
            return
        left = [(self._first[begin], first - 1)] if self._first[begin] < first else []
        right = [(last + 1, self._last[end - 1])] if self._last[end - 1] > last else []
        self._first[begin:end] = [pair[0] for pair in left + right]
        self._last[begin:end] = [pair[1] for pair in left + right]

    def difference(self, other: RangeSet) -> RangeSet:
        """What is here and not in ``other``."""
        begins, ends = other._first, other._last
        if not begins:
            return RangeSet._of(self._first.copy(), self._last.copy())
        firsts: list[int] = []
        lasts: list[int] = []
        for first, last in zip(self._first, self._last, strict=True):
            at = bisect_left(ends, first)
            while at < len(begins) and begins[at] <= last:
                if begins[at] > first:
                    firsts.append(first)
                    lasts.append(begins[at] - 1)
                first = ends[at] + 1
                at += 1
            if first <= last:
                firsts.append(first)
                lasts.append(last)
        return RangeSet._of(firsts, lasts)

    def intersection(self, other: RangeSet) -> RangeSet:
        """What is in both."""
        begins, ends = other._first, other._last
        firsts: list[int] = []
        lasts: list[int] = []
        for first, last in zip(self._first, self._last, strict=True):
            at = bisect_left(ends, first)
            while at < len(begins) and begins[at] <= last:
                firsts.append(max(first, begins[at]))
                lasts.append(min(last, ends[at]))
                at += 1
        return RangeSet._of(firsts, lasts)

    def within(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """The parts of this set inside ``[first, last]``, ascending."""
        at = bisect_left(self._last, first)
        while at < len(self._first) and self._first[at] <= last:
            yield max(first, self._first[at]), min(last, self._last[at])
            at += 1

    def gaps(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """The parts of ``[first, last]`` that are not here, ascending."""
        at = bisect_left(self._last, first)
        while first <= last:
            if at >= len(self._first) or self._first[at] > last:
                yield first, last
                return
            if self._first[at] > first:
                yield first, self._first[at] - 1
            first = self._last[at] + 1
            at += 1

    def covers(self, first: int, last: int) -> bool:
        """True if all of ``[first, last]`` is here."""
        at = bisect_left(self._last, first)
        return at < len(self._first) and self._first[at] <= first and self._last[at] >= last

    def contains_all(self, other: RangeSet) -> bool:
        """True if every LSN of ``other`` is here."""
        return all(self.covers(first, last) for first, last in other)

    def mask(self, lsns: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
        """For each LSN of an array, whether it is here."""
        if not self._first:
            return np.zeros(len(lsns), dtype=np.bool_)
        firsts = np.array(self._first, dtype=np.uint64)
        lasts = np.array(self._last, dtype=np.uint64)
        at = np.searchsorted(firsts, lsns, side="right")
        found: npt.NDArray[np.bool_] = (at > 0) & (lsns <= lasts[np.maximum(at, 1) - 1])
        return found

    @property
    def watermark(self) -> int:
        """D: the greatest d such that [1..d] is here; 0 if LSN 1 is missing."""
        return self._last[0] if self._first and self._first[0] == 1 else 0

    @property
    def last(self) -> int:
        """The greatest LSN; 0 if empty."""
        return self._last[-1] if self._last else 0

    def count(self) -> int:
        """How many LSNs are here."""
        return sum(self._last) - sum(self._first) + len(self._first)

    def __contains__(self, lsn: object) -> bool:
        return isinstance(lsn, int) and self.covers(lsn, lsn)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(list(zip(self._first, self._last, strict=True)))

    def __len__(self) -> int:
        """How many ranges there are."""
        return len(self._first)

    def __bool__(self) -> bool:
        return bool(self._first)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RangeSet):
            return NotImplemented
        return self._first == other._first and self._last == other._last

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"RangeSet({list(self)})"


def lsns_of(ranges: Sequence[tuple[int, int]] | RangeSet) -> Iterator[int]:
    """Every LSN, ascending."""
    for first, last in ranges:
        yield from range(first, last + 1)
