"""A CSV file of measurements, read several times in constant memory.

1. ``open_table`` reads the head of the file and decides the delimiter and whether it has a header.
2. It then reads the file once: which notation the time column uses, and per column whether all
   cells are integers, numbers, booleans or text. A problem is found here, before anything is sent.
3. ``CsvTable.rows`` reads the file again and yields one instant and the present values per row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mainstem_node.replay.columns import (
    ColumnSurvey,
    SentColumn,
    Value,
    columns_remedy,
    picked_columns,
)
from mainstem_node.replay.errors import CsvError
from mainstem_node.replay.records import (
    find_delimiter,
    first_record,
    header_names,
    is_header,
    records,
)
from mainstem_node.time_notations import (
    TimeFormatError,
    TimeReader,
    TimeSurvey,
    reader_for,
    rfc3339,
    zone_named,
)

TIME_NAMES = ("ts", "time", "timestamp", "datetime", "date", "date_time", "time_utc")
"""Names by which a time column is known; without one of them the first column is taken."""


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
        for line, cells in records(self.path, self.delimiter, self.has_header):
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
    delimiter = find_delimiter(path, delimiter)
    first = first_record(path, delimiter)
    has_header = is_header(first)
    names = (
        header_names(path, first) if has_header else [f"column_{i + 1}" for i in range(len(first))]
    )
    time_index = _time_index(path, names, time_column, has_header)
    picked = picked_columns(path, names, time_index, columns)
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
        for line, cells in records(self.path, delimiter, has_header):
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
        for line, cells in records(self.path, delimiter, has_header):
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


def _time_index(path: Path, names: Sequence[str], wanted: str | None, has_header: bool) -> int:
    if wanted is not None:
        if wanted in names:
            return names.index(wanted)
        raise CsvError(path, 1, wanted, "there is no such column", columns_remedy(names))
    if has_header:
        known = [i for i, name in enumerate(names) if name.casefold() in TIME_NAMES]
        if known:
            return known[0]
    return 0
