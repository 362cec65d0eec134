"""The grammar of databases, SET and USE, and of what is refused by name.

Both peers' spellings lead to the same statement: WITH (keep='30d') and KEEP 30d.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlglot.tokenizer_core import TokenType

from mainstem_engine.catalog.database_options import KNOWN
from mainstem_engine.errors import SqlUnsupportedError
from mainstem_engine.sql.grammar.column_types import checked_compression
from mainstem_engine.sql.grammar.listing_grammar import ListingGrammar
from mainstem_engine.sql.grammar.template_grammar import keep_duration_ns
from mainstem_engine.sql.statements import (
    ActivateTemplate,
    CreateDatabase,
    CreateDevices,
    CreateSeries,
    CreateTable,
    CreateTemplate,
    Name,
    SetTemplate,
    SetTtl,
    UnsetTemplate,
    Upkeep,
    UseDatabase,
)
from mainstem_engine.sql.times import parse_duration_ns

_CREATE_HINTS = {
    "VIEW": "write the query as a WITH clause",
    "INDEX": "device, tags and time are always indexed",
    "STREAM": "declare `rollups` in the topology file",
    "CQ": "declare `rollups` in the topology file",
    "TSMA": "declare `rollups` in the topology file",
    "FUNCTION": "use the functions that SELECT has",
    "USER": "use `mainstem token create`",
}


REFUSED = {
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
    "VACUUM": "use COMPACT DATABASE",
    "CHECKPOINT": "use FLUSH",
    "ANALYZE": "statistics are always up to date",
    "SUMMARIZE": "use SELECT with count, min, max, avg",
    "PIVOT": "use aggregates with FILTER (WHERE ...)",
    "UNPIVOT": "use UNION ALL",
    "KILL": "end the request: its statement ends with it",
    "RENAME": "INSERT INTO the new table SELECT from the old one, then DROP TABLE",
    "REPLACE": "INSERT the same time again: rows merge per measurement",
    "UPSERT": "INSERT the same time again: rows merge per measurement",
    "REPAIR": "run `mainstem db check` and `mainstem db repair` on the stopped node's directory",
    "OPTIMIZE": "use COMPACT DATABASE",
    "FULL": "use COMPACT DATABASE",
    "BALANCE": "vnodes are divided at the start: `storage.vnodes`",
    "REDISTRIBUTE": "vnodes are divided at the start: `storage.vnodes`",
    "SPLIT": "vnodes are divided at the start: `storage.vnodes`",
    "CLEAR": "there is no cache to clear: last values are always right",
    "LIST": "use `mainstem user list` and `mainstem token list`",
    "GRANT": "use `mainstem token create`",
    "REVOKE": "use `mainstem token revoke`",
}
"""First words of statements that are not run, and what to do instead."""


class DefinitionGrammar(ListingGrammar):
    """Parser methods for definitions and for what lists them."""

    def parse_create(
        self,
    ) -> (
        CreateDatabase
        | CreateTemplate
        | CreateTable
        | CreateSeries
        | CreateDevices
        | ActivateTemplate
    ):
        """After CREATE."""
        if self._match_text_seq("DATABASE") or self._match_text_seq("STORAGE", "GROUP"):
            return self._create_database()
        if self._match_texts(("SCHEMA", "DEVICE")):
            self.require("TEMPLATE")
            return self.parse_create_template()
        if self._match_text_seq("STABLE"):
            return self.parse_create_stable()
        if self._match_text_seq("TABLE"):
            return self.parse_create_table()
        if self._match_text_seq("ALIGNED"):
            return self.parse_create_aligned()
        if self._match_text_seq("TIMESERIES"):
            if self._match_texts(("OF", "USING")):
                return self._activate()
            return self.parse_create_series()
        word = self._curr.text.upper() if self._curr else ""
        raise SqlUnsupportedError(
            f"CREATE {word} is not supported".replace("  ", " "),
            field=word or None,
            hint=_CREATE_HINTS.get(word, "use CREATE DATABASE, STABLE, SCHEMA TEMPLATE or TABLE"),
        )

    def _activate(self) -> ActivateTemplate:
        if not self._match_texts(("SCHEMA", "DEVICE")):
            self.expected("SCHEMA TEMPLATE")
        self.require("TEMPLATE", "ON")
        return ActivateTemplate(self.parse_name("a path"))

    def parse_upkeep(self, what: str) -> Upkeep:
        """After FLUSH, COMPACT or TRIM: ``[DATABASE] [name, ...]``, and IoTDB's end of FLUSH."""
        if not self._match_text_seq("DATABASE") and what != "FLUSH":
            self.expected("DATABASE")
        names: list[Name] = []
        ends = ("TRUE", "FALSE", "ON", ";")
        while self._curr and self._curr.text.upper() not in ends:
            names.append(self.parse_name("a database"))
            if not self._match(TokenType.COMMA):
                break
        if what == "FLUSH":
            self._match_texts(("TRUE", "FALSE"))
            if self._match_text_seq("ON") and not self._match_texts(("LOCAL", "CLUSTER")):
                self.expected("LOCAL or CLUSTER")
        elif not names:
            self.expected("a database")
        return Upkeep(what, tuple(names))

    # Databases

    def _create_database(self) -> CreateDatabase:
        if_not_exists = self.if_not_exists()
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
            while self._match(TokenType.COMMA):
                # KEEP 10d,20d,30d: of three kinds of disks; the last is how long rows stay at all.
                if not (self._curr and self._curr.token_type == TokenType.NUMBER):
                    break
                written[key] = self.option_value()
        if wrapped:
            self._match_r_paren()
        return written

    def parse_use(self) -> UseDatabase:
        """After USE."""
        self._match_text_seq("DATABASE")
        return UseDatabase(self.parse_name("a database"))

    def parse_set(self) -> SetTemplate | SetTtl | CreateDatabase:
        """After SET: ``SCHEMA|DEVICE TEMPLATE name TO path``, ``TTL TO path ms``, and IoTDB's older
        ``STORAGE GROUP TO path``, which makes one."""
        if self._match_text_seq("STORAGE", "GROUP"):
            self.require("TO")
            return self._create_database()
        if self._match_text_seq("TTL"):
            self.require("TO")
            path = self.parse_name("a path", pattern=True)
            return SetTtl(path, keep_duration_ns(self.option_value(), "ms"))
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
