"""The grammar of names, literal values, TAGS and INSERT, on top of sqlglot's parser.

A name such as ``root.line.1a.**`` is not made of SQL tokens (numbers and operators may be inside),
so it is read from the text of the statement and the tokens that it covers are skipped. Values go
straight from tokens to Python values: a large INSERT makes no syntax tree.
"""

from __future__ import annotations

import math
import re
from typing import NoReturn

from sqlglot import exp
from sqlglot.parsers.duckdb import DuckDBParser
from sqlglot.tokenizer_core import Token, TokenType

from mainstem_engine.errors import SqlUnsupportedError
from mainstem_engine.sql.statements import (
    CreateDevices,
    DeviceDefinition,
    Insert,
    InsertTarget,
    Literal,
    Name,
    Now,
    Parameter,
)
from mainstem_engine.sql.times import TIME_PATTERN, UNIT_NS

_ELEMENT = re.compile(r"`((?:[^`]|``)+)`|\"((?:[^\"]|\"\")+)\"|(\w*\*[\w*]*)|([^\W]+)", re.UNICODE)
"""A quoted element, one with wildcards, or letters, digits and underscores."""
INTO = "mainstem_into"
"""Meta entry of an INTO: the ``InsertTarget`` that it names, without its query."""
_TIMES = frozenset({"time", "timestamp", "ts"})
"""Columns of INTO that stand for the time; without one of them it comes first."""
_SPECIAL_FLOATS = {"NAN": math.nan, "INF": math.inf, "INFINITY": math.inf}


class RowGrammar(DuckDBParser):
    """Parser methods for everything that holds rows and values."""

    def expected(self, what: str) -> NoReturn:
        """Raises a syntax error at the current token."""
        found = self._curr.text if self._curr else "the end of the statement"
        self.raise_error(f"Expected {what}, found {found!r}")
        raise AssertionError("raise_error raises")

    def require(self, *words: str) -> None:
        """The next words, in any case, or a syntax error."""
        for word in words:
            if not self._match_text_seq(word):
                self.expected(word)

    def match_type(self, token_type: TokenType) -> Token | None:
        """Takes the current token when it is of that type."""
        token = self._curr
        return token if self._match(token_type) else None

    def skip_to(self, end: int) -> None:
        """Skips the tokens that start before offset ``end`` of the text. A token that goes on
        behind it would lose its end, ``root.a.d$1`` become another device: it is refused."""
        while self._curr and self._curr.start < end:
            self._advance()
        rest = self.sql[end : self._prev.end + 1] if self._prev else ""
        if rest and not rest[0].isspace():
            # Words such as PRIMARY KEY are one token.
            self.raise_error(
                f"Unexpected {rest!r}: a name with other characters stands in backquotes",
                self._prev,
            )

    # Names

    def scan_name(self) -> tuple[Name, int] | None:
        """The dotted name at the current token and the offset after it, without taking it."""
        if not self._curr or self._curr.token_type == TokenType.STRING:
            return None
        elements: list[str] = []
        wildcards: set[int] = set()
        position = self._curr.start
        while True:
            match = _ELEMENT.match(self.sql, position)
            if match is None:
                return None
            backquoted, quoted, wildcard, bare = match.groups()
            if wildcard is not None:
                wildcards.add(len(elements))
                elements.append(wildcard)
            elif backquoted is not None:
                elements.append(backquoted.replace("``", "`"))
            else:
                elements.append(quoted.replace('""', '"') if quoted is not None else bare)
            position = match.end()
            if self.sql[position : position + 1] != ".":
                return Name(tuple(elements), frozenset(wildcards)), position
            position += 1

    def parse_name(self, what: str, *, pattern: bool = False) -> Name:
        """A dotted name; wildcards only where ``pattern``."""
        scanned = self.scan_name()
        if scanned is None:
            self.expected(what)
        name, end = scanned
        if name.is_pattern and not pattern:
            self.expected(f"{what} without wildcards")
        self.skip_to(end)
        return name

    def parse_word(self, what: str) -> str:
        """One undotted name, quoted or not."""
        name = self.parse_name(what)
        if len(name.elements) != 1:
            self.raise_error(f"Expected {what} without dots, found {name}")
        return name.elements[0]

    def parse_word_or_string(self, what: str) -> str:
        """One undotted name or a string."""
        token = self.match_type(TokenType.STRING)
        return token.text if token is not None else self.parse_word(what)

    def parse_words(self, what: str) -> tuple[str, ...]:
        """``(a, b, ...)`` of undotted names."""
        self._match_l_paren()
        words = [self.parse_word(what)]
        while self._match(TokenType.COMMA):
            words.append(self.parse_word(what))
        self._match_r_paren()
        return tuple(words)

    def parse_integer(self, what: str) -> int:
        """An unsigned integer."""
        token = self._curr
        if token.token_type != TokenType.NUMBER or not token.text.isdecimal():
            self.expected(what)
        self._advance()
        return int(token.text)

    # Values

    def parse_values(self) -> tuple[Literal, ...]:
        """``(value, ...)``."""
        self._match_l_paren()
        values = [self.parse_value()]
        while self._match(TokenType.COMMA):
            values.append(self.parse_value())
        self._match_r_paren()
        return tuple(values)

    def parse_value(self) -> Literal:
        """One literal: NULL, a boolean, number, string, blob, ``now`` with offsets, or ``?``."""
        token = self._curr
        if not token:
            self.expected("a value")
        kind = token.token_type
        if kind == TokenType.NUMBER:
            return self._time_or_number(token, 1)
        self._advance()
        if kind in (TokenType.STRING, TokenType.IDENTIFIER):
            return token.text
        if kind == TokenType.PLACEHOLDER:
            return Parameter(self.placeholder_index(token))
        if kind in (TokenType.DASH, TokenType.PLUS):
            return self._signed(-1 if kind == TokenType.DASH else 1)
        if kind == TokenType.DOT:
            return self._fraction(1)
        return self._word_value(token)

    def placeholder_index(self, token: Token) -> int:
        """The ordinal of a ``?`` in the text, from 0."""
        raise NotImplementedError

    def parse_query(self) -> exp.Query:
        """A SELECT at the current token."""
        raise NotImplementedError

    def _word_value(self, token: Token) -> Literal:
        word = token.text.upper()
        if word == "NULL":
            return None
        if word in ("TRUE", "FALSE"):
            return word == "TRUE"
        if word in _SPECIAL_FLOATS:
            return _SPECIAL_FLOATS[word]
        if word in ("NOW", "CURRENT_TIMESTAMP"):
            return self._now()
        if word == "X" and self._is_connected():
            digits = self.match_type(TokenType.STRING)
            if digits is not None:
                try:
                    return bytes.fromhex(digits.text)
                except ValueError:
                    self.raise_error("Expected pairs of hexadecimal digits", digits)
        self.raise_error(f"Expected a value, found {token.text!r}", token)
        raise AssertionError("raise_error raises")

    def _signed(self, sign: int) -> Literal:
        token = self._curr
        if token and token.token_type == TokenType.NUMBER:
            return self._number(token, sign)
        if self._match(TokenType.DOT):
            return self._fraction(sign)
        if not token or token.text.upper() not in _SPECIAL_FLOATS:
            self.expected("a number")
        self._advance()
        return sign * _SPECIAL_FLOATS[token.text.upper()]

    def _time_or_number(self, token: Token, sign: int) -> Literal:
        # A time may stand without quotes, as in IoTDB: 2023-02-01T11:47:00.000+08:00
        match = TIME_PATTERN.match(self.sql, token.start)
        if match is not None:
            self.skip_to(match.end())
            return match.group()
        return self._number(token, sign)

    def _number(self, token: Token, sign: int) -> int | float:
        self._advance()
        text = token.text
        if text.isdecimal():
            return sign * int(text)
        try:
            value = sign * float(text)
        except ValueError:
            # A token such as 1e, of which the rest is missing.
            self.raise_error(f"{text} is no number", token)
        if math.isinf(value):
            self.raise_error(f"{text} is out of range", token)
        return value

    def _fraction(self, sign: int) -> float:
        """After the dot of ``.5``."""
        token = self.match_type(TokenType.NUMBER) if self._is_connected() else None
        if token is None:
            self.expected("digits")
        try:
            return sign * float(f"0.{token.text}")
        except ValueError:
            self.raise_error(f".{token.text} is no number", token)
            raise

    def _now(self) -> Now:
        """``now``, ``now()``, each with any number of ``+ 1h`` or ``- 1h``."""
        if self._match(TokenType.L_PAREN):
            self._match_r_paren()
        offset_ns = 0
        while self._curr and self._curr.token_type in (TokenType.DASH, TokenType.PLUS):
            sign = -1 if self._curr.token_type == TokenType.DASH else 1
            self._advance()
            amount = self.parse_integer("a duration")
            unit = self._curr.text.lower() if self._curr and self._is_connected() else ""
            if unit not in UNIT_NS:
                self.expected("a unit such as s, m or h right after the number")
            self._advance()
            offset_ns += sign * amount * UNIT_NS[unit]
        return Now(offset_ns)

    # CREATE TABLE ... USING, INSERT

    def parse_using(self, name: Name) -> DeviceDefinition:
        """After USING: ``template [(tag, ...)] TAGS (value, ...)``."""
        template = self.parse_name("a template").elements[-1]
        tag_names = None
        if self._match(TokenType.L_PAREN, advance=False):
            tag_names = self.parse_words("a tag")
        self.require("TAGS")
        # A template may have no tags.
        is_empty = self._match_pair(TokenType.L_PAREN, TokenType.R_PAREN)
        return DeviceDefinition(name, template, tag_names, () if is_empty else self.parse_values())

    def parse_create_devices(self) -> CreateDevices:
        """After CREATE TABLE: one or several ``[IF NOT EXISTS] name USING ...``."""
        devices = []
        warnings: list[str] = []
        if_not_exists = False
        while self._curr:
            if_not_exists = self._match_text_seq("IF", "NOT", "EXISTS") or if_not_exists
            name = self.parse_name("a table")
            if not self._match_text_seq("USING"):
                raise SqlUnsupportedError(
                    "CREATE TABLE of this kind is not supported",
                    hint="CREATE TABLE t (ts TIMESTAMP, ...), or CREATE TABLE d USING t TAGS (...)",
                )
            devices.append(self.parse_using(name))
            while self._match_texts(("TTL", "COMMENT")):
                option, value = self._prev.text.upper(), self._curr
                self._advance()
                warnings.append(f"table {name}: {option} {value.text!r} has no effect")
            self._match(TokenType.COMMA)
        return CreateDevices(tuple(devices), if_not_exists, tuple(warnings))

    def parse_insert(self) -> Insert:
        """After INSERT: one or several tables, each with its rows."""
        self._match_text_seq("INTO")
        targets = []
        while self._curr:
            targets.append(self._insert_target())
            self._match(TokenType.COMMA)
        if not targets:
            self.expected("a table")
        return Insert(tuple(targets))

    def _insert_target(self) -> InsertTarget:
        name = self.parse_name("a table")
        columns = self._insert_columns()
        using = self.parse_using(name) if self._match_text_seq("USING") else None
        if using is not None and self._match(TokenType.L_PAREN, advance=False):
            if columns is not None:
                self.raise_error("Expected one list of columns, found two")
            columns = self._insert_columns()
        self._match_text_seq("ALIGNED")
        if self._match_text_seq("FILE"):
            raise SqlUnsupportedError(
                "INSERT ... FILE is not supported", hint="import files with `mainstem import`"
            )
        if self._at_query():
            return InsertTarget(name, using, columns, (), self.parse_query())
        if not self._match_text_seq("VALUES"):
            self.require("VALUE")
        rows = [self.parse_values()]
        while self._match(TokenType.COMMA) or self._match(TokenType.L_PAREN, advance=False):
            if not self._match(TokenType.L_PAREN, advance=False):
                break
            rows.append(self.parse_values())
        return InsertTarget(name, using, columns, tuple(rows))

    def _parse_into(self) -> exp.Into | None:
        """``INTO [ALIGNED] device(measurement, ...)`` of a SELECT."""
        if not self._match(TokenType.INTO):
            return None
        if self._next and self._next.token_type not in (TokenType.L_PAREN, TokenType.DOT):
            self._match_text_seq("ALIGNED")
        scanned = self.scan_name()
        if scanned is None or self.sql[scanned[1] :].lstrip()[:1] != "(":
            raise SqlUnsupportedError(
                "INTO of this kind is not supported",
                hint="name one device and its measurements: SELECT a INTO root.x.y(b) FROM ..",
            )
        name = self.parse_name("a device")
        columns = self.parse_words("a measurement")
        if self._match(TokenType.COMMA, advance=False):
            raise SqlUnsupportedError(
                "INTO several devices is not supported",
                hint="use a statement for each, or INSERT INTO template(device, time, ..) SELECT",
            )
        if not {column.casefold() for column in columns} & _TIMES:
            columns = ("time", *columns)
        into = exp.Into(this=exp.to_identifier(str(name), quoted=True))
        into.meta[INTO] = InsertTarget(name, None, columns, ())
        return into

    def _at_query(self) -> bool:
        """True at a SELECT, in parentheses or not."""
        if not self._match(TokenType.L_PAREN, advance=False):
            return bool(self._match_texts(("SELECT", "WITH", "FROM"), advance=False))
        word, behind = [*self._tokens[self._index + 1 : self._index + 3], None, None][:2]
        is_word = word is not None and word.text.upper() in ("SELECT", "WITH")
        # (select, ...) is a list of columns.
        return is_word and behind is not None and behind.text not in (",", ")")

    def _insert_columns(self) -> tuple[str, ...] | None:
        if not self._match(TokenType.L_PAREN, advance=False) or self._at_query():
            return None
        return self.parse_words("a column")
