"""Bytes of a file, cut into whole lines.

1. A piece ends behind a line end. What follows the last one waits for more, and is a line where the
   file is complete.
2. Of ``quoted`` text (RFC 4180) a piece ends where an even number of quotes lies before it, so that
   a cell with line ends in it is in one piece. Where a quote is left open for longer than a line
   may be, every line end counts again.
3. A line longer than ``line_bytes_max`` is passed over and counted.

Memory: a piece is at most CHUNK_BYTES longer than the longest line. Pure but for ``read``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

CHUNK_BYTES = 256 << 10
"""Two pieces are a batch of the intake, which is sized for the processor's cache."""


class Lines(NamedTuple):
    """Whole lines. ``end``: the place behind them."""

    data: bytes
    end: int


class LineCutter:
    """``read(n)``: the next bytes, at most n; none at the present end. ``offset``: of the first."""

    def __init__(
        self,
        read: Callable[[int], bytes],
        *,
        offset: int = 0,
        line_bytes_max: int = 1 << 20,
        quoted: bool = False,
    ) -> None:
        self._read = read
        self._start = offset
        self._buffer = b""
        self._line_bytes_max = line_bytes_max
        self._quoted = quoted
        self._is_passing = False
        self.long_lines = 0

    @property
    def taken(self) -> int:
        """The place up to which bytes were read."""
        return self._start + len(self._buffer)

    @property
    def held_bytes(self) -> int:
        """What was read of a line without an end."""
        return len(self._buffer)

    def next(self, *, is_complete: bool) -> Lines | None:
        """The next whole lines. None: there are none now, and of a complete file never again."""
        while True:
            cut = self._cut()
            if cut:
                return self._take(cut)
            more = self._read(CHUNK_BYTES)
            if more:
                self._add(more)
            elif is_complete and self._buffer:
                return self._take(len(self._buffer))
            else:
                return None

    def _add(self, more: bytes) -> None:
        if self._is_passing:
            behind = more.find(b"\n") + 1
            self._is_passing = not behind
            self._start += behind or len(more)
            more = more[behind:] if behind else b""
        self._buffer += more
        if len(self._buffer) > self._line_bytes_max and b"\n" not in self._buffer:
            self._is_passing = True
            self.long_lines += 1
            self._start += len(self._buffer)
            self._buffer = b""

    def _cut(self) -> int:
        """How much of the buffer is whole lines."""
        data = self._buffer
        end = last = data.rfind(b"\n") + 1
        if not end or not self._quoted:
            return end
        is_open = data.count(b'"', 0, end) % 2
        while is_open:
            before = data.rfind(b"\n", 0, end - 1) + 1
            if not before:  # all of it may be one line, with more to come
                return last if len(data) > self._line_bytes_max else 0
            is_open ^= data.count(b'"', before, end) % 2
            end = before
        return end

    def _take(self, cut: int) -> Lines:
        data, self._buffer = self._buffer[:cut], self._buffer[cut:]
        self._start += cut
        if len(data) > self._line_bytes_max:
            lines = data.splitlines(keepends=True)
            kept = [line for line in lines if len(line) <= self._line_bytes_max]
            self.long_lines += len(lines) - len(kept)
            data = b"".join(kept)
        return Lines(data, self._start)
