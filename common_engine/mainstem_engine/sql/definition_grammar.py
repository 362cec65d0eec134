"""The grammar of CREATE, SET, USE, SHOW and DESCRIBE, and of what is refused by name.

Both peers' spellings lead to the same statement: CREATE STABLE ... TAGS and CREATE SCHEMA TEMPLATE
(with or without parentheses around each measurement), WITH (keep='30d') and KEEP 30d.
"""

from __future__ import annotations

from sqlglot.tokenizer_core import TokenType

from mainstem_engine.errors import SqlSyntaxError, SqlUnsupportedError
from mainstem_engine.model import ColumnType, Measurement, Tag, Template
from mainstem_engine.sql.column_types import checked_compression, checked_encoding, column_type
from mainstem_engine.sql.row_grammar import RowGrammar
from mainstem_engine.sql.statements import (
    CreateDatabase,
    CreateDevices,
    CreateTemplate,
    Describe,
    Name,
    SetTemplate,
    Show,
    UseDatabase,
)
from mainstem_engine.sql.times import parse_duration_ns

_ENCODING_WORDS = ("ENCODING", "ENCODE")
_COMPRESSION_WORDS = ("COMPRESSION", "COMPRESSOR", "COMPRESS")

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

_SHOW_HINTS = {
    "NODES": "use `mainstem status`",
    "STREAMS": "use `mainstem status`",
    "JOBS": "use `mainstem status`",
    "QUARANTINE": "use `mainstem quarantine list`",
    "TIMESERIES": "use SHOW DEVICES and DESCRIBE",
}

REFUSED = {
    "ALTER": "create a new template; columns cannot be added by SQL",
    "DELETE": "rows cannot be deleted by SQL; KEEP of the database bounds their age",
    "DROP": "nothing can be dropped by SQL",
    "UNSET": "a template stays where it is set",
    "DEACTIVATE": "a device keeps its template",
    "UPDATE": "INSERT the same time again: rows merge per measurement",
    "MERGE": "INSERT the same time again: rows merge per measurement",
    "TRUNCATE": "rows cannot be deleted by SQL",
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
    "COUNT": "use SELECT count(*)",
}
"""First words of statements that are not run, and what to do instead."""


class DefinitionGrammar(RowGrammar):
    """Parser methods for definitions and for what lists them."""

    def parse_create(self) -> CreateDatabase | CreateTemplate | CreateDevices:
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
        written: dict[str, str] = {}
        wrapped = bool(self._match_text_seq("WITH")) and self._match(TokenType.L_PAREN)
        while self._curr and not self._match(TokenType.R_PAREN, advance=False):
            key = self.parse_word("an option").lower()
            self._match(TokenType.EQ)
            written[key] = self._option_value()
            self._match(TokenType.COMMA)
        if wrapped:
            self._match_r_paren()
        return _database_from_options(name, if_not_exists, written)

    def _option_value(self) -> str:
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
        columns, warnings = self._columns()
        if not self._match_text_seq("TAGS"):
            raise SqlUnsupportedError(
                f"table {name} has no TAGS: a table belongs to a template",
                hint="CREATE STABLE t (...) TAGS (...), then CREATE TABLE d USING t TAGS (...)",
            )
        tags, tag_warnings = self._columns()
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
        columns, warnings = self._columns()
        return CreateTemplate(Template(name, tuple(columns)), if_not_exists, tuple(warnings))

    def _columns(self) -> tuple[list[Measurement], list[str]]:
        """``(name TYPE [options], ...)``: each may stand in parentheses; a last comma is fine."""
        columns: list[Measurement] = []
        warnings: list[str] = []
        self._match_l_paren()
        while not self._match(TokenType.R_PAREN):
            wrapped = self._match(TokenType.L_PAREN)
            columns.append(self._column(len(columns), warnings))
            if wrapped:
                self._match_r_paren()
            if not self._match(TokenType.COMMA):
                self._match_r_paren()
                break
        if not columns:
            self.raise_error("Expected at least one column")
        return columns, warnings

    def _column(self, number: int, warnings: list[str]) -> Measurement:
        name = self.parse_word("a column")
        written = self.parse_word("a type")
        if self._match(TokenType.L_PAREN):
            # A length such as VARCHAR(64) is a limit of the peers; text is not limited here.
            self.parse_integer("a length")
            self._match_r_paren()
        kind = column_type(written, unsigned=bool(self._match_text_seq("UNSIGNED")))
        encoding = compression = "AUTO"
        unit = None
        while self._curr and self._curr.token_type not in (TokenType.COMMA, TokenType.R_PAREN):
            option = self.parse_word("an option").upper()
            self._match(TokenType.EQ)
            warning: str | None = None
            if option in _ENCODING_WORDS:
                encoding, warning = checked_encoding(name, kind, self._option_value())
            elif option in _COMPRESSION_WORDS:
                compression, warning = checked_compression(name, self._option_value())
            elif option == "UNIT":
                unit = self._option_value()
            elif option in ("LEVEL", "COMMENT"):
                warning = f"column {name}: {option} {self._option_value()!r} has no effect"
            else:
                raise SqlUnsupportedError(
                    f"column {name}: {option} is not supported",
                    field=name,
                    hint="use ENCODING, COMPRESSION or UNIT",
                )
            if warning is not None:
                warnings.append(warning)
        return Measurement(number, name, kind, encoding, compression, unit)

    def parse_set(self) -> SetTemplate:
        """After SET: ``SCHEMA|DEVICE TEMPLATE name TO path``; settings cannot be set."""
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

    # SHOW and DESCRIBE

    def parse_show(self) -> Show:
        """After SHOW."""
        what = self._show_subject()
        of: Name | None = None
        if what == "TAGS":
            self.require("FROM")
            of = self.parse_name("a table")
        elif what == "DEVICES":
            if self._match_text_seq("FROM") or not self._show_ends():
                of = self.parse_name("a template or path", pattern=True)
        elif self._match_text_seq("FROM"):
            of = self.parse_name("a database")
        like = None
        if self._match_text_seq("LIKE"):
            token = self.match_type(TokenType.STRING)
            if token is None:
                self.expected("a pattern in quotes")
            like = token.text
        limit = self.parse_integer("a number") if self._match_text_seq("LIMIT") else None
        offset = self.parse_integer("a number") if self._match_text_seq("OFFSET") else 0
        return Show(what, of, like, limit, offset)

    def _show_ends(self) -> bool:
        return not self._curr or self._curr.text.upper() in ("LIKE", "LIMIT", "OFFSET")

    def _show_subject(self) -> str:
        if self._match_text_seq("STORAGE", "GROUP"):
            return "DATABASES"
        if self._match_texts(("SCHEMA", "DEVICE")):
            self.require("TEMPLATES")
            return "TEMPLATES"
        if self._match_text_seq("TABLE", "TAGS"):
            return "TAGS"
        word = self._curr.text.upper() if self._curr else ""
        if word not in ("DATABASES", "TEMPLATES", "STABLES", "DEVICES", "TABLES", "TAGS"):
            raise SqlUnsupportedError(
                f"SHOW {word} is not supported".replace("  ", " "),
                hint=_SHOW_HINTS.get(
                    word, "use SHOW DATABASES, TEMPLATES, STABLES, DEVICES, TABLES or TAGS"
                ),
            )
        self._advance()
        return word

    def parse_describe(self) -> Describe:
        """After DESCRIBE or DESC."""
        self._match_text_seq("TABLE")
        return Describe(self.parse_name("a table"))


def _database_from_options(
    name: Name, if_not_exists: bool, written: dict[str, str]
) -> CreateDatabase:
    """Splits what the engine acts on from settings that are kept as written."""
    keep_ns = duration_ns = None
    precision = None
    options: dict[str, str] = {}
    for key, value in written.items():
        if key == "keep":
            keep_ns = parse_duration_ns(value, bare_unit="d")
        elif key == "ttl":
            keep_ns = parse_duration_ns(value, bare_unit="ms")
        elif key in ("duration", "days"):
            duration_ns = parse_duration_ns(value, bare_unit="d")
        elif key == "precision":
            precision = value.lower()
        else:
            options[key] = value
    return CreateDatabase(name, if_not_exists, keep_ns, duration_ns, precision, options)
