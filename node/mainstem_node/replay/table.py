"""A CSV file of measurements, read several times in constant memory.

1. ``open_table`` reads the head of the file and decides the delimiter and whether it has a header.
2. It then reads the file once: which notation the time column uses, and per column whether all
   cells are integers, numbers, booleans or text. A problem is found here, before anything is sent.
3. ``CsvTable.rows`` reads the file again and yields one instant and the present values per row.

A column keeps one type: with any fraction in it, every cell is a float. An empty cell is absent.
Numbers are parsed as Python does it, so a float is the float64 nearest to the decimal in the file.
"""

from __future__ import annotations

import csv
import enum
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mainstem_node.replay.errors import CsvError
from mainstem_node.replay.times import (
    TimeFormatError,
    TimeReader,
    TimeSurvey,
    reader_for,
    rfc3339,
    zone_named,
)

Value = int | float | bool | str

DELIMITERS = ",;\t|"
HEAD_LINES = 50
"""Lines looked at to find the delimiter: enough to outvote a decimal comma or a quoted remark."""

TIME_NAMES = ("ts", "time", "timestamp", "datetime", "date", "date_time", "time_utc")
"""Names by which a time column is known; without one of them the first column is taken."""

_INTEGER = re.compile(r"[+-]?\d+")
_DECIMAL = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_COMMA_DECIMAL = re.compile(r"[+-]?\d+,\d+(?:[eE][+-]?\d+)?")
_NOT_A_NUMBER = frozenset({"nan", "-nan", "inf", "-inf", "+inf", "infinity", "-infinity"})
_BOOLEANS = {"true": True, "false": False}
_INT64_MIN, _UINT64_MAX = -(2**63), 2**64 - 1


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
        if _INTEGER.fullmatch(text):
            self.integers += 1
            # A float64 is the only number that can still hold it.
            self.wide = self.wide or not _INT64_MIN <= int(text) <= _UINT64_MAX
        elif _DECIMAL.fullmatch(text):
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


@dataclass(frozen=True, slots=True)
class Row:
    """One row: ``time`` as RFC 3339 in UTC, ``instant_ns``, and the values that are present."""

    line: int
    instant_ns: int
    time: str
    values: dict[str, Value]


@dataclass(slots=True)
class CsvTable:
    """A surveyed file. ``left_out`` counts cells that ``rows`` met and could not send."""

    path: Path
    delimiter: str
    has_header: bool
    time_index: int
    time_name: str
    time_reader: TimeReader
    columns: tuple[SentColumn, ...]
    row_count: int
    zone_assumed: bool
    left_out: int = field(default=0)

    def rows(self) -> Iterator[Row]:
        """Every row in the order of the file."""
        for line, cells in _records(self.path, self.delimiter, self.has_header):
            instant_ns = self.time_reader.read(cells[self.time_index])
            values: dict[str, Value] = {}
            for column in self.columns:
                text = cells[column.index].strip() if column.index < len(cells) else ""
                if not text:
                    continue
                value = column.read(text)
                if value is None:
                    self.left_out += 1
                else:
                    values[column.name] = value
            yield Row(line, instant_ns, rfc3339(instant_ns), values)


def open_table(
    path: Path,
    *,
    delimiter: str = "auto",
    time_column: str | None = None,
    time_format: str = "auto",
    zone: str | None = None,
    columns: str | None = None,
) -> CsvTable:
    """Surveys ``path``. Raises CsvError, naming line and column, for whatever cannot be sent.

    ``columns`` picks and renames: ``a,b=c`` sends column a as it is and column b as c.
    """
    delimiter = _delimiter(path, delimiter)
    first = _first_record(path, delimiter)
    has_header = _is_header(first)
    names = _header(path, first) if has_header else [f"column_{i + 1}" for i in range(len(first))]
    time_index = _time_index(path, names, time_column, has_header)
    picked = _picked(path, names, time_index, columns)
    try:
        zone_info = zone_named(zone or "UTC")
        reader = reader_for(time_format, zone_info)
    except TimeFormatError as error:
        raise CsvError(path, 0, None, str(error), "correct --time-format or --timezone") from None
    survey = _Survey(path, names, time_index, picked, reader)
    survey.run(delimiter, has_header)
    if reader is None:
        try:
            reader = survey.times.decide(zone_info)
        except TimeFormatError as error:
            raise CsvError(
                path, 0, names[time_index], str(error),
                "name the column with --time-column or its notation with --time-format"
                " (iso, dmy, mdy, s, ms, us, ns or a pattern such as '%d.%m.%y %H:%M')",
            ) from None  # fmt: skip
        survey.check_times(reader, delimiter, has_header)
    return CsvTable(
        path=path,
        delimiter=delimiter,
        has_header=has_header,
        time_index=time_index,
        time_name=names[time_index],
        time_reader=reader,
        columns=survey.columns(),
        row_count=survey.row_count,
        zone_assumed=zone is None and reader.names_no_zone(survey.first_time),
    )


class _Survey:
    """The first pass over the whole file."""

    def __init__(
        self,
        path: Path,
        names: Sequence[str],
        time_index: int,
        picked: Sequence[SentColumn],
        reader: TimeReader | None,
    ) -> None:
        self.path = path
        self.names = names
        self.time_index = time_index
        self.picked = picked
        self.reader = reader
        self.times = TimeSurvey()
        self.row_count = 0
        self.first_time = ""
        self._columns = [ColumnSurvey() for _ in picked]

    def run(self, delimiter: str, has_header: bool) -> None:
        for line, cells in _records(self.path, delimiter, has_header):
            if len(cells) > len(self.names):
                raise CsvError(
                    self.path, line, None,
                    f"{len(cells)} cells, but {len(self.names)} columns",
                    "check the quoting, or give the --delimiter",
                )  # fmt: skip
            stamp = cells[self.time_index].strip() if self.time_index < len(cells) else ""
            if not stamp:
                raise CsvError(
                    self.path, line, self.names[self.time_index], "the row has no time",
                    "remove the row, or name another --time-column",
                )  # fmt: skip
            self._see_time(line, stamp)
            for column, survey in zip(self.picked, self._columns, strict=True):
                text = cells[column.index].strip() if column.index < len(cells) else ""
                if text:
                    survey.see(text)
            self.row_count += 1

    def _see_time(self, line: int, stamp: str) -> None:
        self.first_time = self.first_time or stamp
        if self.reader is None:
            self.times.see(stamp)
        else:
            self._read(self.reader, line, stamp)

    def check_times(self, reader: TimeReader, delimiter: str, has_header: bool) -> None:
        """Reads every stamp with the notation that was found: 2018-02-30 looks like a date."""
        for line, cells in _records(self.path, delimiter, has_header):
            self._read(reader, line, cells[self.time_index])

    def _read(self, reader: TimeReader, line: int, stamp: str) -> None:
        try:
            reader.read(stamp)
        except TimeFormatError as error:
            raise CsvError(
                self.path, line, self.names[self.time_index], str(error),
                "correct the cell, or give the --time-format",
            ) from None  # fmt: skip

    def columns(self) -> tuple[SentColumn, ...]:
        decided = []
        for column, survey in zip(self.picked, self._columns, strict=True):
            kind, comma = survey.decide()
            decided.append(SentColumn(column.index, column.source, column.name, kind, comma))
        return tuple(decided)


def _records(path: Path, delimiter: str, skip_first: bool) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of every record that is not blank."""
    try:
        # utf-8-sig drops the byte order mark that spreadsheets write.
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=delimiter)
            for cells in reader:
                if not any(cells):
                    continue
                if not skip_first:
                    yield reader.line_num, cells
                skip_first = False
    except UnicodeDecodeError as error:
        raise CsvError(
            path, 0, None, f"not UTF-8 at byte {error.start}", "convert it: iconv -f LATIN1 -t UTF8"
        ) from None
    except csv.Error as error:
        raise CsvError(path, 0, None, str(error), "check the quoting") from None
    except OSError as error:
        problem = error.strerror or str(error)
        raise CsvError(path, 0, None, problem, "check the path and its permissions") from None


def _first_record(path: Path, delimiter: str) -> list[str]:
    for _, cells in _records(path, delimiter, skip_first=False):
        return [cell.strip() for cell in cells]
    raise CsvError(path, 0, None, "the file is empty", "give a file with rows")


def _delimiter(path: Path, wanted: str) -> str:
    """The character that splits all lines of the head into equally many cells; most cells win."""
    if wanted != "auto":
        named = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";"}.get(wanted, wanted)
        if len(named) != 1:
            raise CsvError(path, 0, None, f"delimiter {wanted!r} is not one character",
                           "use --delimiter auto, ',', ';', '|' or tab")  # fmt: skip
        return named
    best, best_cells = ",", 1
    for candidate in DELIMITERS:
        widths = set()
        for count, (_, cells) in enumerate(_records(path, candidate, skip_first=False)):
            if count >= HEAD_LINES:
                break
            widths.add(len(cells))
        if len(widths) == 1 and (cells_each := widths.pop()) > best_cells:
            best, best_cells = candidate, cells_each
    return best


def _is_header(first: Sequence[str]) -> bool:
    """A header names columns: none of its cells is a number or a time."""
    return not any(_INTEGER.fullmatch(c) or _DECIMAL.fullmatch(c) or _is_time(c) for c in first)


def _is_time(cell: str) -> bool:
    survey = TimeSurvey()
    if cell:
        survey.see(cell)
    return bool(survey.iso or survey.year_last)


def _header(path: Path, first: Sequence[str]) -> list[str]:
    names = [name or f"column_{index + 1}" for index, name in enumerate(first)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise CsvError(path, 1, twice[0], "two columns have this name", "rename one in the file")
    return names


def _time_index(path: Path, names: Sequence[str], wanted: str | None, has_header: bool) -> int:
    if wanted is not None:
        if wanted in names:
            return names.index(wanted)
        raise CsvError(path, 1, wanted, "there is no such column", _columns_remedy(names))
    if has_header:
        known = [i for i, name in enumerate(names) if name.casefold() in TIME_NAMES]
        if known:
            return known[0]
    return 0


def _picked(
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
            raise CsvError(path, 1, source, "there is no such column", _columns_remedy(names))
        if not target:
            raise CsvError(path, 1, source, "the new name is empty", "write --columns old=new")
        picked.append(SentColumn(names.index(source), source, target))
    sent = [column.name for column in picked]
    twice = sorted({name for name in sent if sent.count(name) > 1})
    if twice:
        raise CsvError(path, 1, twice[0], "two columns would be sent under this name",
                       "give them different names with --columns old=new")  # fmt: skip
    return picked


def _columns_remedy(names: Sequence[str]) -> str:
    shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    return f"the file has {shown}"
