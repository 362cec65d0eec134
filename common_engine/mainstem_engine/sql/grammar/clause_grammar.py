"""The grammar of FILL, RANGE, ALIGN and PARTITION BY, and which clause comes where.

1. A clause is recognised by its word and what follows it, so that each word stays a name elsewhere.
2. Clauses come in any order after FROM, each at most once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from sqlglot import exp
from sqlglot.tokenizer_core import TokenType

from mainstem_engine.errors import SqlUnsupportedError
from mainstem_engine.sql.grammar.clauses import (
    ALIGN_EVERY,
    FILL,
    PARTITION,
    RANGE,
    SLIMIT,
    SOFFSET,
    WINDOW,
    AlignClause,
    AlignSignal,
    FillClause,
    PartitionClause,
    RangeClause,
)
from mainstem_engine.sql.grammar.length_grammar import Length
from mainstem_engine.sql.grammar.window_grammar import WindowGrammar

_FOLLOWED_BY = {
    "INTERVAL": "(",
    "SESSION": "(",
    "STATE_WINDOW": "(",
    "EVENT_WINDOW": "START",
    "COUNT_WINDOW": "(",
    "EXTERNAL_WINDOW": "(",
    "FILL": "(",
    "RANGE": "(",
    "EVERY": "(",
    "SLIMIT": "",
    "SOFFSET": "",
    "ALIGN": ("BY", "("),
}
"""First words of clauses, and the token that follows."""
_FILL_MODES = {
    "NONE": "NONE",
    "NULL": "NULL",
    "NULL_F": "NULL_F",
    "VALUE": "VALUE",
    "VALUE_F": "VALUE_F",
    "PREV": "PREVIOUS",
    "PREVIOUS": "PREVIOUS",
    "NEXT": "NEXT",
    "LINEAR": "LINEAR",
    "NEAR": "NEAR",
}
_ALIGN_METHODS = ("PREVIOUS", "LINEAR", "RATE")


class ClauseGrammar(WindowGrammar):
    """Parser methods for the clauses of SELECT."""

    def clause_word(self) -> str | None:
        """The clause at the current token, or None."""
        token = self._curr
        if not token or token.token_type in self.TEXT_MATCH_EXCLUDED_TOKENS:
            return None
        word = token.text.upper()
        follows = _FOLLOWED_BY.get(word)
        if follows is None or (follows and self._next.text.upper() not in _words(follows)):
            return None
        return word

    def parse_clause(self, select: exp.Select) -> bool:
        """Takes one clause into ``select``; False when there is none at the current token."""
        if self._match(TokenType.PARTITION_BY):
            self._put(select, PARTITION, self._partition())
            return True
        word = self.clause_word()
        if word is None or (word == "ALIGN" and self._next.text != "("):
            return False
        if word == "EXTERNAL_WINDOW":
            raise SqlUnsupportedError(
                "EXTERNAL_WINDOW is not supported",
                hint="JOIN the windows ON ts >= w.a AND ts < w.b, and GROUP BY w.a",
            )
        parsers: dict[str, tuple[str, Callable[[], exp.Expr]]] = {
            "INTERVAL": (WINDOW, self._interval_window),
            "SESSION": (WINDOW, self._session_window),
            "STATE_WINDOW": (WINDOW, self._state_window),
            "EVENT_WINDOW": (WINDOW, self._event_window),
            "COUNT_WINDOW": (WINDOW, self._count_window),
            "FILL": (FILL, self._fill),
            "SLIMIT": (SLIMIT, self._whole_number),
            "SOFFSET": (SOFFSET, self._whole_number),
            "ALIGN": (ALIGN_EVERY, self._align_every),
        }
        if word in ("RANGE", "EVERY"):
            self._range_or_every(select, word)
            return True
        key, parser = parsers[word]
        self._advance()
        self._put(select, key, parser())
        return True

    def _put(self, select: exp.Select, key: str, node: exp.Expr) -> None:
        if select.args.get(key) is not None:
            what = key.removesuffix("_clause").upper()
            self.raise_error(f"Expected one {what} clause, found two")
        select.set(key, node)

    # PARTITION BY, FILL, RANGE, EVERY, ALIGN

    def _partition(self) -> exp.Expr:
        return PartitionClause(expressions=self._parse_csv(self._partition_key))

    def _partition_key(self) -> exp.Expr:
        key = self._expression("a column")
        if self._match(TokenType.ALIAS):
            return exp.alias_(key, self.parse_word("a name"), quoted=True)
        return key

    def _fill(self) -> exp.Expr:
        self.require("(")
        word = self._curr.text.upper() if self._curr else ""
        is_text = self._curr and self._curr.token_type in self.TEXT_MATCH_EXCLUDED_TOKENS
        mode = None if is_text else _FILL_MODES.get(word)
        if mode is None:
            node = FillClause(mode="CONSTANT", expressions=[self._fill_value()])
            self._match_r_paren()
            return node
        self._advance()
        values: list[exp.Expr] = []
        limit = None
        while self._match(TokenType.COMMA):
            if self._at_duration() and mode in ("PREVIOUS", "NEXT", "NEAR", "LINEAR"):
                limit = self._length("how far a value may be carried")
            else:
                values.append(self._fill_value())
        self._match_r_paren()
        if mode in ("VALUE", "VALUE_F") and not values:
            self.expected(f"FILL({word}, value)")
        if values and mode in ("NONE", "NULL", "NULL_F", "LINEAR"):
            self.raise_error(f"FILL({word}) takes no value")
        return FillClause(mode=mode, expressions=values, limit=limit)

    def _fill_value(self) -> exp.Expr:
        return self._expression("a constant")

    def _range_or_every(self, select: exp.Select, word: str) -> None:
        self._advance()
        clause = select.args.get(RANGE) or RangeClause()
        if clause.args.get("start" if word == "RANGE" else "every") is not None:
            self.raise_error(f"Expected one {word} clause, found two")
        self.require("(")
        if word == "EVERY":
            clause.set("every", self._length_or_number("the step"))
        else:
            clause.set("start", self._moment())
            while self._match(TokenType.COMMA):
                has_end = clause.args.get("end") is not None
                is_length = self._at_duration() or (
                    has_end and self._curr and self._curr.token_type == TokenType.PLACEHOLDER
                )
                if is_length and clause.args.get("surround") is None:
                    length = self._placeholder() or self.parse_duration("a duration")
                    clause.set("surround", length)
                elif clause.args.get("end") is None and clause.args.get("surround") is None:
                    clause.set("end", self._moment())
                else:
                    self.expected("a closing parenthesis")
        self._match_r_paren()
        select.set(RANGE, clause)

    def _align_every(self) -> exp.Expr:
        self.require("(", "EVERY")
        clause = AlignClause(every=self._length("the step"), expressions=[])
        while self._match(TokenType.COMMA):
            method = self._align_method()
            if method is not None:
                if clause.args.get("method") is not None:
                    self.raise_error("Expected one method for all columns, found two")
                clause.set("method", method)
                clause.set("limit", self._align_limit())
                continue
            column = self._parse_column()
            if not isinstance(column, exp.Column):
                self.expected("a column")
            method = self._align_method()
            if method is None:
                self.expected("PREVIOUS, LINEAR or RATE")
            signal = AlignSignal(this=column, method=method, limit=self._align_limit())
            clause.append("expressions", signal)
        self._match_r_paren()
        return clause

    def _align_method(self) -> str | None:
        """A method that is followed by its limit, a comma or the end."""
        ends = (TokenType.COMMA, TokenType.R_PAREN, TokenType.L_PAREN, TokenType.NUMBER)
        word = self._curr.text.upper() if self._curr else ""
        method = "PREVIOUS" if word == "PREV" else word
        if method not in _ALIGN_METHODS or self._next.token_type not in ends:
            return None
        self._advance()
        return method

    def _align_limit(self) -> Length | None:
        if self._match(TokenType.L_PAREN):
            limit = self._length("a duration")
            self._match_r_paren()
            return limit
        return self._length("a duration") if self._at_duration() else None


def _words(follows: str | Sequence[str]) -> Collection[str]:
    return (follows,) if isinstance(follows, str) else follows
