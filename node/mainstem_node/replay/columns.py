"""Columns of a recording: what their cells are, and which are sent under which name.

A column keeps one type: with any fraction in it, every cell is a float. An empty cell is absent.
Numbers are parsed as Python does it, so a float is the float64 nearest to the decimal in the file.
"""

from __future__ import annotations

import csv
import enum
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mainstem_node.replay.errors import CsvError

Value = int | float | bool | str

INTEGER = re.compile(r"[+-]?\d+")
DECIMAL = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_COMMA_DECIMAL = re.compile(r"[+-]?\d+,\d+(?:[eE][+-]?\d+)?")
_NOT_A_NUMBER = frozenset({"nan", "-nan", "inf", "-inf", "+inf", "infinity", "-infinity"})
_BOOLEANS = {"true": True, "false": False}
_INT64_MIN, _UINT64_MAX = -(2**63), 2**64 - 1
COLUMNS_SHOWN = 20
"""Names that an error lists; a file may have hundreds."""


class Kind(enum.Enum):
    """What a column's cells are sent as."""

    INTEGER = "integer"
    FLOAT = "float"
    BOOLEAN = "boolean"
    TEXT = "text"


@dataclass(slots=True)
class ColumnSurvey:
    """What one pass has seen of a column."""

    present: int = 0
    integers: int = 0
    decimals: int = 0
    comma_decimals: int = 0
    not_numbers: int = 0
    booleans: int = 0
    wide: bool = False

    def see(self, text: str) -> None:
        """Takes one non-empty cell into account."""
        self.present += 1
        if INTEGER.fullmatch(text):
            self.integers += 1
            # A float64 is the only number that can still hold it.
            self.wide = self.wide or not _INT64_MIN <= int(text) <= _UINT64_MAX
        elif DECIMAL.fullmatch(text):
            self.decimals += 1
        elif _COMMA_DECIMAL.fullmatch(text):
            self.comma_decimals += 1
        elif text.lower() in _NOT_A_NUMBER:
            self.not_numbers += 1
        elif text.lower() in _BOOLEANS:
            self.booleans += 1

    def decide(self) -> tuple[Kind, bool]:
        """The column's kind, and whether its decimal sign is a comma."""
        comma = self.comma_decimals > 0 and self.decimals == 0
        numbers = self.integers + self.decimals + self.not_numbers
        numbers += self.comma_decimals if comma else 0
        if self.booleans and self.booleans == self.present:
            return Kind.BOOLEAN, False
        if numbers < self.present:
            return Kind.TEXT, False
        fractions = self.decimals or self.comma_decimals or self.not_numbers or self.wide
        return (Kind.FLOAT if fractions else Kind.INTEGER), comma


@dataclass(frozen=True, slots=True)
class SentColumn:
    """One column of the file and the measurement it is sent as."""

    index: int
    source: str
    name: str
    kind: Kind = Kind.TEXT
    decimal_comma: bool = False

    def read(self, text: str) -> Value | None:
        """The value of a non-empty cell; None for NaN and infinities, which JSON cannot carry."""
        if self.kind is Kind.INTEGER:
            return int(text)
        if self.kind is Kind.FLOAT:
            number = float(text.replace(",", ".") if self.decimal_comma else text)
            return number if number - number == 0 else None
        if self.kind is Kind.BOOLEAN:
            return _BOOLEANS[text.lower()]
        return text


def picked_columns(
    path: Path, names: Sequence[str], time_index: int, columns: str | None
) -> list[SentColumn]:
    """The columns to send, in the order asked for; by default all but the time."""
    if columns is None:
        return [SentColumn(i, name, name) for i, name in enumerate(names) if i != time_index]
    picked = []
    # The csv module reads the option too, so that a quoted name may hold a comma.
    for item in next(csv.reader([columns])):
        source, renamed, target = item.strip().rpartition("=")
        if not renamed or item.strip() in names:
            source = target = item.strip()
        if source not in names:
            raise CsvError(path, 1, source, "there is no such column", columns_remedy(names))
        if not target:
            raise CsvError(path, 1, source, "the new name is empty", "write --columns old=new")
        picked.append(SentColumn(names.index(source), source, target))
    sent = [column.name for column in picked]
    twice = sorted({name for name in sent if sent.count(name) > 1})
    if twice:
        raise CsvError(path, 1, twice[0], "two columns would be sent under this name",
                       "give them different names with --columns old=new")  # fmt: skip
    return picked


def columns_remedy(names: Sequence[str]) -> str:
    """Names the columns that there are."""
    more = ", ..." if len(names) > COLUMNS_SHOWN else ""
    shown = ", ".join(names[:COLUMNS_SHOWN]) + more
    return f"the file has {shown}"
