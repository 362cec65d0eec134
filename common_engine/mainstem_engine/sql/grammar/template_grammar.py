"""The grammar of CREATE for what holds rows: templates, tables, and series of IoTDB.

Both peers' spellings lead to the same statement: CREATE STABLE ... TAGS and CREATE SCHEMA TEMPLATE
(with or without parentheses around each measurement), CREATE TABLE with columns and CREATE ALIGNED
TIMESERIES. Options that mean nothing here are taken with a warning.
"""

from __future__ import annotations

from sqlglot.tokenizer_core import TokenType

from mainstem_engine.errors import OutOfRangeError, SqlSyntaxError, SqlUnsupportedError
from mainstem_engine.model import AUTO, ColumnType, Measurement, Template
from mainstem_engine.sql.grammar.column_types import (
    checked_compression,
    checked_encoding,
    checked_tag,
    column_type,
)
from mainstem_engine.sql.grammar.row_grammar import RowGrammar
from mainstem_engine.sql.statements import (
    CreateDevices,
    CreateSeries,
    CreateTable,
    CreateTemplate,
    Name,
)
from mainstem_engine.sql.times import parse_duration_ns

ENCODING_WORDS = ("ENCODING", "ENCODE")
COMPRESSION_WORDS = ("COMPRESSION", "COMPRESSOR", "COMPRESS")

_COLUMN_HINTS = {
    **dict.fromkeys(("PRIMARY", "COMPOSITE"), "rows are told apart by device and time alone"),
    **dict.fromkeys(("NOT", "NULL"), "every value may be missing"),
    "DEFAULT": "give the value with the row",
}
_FOREVER = frozenset({"unlimited", "forever", "inf", "none", "null"})


class TemplateGrammar(RowGrammar):
    """Parser methods for templates, tables and series, and for the options of all definitions."""

    def option_value(self) -> str:
        """A string, a word, or a number with its unit directly behind it (``365d``)."""
        token = self.match_type(TokenType.NUMBER)
        if token is None:
            return self.parse_word_or_string("a value")
        if self._curr and self._is_connected() and self._curr.text.isalpha():
            self._advance()
            return token.text + self._prev.text
        return token.text

    def if_not_exists(self) -> bool:
        """Takes IF NOT EXISTS."""
        return bool(self._match_text_seq("IF", "NOT", "EXISTS"))

    # Tables

    def parse_create_table(self) -> CreateTemplate | CreateTable | CreateDevices:
        """After CREATE TABLE: ``name USING ...``; with columns and TAGS a super table, as older
        spellings have it; with columns alone a plain table."""
        index = self._index
        if_not_exists = self.if_not_exists()
        name = self.parse_name("a table")
        if not self._match(TokenType.L_PAREN, advance=False):
            self._retreat(index)
            return self.parse_create_devices()
        time_name, columns, warnings = self._timed_columns(name)
        if self._match_text_seq("TAGS", advance=False):
            self._retreat(index)
            return self.parse_create_stable()
        keep_ns = self._table_options(name, warnings)
        return CreateTable(name, columns, time_name, keep_ns, if_not_exists, tuple(warnings))

    def parse_create_stable(self) -> CreateTemplate:
        """After CREATE STABLE; without TAGS its tables have none."""
        if_not_exists = self.if_not_exists()
        name = self.parse_name("a table")
        time_name, columns, warnings = self._timed_columns(name)
        tags: list[Measurement] = []
        if self._match_text_seq("TAGS"):
            tags, tag_warnings = self.parse_columns()
            warnings += tag_warnings
        keep_ns = self._table_options(name, warnings)
        template = Template(
            name=name.elements[-1],
            measurements=columns,
            tags=tuple(checked_tag(tag.name, tag.type) for tag in tags),
            time_name=time_name,
            keep_ns=keep_ns,
        )
        return CreateTemplate(template, if_not_exists, tuple(warnings))

    def _timed_columns(self, name: Name) -> tuple[str, tuple[Measurement, ...], list[str]]:
        """The name of the time, the measurements and what to warn of."""
        columns, warnings = self.parse_columns()
        first = columns[0]
        if first.type != ColumnType.TIMESTAMP:
            raise SqlSyntaxError(
                f"the first column of {name} is {first.type.name}",
                field=first.name,
                hint="the first column of a table is its time: ts TIMESTAMP",
            )
        return first.name, tuple(columns[1:]), warnings

    def _table_options(self, name: Name, warnings: list[str]) -> int | None:
        """What stands behind the columns; how long rows are kept, None where it does not say."""
        keep_ns = None
        while self._curr and self._curr.token_type not in (TokenType.COMMA, TokenType.SEMICOLON):
            if self._match_text_seq("AS"):
                raise SqlUnsupportedError(
                    "CREATE TABLE ... AS is not supported",
                    hint="CREATE TABLE t (...), then INSERT INTO t SELECT ...",
                )
            option = self.parse_word("an option").upper()
            if self._match(TokenType.L_PAREN, advance=False):
                # SMA(a, b): every block has the statistics of its columns.
                self.parse_words("a column")
                warnings.append(f"table {name}: {option} has no effect")
                continue
            self._match(TokenType.EQ)
            value = self.option_value()
            if option == "KEEP":
                keep_ns = keep_duration_ns(value, "d")
            else:
                warnings.append(f"table {name}: {option} {value!r} has no effect")
        return keep_ns

    # Series

    def parse_create_series(self) -> CreateSeries:
        """After CREATE TIMESERIES: ``path [WITH] [DATATYPE=]TYPE [, option=value ...]``, and TAGS
        and ATTRIBUTES."""
        if_not_exists = self.if_not_exists()
        path = self.parse_name("the path of a series")
        if len(path.elements) < 2:
            self.expected("a path such as root.a.d1.s1")
        device, name = Name(path.elements[:-1]), path.elements[-1]
        warnings: list[str] = []
        if self._match(TokenType.L_PAREN):
            warnings.append(f"series {path}: alias {self.parse_word('an alias')} has no effect")
            self._match_r_paren()
        self._match_text_seq("WITH")
        if self._match_text_seq("DATATYPE"):
            self._match(TokenType.EQ)
        kind = self.parse_type()
        self._match(TokenType.COMMA)
        column = self._series_column(name, kind, warnings)
        tags = self._series_tags(path, warnings)
        return CreateSeries(device, (column,), tags, tuple(warnings), if_not_exists)

    def parse_create_aligned(self) -> CreateSeries:
        """After CREATE ALIGNED: ``TIMESERIES path(name TYPE [options], ...)``."""
        self.require("TIMESERIES")
        if_not_exists = self.if_not_exists()
        device = self.parse_name("the path of a device")
        columns, warnings = self.parse_columns()
        tags = self._series_tags(device, warnings)
        return CreateSeries(device, tuple(columns), tags, tuple(warnings), if_not_exists)

    def _series_column(self, name: str, kind: ColumnType, warnings: list[str]) -> Measurement:
        encoding = compression = AUTO
        while self._curr and self._curr.text.upper() not in ("TAGS", "ATTRIBUTES"):
            if self._curr.token_type == TokenType.SEMICOLON:
                break
            option = self.parse_word("an option").upper()
            self._match(TokenType.EQ)
            value = self.option_value()
            warning: str | None = f"series {name}: {option} {value!r} has no effect"
            if option in ENCODING_WORDS:
                encoding, warning = checked_encoding(name, kind, value)
            elif option in COMPRESSION_WORDS:
                compression, warning = checked_compression(name, value)
            if warning is not None:
                warnings.append(warning)
            self._match(TokenType.COMMA)
        return Measurement(0, name, kind, encoding, compression)

    def _series_tags(self, name: Name, warnings: list[str]) -> dict[str, str]:
        tags: dict[str, str] = {}
        while self._match_texts(("TAGS", "ATTRIBUTES")):
            is_tags = self._prev.text.upper() == "TAGS"
            written = self.parse_assignments()
            if is_tags:
                tags.update(written)
            else:
                warnings.append(f"{name}: ATTRIBUTES {', '.join(written)} have no effect")
        return tags

    def parse_assignments(self) -> dict[str, str]:
        """``(key=value, ...)`` of words or strings."""
        written: dict[str, str] = {}
        self._match_l_paren()
        while True:
            key = self.parse_word_or_string("a key")
            if not self._match(TokenType.EQ):
                self.expected("=")
            written[key] = self.option_value()
            if not self._match(TokenType.COMMA):
                self._match_r_paren()
                return written

    # Templates

    def parse_create_template(self) -> CreateTemplate:
        """After CREATE SCHEMA TEMPLATE; ALIGNED says what every device is here."""
        if_not_exists = self.if_not_exists()
        name = self.parse_word("a template")
        self._match_text_seq("ALIGNED")
        columns: list[Measurement] = []
        warnings: list[str] = []
        if self._curr and not self._match_pair(TokenType.L_PAREN, TokenType.R_PAREN):
            # Without any, measurements are added later.
            columns, warnings = self.parse_columns()
        return CreateTemplate(Template(name, tuple(columns)), if_not_exists, tuple(warnings))

    def parse_columns(self) -> tuple[list[Measurement], list[str]]:
        """``(name TYPE [options], ...)``: each may stand in parentheses; a last comma is fine."""
        columns: list[Measurement] = []
        warnings: list[str] = []
        self._match_l_paren()
        while not self._match(TokenType.R_PAREN):
            wrapped = self._match(TokenType.L_PAREN)
            columns.append(self.parse_column(len(columns), warnings))
            if wrapped:
                self._match_r_paren()
            if not self._match(TokenType.COMMA):
                self._match_r_paren()
                break
        if not columns:
            self.raise_error("Expected at least one column")
        return columns, warnings

    def parse_column(self, number: int, warnings: list[str]) -> Measurement:
        """``name TYPE [options]``."""
        name = self.parse_word("a column")
        kind = self.parse_type()
        encoding, compression, unit = self.parse_column_options(name, kind, warnings)
        return Measurement(number, name, kind, encoding or AUTO, compression or AUTO, unit)

    def parse_type(self) -> ColumnType:
        """A type by any of its names."""
        written = self.parse_word("a type")
        if self._match(TokenType.L_PAREN):
            # A length such as VARCHAR(64) is a limit of the peers; text is not limited here.
            self.parse_integer("a length")
            if self._match(TokenType.COMMA):
                self.parse_integer("a scale")
            self._match_r_paren()
        return column_type(written, unsigned=bool(self._match_text_seq("UNSIGNED")))

    def parse_column_options(
        self, name: str, kind: ColumnType, warnings: list[str]
    ) -> tuple[str | None, str | None, str | None]:
        """(encoding, compression, unit) as far as they are named, up to a comma or parenthesis."""
        encoding = compression = unit = None
        while self._curr and self._curr.token_type not in (TokenType.COMMA, TokenType.R_PAREN):
            option = self.parse_word("an option").upper()
            if option == "PRIMARY" and kind == ColumnType.TIMESTAMP:
                # KEY belongs to the same token, which is behind us.
                continue
            if option in ("TAGS", "ATTRIBUTES"):
                names = ", ".join(self.parse_assignments())
                warnings.append(f"column {name}: {option} {names} have no effect")
                continue
            self._match(TokenType.EQ)
            warning: str | None = None
            if option in ENCODING_WORDS:
                encoding, warning = checked_encoding(name, kind, self.option_value())
            elif option in COMPRESSION_WORDS:
                compression, warning = checked_compression(name, self.option_value())
            elif option == "UNIT":
                unit = self.option_value()
            elif option in ("LEVEL", "COMMENT"):
                warning = f"column {name}: {option} {self.option_value()!r} has no effect"
            else:
                raise SqlUnsupportedError(
                    f"column {name}: {option} is not supported",
                    field=name,
                    hint=_COLUMN_HINTS.get(option, "use ENCODING, COMPRESSION or UNIT"),
                )
            if warning is not None:
                warnings.append(warning)
        return encoding, compression, unit


def keep_duration_ns(value: str, bare_unit: str) -> int | None:
    """``30d``, or None for UNLIMITED. Raises SqlSyntaxError."""
    if value.strip().lower() in _FOREVER:
        return None
    try:
        return parse_duration_ns(value, bare_unit=bare_unit)
    except OutOfRangeError:
        # No time can be so old: KEEP 365000d keeps for ever.
        return None
