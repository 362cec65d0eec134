"""CSV payloads: a header line with the names, then one line per row.

1. The delimiter is a comma, or a semicolon or tab when the header has one and no comma. Cells may
   be quoted as RFC 4180 says. Payloads are UTF-8.
2. An empty cell is absent. All other cells are text; what they stand for is read from the
   template's types later. Times may be numbers or texts.
3. A line with another number of cells than the header fails alone; a payload without a header, or
   one that is no text, fails as a whole.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from mainstem_edge.decode.interface import Decoded, Failure, KnownNames
from mainstem_edge.values import number_of

DELIMITERS = (",", ";", "\t")


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
                header, lines = _split(payload)
            except (ValueError, csv.Error) as error:
                decoded.failures.append(Failure(message, f"not CSV: {error}"))
                continue
            whole = [line for line in lines if len(line) == len(header)]
            for line in lines:
                if len(line) != len(header):
                    problem = f"{len(line)} cells, the header has {len(header)}"
                    decoded.failures.append(Failure(message, problem, line))
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


def _split(payload: bytes) -> tuple[list[str], list[list[str]]]:
    """(names, cells of each line). Raises ValueError or csv.Error."""
    text = payload.decode("utf-8-sig")
    first = text.partition("\n")[0]
    delimiter = next((each for each in DELIMITERS if each in first), DELIMITERS[0])
    lines = [
        line for line in csv.reader(io.StringIO(text), delimiter=delimiter, strict=True) if line
    ]
    if not lines or not all(name.strip() for name in lines[0]):
        raise ValueError("there is no header with a name for each column")
    return [name.strip() for name in lines[0]], lines[1:]
