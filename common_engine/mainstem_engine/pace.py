"""How much the disk is given at once, so that nobody waits long behind it.

1. A sync waits for all that lies before it, whoever wrote that: on a disk of 1 MiB/s a part of
   30 MiB, written in one go, holds the log up for half a minute, and every acknowledgement with it.
2. So what is large goes in pieces, each of which is on disk before the next is written. Others get
   their turn between two.
3. A piece is as large as this disk takes in AIM_S: it shrinks at once when a sync took longer, and
   doubles while they are quick, so that a fast disk sees few.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from mainstem_engine.filesystem import AppendFile, Buffer, byte_view

LEAST_BYTES = 1 << 20
"""A second of the slowest disk of which anything is promised, 1 MiB/s. Less would not help a disk
that needs its time for every sync, however small."""
MOST_BYTES = 8 << 20
"""From here on syncs cost a fast disk nothing to speak of."""
AIM_S = 1.0
"""Acknowledgements that pause for longer are noticed."""
QUICK_S = AIM_S / 8


class Pace:
    """The size of a piece, ``bytes``; begins with ``first_bytes``. Used by one thread."""

    def __init__(
        self,
        first_bytes: int = LEAST_BYTES,
        *,
        least_bytes: int = LEAST_BYTES,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self._least_bytes = min(least_bytes, most_bytes)
        self._most_bytes = most_bytes
        self.bytes = first_bytes

    def note(self, nbytes: int, took_s: float) -> None:
        """A sync of ``nbytes`` took so long."""
        if took_s > AIM_S:
            fitting = int(nbytes / took_s * AIM_S)
            self.bytes = max(min(self.bytes, fitting), self._least_bytes)
        elif took_s < QUICK_S and nbytes >= self.bytes:
            self.bytes = min(2 * self.bytes, self._most_bytes)


class PacedFile:
    """Writes a large file piece by piece; see the module. It owns ``file``."""

    def __init__(
        self, file: AppendFile, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._file = file
        self._monotonic = monotonic
        self._pace = Pace()
        self._unsynced_bytes = 0

    def write(self, data: Buffer) -> None:
        """Appends all of ``data``. OSError is final: an unknown part is written."""
        view = byte_view(data)
        while len(view):
            piece = view[: self._pace.bytes - self._unsynced_bytes]
            self._file.write([piece])
            self._unsynced_bytes += len(piece)
            view = view[len(piece) :]
            if self._unsynced_bytes >= self._pace.bytes:
                self.sync()

    def sync(self) -> None:
        """Waits until all that was written is on disk. OSError is final."""
        started_s = self._monotonic()
        self._file.sync()
        self._pace.note(self._unsynced_bytes, self._monotonic() - started_s)
        self._unsynced_bytes = 0

    def close(self) -> None:
        """Closes without syncing. May be called twice."""
        self._file.close()
