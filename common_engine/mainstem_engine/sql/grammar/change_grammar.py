"""The grammar of ALTER, DROP and DELETE.

1. Both peers' spellings lead to the same statement: ALTER SCHEMA TEMPLATE t ADD (...), ALTER STABLE
   t ADD COLUMN c TYPE; several changes may stand in one statement, separated by commas.
2. Changes of tags stand by themselves; several may stand in one statement too.
3. DELETE names templates, devices, patterns, or their measurements; its WHERE is an expression of
   SELECT, without sub-queries.
"""

from __future__ import annotations

from typing import NoReturn

from sqlglot import exp
from sqlglot.tokenizer_core import TokenType

from mainstem_engine.errors import SqlUnsupportedError
from mainstem_engine.model import ColumnType, Measurement, Tag
from mainstem_engine.sql.grammar.column_types import checked_tag
from mainstem_engine.sql.grammar.definition_grammar import DefinitionGrammar, database_settings
from mainstem_engine.sql.grammar.template_grammar import (
    COMPRESSION_WORDS,
    ENCODING_WORDS,
    keep_duration_ns,
)
from mainstem_engine.sql.statements import (
    AlterDatabase,
    AlterKeep,
    AlterTags,
    AlterTemplate,
    Deactivate,
    Delete,
    Drop,
    Literal,
    Name,
    Parameter,
    SetTags,
)

_NOT_ALTERED = {
    "COMMENT": "comments are not kept",
    "OWNER": "use `mainstem token create`",
    "TTL": "use KEEP",
}
_TAG_VERBS = ("ADD", "DROP", "MODIFY", "RENAME")
_DROP_HINT = "use DROP TABLE, STABLE, SCHEMA TEMPLATE or DATABASE, or DELETE FROM"


class ChangeGrammar(DefinitionGrammar):
    """Parser methods for what changes definitions and takes rows away."""

    def parse_alter(self) -> AlterTemplate | AlterTags | SetTags | AlterKeep | AlterDatabase:
        """After ALTER."""
        if self._match_text_seq("DATABASE") or self._match_text_seq("STORAGE", "GROUP"):
            return self._alter_database()
        if self._match_text_seq("TIMESERIES"):
            return self._alter_series()
        if self._match_texts(("SCHEMA", "DEVICE")):
            self.require("TEMPLATE")
        elif not self._match_texts(("STABLE", "TABLE")):
            word = self._curr.text.upper() if self._curr else ""
            raise SqlUnsupportedError(
                f"ALTER {word} is not supported".replace("  ", " "),
                field=word or None,
                hint="use ALTER SCHEMA TEMPLATE, ALTER STABLE or ALTER DATABASE",
            )
        name = self.parse_name("a template")
        if self._match_text_seq("KEEP") or self._match_text_seq("SET", "KEEP"):
            self._match(TokenType.EQ)
            return AlterKeep(name, keep_duration_ns(self.option_value(), "d"))
        if self._match_text_seq("SET", "TAG"):
            return SetTags((name,), self._tag_values())
        if self._match_text_seq("RENAME", "TO"):
            raise SqlUnsupportedError(
                f"renaming {name} is not supported",
                field=str(name),
                hint="INSERT INTO the new table SELECT from the old one, then DROP it",
            )
        tags = self._alter_tags(name)
        return self._alter_columns(name) if tags is None else tags

    def _alter_series(self) -> SetTags | AlterTags | AlterTemplate:
        """``path UPSERT [ALIAS=a] TAGS(k=v) ATTRIBUTES(k=v)``, ``ADD TAGS k=v, ...``, ``SET k=v``,
        ``RENAME k TO n``, ``DROP k, ...``, ``SET DATA TYPE t``: tags are of the device here."""
        name = self.parse_name("the path of a series")
        if len(name.elements) < 2:
            self.expected("a path such as root.a.d1.s1")
        device, measurement = Name(name.elements[:-1]), name.elements[-1]
        if self._match_text_seq("SET", "DATA"):
            self.require("TYPE")
            return AlterTemplate(device, widen={measurement: self.parse_type()})
        if self._match_text_seq("RENAME"):
            old = self.parse_word_or_string("a tag")
            self.require("TO")
            return AlterTags(device, rename={old: self.parse_word_or_string("the new name")})
        if self._match_text_seq("DROP"):
            tags = [self.parse_word_or_string("a tag")]
            while self._match(TokenType.COMMA):
                tags.append(self.parse_word_or_string("a tag"))
            return AlterTags(device, drop=tuple(tags))
        if self._match_text_seq("UPSERT"):
            return self._upsert(name)
        if not self._match_texts(("ADD", "SET")):
            raise SqlUnsupportedError(
                "ALTER TIMESERIES of this kind is not supported",
                field=str(name),
                hint="use UPSERT TAGS, ADD TAGS, SET, RENAME, DROP, or SET DATA TYPE",
            )
        if self._match_text_seq("ATTRIBUTES"):
            return SetTags((name,), {}, True, (self._without_effect(name, "ATTRIBUTES"),))
        self._match_texts(("TAGS", "TAG"))
        return SetTags((name,), self._series_values(), series=True)

    def _upsert(self, name: Name) -> SetTags:
        tags: dict[str, Literal] = {}
        warnings: list[str] = []
        while self._match_texts(("ALIAS", "TAGS", "ATTRIBUTES")):
            what = self._prev.text.upper()
            if what == "TAGS":
                tags |= self._series_values()
            elif what == "ATTRIBUTES":
                warnings.append(self._without_effect(name, what))
            else:
                self._match(TokenType.EQ)
                warnings.append(f"{name}: ALIAS {self.option_value()} has no effect")
        if not (tags or warnings):
            self.expected("TAGS")
        return SetTags((name,), tags, True, tuple(warnings))

    def _without_effect(self, name: Name, what: str) -> str:
        return f"{name}: {what} {', '.join(self._series_values())} have no effect"

    def _series_values(self) -> dict[str, Literal]:
        """``k=v, ...`` of words, strings and numbers, in parentheses or not: tags are texts."""
        if self._match(TokenType.L_PAREN, advance=False):
            return dict(self.parse_assignments())
        values: dict[str, Literal] = {}
        while True:
            key = self.parse_word_or_string("a tag")
            if not self._match(TokenType.EQ):
                self.expected("=")
            parameter = self.match_type(TokenType.PLACEHOLDER)
            if parameter is not None:
                values[key] = Parameter(self.placeholder_index(parameter))
            else:
                values[key] = self.option_value()
            if not self._match(TokenType.COMMA):
                return values

    def _tag_values(self) -> dict[str, Literal]:
        values: dict[str, Literal] = {}
        while True:
            tag = self.parse_word("a tag")
            if not self._match(TokenType.EQ):
                self.expected("=")
            values[tag] = self.parse_value()
            if not self._match(TokenType.COMMA):
                return values

    def _alter_tags(self, name: Name) -> AlterTags | None:
        """``ADD|DROP|MODIFY|RENAME TAG ...``, one or several; None when it is about columns."""
        add: list[Tag] = []
        drop: list[str] = []
        rename: dict[str, str] = {}
        widen: dict[str, ColumnType] = {}
        while True:
            index = self._index
            verb = self._prev.text.upper() if self._match_texts(_TAG_VERBS) else ""
            if not verb or not self._match_texts(("TAG", "TAGS")):
                self._retreat(index)
                return None
            tag = self.parse_word("a tag")
            if verb == "ADD":
                add.append(checked_tag(tag, self.parse_type()))
            elif verb == "DROP":
                drop.append(tag)
            elif verb == "RENAME":
                self._match_text_seq("TO")
                rename[tag] = self.parse_word("the new name")
            else:
                self._match_text_seq("TYPE")
                widen[tag] = checked_tag(tag, self.parse_type()).type
            if not self._match(TokenType.COMMA):
                return AlterTags(name, tuple(add), tuple(drop), rename, widen)

    def _alter_database(self) -> AlterDatabase:
        name = self.parse_name("a database")
        self._match_text_seq("SET")
        written = self.parse_options()
        if not written:
            self.expected("a setting such as KEEP 30d")
        settings = database_settings(written)
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
        drop: list[str] = []
        warnings: list[str] = []
        while True:
            if self._match_text_seq("ADD"):
                self._add_columns(add, warnings)
            elif self._match_texts(("MODIFY", "ALTER")):
                self._modify_column(widen, encode, warnings)
            elif self._match_text_seq("RENAME"):
                self._match_texts(("COLUMN", "MEASUREMENT"))
                old = self.parse_word("a column")
                self._match_text_seq("TO")
                rename[old] = self.parse_word("the new name")
            elif self._match_text_seq("DROP"):
                self._match_texts(("COLUMN", "MEASUREMENT"))
                drop.append(self.parse_word("a column"))
            else:
                self._refuse_change()
            if not self._match(TokenType.COMMA):
                return AlterTemplate(
                    name, tuple(add), rename, widen, encode, tuple(drop), tuple(warnings)
                )

    def _add_columns(self, add: list[Measurement], warnings: list[str]) -> None:
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

    def _refuse_change(self) -> NoReturn:
        word = self._curr.text.upper() if self._curr else ""
        if word in _NOT_ALTERED:
            raise SqlUnsupportedError(
                f"ALTER ... {word} is not supported", field=word, hint=_NOT_ALTERED[word]
            )
        self.expected("ADD, MODIFY, RENAME, DROP or KEEP")

    # DROP and DELETE

    def parse_drop(self) -> Drop | Delete:
        """After DROP: ``TABLE|STABLE|DATABASE [IF EXISTS] name, ...``, ``SCHEMA TEMPLATE name``."""
        if self._match_texts(("TIMESERIES",)):
            return Delete(self._targets(), None, True)
        return Drop(*self._dropped("DROP"))

    def _dropped(self, verb: str) -> tuple[str, tuple[Name, ...], bool]:
        what = self._curr.text.upper() if self._curr else ""
        if self._match_texts(("SCHEMA", "DEVICE")):
            what = "TEMPLATE"
            self.require("TEMPLATE")
        elif self._match_text_seq("STORAGE", "GROUP"):
            what = "DATABASE"
        elif not self._match_texts(("TABLE", "STABLE", "DATABASE")):
            raise SqlUnsupportedError(
                f"{verb} {what} is not supported".replace("  ", " "),
                field=what or None,
                hint=_DROP_HINT,
            )
        if_exists = bool(self._match_text_seq("IF", "EXISTS"))
        pattern = what == "DATABASE"
        names = [self.parse_name("a name", pattern=pattern)]
        while self._match(TokenType.COMMA):
            if_exists = bool(self._match_text_seq("IF", "EXISTS")) or if_exists
            names.append(self.parse_name("a name", pattern=pattern))
        return what, tuple(names), if_exists

    def parse_deactivate(self) -> Deactivate:
        """After DEACTIVATE: ``SCHEMA|DEVICE TEMPLATE name FROM path, ...``."""
        if not self._match_texts(("SCHEMA", "DEVICE")):
            self.expected("SCHEMA TEMPLATE")
        self.require("TEMPLATE")
        template = None
        if not self._match_text_seq("FROM"):
            template = self.parse_word("a template")
            self.require("FROM")
        return Deactivate(template, self._targets())

    def parse_delete(self) -> Delete | Drop | Deactivate:
        """After DELETE: ``FROM name [, name ...] [WHERE condition]``, ``TIMESERIES name, ...``,
        ``TIMESERIES OF SCHEMA TEMPLATE ...``, ``DATABASE name``."""
        series = bool(self._match_text_seq("TIMESERIES"))
        if series and self._match_text_seq("OF"):
            return self.parse_deactivate()
        if not series and not self._match_text_seq("FROM"):
            return Drop(*self._dropped("DELETE"))
        targets = self._targets()
        where = None if series else self._parse_where()
        condition: exp.Expr | None = None if where is None else where.this
        return Delete(targets, condition, series)

    def _targets(self) -> tuple[Name, ...]:
        targets = [self.parse_name("a table", pattern=True)]
        while self._match(TokenType.COMMA):
            targets.append(self.parse_name("a table", pattern=True))
        return tuple(targets)
