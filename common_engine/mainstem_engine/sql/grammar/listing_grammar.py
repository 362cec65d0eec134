"""The grammar of SHOW, COUNT and DESCRIBE."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from sqlglot import exp
from sqlglot.tokenizer_core import TokenType

from mainstem_engine.errors import SqlUnsupportedError
from mainstem_engine.sql.grammar.column_types import TYPES
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
_SHOW_HINTS = {
    "VERSION": "use `mainstem --version`",
    **dict.fromkeys(
        ("CLUSTER", "DATANODES", "CONFIGNODES", "DNODES", "MNODES", "QNODES", "VNODES", "REGIONS"),
        "SHOW NODES lists this node and all below it",
    ),
    **dict.fromkeys(("CQS", "CONTINUOUS", "TSMAS"), "SHOW STREAMS lists the rollups"),
    **dict.fromkeys(
        ("VARIABLES", "LOCAL", "VGROUPS", "DNODE"), "settings are in the topology file"
    ),
    **dict.fromkeys(("QUERIES", "CONNECTIONS", "TRANSACTIONS"), "see `mainstem status`"),
    **dict.fromkeys(("USERS", "ROLES", "GRANTS"), "see `mainstem user list`, `token list`"),
    "INDEXES": "device, tags and time are always indexed",
    "TRIGGERS": "declare rules at an edge, and `rollups` in the topology file",
    "TOPICS": "declare `export` in the topology file",
    "PIPES": "declare `export` in the topology file",
    "SUBSCRIPTIONS": "declare `export` in the topology file",
    "TABLE": "SHOW TABLES, SHOW TABLE TAGS FROM t, DESCRIBE t; EXPLAIN ANALYZE tells of blocks",
}


_NAMED_VALUES = ("DATATYPE", "TYPE", "ENCODING", "COMPRESSION", "COMPRESSOR")
"""What is compared with words that may stand without quotes: ``DATATYPE = FLOAT``."""


def _name_values(node: exp.Expr) -> None:
    """Turns the words of ``DATATYPE = INT`` into the texts that are listed: ``'INT32'``."""
    if not isinstance(node.this, exp.Column) or node.this.name.upper() not in _NAMED_VALUES:
        return
    for value in list(node.expressions if isinstance(node, exp.In) else [node.expression]):
        is_text = isinstance(value, exp.Literal) and value.is_string
        is_word = isinstance(value, exp.Column) and not value.this.quoted
        if is_text or is_word:
            word = value.name.upper()
            is_type = node.this.name.upper().endswith("TYPE")
            named = TYPES[word].name if is_type and word in TYPES else word
            value.replace(exp.Literal.string(named))


class ListingGrammar(TemplateGrammar):
    """Parser methods for what lists definitions."""

    def parse_count(self) -> Show:
        """After COUNT: as SHOW, and only how many there are."""
        return self.parse_show("COUNT")

    def at_tag_values(self) -> bool:
        """True at SELECT TAGS a, b, where ``tags`` is no column."""
        tokens = self._tokens[self._index : self._index + 5]
        if len(tokens) > 1 and tokens[1].token_type == TokenType.DISTINCT:
            del tokens[1]
        words = [token.text.upper() for token in tokens[:4]]
        kinds = [token.token_type for token in tokens[:3]]
        if len(words) < 4 or words[:2] != ["SELECT", "TAGS"]:
            return False
        return words[2:] == ["*", "FROM"] or (
            kinds[2] in self.ID_VAR_TOKENS | {TokenType.IDENTIFIER} and words[3] in (",", "FROM")
        )

    def parse_tag_values(self) -> Show:
        """After SELECT: ``[DISTINCT] TAGS name, ... FROM table``, WHERE, LIMIT and OFFSET."""
        distinct = bool(self._match(TokenType.DISTINCT))
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
        return Show(
            "TAG VALUES", of, None, limit, offset, where, names=tuple(names), distinct=distinct
        )

    def _device_condition(self) -> exp.Expr | None:
        """What WHERE asks of devices; ``TAGS(k)`` is the tag ``k``."""
        where = self._parse_where()
        if where is None:
            return None
        for node in list(where.find_all(exp.Anonymous)):
            if node.name.upper() == "TAGS" and len(node.expressions) == 1:
                named = node.expressions[0]
                node.replace(exp.column(exp.to_identifier(named.name, quoted=True)))
        for comparison in list(where.find_all(exp.EQ, exp.NEQ, exp.In)):
            _name_values(comparison)
        return cast("exp.Expr", where.this)

    def _parse_range(self, this: exp.Expr | None = None, parse_is: bool = False) -> Any:
        """As sqlglot's, and IoTDB's ``x CONTAINS 'text'``."""
        found = super()._parse_range(this, parse_is)
        is_text = self._next and self._next.token_type in (TokenType.STRING, TokenType.PLACEHOLDER)
        if found is not None and is_text and self._match_text_seq("CONTAINS"):
            return exp.Anonymous(this="contains", expressions=[found, self._parse_bitwise()])
        return found

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
        names: tuple[str, ...] = ()
        others: list[Name] = []
        if what in ("TAGS", "TABLE TAGS"):
            names, of = self._shown_tags(what)
        elif what in _WITH_PATHS:
            named = self._match_texts(("FROM", "ON"))
            if named or not self._show_ends():
                of = self.parse_name("a template or path", pattern=True)
            while what == "TTL" and self._match(TokenType.COMMA):
                others.append(self.parse_name("a path", pattern=True))
        elif of is None and self._match_text_seq("FROM"):
            of = self.parse_name("a database")
        elif what == "DATABASES" and not self._show_ends():
            of = self.parse_name("a database", pattern=True)
        level = self._counted_level(what) if verb == "COUNT" else None
        is_shown_anyway = what == "DEVICES" and self._match_text_seq("WITH")
        if is_shown_anyway and not self._match_text_seq("STORAGE", "GROUP"):
            self.require("DATABASE")
        where = self._device_condition() if what in ("DEVICES", "TIMESERIES") else None
        like = None
        if self._match_text_seq("LIKE"):
            token = self.match_type(TokenType.STRING)
            if token is None:
                self.expected("a pattern in quotes")
            like = token.text
        limit, offset = self._limit_and_offset()
        counts = verb == "COUNT"
        return Show(
            what, of, like, limit, offset, where, counts, level, names, others=tuple(others)
        )

    def _shown_tags(self, what: str) -> tuple[tuple[str, ...], Name | None]:
        """``[tag, ...] FROM table [FROM database]``; without FROM the tags of all templates."""
        names: list[str] = []
        if what == "TABLE TAGS" and not self._match_text_seq("FROM", advance=False):
            names.append(self.parse_word("a tag"))
            while self._match(TokenType.COMMA):
                names.append(self.parse_word("a tag"))
        if not self._match_text_seq("FROM"):
            if names or not self._show_ends():
                self.expected("FROM and a table")
            return (), None
        of = self.parse_name("a table")
        if self._match_text_seq("FROM"):
            database = self.parse_name("a database")
            of = Name((*database.elements, *of.elements))
        return tuple(names), of

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
        kind = f"{self._prev.text.upper()} " if self._match_texts(("NORMAL", "CHILD")) else ""
        if self._match_texts(("USER", "SYSTEM")) and not self._is_at("DATABASES"):
            self._retreat(self._index - 1)
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
                field=word or None,
                hint=_SHOW_HINTS.get(word, f"use {verb} {', '.join(_SHOWN[:-1])} or {_SHOWN[-1]}"),
            )
        if kind and word != "TABLES":
            self.expected("TABLES")
        if word == "DATABASES":
            self._match_texts(("DETAILS", "FULL"))
        return kind + word, of

    def _is_at(self, word: str) -> bool:
        return bool(self._match_text_seq(word, advance=False))

    def parse_describe(self) -> Describe:
        """After DESCRIBE or DESC."""
        self._match_text_seq("TABLE")
        return Describe(self.parse_name("a table"))
