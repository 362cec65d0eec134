"""The grammar of lengths of time, times and counts in clauses, on top of sqlglot's parser."""

from __future__ import annotations

from sqlglot import exp
from sqlglot.tokenizer_core import TokenType

from mainstem_engine.sql.grammar.change_grammar import ChangeGrammar
from mainstem_engine.sql.grammar.clauses import DURATION, Duration, read_duration
from mainstem_engine.sql.grammar.late_lengths import BARE, ROWS_MAX
from mainstem_engine.sql.times import TIME_PATTERN

Length = Duration | exp.Placeholder
"""A length, or a parameter whose value it is."""


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

    def _placeholder(self) -> exp.Placeholder | None:
        """A ``?`` in the place of a length or count; late_lengths gives it its value."""
        if not self._match(TokenType.PLACEHOLDER):
            return None
        return exp.Placeholder(this=str(self.placeholder_index(self._prev) + 1))

    def _whole_number(self) -> exp.Expr:
        placeholder = self._placeholder()
        if placeholder is not None:
            return placeholder
        return exp.Literal.number(self.parse_integer("a number of partitions"))

    def _rows(self, what: str) -> int | exp.Placeholder:
        placeholder = self._placeholder()
        if placeholder is not None:
            return placeholder
        rows = self.parse_integer(what)
        if not 1 <= rows <= ROWS_MAX:
            self.raise_error(f"Expected {what}, from 1 to {ROWS_MAX}")
        return rows

    def _number_value(self, what: str) -> float | exp.Placeholder:
        placeholder = self._placeholder()
        if placeholder is not None:
            return placeholder
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
            return DURATION.fullmatch(token.text) is not None
        return DURATION.match(self.sql, token.start) is not None

    def parse_duration(self, what: str) -> Duration:
        """``1m``, ``1h30m``, ``1mo``, ``'1m'``: one or several numbers with units."""
        if not self._at_duration():
            self.expected(f"{what}, such as 10s")
        token = self._curr
        if token.token_type == TokenType.STRING:
            self._advance()
            text = token.text
        else:
            match = DURATION.match(self.sql, token.start)
            assert match is not None  # _at_duration
            text = match.group()
            self.skip_to(match.end())
        return read_duration(text)

    def _length(self, what: str) -> Length:
        placeholder = self._placeholder()
        if placeholder is not None:
            return placeholder
        found = self.parse_duration(what)
        if not (found.months or found.ns):
            self.raise_error(f"Expected {what}, longer than zero")
        return found

    def _length_or_number(self, what: str, *, least: int = 1) -> Length:
        """A length, or a bare number of the precision's units, ``least`` or more."""
        token = self._curr
        is_bare = token and token.token_type == TokenType.NUMBER and not self._at_duration()
        if not is_bare:
            return self._length(what) if least else self._placeholder() or self.parse_duration(what)
        number = self.parse_integer(what)
        if number < least:
            self.raise_error(f"Expected {what}, longer than zero")
        return Duration(0, number, BARE)

    def _fixed(self, what: str) -> int | exp.Placeholder:
        placeholder = self._placeholder()
        if placeholder is not None:
            return placeholder
        found = self.parse_duration(what)
        if found.months:
            self.raise_error(f"Expected {what} without months")
        return found.ns
