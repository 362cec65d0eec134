"""What blocks were found to hold, by the bytes that are stored of them.

A scan that meets bytes which were decoded and hashed before need not do it again: hashing what is
stored is what it costs, which is a fiftieth. A byte that changed, a row that was taken or added is
other bytes. Nothing is noted when rows arrive or are written: only what was read from a part.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Hashable

import numpy as np
import numpy.typing as npt

from mainstem_engine.slices import Sums

MEMORY_SHARE = 64
"""One part in so many of the memory limit is theirs, of what is not counted: 4 MB of 256 MB. A
minute of a device takes 32 bytes: that is a day of 90 devices."""
ENTRY_BYTES = 400
"""Of an entry beside its sums."""


class KnownBlocks:
    """Sums by key, those that were not asked for longest go first. Thread-safe."""

    def __init__(self, bytes_max: int) -> None:
        self.seed = int.from_bytes(os.urandom(8), "little")
        """Of the hashes of this process: nobody can make bytes that look like others."""
        self._bytes_max = bytes_max
        self._bytes = 0
        self._known: OrderedDict[Hashable, npt.NDArray[np.uint64]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> Sums | None:
        """What was noted, or None."""
        with self._lock:
            found = self._known.get(key)
            if found is None:
                return None
            self._known.move_to_end(key)
        start, count, d1, d2 = found
        return start.view(np.int64), count.view(np.int64), d1, d2

    def note(self, key: Hashable, sums: Sums) -> None:
        """Remember the sums of a block."""
        start, count, d1, d2 = sums
        found = np.stack([start.view(np.uint64), count.view(np.uint64), d1, d2])
        with self._lock:
            before = self._known.pop(key, None)
            self._known[key] = found
            self._bytes += _size(found) - (0 if before is None else _size(before))
            while self._bytes > self._bytes_max:
                self._bytes -= _size(self._known.popitem(last=False)[1])


def _size(sums: npt.NDArray[np.uint64]) -> int:
    return sums.nbytes + ENTRY_BYTES
