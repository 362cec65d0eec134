"""The grammar of SHOW, COUNT and DESCRIBE."""

from __future__ import annotations

from sqlglot.tokenizer_core import TokenType

from mainstem_engine.errors import SqlUnsupportedError
from mainstem_engine.sql.statements import Describe, Name, Show
from mainstem_engine.sql.template_grammar import TemplateGrammar

_SHOWN = (
    "DATABASES", "TEMPLATES", "STABLES", "DEVICES", "TIMESERIES", "TABLES", "TAGS", "TTL",
    "STREAMS", "NODES", "QUARANTINE", "JOBS",
)  # fmt: skip
_SHOW_HINTS = {
    "VERSION": "use `mainstem --version`",
    "FUNCTIONS": "SELECT has every function of DuckDB",
}


class ListingGrammar(TemplateGrammar):
    """Parser methods for what lists definitions."""

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
