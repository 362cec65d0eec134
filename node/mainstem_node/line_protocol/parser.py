"""Line protocol: bytes in, the points of each measurement as columns out.

Large texts are read a piece at a time (chunk.py); lines that need it, and small texts, are read
one by one (line.py). Both say the same of every line.
"""

from __future__ import annotations

import numpy as np

from mainstem_engine.columns import TIME_MAX_NS, TIME_MIN_NS
from mainstem_engine.model import BoolMask
from mainstem_node.line_protocol.chunk import (
    Bytes,
    Split,
    Structure,
    keys_of,
    split,
    structured,
    valued,
)
from mainstem_node.line_protocol.collected import UNREADABLE, Collected, Int64, Values
from mainstem_node.line_protocol.line import Line, read_line, scaled_time
from mainstem_node.line_protocol.points import BadLine, Parsed

PRECISIONS = {
    "ns": 1, "n": 1, "us": 10**3, "u": 10**3, "µ": 10**3, "ms": 10**6, "s": 10**9,
    "m": 60 * 10**9, "h": 3600 * 10**9,
}  # fmt: skip
"""Nanoseconds per unit of the time, by the names that versions 1 and 2 give them."""
PIECE_BYTES = 256 << 10
"""Read at once: its arrays stay in a processor's second-level cache."""
SMALL_BYTES = 2 << 10
"""Below it the fixed cost of a piece, 0.3 ms, is more than reading its lines one by one."""
BAD_TEXT_BYTES_MAX = 1000
"""Of a bad line: enough to see what it is."""
BAD_LINES_MAX = 100_000
"""A text with more is not line protocol; the rest of it is not read."""
LINES_MAX = 500_000
"""About 100 bytes of arrays each, whatever stands in them."""
SERIES_MAX = 50_000
"""About 1.5 KiB each. A text whose every line is another series is taken for a mistake."""
OUT_OF_TIME = "a time that cannot be stored"


class TooMuchError(ValueError):
    """A text that is not read: too many lines, series or bad lines. ``line``: where that is seen,
    or the first bad line."""

    def __init__(self, problem: str, line: BadLine) -> None:
        super().__init__(problem)
        self.line = line


class TooManyBadLinesError(TooMuchError):
    """More than BAD_LINES_MAX lines cannot be read: the text is something else."""

    def __init__(self, first: BadLine) -> None:
        super().__init__(f"more than {BAD_LINES_MAX} lines are no line protocol", first)


def parse_lines(data: bytes, precision_ns: int = 1) -> Parsed:
    """All points and bad lines of a text. Raises TooMuchError, TooManyBadLinesError."""
    if data.count(b"\n") > LINES_MAX:
        raise TooMuchError(f"more than {LINES_MAX} lines", BadLine(1, "too many lines", b""))
    reading = _Reading(data, precision_ns)
    reading.run()
    return Parsed(reading.collected.points(), sorted(reading.bad, key=lambda bad: bad.number))


class _Reading:
    """One text being read. ``at``: where the next piece begins; ``number``: of its first line."""

    def __init__(self, data: bytes, precision_ns: int) -> None:
        self.data = data
        self.factor = precision_ns
        self.collected = Collected()
        self.bad: list[BadLine] = []
        self.at = 0
        self.number = 1
        self._backslashes = b"\\" in data
        self._quotes = b'"' in data

    def run(self) -> None:
        if not self.data.endswith(b"\n"):
            self.data += b"\n"
        if len(self.data) > SMALL_BYTES:
            while self.at < len(self.data):
                self._piece()
        else:
            lines: list[tuple[int, Line, int | None]] = []
            while self.at < len(self.data):
                end = self._line(self.number, self.at, lines)
                self.number += self.data.count(b"\n", self.at, end)
                self.at = end
            self.collected.add_lines(lines)

    def _check_series(self) -> None:
        if self.collected.series_count > SERIES_MAX:
            problem = f"more than {SERIES_MAX} series"
            raise TooMuchError(problem, BadLine(self.number, problem, b""))

    def _line(self, number: int, at: int, lines: list[tuple[int, Line, int | None]]) -> int:
        """Reads one line; returns where the next one begins."""
        end, found = read_line(self.data, at)
        if isinstance(found, Line):
            time_ns = None
            if found.time is not None:
                time_ns = scaled_time(found.time, self.factor)
                if time_ns is None:
                    found = OUT_OF_TIME
            if isinstance(found, Line):
                lines.append((number, found, time_ns))
        if isinstance(found, str):
            text = self.data[at : min(end, at + BAD_TEXT_BYTES_MAX)].rstrip(b"\r\n")
            self.bad.append(BadLine(number, found, text))
            if len(self.bad) > BAD_LINES_MAX:
                raise TooManyBadLinesError(self.bad[0])
        return end

    def _piece(self) -> None:
        data, start = self.data, self.at
        end = data.find(b"\n", min(start + PIECE_BYTES, len(data)) - 1) + 1
        text = np.frombuffer(data, np.uint8, end - start, start)
        found = split(
            text,
            backslashes=self._backslashes and data.find(b"\\", start, end) >= 0,
            quotes=self._quotes and data.find(b'"', start, end) >= 0,
        )
        lines: list[tuple[int, Line, int | None]] = []
        next_start = self._suspicious(found, start, end, lines)
        structure = structured(found)
        self._together(text, found, structure)
        rest = found.alone & ~found.suspicious
        for at in np.flatnonzero(rest).tolist():
            self._line(self.number + at, start + int(found.starts[at]), lines)
        self.collected.add_lines(lines)
        self._check_series()
        self.number += len(found.starts) + data.count(b"\n", end, next_start)
        self.at = next_start

    def _suspicious(
        self, found: Split, start: int, end: int, lines: list[tuple[int, Line, int | None]]
    ) -> int:
        """Reads the lines that may hold line ends; what they cover are no lines. Returns where the
        next piece begins."""
        covered = 0
        for at in np.flatnonzero(found.suspicious).tolist():
            if found.starts[at] < covered:
                continue
            covered = self._line(self.number + at, start + int(found.starts[at]), lines) - start
            if covered > found.ends[at] + 1:
                until = int(np.searchsorted(found.starts, covered))
                found.empty[at + 1 : until] = True
                found.alone[at + 1 : until] = False
        return max(end, start + covered)

    def _together(self, text: Bytes, found: Split, structure: Structure) -> None:
        """Adds the lines that are in order; those in doubt become ``alone``."""
        count = len(structure.lines)
        if not count:
            return
        collected = self.collected
        kinds = collected.kinds(keys_of(text, found, structure))
        values, doubtful, stamps, bad_times = valued(text, structure, collected.texts)
        times = np.zeros(count, np.int64)
        times[structure.timed], out = self._scaled(stamps)
        doubt = kinds == UNREADABLE
        doubt[np.flatnonzero(structure.timed)[bad_times | out]] = True
        if len(doubtful):
            line_of_value = np.repeat(np.arange(count), structure.value_counts)
            doubt[line_of_value[doubtful]] = True
        numbers = self.number + structure.lines
        counts, timed = structure.value_counts, structure.timed
        if doubt.any():
            found.alone[structure.lines[doubt]] = True
            good = ~doubt
            chosen = np.repeat(good, counts)
            values = Values(values.types[chosen], values.floats[chosen], values.integers[chosen])
            kinds, counts, times = kinds[good], counts[good], times[good]
            timed, numbers = timed[good], numbers[good]
            if not len(kinds):
                return
        collected.add(kinds, counts, values, times, timed, numbers)

    def _scaled(self, stamps: Int64) -> tuple[Int64, BoolMask]:
        """(times in ns, which of them cannot be stored)."""
        factor = self.factor
        out = (stamps > TIME_MAX_NS // factor) | (stamps < -(-TIME_MIN_NS // factor))
        return stamps * factor, out
