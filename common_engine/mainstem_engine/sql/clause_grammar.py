"""The grammar of windows, FILL, RANGE, ALIGN and PARTITION BY, on top of sqlglot's parser.

1. A clause is recognised by its word and what follows it, so that each word stays a name elsewhere.
2. Clauses come in any order after FROM, each at most once.
3. ``&``, ``|`` and ``!`` between conditions are AND, OR and NOT, as IoTDB writes them; between
   numbers they keep the meaning that they have in DuckDB.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from typing import Any

from sqlglot import exp
from sqlglot.tokenizer_core import Token, TokenType

from mainstem_engine.errors import SqlSyntaxError, SqlUnsupportedError
from mainstem_engine.sql.change_grammar import ChangeGrammar
from mainstem_engine.sql.clauses import (
    ALIGN_EVERY,
    FILL,
    MERGE,
    PARTITION,
    RANGE,
    SLIMIT,
    SOFFSET,
    WINDOW,
    AlignClause,
    AlignSignal,
    ConditionWindow,
    CountWindow,
    Duration,
    EventWindow,
    FillClause,
    IntervalWindow,
    LevelGroups,
    PartitionClause,
    RangeClause,
    RangeWindow,
    SessionWindow,
    StateWindow,
    TagGroups,
    TrueFor,
    VariationWindow,
)
from mainstem_engine.sql.times import MONTH_UNITS, TIME_PATTERN, UNIT_NS

DURATION_NS_MAX = 2**62
"""146 years: sums of a time and some durations stay inside 128 bits and fail by name."""
MONTHS_MAX = 12 * 146
ROWS_MAX = 2**31 - 1
"""Rows of a COUNT window, partitions of SLIMIT."""
LEVELS_MAX = 128
"""No path has more elements."""

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
_GROUP_RANGE = re.compile(r"\(\s*(?:\[|\([^()\[\]]*(?:\([^()\[\]]*\)[^()\[\]]*)*\])")
"""``([0, 160), 20ms)`` and ``((0, now()], 20ms)``: a time range with its brackets."""
_GROUP_WORDS = {
    "SESSION": "(",
    "VARIATION": "(",
    "CONDITION": "(",
    "COUNT": "(",
    "TAGS": "(",
    "LEVEL": "=",
}
_DURATION = re.compile(r"(?:\d+[a-zA-Z]+)+", re.ASCII)
_DURATION_PART = re.compile(r"(\d+)([a-zA-Z]+)", re.ASCII)
_OPERATORS = {
    TokenType.GTE: ">=",
    TokenType.GT: ">",
    TokenType.EQ: "=",
    TokenType.LT: "<",
    TokenType.LTE: "<=",
}
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


class GroupItems(exp.Expression):
    """What GROUP BY of a peer holds, until its Select takes it apart."""

    arg_types = {"window": False, "merge": False, "expressions": False}  # noqa: RUF012


class ClauseGrammar(ChangeGrammar):
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
            raise SqlUnsupportedError("EXTERNAL_WINDOW is not supported", hint="use a join")
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

    # Windows

    def _interval_window(self) -> exp.Expr:
        self.require("(")
        interval = self._length("the length of the window")
        offset, is_auto = None, False
        if self._match(TokenType.COMMA):
            is_auto = bool(self._match_text_seq("AUTO"))
            offset = None if is_auto else self.parse_duration("an offset or AUTO")
        self._match_r_paren()
        sliding = None
        if self._match_text_seq("SLIDING", "("):
            sliding = self._length("the step of the window")
            self._match_r_paren()
            if (sliding.months > 0) != (interval.months > 0) or sliding[:2] > interval[:2]:
                self.raise_error("SLIDING is longer than INTERVAL, which would leave gaps")
        return IntervalWindow(interval=interval, offset=offset, is_auto=is_auto, sliding=sliding)

    def _session_window(self) -> exp.Expr:
        self.require("(")
        column = None
        if not self._at_duration():
            column = self._parse_disjunction()
            self.require(",")
        gap = self._length("the gap of a session")
        self._match_r_paren()
        return SessionWindow(this=column, gap=gap)

    def _state_window(self) -> exp.Expr:
        self.require("(")
        state = self._expression("the state")
        extend = 0
        if self._match(TokenType.COMMA):
            extend = self._extend()
        self._match_r_paren()
        if self._match_text_seq("EXTEND", "("):
            extend = self._extend()
            self._match_r_paren()
        return StateWindow(this=state, extend=extend, true_for=self._true_for())

    def _extend(self) -> int:
        extend = self.parse_integer("0, 1 or 2")
        if extend > 2:
            self.raise_error("EXTEND is 0, 1 or 2")
        return extend

    def _event_window(self) -> exp.Expr:
        self.require("START")
        self._match(TokenType.WITH) or self.expected("WITH")
        start = self._expression("a condition")
        self.require("END")
        self._match(TokenType.WITH) or self.expected("WITH")
        end = self._expression("a condition")
        return EventWindow(start=start, end=end, true_for=self._true_for())

    def _count_window(self) -> exp.Expr:
        self.require("(")
        rows = self._rows("the rows of a window")
        slide = None
        columns: list[exp.Expr] = []
        while self._match(TokenType.COMMA):
            if slide is None and not columns and self._curr.token_type == TokenType.NUMBER:
                slide = self._rows("the rows to slide by")
                if slide > rows:
                    self.raise_error("A COUNT window cannot slide by more rows than it has")
            else:
                columns.append(self._expression("a column"))
        self._match_r_paren()
        return CountWindow(rows=rows, slide=slide, expressions=columns, drops_tail=False)

    def _true_for(self) -> TrueFor | None:
        if not self._match_text_seq("TRUE_FOR", "("):
            return None
        found: dict[str, int] = {}
        is_either = False
        for number in range(2):
            if self._match_text_seq("COUNT"):
                found["rows"] = self._rows("the least rows of a window")
            else:
                found["ns"] = self._fixed("the least length of a window")
            joins = ("AND", "OR") if number == 0 else ()
            if not self._match_texts(joins):
                break
            is_either = self._prev.text.upper() == "OR"
        self._match_r_paren()
        return TrueFor(found.get("ns"), found.get("rows"), is_either)

    # GROUP BY

    def group_items(self) -> GroupItems | None:
        """GROUP BY of a peer after its words, None for that of DuckDB. Takes GROUP BY too."""
        if not self._match(TokenType.GROUP_BY, advance=False):
            return None
        after = self._tokens[self._index + 2 : self._index + 3]
        if not self._is_group_item(self._next, after[0] if after else None):
            return None
        self._advance()
        items = GroupItems(expressions=[])
        while True:
            following = self._next or None
            if not self._is_group_item(self._curr, following):
                items.append("expressions", self._expression("a column"))
            else:
                node = self._group_item()
                key = "merge" if isinstance(node, LevelGroups | TagGroups) else "window"
                if items.args.get(key) is not None:
                    self.raise_error(f"Expected one {key} in GROUP BY, found two")
                items.set(key, node)
            if not self._match(TokenType.COMMA):
                return items

    def _is_group_item(self, token: Token, following: Token | None) -> bool:
        if token.token_type == TokenType.L_PAREN:
            return _GROUP_RANGE.match(self.sql, token.start) is not None
        follows = _GROUP_WORDS.get(token.text.upper())
        return follows is not None and following is not None and following.text == follows

    def _group_item(self) -> exp.Expr:
        if self._match(TokenType.L_PAREN, advance=False):
            return self._range_window()
        word = self._curr.text.upper()
        self._advance()
        self._advance()  # Its parenthesis, or the sign after LEVEL.
        parsers: dict[str, Callable[[], exp.Expr]] = {
            "LEVEL": self._levels,
            "TAGS": self._tags,
            "VARIATION": self._variation,
            "CONDITION": self._condition,
            "COUNT": self._group_count,
            "SESSION": lambda: SessionWindow(gap=self._length("the gap of a session")),
        }
        node = parsers[word]()
        if word != "LEVEL":
            self._match_r_paren()
        return node

    def _range_window(self) -> exp.Expr:
        self.require("(")
        opens_left = bool(self._match(TokenType.L_BRACKET))
        if not opens_left:
            self.require("(")
        start = self._moment()
        self.require(",")
        end = self._moment()
        closes_right = bool(self._match(TokenType.R_BRACKET))
        if opens_left == closes_right:
            self.raise_error("Expected a range [a, b) or (a, b]")
        if not closes_right:
            self._match_r_paren()
        self.require(",")
        interval = self._length("the length of the window")
        step = self._length("the step") if self._match(TokenType.COMMA) else None
        self._match_r_paren()
        return RangeWindow(
            start=start, end=end, interval=interval, step=step, is_right_closed=closes_right
        )

    def _levels(self) -> exp.Expr:
        levels = [self._level()]
        while self._next.token_type == TokenType.NUMBER and self._match(TokenType.COMMA):
            levels.append(self._level())
        return LevelGroups(levels=tuple(levels))

    def _level(self) -> int:
        level = self.parse_integer("a level, 0 for root")
        if level > LEVELS_MAX:
            self.raise_error(f"A path has at most {LEVELS_MAX} levels")
        return level

    def _tags(self) -> exp.Expr:
        keys = self._parse_csv(lambda: self._expression("a tag"))
        return TagGroups(expressions=keys)

    def _variation(self) -> exp.Expr:
        control = self._expression("an expression")
        delta, ignores_null = None, True
        while self._match(TokenType.COMMA):
            flag = self._ignore_null()
            if flag is not None:
                ignores_null = flag
            elif delta is None:
                delta = self._number_value("the variation, zero or more")
            else:
                self.expected("ignoreNull")
        return VariationWindow(this=control, delta=delta, ignores_null=ignores_null)

    def _condition(self) -> exp.Expr:
        condition = self._expression("a condition")
        operator, keep, ignores_null = None, None, True
        while self._match(TokenType.COMMA):
            flag = self._ignore_null()
            if flag is not None:
                ignores_null = flag
                continue
            operator = "="
            if self._match_text_seq("KEEP"):
                operator = _OPERATORS.get(self._curr.token_type) if self._curr else None
                if operator is None:
                    self.expected("one of >=, >, =, <, <=")
                self._advance()
            keep = self.parse_integer("a number of rows")
        return ConditionWindow(
            this=condition, operator=operator, keep=keep, ignores_null=ignores_null
        )

    def _group_count(self) -> exp.Expr:
        column = self._expression("an expression")
        self.require(",")
        rows = self._rows("the rows of a window")
        ignores_null: bool | None = True
        if self._match(TokenType.COMMA):
            ignores_null = self._ignore_null()
            if ignores_null is None:
                self.expected("ignoreNull")
        counted = [column] if ignores_null and not isinstance(column, exp.Star) else []
        return CountWindow(rows=rows, slide=None, expressions=counted, drops_tail=True)

    def _ignore_null(self) -> bool | None:
        """The value of ``ignoreNull=...``, None when it does not stand here."""
        if not self._match_text_seq("IGNORENULL"):
            return None
        self.require("=")
        if not self._match_texts(("TRUE", "FALSE")):
            self.expected("true or false")
        return self._prev.text.upper() == "TRUE"

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
            clause.set("every", self._length("the step"))
        else:
            clause.set("start", self._moment())
            while self._match(TokenType.COMMA):
                if self._at_duration() and clause.args.get("surround") is None:
                    clause.set("surround", self.parse_duration("a duration"))
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

    def _align_limit(self) -> Duration | None:
        if self._match(TokenType.L_PAREN):
            limit = self._length("a duration")
            self._match_r_paren()
            return limit
        return self._length("a duration") if self._at_duration() else None

    # Parts

    def _expression(self, what: str) -> exp.Expr:
        found = self._parse_disjunction()
        if found is None:
            self.expected(what)
        return found

    def _moment(self) -> exp.Expr:
        """A time: a literal, ``now() - 1d``, a parameter; a date may stand without quotes."""
        token = self._curr
        if token and token.token_type == TokenType.NUMBER:
            match = TIME_PATTERN.match(self.sql, token.start)
            if match is not None:
                self.skip_to(match.end())
                return exp.Literal.string(match.group())
        return self._expression("a time")

    def _whole_number(self) -> exp.Expr:
        return exp.Literal.number(self.parse_integer("a number of partitions"))

    def _rows(self, what: str) -> int:
        rows = self.parse_integer(what)
        if not 1 <= rows <= ROWS_MAX:
            self.raise_error(f"Expected {what}, from 1 to {ROWS_MAX}")
        return rows

    def _number_value(self, what: str) -> float:
        token = self._curr
        if not token or token.token_type != TokenType.NUMBER:
            self.expected(what)
        self._advance()
        return float(token.text)

    def _at_duration(self) -> bool:
        token = self._curr
        if not token or token.token_type not in (TokenType.NUMBER, TokenType.STRING):
            return False
        if token.token_type == TokenType.STRING:
            return _DURATION.fullmatch(token.text) is not None
        return _DURATION.match(self.sql, token.start) is not None

    def parse_duration(self, what: str) -> Duration:
        """``1m``, ``1h30m``, ``1mo``, ``'1m'``: one or several numbers with units."""
        if not self._at_duration():
            self.expected(f"{what}, such as 10s")
        token = self._curr
        if token.token_type == TokenType.STRING:
            self._advance()
            text = token.text
        else:
            match = _DURATION.match(self.sql, token.start)
            assert match is not None  # _at_duration
            text = match.group()
            self.skip_to(match.end())
        return read_duration(text)

    def _length(self, what: str) -> Duration:
        found = self.parse_duration(what)
        if not (found.months or found.ns):
            self.raise_error(f"Expected {what}, longer than zero")
        return found

    def _fixed(self, what: str) -> int:
        found = self.parse_duration(what)
        if found.months:
            self.raise_error(f"Expected {what} without months")
        return found.ns


def read_duration(text: str) -> Duration:
    """The duration of ``1h30m``. A year is twelve months. Raises SqlSyntaxError."""
    months = length_ns = 0
    unit = ""
    for amount, written in _DURATION_PART.findall(text):
        unit = written.lower()
        if unit in MONTH_UNITS or unit == "y":
            months += int(amount) * (12 if unit == "y" else 1)
        elif unit in UNIT_NS:
            length_ns += int(amount) * UNIT_NS[unit]
        else:
            raise SqlSyntaxError(
                f"{text!r} is not a duration",
                hint="write a number and ns, us, ms, s, m, h, d, w, mo or y",
            )
    if length_ns > DURATION_NS_MAX or months > MONTHS_MAX:
        raise SqlSyntaxError(f"{text!r} is too long", hint="use less than 146 years")
    return Duration(months, length_ns, unit)


def _words(follows: str | Sequence[str]) -> Collection[str]:
    return (follows,) if isinstance(follows, str) else follows


def group_by_peers(select: exp.Select) -> Any:
    """Takes the items of GROUP BY apart into the clauses of the Select."""
    items = select.args.get("group")
    if not isinstance(items, GroupItems):
        return
    select.set("group", None)
    select.set(WINDOW, items.args.get("window"))
    select.set(MERGE, items.args.get("merge"))
    if items.expressions:
        select.set(PARTITION, PartitionClause(expressions=items.expressions))
