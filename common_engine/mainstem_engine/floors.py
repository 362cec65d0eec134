"""Floors: what a slice image has said the last word about.

After the image of a slice as of LSN S, a row of that origin in that slice with a version up to S
says nothing new: the image had it, or what replaced or deleted it. Until every LSN up to S has been
received such rows may still arrive, and are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgpack
import numpy as np
import numpy.typing as npt

from mainstem_engine.model import BoolMask, Lsns, TimesNs

FLOORS_MAX = 100_000
"""Ranges of one table: ten weeks of minutes, 24 bytes each in memory and in every checkpoint."""


@dataclass(frozen=True, slots=True, eq=False)
class _Steps:
    """Disjoint ranges [start, end) in ns, ascending, each with its floor."""

    start: TimesNs
    end: TimesNs
    as_of: Lsns

    def below(self, time: TimesNs, lsn: Lsns) -> BoolMask:
        place = np.searchsorted(self.start, time, side="right") - 1
        known = np.maximum(place, 0)
        covered: BoolMask = (place >= 0) & (time < self.end[known]) & (lsn <= self.as_of[known])
        return covered

    def raised(self, start_ns: int, end_ns: int, as_of: int) -> _Steps:
        """With [start, end) not below ``as_of``."""
        hit = (self.start < end_ns) & (self.end > start_ns)
        pieces: list[tuple[int, int, int]] = []
        position = start_ns
        for first, last, floor in zip(
            self.start[hit].tolist(), self.end[hit].tolist(), self.as_of[hit].tolist(), strict=True
        ):
            if first < start_ns:
                pieces.append((first, start_ns, floor))
            inside, until = max(first, start_ns), min(last, end_ns)
            if position < inside:
                pieces.append((position, inside, as_of))
            pieces.append((inside, until, max(floor, as_of)))
            position = until
            if last > end_ns:
                pieces.append((end_ns, last, floor))
        if position < end_ns:
            pieces.append((position, end_ns, as_of))
        kept = zip(self.start[~hit].tolist(), self.end[~hit].tolist(), self.as_of[~hit].tolist(),
                   strict=True)  # fmt: skip
        return _steps(sorted([*kept, *pieces]))

    def above(self, lsn: int) -> _Steps:
        """Those whose floor is above ``lsn``."""
        keep = self.as_of > lsn
        return _Steps(self.start[keep], self.end[keep], self.as_of[keep])


def _steps(items: Iterable[tuple[int, int, int]]) -> _Steps:
    """From sorted, disjoint (start, end, floor); equal neighbours become one."""
    joined: list[tuple[int, int, int]] = []
    for start, end, as_of in items:
        if joined and joined[-1][1] == start and joined[-1][2] == as_of:
            joined[-1] = (joined[-1][0], end, as_of)
        else:
            joined.append((start, end, as_of))
    return _Steps(
        np.array([s[0] for s in joined], np.int64),
        np.array([s[1] for s in joined], np.int64),
        np.array([s[2] for s in joined], np.uint64),
    )


class Floors:
    """The floors of one table by index of the origin. The store's lock serialises all calls."""

    def __init__(self) -> None:
        self._origins: dict[int, _Steps] = {}

    def __len__(self) -> int:
        """How many ranges there are."""
        return sum(len(steps.start) for steps in self._origins.values())

    @property
    def origins(self) -> set[int]:
        """Indexes of the origins that have floors."""
        return set(self._origins)

    @property
    def full(self) -> bool:
        """True when no further image should be accepted before floors are dropped."""
        return len(self) >= FLOORS_MAX

    def raise_to(self, origin: int, start_ns: int, end_ns: int, as_of: int) -> None:
        """An image of [start, end) as of ``as_of`` was applied."""
        steps = self._origins.get(origin) or _steps(())
        self._origins[origin] = steps.raised(start_ns, end_ns, as_of)

    def below(self, origin: int, time: TimesNs, lsn: Lsns) -> BoolMask | None:
        """bool[n]: which rows of ``origin`` an image has spoken about; None when none."""
        steps = self._origins.get(origin)
        if steps is None:
            return None
        mask = steps.below(time, lsn)
        return mask if mask.any() else None

    def of(self, origin: int, start_ns: int, end_ns: int) -> int:
        """The greatest floor inside [start, end), 0 for none."""
        steps = self._origins.get(origin)
        if steps is None:
            return 0
        hit = (steps.start < end_ns) & (steps.end > start_ns)
        return int(steps.as_of[hit].max()) if hit.any() else 0

    def least(self, origin: int, start_ns: int, end_ns: int) -> int:
        """The least floor inside [start, end), 0 where a part of it has none."""
        steps = self._origins.get(origin)
        if steps is None:
            return 0
        hit = (steps.start < end_ns) & (steps.end > start_ns)
        start, end = steps.start[hit], steps.end[hit]
        if not len(start) or int(start[0]) > start_ns or int(end[-1]) < end_ns:
            return 0
        return 0 if bool((start[1:] > end[:-1]).any()) else int(steps.as_of[hit].min())

    def drop(self, origin: int, through_lsn: int) -> None:
        """Everything of ``origin`` up to ``through_lsn`` has been received."""
        steps = self._origins.get(origin)
        if steps is not None:
            left = steps.above(through_lsn)
            if len(left.start):
                self._origins[origin] = left
            else:
                del self._origins[origin]

    def drop_settled(self, settled: Callable[[int], int]) -> None:
        """As ``drop``, for every origin."""
        for origin in list(self._origins):
            self.drop(origin, settled(origin))

    def pack(self) -> list[Any]:
        """As plain values: per origin its index, and its starts, ends and floors as bytes."""
        return [
            [origin, steps.start.tobytes(), steps.end.tobytes(), steps.as_of.tobytes()]
            for origin, steps in self._origins.items()
        ]

    @classmethod
    def unpack(cls, values: Sequence[Sequence[Any]]) -> Floors:
        """The inverse of ``pack``."""
        floors = cls()
        for origin, start, end, as_of in values:
            lsns: npt.NDArray[np.uint64] = np.frombuffer(as_of, "<u8")
            floors._origins[origin] = _Steps(
                np.frombuffer(start, "<i8"), np.frombuffer(end, "<i8"), lsns
            )
        return floors


def encode_floors(tables: dict[str, Floors]) -> bytes:
    """The checkpoint section."""
    packed: bytes = msgpack.packb({name: f.pack() for name, f in tables.items() if len(f)})
    return packed


def decode_floors(data: bytes) -> dict[str, Floors]:
    """The inverse of ``encode_floors``."""
    return {name: Floors.unpack(values) for name, values in msgpack.unpackb(data).items()}
