"""The dialect: sqlglot's DuckDB grammar with both peers' statements on top.

1. A statement is recognised by its first word. Definitions and INSERT have a grammar of their own;
   SELECT is DuckDB's, so that everything DuckDB can do works.
2. FROM takes device paths and patterns (``root.plant_a.**``): a table node carries the name as
   written in its ``NAME`` meta entry. Backquotes quote names as double quotes do.
3. ``1h`` is an interval, ``2026-10-03T06:00:00Z`` may stand without quotes, and ``?`` is numbered
   in the order of the text.
4. Windows, FILL, RANGE, ALIGN and PARTITION BY become nodes of their Select (clauses), and are
   never parsed as something else, such as an alias.

``parse`` is the only way in. Its errors name line and column.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial
from typing import Any, cast

from sqlglot import exp
from sqlglot.dialects.duckdb import DuckDB
from sqlglot.errors import ParseError, TokenError
from sqlglot.parsers.duckdb import DuckDBParser
from sqlglot.tokenizer_core import Token, TokenType

from mainstem_engine.errors import SqlLimitError, SqlSyntaxError, SqlUnsupportedError
from mainstem_engine.sql.grammar.clause_grammar import ClauseGrammar
from mainstem_engine.sql.grammar.clauses import PARTITION
from mainstem_engine.sql.grammar.definition_grammar import REFUSED
from mainstem_engine.sql.grammar.logical_signs import join_conditions
from mainstem_engine.sql.grammar.row_grammar import INTO
from mainstem_engine.sql.grammar.window_grammar import group_by_peers
from mainstem_engine.sql.statements import Explain, Insert, Query, Statement
from mainstem_engine.sql.times import MONTH_UNITS, TIME_PATTERN, UNIT_NS

STATEMENT_CHARS_MAX = 4 << 20
"""A script longer than this is an import. Tokens take about fifty times the text's memory."""
_SYNTAX_HINT = "look before that place too; docs/sql.md has an example of every clause"
_INCOMPLETE = re.compile(r"missing for <class '.*\.(\w+)'>")
"""sqlglot's words for a node that lacks a part, with a name of its own for the node."""
_TOKEN = re.compile(r"<Token .*?, text: (.*?), line: .*?>", re.DOTALL)
_PLACEHOLDER_HINT = "? is a value, a length or a count; write names, LEVEL and EXTEND out"
TREE_NODES_MAX = 20_000
"""Bounds time and memory of planning; a person's statement has some hundred nodes."""

NAME = "mainstem_name"
"""Meta entry of a table node: its ``Name``."""
RELATION = "mainstem_relation"
"""Meta entry of a table node: the number of its relation, which copies of the node keep."""
TEXT = "mainstem_text"
"""Meta entry of a projection: its text as written, for the heading."""
DOUBLE_QUOTED = "mainstem_double_quoted"
"""Meta entry of an identifier that stands in double quotes, as the peers also write texts."""
ALIGN = "mainstem_align"
"""Meta entry of a SELECT with ``ALIGN BY``: DEVICE or TIME."""
DURATION_NS = "mainstem_ns"
"""Meta entry of an interval literal such as ``1d``: its fixed length."""
LAST = "mainstem_last"
"""Meta entry of the first projection of ``SELECT LAST a, b FROM ...``."""


_SHARED_NAMES = {
    "COUNT_IF": 1,
    "FIRST": 1,
    "LAST": 1,
    "MEDIAN": 1,
    "MODE": 1,
    "RANGE": 3,
    "STDDEV": 1,
}
"""Functions that DuckDB and the peers call alike, and the most arguments that DuckDB's takes."""


class OwnStatement(exp.Expression):
    """Carries a statement of our own grammar through sqlglot's parser."""

    arg_types = {"statement": True}  # noqa: RUF012 -- sqlglot's own declaration


def parse(sql: str) -> list[Statement]:
    """The statements of a script, in order.

    Raises SqlSyntaxError, SqlUnsupportedError, or SqlLimitError when the script is too large.
    """
    if len(sql) > STATEMENT_CHARS_MAX:
        raise SqlLimitError(
            f"the script has {len(sql)} characters, more than {STATEMENT_CHARS_MAX}",
            hint="split it, or use `mainstem import`",
        )
    dialect = Mainstem()
    try:
        tokens = dialect.tokenize(sql)
        parser = cast("MainstemParser", dialect.parser())
        trees = parser.parse(tokens, sql)
    except ParseError as error:
        raise _syntax_error(error) from None
    except TokenError as error:
        raise SqlSyntaxError(
            str(error).split("\n")[0], hint="close every quote and comment that is opened"
        ) from None
    except RecursionError:
        raise SqlLimitError(
            "the statement is nested too deeply", hint="split it with WITH clauses"
        ) from None
    statements = [_statement(tree) for tree in trees if tree is not None]
    if not statements:
        raise SqlSyntaxError("there is no statement", hint="write one, such as SHOW DATABASES")
    return statements


def _statement(tree: exp.Expr) -> Statement:
    if isinstance(tree, OwnStatement):
        return cast("Statement", tree.args["statement"])
    while isinstance(tree, exp.Subquery) and tree.is_wrapper:
        tree = tree.this
    if isinstance(tree, exp.Query):
        into = tree.args.get("into")
        if into is not None:
            tree.set("into", None)
            return Insert((replace(into.meta[INTO], query=tree),))
        if next(itertools.islice(tree.walk(), TREE_NODES_MAX, None), None) is not None:
            raise SqlLimitError("the statement is too large", hint="split it")
        return Query(tree)
    raise SqlUnsupportedError(
        f"{tree.key.upper()} is not a statement", hint="start with SELECT, INSERT, CREATE or SHOW"
    )


def _syntax_error(error: ParseError) -> SqlSyntaxError:
    first = error.errors[0] if error.errors else {}
    where = f"line {first['line']}, column {first['col']}: " if first.get("line") else ""
    near = f" near {first['highlight']!r}" if first.get("highlight") else ""
    description = first.get("description") or str(error)
    incomplete = _INCOMPLETE.search(description)
    if incomplete is not None:
        description = f"{incomplete.group(1).upper()} is incomplete"
    if description.endswith("does not support CTE"):
        description = "WITH stands before SELECT: INSERT INTO t WITH q AS (...) SELECT ..."
    description = _TOKEN.sub(lambda found: repr(found.group(1)), description)
    highlight = str(first.get("highlight") or "")
    hint = _PLACEHOLDER_HINT if highlight == "?" else _SYNTAX_HINT
    return SqlSyntaxError(f"{where}{description}{near}", field=highlight or None, hint=hint)


def _builder(name: str, known: Callable[..., exp.Expr], args_max: int) -> Callable[..., exp.Expr]:
    """Builds a function of sqlglot, or an unknown one where the peers' of that name is called."""

    def build(args: list[exp.Expr]) -> exp.Expr:
        named = any(isinstance(arg, exp.EQ) and _is_parameter(arg.this) for arg in args[1:])
        if named or len(args) > args_max:
            return exp.Anonymous(this=name, expressions=args)
        return known(args)

    return build


def _is_parameter(node: exp.Expr) -> bool:
    """True for ``'window'`` and ``"window"`` of ``f(x, 'window'='15')``."""
    if isinstance(node, exp.Column) and not node.table:
        node = node.this
    is_quoted = isinstance(node, exp.Identifier) and bool(node.quoted)
    return is_quoted or (isinstance(node, exp.Literal) and node.is_string)


class MainstemParser(ClauseGrammar):
    """Statements, and what SELECT has beyond DuckDB."""

    FUNC_TOKENS = DuckDBParser.FUNC_TOKENS | {TokenType.UNIQUE, TokenType.DATABASE}
    FUNCTIONS = {  # noqa: RUF012 -- sqlglot's own declaration
        **DuckDBParser.FUNCTIONS,
        **{
            name: _builder(name, DuckDBParser.FUNCTIONS[name], args_max)
            for name, args_max in _SHARED_NAMES.items()
        },
    }

    FUNCTION_PARSERS = {  # noqa: RUF012
        **DuckDBParser.FUNCTION_PARSERS,
        "QUANTILE": lambda self: self.parse_quantile(),
    }
    PRIMARY_PARSERS = {  # noqa: RUF012 -- sqlglot's own declaration
        **DuckDBParser.PRIMARY_PARSERS,
        TokenType.NUMBER: lambda self, token: self.parse_number(token),
    }
    PLACEHOLDER_PARSERS = {  # noqa: RUF012
        **DuckDBParser.PLACEHOLDER_PARSERS,
        TokenType.PLACEHOLDER: lambda self: self.parse_placeholder(),
    }

    def parse(self, raw_tokens: list[Token], sql: str) -> list[exp.Expr | None]:
        """As sqlglot's, and numbers the placeholders of the whole script."""
        placeholders = [t.start for t in raw_tokens if t.token_type == TokenType.PLACEHOLDER]
        self._placeholders = {start: index for index, start in enumerate(placeholders)}
        trees = super().parse(join_conditions(raw_tokens), sql)
        for tree in trees if '"' in sql else ():
            for node in tree.find_all(exp.Identifier) if tree is not None else ():
                if sql[node.meta.get("start", 0)] == '"':
                    node.meta[DOUBLE_QUOTED] = True
        return trees

    def placeholder_index(self, token: Token) -> int:
        return self._placeholders[token.start]

    def parse_placeholder(self) -> exp.Placeholder:
        """``?`` as a placeholder named by its number, from 1 as DuckDB counts."""
        return exp.Placeholder(this=str(self.placeholder_index(self._prev) + 1))

    def parse_quantile(self) -> exp.Expr:
        """DuckDB's ``quantile(x, 0.5)``, or an unknown function with named parameters."""
        known = self._parse_distinct_arg_function(exp.Quantile)
        rank = known.args.get("quantile")
        if isinstance(rank, exp.EQ) and _is_parameter(rank.this):
            return exp.Anonymous(this="QUANTILE", expressions=[known.this, rank])
        return known

    # Statements

    def _parse_statement(self) -> exp.Expr | None:
        token = self._curr
        if token and token.token_type == TokenType.SEMICOLON:
            # One that a comment follows is handed over as a statement.
            self._advance()
            return None
        if not token or token.token_type in self.TEXT_MATCH_EXCLUDED_TOKENS:
            return super()._parse_statement()
        word = token.text.upper()
        statement = self._own_statement(word)
        if statement is not None:
            return OwnStatement(statement=statement)
        if word in REFUSED:
            raise SqlUnsupportedError(f"{word} is not supported", field=word, hint=REFUSED[word])
        if word not in ("SELECT", "WITH", "FROM", "VALUES", "TABLE", "("):
            self.raise_error(f"Expected a statement, found {token.text!r}")
        return super()._parse_statement()

    def _own_statement(self, word: str) -> Any:
        parsers: dict[str, Callable[[], Any]] = {
            "CREATE": self.parse_create,
            "SET": self.parse_set,
            "UNSET": self.parse_unset,
            "ALTER": self.parse_alter,
            "DELETE": self.parse_delete,
            "DROP": self.parse_drop,
            "DEACTIVATE": self.parse_deactivate,
            "INSERT": self.parse_insert,
            "USE": self.parse_use,
            "SHOW": self.parse_show,
            "COUNT": self.parse_count,
            "DESCRIBE": self.parse_describe,
            "DESC": self.parse_describe,
            "EXPLAIN": self._explain,
            **{what: partial(self.parse_upkeep, what) for what in ("FLUSH", "COMPACT", "TRIM")},
        }
        if self.at_tag_values():
            parsers["SELECT"] = self.parse_tag_values
        parser = parsers.get(word)
        if parser is None:
            return None
        self._advance()
        return parser()

    def _explain(self) -> Explain:
        analyze = bool(self._match_text_seq("ANALYZE"))
        tree = self._parse_statement()
        statement = _statement(tree) if tree is not None else None
        if isinstance(statement, Insert):
            (target, *more) = statement.targets
            if target.query is not None and not more and not analyze:
                return Explain(Query(target.query), into=str(target.name))
        if not isinstance(statement, Query):
            verb = "EXPLAIN ANALYZE" if analyze else "EXPLAIN"
            raise SqlUnsupportedError(
                f"{verb} of this statement is not supported",
                hint=f"{verb} SELECT ...; of INSERT ... SELECT there is EXPLAIN",
            )
        return Explain(statement, analyze)

    def parse_query(self) -> exp.Query:
        tree = self._parse_statement()
        statement = None if tree is None else _statement(tree)
        if not isinstance(statement, Query):
            self.expected("a SELECT")
        return statement.tree

    # Values

    def parse_number(self, token: Token) -> exp.Expr:
        """A number, ``1h``, or a time of day that stands without quotes."""
        match = TIME_PATTERN.match(self.sql, token.start)
        if match is not None and match.group(4) is not None:
            self.skip_to(match.end())
            return exp.Literal.string(match.group())
        unit = self._curr.text.lower() if self._curr and self._is_connected() else ""
        if token.text.isdecimal() and (unit in UNIT_NS or unit in MONTH_UNITS):
            self._advance()
            return _interval(int(token.text), unit)
        return self.expression(exp.Literal(this=token.text, is_string=False), token)

    def _parse_projections(self) -> tuple[list[exp.Expr], list[exp.Expr] | None]:
        # LAST s1, s2 FROM: the list follows directly, where LAST(s1) has parentheses.
        is_last = self._match_text_seq("LAST", advance=False) and (
            self._next.token_type in (TokenType.STAR, TokenType.VAR, TokenType.IDENTIFIER)
        )
        if is_last:
            self._advance()
        projections = self._parse_csv(self._parse_projection)
        if is_last and projections:
            projections[0].meta[LAST] = True
        return projections, None

    def _parse_projection(self) -> exp.Expr | None:
        start = self._curr
        node = self._parse_expression()
        if node is not None and start:
            node.meta[TEXT] = self._find_sql(start, self._prev)
        return node

    def _parse_range(self, this: exp.Expr | None = None, parse_is: bool = False) -> Any:
        found = super()._parse_range(this, parse_is)
        texts = (TokenType.STRING, TokenType.IDENTIFIER)
        while found is not None and self._next and self._next.token_type in texts:
            # TDengine's: a name of a column may be the same, but no text follows it.
            if not self._match_texts(("MATCH", "NMATCH")):
                break
            is_negative = self._prev.text.upper() == "NMATCH"
            pattern = exp.Literal.string(self._curr.text)
            self._advance()
            found = exp.RegexpLike(this=found, expression=pattern)
            found = exp.Not(this=exp.paren(found)) if is_negative else found
        return found

    # FROM

    def _parse_table_parts(
        self,
        schema: bool = False,
        is_db_reference: bool = False,
        wildcard: bool = False,
        fast: bool = False,
    ) -> exp.Table | exp.Dot | None:
        token = self._curr
        may_name = token and token.token_type in self.ID_VAR_TOKENS | {TokenType.IDENTIFIER}
        scanned = self.scan_name() if may_name and not schema and not is_db_reference else None
        if scanned is None and may_name and self._next.token_type == TokenType.DOT:
            self.expected("a path such as root.a.b")
        if scanned is None or self._is_call(scanned[1]):
            return super()._parse_table_parts(schema, is_db_reference, wildcard, fast)
        name, end = scanned
        self.skip_to(end)
        table = exp.Table(this=exp.to_identifier(str(name), quoted=True))
        table.meta[NAME] = name
        table.update_positions(token)
        return table

    def _parse_join_parts(self) -> tuple[Token | None, Token | None, Token | None]:
        method, side, kind = super()._parse_join_parts()
        if side is not None and method is None and kind is None:
            # TDengine writes LEFT ASOF JOIN for ASOF LEFT JOIN.
            if self._match(TokenType.ASOF):
                method = self._prev
            elif self._match(TokenType.WINDOW, advance=False) and self._next:
                raise SqlUnsupportedError(
                    "WINDOW JOIN is not supported",
                    hint="JOIN b ON b.ts BETWEEN a.ts - 1s AND a.ts + 1s, and GROUP BY a.ts",
                )
        return method, side, kind

    def _is_call(self, end: int) -> bool:
        return re.compile(r"\s*\(").match(self.sql, end) is not None

    def _parse_table_alias(
        self, alias_tokens: Collection[TokenType] | None = None
    ) -> exp.TableAlias | None:
        if self.clause_word() is not None:
            return None
        return super()._parse_table_alias(alias_tokens)

    def _parse_query_modifiers(self, this: Any) -> Any:
        # A clause after a sub-query in parentheses belongs to the Select around it.
        if not isinstance(this, exp.Select):
            this = super()._parse_query_modifiers(this)
            if isinstance(this, exp.Expr) and this.args.get("group") is not None:
                raise SqlSyntaxError(
                    "GROUP BY stands behind a query in parentheses",
                    field="GROUP BY",
                    hint="write it inside of them, or SELECT ... FROM (...) GROUP BY ...",
                )
            return this
        position = -1
        while position != self._index:
            position = self._index
            if self.clause_word() is None:
                this = super()._parse_query_modifiers(this)
                group_by_peers(this)
            while self.parse_clause(this):
                pass
            if self._match_text_seq("ALIGN", "BY"):
                if not self._match_texts(("DEVICE", "TIME")):
                    self.expected("DEVICE or TIME")
                if ALIGN in this.meta:
                    self.raise_error("Expected one ALIGN BY, found two")
                this.meta[ALIGN] = self._prev.text.upper()
        if this.args.get("group") and this.args.get(PARTITION):
            self.raise_error("Expected PARTITION BY or GROUP BY, found both")
        return this

    def _parse_group(self, skip_group_by_token: bool = False) -> Any:
        return self.group_items() or super()._parse_group(skip_group_by_token)


def _interval(amount: int, unit: str) -> exp.Expr:
    """The interval of ``1h`` or ``1mo``. Fixed units stay fixed where clocks are changed."""
    if unit in MONTH_UNITS:
        return exp.Interval(this=exp.Literal.string(str(amount)), unit=exp.var("MONTH"))
    length_ns = amount * UNIT_NS[unit]
    if length_ns % 1_000 == 0:
        node = exp.Interval(
            this=exp.Literal.string(str(length_ns // 1_000)), unit=exp.var("MICROSECOND")
        )
    else:
        raise SqlUnsupportedError(
            f"an interval of {amount}{unit} is not supported", hint="use whole microseconds"
        )
    node.meta[DURATION_NS] = length_ns
    return node


class Mainstem(DuckDB):
    """Registers with sqlglot under the name ``mainstem``."""

    class Tokenizer(DuckDB.Tokenizer):
        IDENTIFIERS = ['"', "`"]  # noqa: RUF012 -- sqlglot's own declaration
        # Names of types mean the same in CAST as in CREATE; DuckDB's INT8 would have eight bytes.
        KEYWORDS = {  # noqa: RUF012
            **DuckDB.Tokenizer.KEYWORDS,
            "FORCE": TokenType.VAR,  # a measurement; elsewhere a hint for indexes
            "INT8": TokenType.TINYINT,
            "INT16": TokenType.SMALLINT,
            "INT32": TokenType.INT,
            "INT64": TokenType.BIGINT,
            "UINT8": TokenType.UTINYINT,
            "UINT16": TokenType.USMALLINT,
            "UINT32": TokenType.UINT,
            "UINT64": TokenType.UBIGINT,
        }
        # sqlglot takes the rest of these statements as one string; here every word is looked at.
        COMMANDS = set()  # noqa: RUF012

    Parser = MainstemParser
