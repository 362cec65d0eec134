"""Line protocol in messages: many lines each, read together where that cannot mix messages up.

1. Messages without a quote are read as one text; one with quotes is read alone, because a text that
   is not closed would go on in the next message. Rows stay in order of arrival.
2. For a subscription with a template a line is a row: its fields are the measurements. Its tags and
   its ``measurement`` are there for placeholders, and nothing else.
3. A line that cannot be read is a failure of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mainstem_edge.decode.interface import Decoded, Failure, KnownNames
from mainstem_node.line_protocol.parser import TooMuchError, parse_lines
from mainstem_node.line_protocol.points import FieldType, Index, Parsed, Points

MEASUREMENT_KEY = "measurement"


@dataclass(frozen=True, slots=True)
class Piece:
    """Messages that were read together. ``message_of[n - 1]``: which one line n came from."""

    parsed: Parsed
    message_of: Index

    def messages(self, points: Points) -> list[int]:
        """The message of each point."""
        found: list[int] = self.message_of[points.lines - 1].tolist()
        return found

    @property
    def failures(self) -> list[Failure]:
        return [
            Failure(
                int(self.message_of[bad.number - 1]),
                bad.problem,
                f"{bad.problem}: {bad.text.decode('utf-8', 'backslashreplace')}",
            )
            for bad in self.parsed.bad
        ]


def pieces_of(payloads: Sequence[bytes], precision_ns: int = 1) -> Iterator[Piece]:
    """All lines of these messages, in order."""
    together: list[int] = []
    for message, payload in enumerate(payloads):
        if b'"' in payload:
            yield from _read(payloads, together, precision_ns)
            together = []
            yield from _read(payloads, [message], precision_ns)
        else:
            together.append(message)
    yield from _read(payloads, together, precision_ns)


def _read(payloads: Sequence[bytes], messages: list[int], precision_ns: int) -> Iterator[Piece]:
    if not messages:
        return
    some = [payloads[message] for message in messages]
    lines = [payload.count(b"\n") + 1 for payload in some]
    message_of = np.repeat(np.array(messages, np.intp), lines)
    try:
        parsed = parse_lines(b"\n".join(some), precision_ns)
    except TooMuchError as error:
        if len(messages) > 1:
            for message in messages:
                yield from _read(payloads, [message], precision_ns)
            return
        parsed = Parsed([], [error.line])
    yield Piece(parsed, message_of)


def add_fields(
    decoded: Decoded,
    points: Points,
    messages: Sequence[int],
    name_of: Callable[[str], str | None],
    more: dict[str, list[Any]] | None = None,
) -> None:
    """Appends points as rows. ``name_of``: the known name of a field; ``more``: further columns."""
    columns: dict[str, list[Any]] = {}
    before = len(decoded)
    mixed = {name for name in decoded.columns if name not in decoded.floats}
    for column in points.columns:
        known = name_of(column.name)
        rows, values = column.rows.tolist(), column.values.tolist()
        if known is None:
            decoded.extras += [
                (before + row, column.name, value) for row, value in zip(rows, values, strict=True)
            ]
            continue
        if column.type == FieldType.FLOAT and known not in mixed:
            decoded.floats.add(known)
        else:
            mixed.add(known)
            decoded.floats.discard(known)
        if len(rows) == len(points):
            columns[known] = values
            continue
        into = columns.setdefault(known, [None] * len(points))
        for row, value in zip(rows, values, strict=True):
            into[row] = value
    decoded.add(messages, {**(more or {}), **columns})


class LineCodec:
    """Reads line protocol for one subscription. The time goes under the first of the fields."""

    def __init__(self, known: KnownNames, time_fields: Sequence[str] = ()) -> None:
        self._known = known
        self._time_field = time_fields[0] if time_fields else None

    def decode(self, payloads: Sequence[bytes]) -> Decoded:
        """All rows of these messages, in order."""
        decoded = Decoded([], {})
        for piece in pieces_of(payloads):
            decoded.failures += piece.failures
            for points in piece.parsed.points:
                messages = piece.messages(points)
                add_fields(decoded, points, messages, self._known.get, self._others(points))
        if len(decoded) and decoded.source != sorted(decoded.source):
            _sort(decoded)
        return decoded

    def _others(self, points: Points) -> dict[str, list[Any]]:
        """The time, and what placeholders ask for."""
        found: dict[str, list[Any]] = {}
        of_series: dict[str, list[Any]] = {}
        for at, tags in enumerate(points.series):
            for key, value in tags:
                known = self._known.get(key)
                if known is not None:
                    of_series.setdefault(known, [None] * len(points.series))[at] = value
        places = points.series_of.tolist()
        for name, values in of_series.items():
            found[name] = [values[at] for at in places]
        measurement = self._known.get(MEASUREMENT_KEY)
        if measurement is not None and measurement not in found:
            found[measurement] = [points.measurement] * len(points)
        if self._time_field is not None:
            stamps = points.time_ns.tolist()
            if not points.timed.all():
                timed = points.timed.tolist()
                stamps = [t if has else None for t, has in zip(stamps, timed, strict=True)]
            found[self._time_field] = stamps
        return found


def _sort(decoded: Decoded) -> None:
    """Rows in the order of their messages, which several measurements have mixed up."""
    order = np.argsort(np.array(decoded.source), kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    rows = order.tolist()
    decoded.source = [decoded.source[row] for row in rows]
    decoded.columns = {name: [v[row] for row in rows] for name, v in decoded.columns.items()}
    decoded.extras = [(int(place[row]), name, value) for row, name, value in decoded.extras]
