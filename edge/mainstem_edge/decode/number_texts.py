"""Numbers and booleans that a source writes as text: ``"21.5"`` in JSON, ``21,5`` in a CSV file.

1. Only where a subscription says so, and only for measurements that are numbers or booleans.
2. A number is written whole: digits, a sign, an exponent. With a decimal comma points may group
   digits before it (``1.234,5``). ``1.234`` alone would be two numbers: there it is none.
3. What is no number stays the text that it is, and is put aside as such.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from mainstem_edge.decode.interface import Decoded
from mainstem_edge.values import boolean_of, number_of
from mainstem_engine.model import ColumnType

_COMMA = re.compile(r"[+-]?(?:\d+|\d{1,3}(?:\.\d{3})+(?=,)|(?=,\d))(?:,\d*)?(?:[eE][+-]?\d+)?")


class NumberTexts:
    """``types`` of measurements by the name that payloads have for them. ``decimal``: a point or a
    comma."""

    def __init__(self, types: Mapping[str, ColumnType], decimal: str) -> None:
        self._has_comma = decimal == ","
        self._booleans = {name for name, kind in types.items() if kind == ColumnType.BOOLEAN}
        others = (ColumnType.TEXT, ColumnType.BLOB, ColumnType.TIMESTAMP)
        self._numbers = {name for name, kind in types.items() if kind not in others}

    def take(self, decoded: Decoded) -> None:
        """Replaces texts by what they stand for."""
        for name, values in decoded.columns.items():
            if name in self._numbers and name not in decoded.floats:
                read = boolean_of if name in self._booleans else self._number
                values[:] = [read(v) if isinstance(v, str) else v for v in values]
        decoded.textual = False  # what is text still is no number

    def _number(self, text: str) -> Any:
        stripped = text.strip()
        if self._has_comma:
            if not _COMMA.fullmatch(stripped):
                return text
            stripped = stripped.replace(".", "").replace(",", ".")
        found = number_of(stripped)
        return text if isinstance(found, str) or not math.isfinite(found) else found
