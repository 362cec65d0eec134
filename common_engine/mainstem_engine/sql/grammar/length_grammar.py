"""The grammar of lengths of time, times and counts in clauses, on top of sqlglot's parser."""

from __future__ import annotations

import re

from sqlglot import exp
from sqlglot.tokenizer_core import TokenType

from mainstem_engine.errors import SqlSyntaxError
from mainstem_engine.sql.grammar.bare_lengths import BARE
from mainstem_engine.sql.grammar.change_grammar import ChangeGrammar
from mainstem_engine.sql.grammar.clauses import Duration
from mainstem_engine.sql.times import MONTH_UNITS, TIME_PATTERN, UNIT_NS

DURATION_NS_MAX = 2**62
"""146 years: sums of a time and some durations stay inside 128 bits and fail by name."""
MONTHS_MAX = 12 * 146
ROWS_MAX = 2**31 - 1
"""Rows of a COUNT window, partitions of SLIMIT."""

_DURATION = re.compile(r"(?:\d+[a-zA-Z]+)+", re.ASCII)
_DURATION_PART = re.compile(r"(\d+)([a-zA-Z]+)", re.ASCII)


class LengthGrammar(ChangeGrammar):
    """Parser methods for the parts of clauses."""

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

    def _length_or_number(self, what: str, *, least: int = 1) -> Duration:
        """A length, or a bare number of the precision's units, ``least`` or more."""
        token = self._curr
        if not token or token.token_type != TokenType.NUMBER or self._at_duration():
            return self._length(what) if least else self.parse_duration(what)
        number = self.parse_integer(what)
        if number < least:
            self.raise_error(f"Expected {what}, longer than zero")
        return Duration(0, number, BARE)

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
