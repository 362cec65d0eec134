"""The grammar of ALTER and DELETE.

1. Both peers' spellings lead to the same statement: ALTER SCHEMA TEMPLATE t ADD (...), ALTER STABLE
   t ADD COLUMN c TYPE; several changes may stand in one statement, separated by commas.
2. What cannot be changed (tags, the order or number of columns) is refused by name.
3. DELETE names templates, devices, patterns, or their measurements; its WHERE is an expression of
   SELECT, without sub-queries.
"""

from __future__ import annotations

from typing import NoReturn

from sqlglot import exp
from sqlglot.tokenizer_core import TokenType

from mainstem_engine.errors import SqlUnsupportedError
from mainstem_engine.model import ColumnType, Measurement
from mainstem_engine.sql.definition_grammar import DefinitionGrammar, database_settings
from mainstem_engine.sql.statements import AlterDatabase, AlterKeep, AlterTemplate, Delete, Name
from mainstem_engine.sql.template_grammar import (
    COMPRESSION_WORDS,
    ENCODING_WORDS,
    keep_duration_ns,
)

_TAG_HINT = "tags stay as they were declared, and a device keeps the values it was created with"
_NOT_ALTERED = {
    "DROP": "a column cannot be dropped; leave it out of queries, and rename it to free its name",
    "COMMENT": "comments are not kept",
    "OWNER": "use `mainstem token create`",
    "SET": _TAG_HINT,
    "TTL": "use KEEP",
}


class ChangeGrammar(DefinitionGrammar):
    """Parser methods for what changes definitions and takes rows away."""

    def parse_alter(self) -> AlterTemplate | AlterKeep | AlterDatabase:
        """After ALTER."""
        if self._match_text_seq("DATABASE") or self._match_text_seq("STORAGE", "GROUP"):
            return self._alter_database()
        if self._match_texts(("SCHEMA", "DEVICE")):
            self.require("TEMPLATE")
        elif not self._match_texts(("STABLE", "TABLE")):
            word = self._curr.text.upper() if self._curr else ""
            raise SqlUnsupportedError(
                f"ALTER {word} is not supported".replace("  ", " "),
                hint="use ALTER SCHEMA TEMPLATE, ALTER STABLE or ALTER DATABASE",
            )
        name = self.parse_name("a template")
        if self._match_text_seq("KEEP") or self._match_text_seq("SET", "KEEP"):
            self._match(TokenType.EQ)
            return AlterKeep(name, keep_duration_ns(self.option_value(), "d"))
        return self._alter_columns(name)

    def _alter_database(self) -> AlterDatabase:
        name = self.parse_name("a database")
        self._match_text_seq("SET")
        settings = database_settings(self.parse_options())
        return AlterDatabase(
            name,
            settings.sets_keep,
            settings.keep_ns,
            settings.duration_ns,
            settings.precision,
            settings.options,
            settings.warnings,
        )

    def _alter_columns(self, name: Name) -> AlterTemplate:
        add: list[Measurement] = []
        rename: dict[str, str] = {}
        widen: dict[str, ColumnType] = {}
        encode: dict[str, tuple[str | None, str | None]] = {}
        warnings: list[str] = []
        while True:
            if self._match_text_seq("ADD"):
                self._add_columns(add, warnings)
            elif self._match_texts(("MODIFY", "ALTER")):
                self._modify_column(widen, encode, warnings)
            elif self._match_text_seq("RENAME"):
                self._refuse_tag("RENAME")
                self._match_texts(("COLUMN", "MEASUREMENT"))
                old = self.parse_word("a column")
                self._match_text_seq("TO")
                rename[old] = self.parse_word("the new name")
            else:
                self._refuse_change()
            if not self._match(TokenType.COMMA):
                return AlterTemplate(name, tuple(add), rename, widen, encode, tuple(warnings))

    def _add_columns(self, add: list[Measurement], warnings: list[str]) -> None:
        self._refuse_tag("ADD")
        self._match_texts(("COLUMN", "COLUMNS", "MEASUREMENTS"))
        if self._match(TokenType.L_PAREN, advance=False):
            columns, more = self.parse_columns()
            add.extend(columns)
            warnings.extend(more)
        else:
            add.append(self.parse_column(len(add), warnings))

    def _modify_column(
        self,
        widen: dict[str, ColumnType],
        encode: dict[str, tuple[str | None, str | None]],
        warnings: list[str],
    ) -> None:
        self._refuse_tag("MODIFY")
        self._match_text_seq("COLUMN")
        name = self.parse_word("a column")
        self._match_text_seq("SET", "DATA")
        self._match_text_seq("TYPE")
        kind = None
        if self._curr and self._curr.text.upper() not in (*ENCODING_WORDS, *COMPRESSION_WORDS):
            kind = widen[name] = self.parse_type()
        # Whether an encoding can hold the type as it is is for the catalog to say.
        encoding, compression, unit = self.parse_column_options(
            name, kind or ColumnType.INT32, warnings
        )
        if unit is not None:
            raise SqlUnsupportedError(
                f"column {name}: the unit cannot change",
                field=name,
                hint="add a measurement in that unit: stored values are in the old one",
            )
        if encoding is not None or compression is not None:
            encode[name] = (encoding, compression)

    def _refuse_tag(self, word: str) -> None:
        if self._match_texts(("TAG", "TAGS")):
            raise SqlUnsupportedError(f"{word} TAG is not supported", hint=_TAG_HINT)

    def _refuse_change(self) -> NoReturn:
        word = self._curr.text.upper() if self._curr else ""
        if word in _NOT_ALTERED:
            raise SqlUnsupportedError(f"ALTER ... {word} is not supported", hint=_NOT_ALTERED[word])
        self.expected("ADD, MODIFY, RENAME or KEEP")

    # DELETE

    def parse_delete(self) -> Delete:
        """After DELETE: ``FROM name [, name ...] [WHERE condition]``, ``TIMESERIES name, ...``."""
        series = bool(self._match_text_seq("TIMESERIES"))
        if not series and not self._match_text_seq("FROM"):
            word = self._curr.text.upper() if self._curr else ""
            raise SqlUnsupportedError(
                f"DELETE {word} is not supported".replace("  ", " "),
                hint="definitions stay; DELETE FROM takes rows away",
            )
        targets = [self.parse_name("a table", pattern=True)]
        while self._match(TokenType.COMMA):
            targets.append(self.parse_name("a table", pattern=True))
        where = None if series else self._parse_where()
        condition: exp.Expr | None = None if where is None else where.this
        return Delete(tuple(targets), condition, series)
