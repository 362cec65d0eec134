"""Whether an image is what was stated of its slices: nobody answers with other rows unnoticed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mainstem_engine.slices import SliceDigests
from mainstem_sync.slices.manifest import Ints, Sums


@dataclass(frozen=True, slots=True)
class Word:
    """Slices (ascending) with the count and digest that their owner stated, as of one moment.
    ``version``: what changes when a slice is touched or stated again."""

    keys: Ints
    count: Ints
    d1: Sums
    d2: Sums
    version: Sums

    def broken_by(self, found: SliceDigests, slice_ns: int, now: Word) -> Ints:
        """Slices (ascending) of which ``found``, all that is in the image, is not what was stated.
        ``now``: the same as of a moment after the image was made; what changed meanwhile counts
        for nothing."""
        same = _rows_of(now.keys, self.keys)
        steady = same >= 0
        steady[steady] = now.version[same[steady]] == self.version[steady]
        place = _rows_of(found.start // slice_ns, self.keys)
        there = place >= 0
        differs = np.zeros(len(self.keys), np.bool_)
        for stated, stored in (
            (self.count, found.count), (self.d1, found.d1), (self.d2, found.d2),
        ):  # fmt: skip
            held = np.zeros(len(self.keys), stored.dtype)
            held[there] = stored[place[there]]
            differs |= held != stated
        broken: Ints = self.keys[steady & differs]
        return broken


def _rows_of(keys: Ints, wanted: Ints) -> Ints:
    """Positions of ``wanted`` in ``keys`` (ascending), -1 for one that is not there."""
    at = np.searchsorted(keys, wanted)
    inside = at < len(keys)
    inside[inside] = keys[at[inside]] == wanted[inside]
    return np.where(inside, at, -1)
