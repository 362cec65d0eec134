"""The grammar of windows and of GROUP BY as the peers have it, on top of sqlglot's parser.

What GROUP BY of a peer holds comes as one ``GroupItems``, which ``group_by_peers`` takes apart into
the arguments of the Select.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from sqlglot import exp
from sqlglot.tokenizer_core import Token, TokenType

from mainstem_engine.errors import SqlSyntaxError
from mainstem_engine.sql.grammar.clauses import (
    MERGE,
    PARTITION,
    WINDOW,
    ConditionWindow,
    CountWindow,
    EventWindow,
    IntervalWindow,
    LevelGroups,
    PartitionClause,
    RangeWindow,
    SessionWindow,
    StateWindow,
    TagGroups,
    TrueFor,
    VariationWindow,
)
from mainstem_engine.sql.grammar.late_lengths import check_slide, check_sliding
from mainstem_engine.sql.grammar.length_grammar import LengthGrammar

ROWS_MAX = 2**62
"""No window has more rows: a larger number of KEEP means the same."""
LEVELS_MAX = 128
"""No path has more elements."""

_GROUP_RANGE = re.compile(r"\(\s*(?:\[|\([^()\[\]]*(?:\([^()\[\]]*\)[^()\[\]]*)*\])")
"""``([0, 160), 20ms)`` and ``((0, now()], 20ms)``: a time range with its brackets."""
_GROUP_WORDS = {
    "SESSION": "(",
    "VARIATION": "(",
    "CONDITION": "(",
    "COUNT": "(",
    "TAGS": "(",
    "LEVEL": "=",
    "TIME": "(",
}
_OPERATORS = {
    TokenType.GTE: ">=",
    TokenType.GT: ">",
    TokenType.EQ: "=",
    TokenType.LT: "<",
    TokenType.LTE: "<=",
}


class GroupItems(exp.Expression):
    """What GROUP BY of a peer holds, until its Select takes it apart."""

    arg_types = {"window": False, "merge": False, "expressions": False}  # noqa: RUF012


class WindowGrammar(LengthGrammar):
    """Parser methods for windows and groups."""

    def _interval_window(self) -> exp.Expr:
        self.require("(")
        interval = self._length_or_number("the length of the window")
        offset, is_auto = None, False
        if self._match(TokenType.COMMA):
            is_auto = bool(self._match_text_seq("AUTO"))
            offset = None if is_auto else self._length_or_number("an offset or AUTO", least=0)
        self._match_r_paren()
        sliding = None
        if self._match_text_seq("SLIDING", "("):
            sliding = self._length_or_number("the step of the window")
            self._match_r_paren()
        window = IntervalWindow(interval=interval, offset=offset, is_auto=is_auto, sliding=sliding)
        check_sliding(window)
        return window

    def _session_window(self) -> exp.Expr:
        self.require("(")
        column = None
        is_column = not self._at_duration() and self._curr.token_type != TokenType.PLACEHOLDER
        if is_column:
            column = self._parse_disjunction()
            self.require(",")
        gap = self._length_or_number("the gap of a session")
        self._match_r_paren()
        return SessionWindow(this=column, gap=gap)

    def _state_window(self) -> exp.Expr:
        self.require("(")
        states = [self._expression("the state")]
        zeroth: list[exp.Expr] = []
        extend = 0
        while self._match(TokenType.COMMA):
            if self._curr is None or self._curr.token_type != TokenType.NUMBER:
                states.append(self._expression("a state"))
                continue
            extend = self._extend()
            if self._match(TokenType.COMMA):
                zeroth = [self._expression("a state to leave out")]
            break
        self._match_r_paren()
        if self._match_text_seq("EXTEND", "("):
            extend = self._extend()
            self._match_r_paren()
        if self._match_text_seq("ZEROTH_STATE", "("):
            zeroth = self._parse_csv(self._zeroth_state)
            self._match_r_paren()
        if zeroth and len(zeroth) != len(states):
            self.raise_error("ZEROTH_STATE has as many values as STATE_WINDOW has states")
        return StateWindow(
            this=states[0],
            expressions=states[1:],
            extend=extend,
            zeroth=zeroth,
            true_for=self._true_for(),
        )

    def _zeroth_state(self) -> exp.Expr:
        if self._match_text_seq("NO_ZEROTH"):
            return exp.Null()
        return self._expression("a state to leave out")

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
            is_slide = self._curr.token_type in (TokenType.NUMBER, TokenType.PLACEHOLDER)
            if slide is None and not columns and is_slide:
                slide = self._rows("the rows to slide by")
            else:
                columns.append(self._expression("a column"))
        self._match_r_paren()
        window = CountWindow(rows=rows, slide=slide, expressions=columns, drops_tail=False)
        check_slide(window)
        return window

    def _true_for(self) -> TrueFor | None:
        if not self._match_text_seq("TRUE_FOR", "("):
            return None
        found: dict[str, int | exp.Placeholder] = {}
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
        if follows is None or following is None or following.text != follows:
            return False
        # TIME alone may be a function; only with a range it is a window.
        is_time = token.text.upper() == "TIME"
        return not is_time or _GROUP_RANGE.match(self.sql, following.start) is not None

    def _group_item(self) -> exp.Expr:
        if self._match(TokenType.L_PAREN, advance=False):
            return self._range_window()
        word = self._curr.text.upper()
        self._advance()
        if word == "TIME":
            return self._range_window()
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
            keep = self._placeholder() or min(self.parse_integer("a number of rows"), ROWS_MAX)
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
        if self._curr is None or self._curr.text.upper() not in ("IGNORENULL", "IGNORINGNULL"):
            return None
        self._advance()
        self.require("=")
        if not self._match_texts(("TRUE", "FALSE")):
            self.expected("true or false")
        return self._prev.text.upper() == "TRUE"


def group_by_peers(select: exp.Select) -> Any:
    """Takes the items of GROUP BY apart into the clauses of the Select."""
    items = select.args.get("group")
    if not isinstance(items, GroupItems):
        return
    window = items.args.get("window")
    if window is not None and select.args.get(WINDOW) is not None:
        raise SqlSyntaxError(
            "GROUP BY has windows, and another clause too", field="GROUP BY", hint="write one"
        )
    if items.expressions and select.args.get(PARTITION) is not None:
        raise SqlSyntaxError(
            "there are keys in PARTITION BY and in GROUP BY",
            field="GROUP BY",
            hint="write all of them in one",
        )
    select.set("group", None)
    if window is not None:
        select.set(WINDOW, window)
    select.set(MERGE, items.args.get("merge"))
    if items.expressions:
        select.set(PARTITION, PartitionClause(expressions=items.expressions))
