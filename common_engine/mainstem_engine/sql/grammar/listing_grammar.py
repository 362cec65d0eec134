"""The grammar of SHOW, COUNT and DESCRIBE."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from sqlglot import exp
from sqlglot.tokenizer_core import TokenType

from mainstem_engine.errors import SqlUnsupportedError
from mainstem_engine.sql.grammar.template_grammar import TemplateGrammar
from mainstem_engine.sql.statements import Describe, Name, Parameter, Show

_SHOWN = (
    "DATABASES", "TEMPLATES", "STABLES", "DEVICES", "TIMESERIES", "TABLES", "TAGS", "TTL",
    "STREAMS", "FUNCTIONS", "NODES", "QUARANTINE", "JOBS",
)  # fmt: skip
_TEMPLATE_SUBJECTS = {
    ("NODES", "IN"): "MEMBERS",
    ("PATHS", "SET"): "PATHS SET",
    ("PATHS", "USING"): "PATHS USING",
}
_SUBJECTS = {
    ("TABLE", "TAGS"): "TABLE TAGS",
    ("CHILD", "PATHS"): "CHILD PATHS",
    ("CHILD", "NODES"): "CHILD NODES",
}
_WITH_PATHS = ("DEVICES", "TIMESERIES", "TTL", "CHILD PATHS", "CHILD NODES", "PATH NODES")
"""What a path or pattern narrows."""
_AFTER_SUBJECT = ("WITH", "WHERE", "LIKE", "LIMIT", "OFFSET", "GROUP", "GROUP BY", "LEVEL")
_SHOW_HINTS = {"VERSION": "use `mainstem --version`"}


class ListingGrammar(TemplateGrammar):
    """Parser methods for what lists definitions."""

    def parse_count(self) -> Show:
        """After COUNT: as SHOW, and only how many there are."""
        return self.parse_show("COUNT")

    def at_tag_values(self) -> bool:
        """True at SELECT TAGS a, b, where ``tags`` is no column."""
        words = [token.text.upper() for token in self._tokens[self._index : self._index + 4]]
        kinds = [token.token_type for token in self._tokens[self._index : self._index + 3]]
        if len(words) < 4 or words[:2] != ["SELECT", "TAGS"]:
            return False
        return words[2:] == ["*", "FROM"] or (
            kinds[2] in (TokenType.VAR, TokenType.IDENTIFIER) and words[3] in (",", "FROM")
        )

    def parse_tag_values(self) -> Show:
        """After SELECT: ``TAGS name, ... FROM table [WHERE condition] [LIMIT n] [OFFSET n]``."""
        self.require("TAGS")
        names: list[str] = []
        if not self._match(TokenType.STAR):
            names = [self.parse_word("a tag")]
            while self._match(TokenType.COMMA):
                names.append(self.parse_word("a tag"))
        self.require("FROM")
        of = self.parse_name("a table")
        where = self._device_condition()
        limit, offset = self._limit_and_offset()
        return Show("TAG VALUES", of, None, limit, offset, where, names=tuple(names))

    def _device_condition(self) -> exp.Expr | None:
        """What WHERE asks of devices; ``TAGS(k)`` is the tag ``k``."""
        where = self._parse_where()
        if where is None:
            return None
        for node in list(where.find_all(exp.Anonymous)):
            if node.name.upper() == "TAGS" and len(node.expressions) == 1:
                named = node.expressions[0]
                node.replace(exp.column(exp.to_identifier(named.name, quoted=True)))
        return cast("exp.Expr", where.this)

    def _limit_and_offset(self) -> tuple[int | Parameter | None, int | Parameter]:
        limit = self._how_many() if self._match_text_seq("LIMIT") else None
        offset = self._how_many() if self._match_text_seq("OFFSET") else 0
        return limit, offset

    def _how_many(self) -> int | Parameter:
        token = self.match_type(TokenType.PLACEHOLDER)
        if token is not None:
            return Parameter(self.placeholder_index(token))
        return self.parse_integer("a number")

    def _show_create(self) -> Show:
        """After SHOW CREATE."""
        if not self._match_texts(("DATABASE", "STABLE", "TABLE")):
            self.expected("DATABASE, STABLE or TABLE")
        what = f"CREATE {self._prev.text.upper()}"
        return Show(what, self.parse_name("a name"))

    def parse_show(self, verb: str = "SHOW") -> Show:
        """After SHOW."""
        if verb == "SHOW" and self._match_text_seq("CREATE"):
            return self._show_create()
        if verb == "SHOW" and self._match_text_seq("LATEST"):
            if not self._match_text_seq("TIMESERIES", advance=False):
                self.expected("TIMESERIES")
            return replace(self.parse_show(), latest=True)
        what, of = self._show_subject(verb)
        if what == "TABLE TAGS" and not self._match_text_seq("FROM", advance=False):
            # SHOW TABLE TAGS location FROM meters: all of them are shown.
            self.parse_word("a tag")
            while self._match(TokenType.COMMA):
                self.parse_word("a tag")
        if what in ("TAGS", "TABLE TAGS"):
            if self._match_text_seq("FROM"):
                of = self.parse_name("a table")
            elif not self._show_ends():
                self.expected("FROM and a table")
        elif what in _WITH_PATHS:
            named = self._match_texts(("FROM", "ON"))
            if named or not self._show_ends():
                of = self.parse_name("a template or path", pattern=True)
        elif of is None and self._match_text_seq("FROM"):
            of = self.parse_name("a database")
        elif what == "DATABASES" and not self._show_ends():
            of = self.parse_name("a database", pattern=True)
        level = self._counted_level(what) if verb == "COUNT" else None
        if what == "DEVICES" and self._match_text_seq("WITH"):
            self.require("DATABASE")  # It is always shown.
        where = self._device_condition() if what in ("DEVICES", "TIMESERIES") else None
        like = None
        if self._match_text_seq("LIKE"):
            token = self.match_type(TokenType.STRING)
            if token is None:
                self.expected("a pattern in quotes")
            like = token.text
        limit, offset = self._limit_and_offset()
        return Show(what, of, like, limit, offset, where, verb == "COUNT", level)

    def _show_ends(self) -> bool:
        return not self._curr or self._curr.text.upper() in _AFTER_SUBJECT

    def _counted_level(self, what: str) -> int | None:
        """``[GROUP BY] LEVEL [=] n`` of a COUNT."""
        grouped = bool(self._match(TokenType.GROUP_BY))
        if not self._match_text_seq("LEVEL"):
            if grouped or what == "PATH NODES":
                self.expected("LEVEL=n")
            return None
        self._match(TokenType.EQ)
        return self.parse_integer("a level")

    def _show_subject(self, verb: str) -> tuple[str, Name | None]:
        if self._match_text_seq("STORAGE", "GROUP"):
            return "DATABASES", None
        if self._match_texts(("SCHEMA", "DEVICE")):
            self.require("TEMPLATES")
            return "TEMPLATES", None
        for words, what in _TEMPLATE_SUBJECTS.items():
            if self._match_text_seq(*words):
                if not self._match_texts(("SCHEMA", "DEVICE")):
                    self.expected("SCHEMA TEMPLATE")
                self.require("TEMPLATE")
                return what, self.parse_name("a template", pattern=True)
        for words, what in _SUBJECTS.items():
            if self._match_text_seq(*words):
                return what, None
        if verb == "COUNT" and self._match_text_seq("NODES"):
            return "PATH NODES", None
        self._match_text_seq("ALL")
        of = None
        if self._next and self._next.token_type == TokenType.DOT:
            # SHOW power.TABLES
            written = self.parse_name("a database")
            of, word = Name(written.elements[:-1]), written.elements[-1].upper()
        else:
            word = self._curr.text.upper() if self._curr else ""
            if word in _SHOWN:
                self._advance()
        if word not in _SHOWN:
            raise SqlUnsupportedError(
                f"{verb} {word} is not supported".replace("  ", " "),
                hint=_SHOW_HINTS.get(word, f"use {verb} {', '.join(_SHOWN[:-1])} or {_SHOWN[-1]}"),
            )
        return word, of

    def parse_describe(self) -> Describe:
        """After DESCRIBE or DESC."""
        self._match_text_seq("TABLE")
        return Describe(self.parse_name("a table"))
