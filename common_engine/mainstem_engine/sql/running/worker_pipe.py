"""The reading end of a worker's pipe, which another thread can make its reader leave.

A process that was killed still holds its end of a pipe until its memory is given back. On a machine
that is short of processor time that takes seconds, which the statement's caller need not wait for.
"""

from __future__ import annotations

import contextlib
import os
import select
from typing import BinaryIO

PIECE_BYTES = 1 << 20
"""More than a pipe holds."""


class WorkerPipe:
    """``read`` as of a file, by one thread; ``leave`` by any."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._wake_read, self._wake_write = os.pipe()
        self._poll = select.poll()
        for end in (self._source.fileno(), self._wake_read):
            self._poll.register(end, select.POLLIN)

    def read(self, size: int) -> bytes:
        """So many bytes, fewer at the end. Raises EOFError when it is to be left."""
        pieces: list[bytes] = []
        missing = size
        while missing:
            ready = {end for end, _ in self._poll.poll()}
            if self._wake_read in ready:
                raise EOFError("the worker was given up")
            piece = os.read(self._source.fileno(), min(missing, PIECE_BYTES))
            if not piece:
                break
            pieces.append(piece)
            missing -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def leave(self) -> None:
        """Ends reading, now and from now on."""
        # Closed meanwhile: nobody reads.
        with contextlib.suppress(OSError):
            os.write(self._wake_write, b"x")

    def close(self) -> None:
        """Frees the pipe. Nobody may be reading."""
        self._source.close()
        os.close(self._wake_read)
        os.close(self._wake_write)
