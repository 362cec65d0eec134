"""The grammar of CREATE, SET, USE, SHOW and DESCRIBE, and of what is refused by name.

Both peers' spellings lead to the same statement: CREATE STABLE ... TAGS and CREATE SCHEMA TEMPLATE
(with or without parentheses around each measurement), WITH (keep='30d') and KEEP 30d.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlglot.tokenizer_core import TokenType

from mainstem_engine.catalog.database_options import KNOWN
from mainstem_engine.errors import SqlSyntaxError, SqlUnsupportedError
from mainstem_engine.model import AUTO, ColumnType, Measurement, Tag, Template
from mainstem_engine.sql.column_types import checked_compression, checked_encoding, column_type
from mainstem_engine.sql.row_grammar import RowGrammar
from mainstem_engine.sql.statements import (
    ActivateTemplate,
    CreateDatabase,
    CreateDevices,
    CreateTemplate,
    Describe,
    Name,
    SetTemplate,
    SetTtl,
    Show,
    UnsetTemplate,
    UseDatabase,
)
from mainstem_engine.sql.times import parse_duration_ns

ENCODING_WORDS = ("ENCODING", "ENCODE")
COMPRESSION_WORDS = ("COMPRESSION", "COMPRESSOR", "COMPRESS")

_CREATE_HINTS = {
    "TIMESERIES": "CREATE SCHEMA TEMPLATE t (...), then SET SCHEMA TEMPLATE t TO a path",
    "ALIGNED": "CREATE SCHEMA TEMPLATE t (...), then SET SCHEMA TEMPLATE t TO a path",
    "VIEW": "write the query as a WITH clause",
    "INDEX": "device, tags and time are always indexed",
    "STREAM": "declare `rollups` in the topology file",
    "CQ": "declare `rollups` in the topology file",
    "TSMA": "declare `rollups` in the topology file",
    "FUNCTION": "use the functions that SELECT has",
    "USER": "use `mainstem token create`",
}

_SHOWN = (
    "DATABASES", "TEMPLATES", "STABLES", "DEVICES", "TIMESERIES", "TABLES", "TAGS", "TTL",
    "STREAMS", "NODES", "QUARANTINE", "JOBS",
)  # fmt: skip
_SHOW_HINTS = {
    "VERSION": "use `mainstem --version`",
    "FUNCTIONS": "SELECT has every function of DuckDB",
}
_FOREVER = frozenset({"unlimited", "forever", "inf", "none", "null"})

REFUSED = {
    "DROP": "definitions stay; DELETE FROM takes rows away, KEEP and SET TTL bound their age",
    "DEACTIVATE": "a device keeps its template",
    "UPDATE": "INSERT the same time again: rows merge per measurement",
    "MERGE": "INSERT the same time again: rows merge per measurement",
    "TRUNCATE": "use DELETE FROM without WHERE",
    "COPY": "SQL cannot touch files; use `mainstem export` or `mainstem import`",
    "EXPORT": "SQL cannot touch files; use `mainstem export`",
    "IMPORT": "SQL cannot touch files; use `mainstem import`",
    "LOAD": "SQL cannot load files or extensions",
    "INSTALL": "SQL cannot load extensions",
    "ATTACH": "SQL cannot open other databases",
    "DETACH": "SQL cannot open other databases",
    "CONNECT": "SQL cannot open other databases",
    "PRAGMA": "settings cannot be changed by SQL",
    "RESET": "settings cannot be changed by SQL",
    "CALL": "use SELECT",
    "PREPARE": "pass parameters beside the statement and write ? for each",
    "EXECUTE": "pass parameters beside the statement and write ? for each",
    "BEGIN": "every statement is a transaction of its own",
    "START": "every statement is a transaction of its own",
    "COMMIT": "every statement is a transaction of its own",
    "ROLLBACK": "every statement is a transaction of its own",
    "VACUUM": "space is freed by compaction",
    "CHECKPOINT": "use Engine.flush()",
    "FLUSH": "use Engine.flush()",
    "ANALYZE": "statistics are always up to date",
    "SUMMARIZE": "use SELECT with count, min, max, avg",
    "PIVOT": "use aggregates with FILTER (WHERE ...)",
    "UNPIVOT": "use UNION ALL",
    "GRANT": "use `mainstem token create`",
    "REVOKE": "use `mainstem token revoke`",
}
"""First words of statements that are not run, and what to do instead."""


class DefinitionGrammar(RowGrammar):
    """Parser methods for definitions and for what lists them."""

    def parse_create(
        self,
    ) -> CreateDatabase | CreateTemplate | CreateDevices | ActivateTemplate:
        """After CREATE."""
        if self._match_text_seq("DATABASE") or self._match_text_seq("STORAGE", "GROUP"):
            return self._create_database()
        if self._match_texts(("SCHEMA", "DEVICE")):
            self.require("TEMPLATE")
            return self._create_schema_template()
        if self._match_text_seq("STABLE"):
            return self._create_stable()
        if self._match_text_seq("TABLE"):
            return self._create_table()
        if self._match_text_seq("TIMESERIES", "OF") or self._match_text_seq("TIMESERIES", "USING"):
            if not self._match_texts(("SCHEMA", "DEVICE")):
                self.expected("SCHEMA TEMPLATE")
            self.require("TEMPLATE", "ON")
            return ActivateTemplate(self.parse_name("a path"))
        word = self._curr.text.upper() if self._curr else ""
        raise SqlUnsupportedError(
            f"CREATE {word} is not supported".replace("  ", " "),
            hint=_CREATE_HINTS.get(word, "use CREATE DATABASE, STABLE, SCHEMA TEMPLATE or TABLE"),
        )

    def _if_not_exists(self) -> bool:
        return bool(self._match_text_seq("IF", "NOT", "EXISTS"))

    # Databases

    def _create_database(self) -> CreateDatabase:
        if_not_exists = self._if_not_exists()
        name = self.parse_name("a database")
        written = self.parse_options()
        settings = database_settings(written)
        return CreateDatabase(
            name,
            if_not_exists,
            settings.keep_ns,
            settings.duration_ns,
            settings.precision,
            settings.options,
            settings.warnings,
        )

    def parse_options(self) -> dict[str, str]:
        """``[WITH] [(] key [=] value [,] ... [)]`` up to the end; keys in lower case."""
        written: dict[str, str] = {}
        self._match_text_seq("WITH")
        wrapped = self._match(TokenType.L_PAREN)
        while self._curr and not self._match(TokenType.R_PAREN, advance=False):
            key = self.parse_word("an option").lower()
            self._match(TokenType.EQ)
            written[key] = self.option_value()
            self._match(TokenType.COMMA)
        if wrapped:
            self._match_r_paren()
        return written

    def option_value(self) -> str:
        """A string, a word, or a number with its unit directly behind it (``365d``)."""
        token = self.match_type(TokenType.NUMBER)
        if token is None:
            return self.parse_word_or_string("a value")
        if self._curr and self._is_connected() and self._curr.text.isalpha():
            self._advance()
            return token.text + self._prev.text
        return token.text

    def parse_use(self) -> UseDatabase:
        """After USE."""
        self._match_text_seq("DATABASE")
        return UseDatabase(self.parse_name("a database"))

    # Templates

    def _create_table(self) -> CreateTemplate | CreateDevices:
        """Older spellings have CREATE TABLE for super tables too: columns and then TAGS."""
        index = self._index
        self._if_not_exists()
        self.parse_name("a table")
        is_stable = self._match(TokenType.L_PAREN, advance=False)
        self._retreat(index)
        return self._create_stable() if is_stable else self.parse_create_devices()

    def _create_stable(self) -> CreateTemplate:
        if_not_exists = self._if_not_exists()
        name = self.parse_name("a table").elements[-1]
        columns, warnings = self.parse_columns()
        if not self._match_text_seq("TAGS"):
            raise SqlUnsupportedError(
                f"table {name} has no TAGS: a table belongs to a template",
                hint="CREATE STABLE t (...) TAGS (...), then CREATE TABLE d USING t TAGS (...)",
            )
        tags, tag_warnings = self.parse_columns()
        if self._match_text_seq("COMMENT"):
            self.parse_word_or_string("a comment")
        first = columns[0]
        if first.type != ColumnType.TIMESTAMP:
            raise SqlSyntaxError(
                f"the first column of {name} is {first.type.name}",
                field=first.name,
                hint="the first column of a STABLE is its time: ts TIMESTAMP",
            )
        template = Template(
            name=name,
            measurements=tuple(columns[1:]),
            tags=tuple(Tag(tag.name, tag.type) for tag in tags),
            time_name=first.name,
        )
        return CreateTemplate(template, if_not_exists, (*warnings, *tag_warnings))

    def _create_schema_template(self) -> CreateTemplate:
        if_not_exists = self._if_not_exists()
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
            self._match_r_paren()
        return column_type(written, unsigned=bool(self._match_text_seq("UNSIGNED")))

    def parse_column_options(
        self, name: str, kind: ColumnType, warnings: list[str]
    ) -> tuple[str | None, str | None, str | None]:
        """(encoding, compression, unit) as far as they are named, up to a comma or parenthesis."""
        encoding = compression = unit = None
        while self._curr and self._curr.token_type not in (TokenType.COMMA, TokenType.R_PAREN):
            option = self.parse_word("an option").upper()
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
                    hint="use ENCODING, COMPRESSION or UNIT",
                )
            if warning is not None:
                warnings.append(warning)
        return encoding, compression, unit

    def parse_set(self) -> SetTemplate | SetTtl:
        """After SET: ``SCHEMA|DEVICE TEMPLATE name TO path``, ``TTL TO path ms``."""
        if self._match_text_seq("TTL"):
            self.require("TO")
            path = self.parse_name("a path", pattern=True)
            return SetTtl(path, parse_duration_ns(self.option_value(), bare_unit="ms"))
        if not self._match_texts(("SCHEMA", "DEVICE")):
            raise SqlUnsupportedError(
                "SET of a setting is not supported",
                hint="settings are in the topology file; SET SCHEMA TEMPLATE t TO path is there",
            )
        self.require("TEMPLATE")
        template = self.parse_word("a template")
        if not self._match_text_seq("TO"):
            self.require("ON")
        return SetTemplate(template, self.parse_name("a path"))

    def parse_unset(self) -> UnsetTemplate | SetTtl:
        """After UNSET: ``SCHEMA|DEVICE TEMPLATE name FROM path``, ``TTL TO|FROM path``."""
        if self._match_text_seq("TTL"):
            if not self._match_text_seq("TO"):
                self.require("FROM")
            return SetTtl(self.parse_name("a path", pattern=True), None)
        if not self._match_texts(("SCHEMA", "DEVICE")):
            self.expected("SCHEMA TEMPLATE or TTL")
        self.require("TEMPLATE")
        template = self.parse_word("a template")
        self.require("FROM")
        return UnsetTemplate(template, self.parse_name("a path"))

    # SHOW and DESCRIBE

    def parse_count(self) -> Show:
        """After COUNT: as SHOW, and only how many there are."""
        return self.parse_show("COUNT")

    def parse_show(self, verb: str = "SHOW") -> Show:
        """After SHOW."""
        what = self._show_subject(verb)
        of: Name | None = None
        if what == "TAGS":
            if self._match_text_seq("FROM"):
                of = self.parse_name("a table")
            elif not self._show_ends():
                self.expected("FROM and a table")
        elif what in ("DEVICES", "TIMESERIES", "TTL"):
            named = self._match_texts(("FROM", "ON"))
            if named or not self._show_ends():
                of = self.parse_name("a template or path", pattern=True)
        elif self._match_text_seq("FROM"):
            of = self.parse_name("a database")
        where = self._parse_where() if what == "DEVICES" else None
        like = None
        if self._match_text_seq("LIKE"):
            token = self.match_type(TokenType.STRING)
            if token is None:
                self.expected("a pattern in quotes")
            like = token.text
        limit = self.parse_integer("a number") if self._match_text_seq("LIMIT") else None
        offset = self.parse_integer("a number") if self._match_text_seq("OFFSET") else 0
        predicate = None if where is None else where.this
        return Show(what, of, like, limit, offset, predicate, verb == "COUNT")

    def _show_ends(self) -> bool:
        return not self._curr or self._curr.text.upper() in ("WHERE", "LIKE", "LIMIT", "OFFSET")

    def _show_subject(self, verb: str) -> str:
        if self._match_text_seq("STORAGE", "GROUP"):
            return "DATABASES"
        if self._match_texts(("SCHEMA", "DEVICE")):
            self.require("TEMPLATES")
            return "TEMPLATES"
        if self._match_text_seq("TABLE", "TAGS"):
            return "TAGS"
        self._match_text_seq("ALL")
        word = self._curr.text.upper() if self._curr else ""
        if word not in _SHOWN:
            raise SqlUnsupportedError(
                f"{verb} {word} is not supported".replace("  ", " "),
                hint=_SHOW_HINTS.get(word, f"use {verb} {', '.join(_SHOWN[:-1])} or {_SHOWN[-1]}"),
            )
        self._advance()
        return word

    def parse_describe(self) -> Describe:
        """After DESCRIBE or DESC."""
        self._match_text_seq("TABLE")
        return Describe(self.parse_name("a table"))


@dataclass(frozen=True, slots=True)
class DatabaseSettings:
    """Settings of a database; ``keep_ns`` counts with ``sets_keep`` only, None is for ever."""

    sets_keep: bool
    keep_ns: int | None
    duration_ns: int | None
    precision: str | None
    options: dict[str, str]
    warnings: tuple[str, ...]


def database_settings(written: Mapping[str, str]) -> DatabaseSettings:
    """What the engine acts on, and a warning for each option that it does not know.

    Raises SqlSyntaxError, SchemaError.
    """
    sets_keep = False
    keep_ns = duration_ns = None
    precision = None
    options: dict[str, str] = {}
    warnings: list[str] = []
    for key, value in written.items():
        if key in ("keep", "ttl"):
            sets_keep, keep_ns = True, keep_duration_ns(value, "d" if key == "keep" else "ms")
        elif key in ("duration", "days"):
            duration_ns = parse_duration_ns(value, bare_unit="d")
        elif key == "precision":
            precision = value.lower()
        elif key == "compression":
            options[key], warning = checked_compression("of the database", value)
            warnings += [] if warning is None else [warning]
        else:
            options[key] = value
            if key not in KNOWN:
                warnings.append(f"database option {key}={value} has no effect")
    return DatabaseSettings(sets_keep, keep_ns, duration_ns, precision, options, tuple(warnings))


def keep_duration_ns(value: str, bare_unit: str) -> int | None:
    """``30d``, or None for UNLIMITED. Raises SqlSyntaxError."""
    if value.strip().lower() in _FOREVER:
        return None
    return parse_duration_ns(value, bare_unit=bare_unit)
