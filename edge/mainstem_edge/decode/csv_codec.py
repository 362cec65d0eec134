"""CSV payloads: a header line with the names, then one line per row.

1. The delimiter is what the header has most of: commas, semicolons or tabs. Cells may be quoted as
   RFC 4180 says. Payloads are UTF-8.
2. An empty cell is absent. All other cells are text; what they stand for is read from the
   template's types later. Times may be numbers or texts.
3. A line with another number of cells than the header fails alone, and so does one with a wrong
   quote or that is no text; a payload without a header fails as a whole. Empty cells behind the
   last name are none: many programs end each line with a delimiter.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from mainstem_edge.decode.interface import Decoded, Failure, KnownNames
from mainstem_edge.values import number_of

DELIMITERS = (",", ";", "\t")
BOM = b"\xef\xbb\xbf"


class CsvCodec:
    """Reads CSV for one subscription. ``time_fields``: names whose cells may be numbers."""

    def __init__(self, known: KnownNames, time_fields: Sequence[str] = ()) -> None:
        self._known = known
        self._time_fields = frozenset(time_fields)

    def decode(self, payloads: Sequence[bytes]) -> Decoded:
        """All rows of these messages, in order."""
        decoded = Decoded([], {}, textual=True)
        for message, payload in enumerate(payloads):
            try:
                header, lines, wrong = _split(payload)
            except (ValueError, csv.Error) as error:
                decoded.failures.append(Failure(message, f"not CSV: {error}"))
                continue
            lines = [_within(line, len(header)) for line in lines]
            whole = [line for line in lines if len(line) == len(header)]
            for line in lines:
                if len(line) != len(header):
                    problem = f"{len(line)} cells, the header has {len(header)}"
                    decoded.failures.append(Failure(message, problem, line))
            decoded.failures += [Failure(message, "not CSV", line) for line in wrong]
            self._add(decoded, message, header, whole)
        return decoded

    def _add(
        self, decoded: Decoded, message: int, header: list[str], lines: list[list[str]]
    ) -> None:
        columns: dict[str, list[Any]] = {}
        before = len(decoded)
        cells_by_column = zip(*lines, strict=True) if lines else ([] for _ in header)
        for name, cells in zip(header, cells_by_column, strict=True):
            values: list[Any] = [cell or None for cell in cells]
            known = self._known.get(name)
            if known is None:
                decoded.extras += [
                    (before + row, name, v) for row, v in enumerate(values) if v is not None
                ]
            else:
                if known in self._time_fields:
                    values = [None if v is None else number_of(v) for v in values]
                columns[known] = values
        decoded.add([message] * len(lines), columns)


def header_of(line: bytes) -> list[str]:
    """The names of a first line. Raises ValueError, of what is no UTF-8 UnicodeDecodeError."""
    try:
        return _names(_cells(line.decode("utf-8-sig")))
    except csv.Error as error:
        raise ValueError(f"not CSV: {error}") from None


def _split(payload: bytes) -> tuple[list[str], list[list[str]], list[str]]:
    """(names, cells of each line, lines that are none). Raises ValueError or csv.Error."""
    try:
        lines = _cells(payload.decode("utf-8-sig"))
    except (UnicodeDecodeError, csv.Error):
        return _split_by_line(payload)
    return _names(lines), lines[1:], []


def _split_by_line(payload: bytes) -> tuple[list[str], list[list[str]], list[str]]:
    """As ``_split``, of lines that end where the text has a line end: one that is wrong would spoil
    those behind it."""
    first, *rest = payload.splitlines()
    head = first.decode("utf-8-sig")
    names, delimiter = _names(_cells(head)), _delimiter(head)
    good: list[list[str]] = []
    wrong: list[str] = []
    for line in rest:
        try:
            good += _cells(line.decode(), delimiter)
        except (UnicodeDecodeError, csv.Error):
            wrong.append(line.decode("utf-8", "backslashreplace"))
    return names, good, wrong


def _cells(text: str, delimiter: str | None = None) -> list[list[str]]:
    """Of each line that is not empty. Raises csv.Error."""
    found = csv.reader(io.StringIO(text), delimiter=delimiter or _delimiter(text), strict=True)
    return [line for line in found if line]


def _delimiter(text: str) -> str:
    first = text.partition("\n")[0]
    return max(DELIMITERS, key=first.count)  # of as many, the comma: it is the first


def _names(lines: list[list[str]]) -> list[str]:
    names = [name.strip() for name in lines[0]] if lines else []
    while names and not names[-1]:
        names.pop()
    if not names or not all(names):
        raise ValueError("there is no header with a name for each column")
    return names


def _within(line: list[str], count: int) -> list[str]:
    """The cells that have a name, where all others are empty."""
    return line if len(line) <= count or any(line[count:]) else line[:count]
