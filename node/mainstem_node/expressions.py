"""Scalar expressions over the measurements of a row, in the SQL of the console, over numpy columns.

1. The text is parsed by the SQL grammar, once; what is not on the list here is refused with its
   name. There is no way from a text to Python code.
2. Numbers are double, conditions three-valued as in SQL: null is neither true nor false, and every
   function of a null is null but COALESCE, IF, CASE, LEAST and GREATEST, which skip it.
3. What is no number (a division by zero, a logarithm of -1, beyond a double) is null.

Bounded: EXPRESSION_CHARS_MAX, and one numpy pass a node. sqlglot is imported with the first text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np

from mainstem_engine.errors import SqlError
from mainstem_engine.model import AnyArray, BoolMask, Column
from mainstem_node.errors import ExpressionError

if TYPE_CHECKING:
    from sqlglot import exp

EXPRESSION_CHARS_MAX = 2000
DEPTH_MAX = 30
"""Each level is a Python call when it is evaluated."""
TERMS_MAX = 1000
"""BETWEEN and IN are written out, and inside one another they multiply."""

NUMBER, CONDITION = "a number", "a condition"


@dataclass(frozen=True, slots=True)
class Value:
    """n values of a term: float64, or bool where ``is_condition``; ``valid`` bool[n]."""

    values: AnyArray
    valid: BoolMask

    @property
    def is_condition(self) -> bool:
        return bool(self.values.dtype == np.bool_)


Row = Mapping[str, Value]
Term = Callable[[Row, int], Value]
"""What a node of the tree does with the columns of n rows."""


@dataclass(frozen=True, slots=True)
class Expression:
    """A parsed expression. ``names``: the measurements that it reads, as given to ``parse``."""

    text: str
    names: tuple[str, ...]
    is_condition: bool
    _term: Term

    def evaluate(self, columns: Mapping[str, Column | None], count: int) -> Column:
        """One value a row: float64, or bool of a condition; null where it has none.

        ``columns``: of ``names``, None for one that no row has.
        """
        row = {name: _value(columns.get(name), count) for name in self.names}
        with np.errstate(all="ignore"):
            found = self._term(row, count)
        valid = found.valid
        if not found.is_condition:
            valid = valid & np.isfinite(found.values)
            return Column(np.where(valid, found.values, 0.0), valid)
        return Column(found.values & valid, valid)


def parse(text: str, known: Mapping[str, bool]) -> Expression:
    """Raises ExpressionError. ``known``: measurements, and whether each is BOOLEAN."""
    from sqlglot import exp

    from mainstem_engine.sql.grammar.dialect import parse as parse_sql
    from mainstem_engine.sql.statements import Query

    if len(text) > EXPRESSION_CHARS_MAX:
        raise ExpressionError("the expression is too long", f"{EXPRESSION_CHARS_MAX} characters")
    try:
        statements = parse_sql(f"SELECT {text}")
    except SqlError as error:
        raise ExpressionError(f"{text!r} cannot be read: {error.message}", error.hint) from None
    tree = statements[0].tree if len(statements) == 1 and isinstance(statements[0], Query) else None
    parts = {name for name, part in tree.args.items() if part} if tree is not None else set()
    if not isinstance(tree, exp.Select) or parts - {"expressions", "kind"}:
        raise ExpressionError(f"{text!r} is a statement", "write an expression such as a * 2 + b")
    if len(tree.expressions) != 1 or isinstance(tree.expressions[0], exp.Alias):
        raise ExpressionError(f"{text!r} is not one expression", "write one, without AS")
    compiler = _Compiler({name.casefold(): name for name in known}, known)
    term, kind = compiler.term(tree.expressions[0], 0)
    return Expression(text, tuple(compiler.names), kind == CONDITION, term)


def _value(column: Column | None, count: int) -> Value:
    if column is None:
        return Value(np.zeros(count), np.zeros(count, np.bool_))
    valid = column.mask()
    is_bool = column.values.dtype == np.bool_
    return Value(column.values if is_bool else column.values.astype(np.float64), valid)


Typed = tuple[Term, str]


class _Compiler:
    """From sqlglot's tree to terms; ``names`` fills up with the measurements that are read."""

    def __init__(self, folded: Mapping[str, str], known: Mapping[str, bool]) -> None:
        self._folded = folded
        self._known = known
        self.names: dict[str, None] = {}
        self._terms = 0

    def term(self, node: exp.Expr, depth: int) -> Typed:
        from sqlglot import exp

        self._terms += 1
        if depth > DEPTH_MAX or self._terms > TERMS_MAX:
            raise ExpressionError("the expression is too complex", "derive a part of it first")
        down = depth + 1
        match node:
            case exp.Paren():
                return self.term(node.this, down)
            case exp.Column() | exp.Dot():
                return self._column(node)
            case exp.Literal() if not node.is_string:
                return _constant(float(node.this), True), NUMBER
            case exp.Boolean():
                return _constant(bool(node.this), True), CONDITION
            case exp.Null():
                return _constant(0.0, False), NUMBER
            case exp.Neg():
                return _each(np.negative, self._number(node.this, down)), NUMBER
            case exp.Not():
                return _not(self._condition(node.this, down)), CONDITION
            case exp.And() | exp.Or():
                both = [self._condition(part, down) for part in _sides(node)]
                return _junction(both, isinstance(node, exp.And)), CONDITION
            case exp.Is():
                if not isinstance(node.expression, exp.Null):
                    raise _refused(node)
                return _is_null(self.term(node.this, down)[0]), CONDITION
            case exp.Between():
                low = exp.GTE(this=node.this, expression=node.args["low"])
                high = exp.LTE(this=node.this, expression=node.args["high"])
                return self.term(exp.And(this=low, expression=high), down)
            case exp.In() if node.expressions:
                return self.term(_one_of(node.this, node.expressions), down)
            case exp.If() | exp.Case():
                return self._choice(node, down)
            case exp.Coalesce():
                return self._coalesce([node.this, *node.expressions], down)
            case exp.Least() | exp.Greatest():
                terms = [self._number(part, down) for part in (node.this, *node.expressions)]
                smallest = isinstance(node, exp.Least)
                return _extreme(np.fmin if smallest else np.fmax, terms), NUMBER
            case exp.Round():
                return self._round(node, down), NUMBER
        return self._by_kind(node, down)

    def _by_kind(self, node: exp.Expr, depth: int) -> Typed:
        from sqlglot import exp

        arithmetic: dict[type[exp.Expr], Any] = {
            exp.Add: np.add, exp.Sub: np.subtract, exp.Mul: np.multiply, exp.Div: np.divide,
            exp.Mod: np.fmod, exp.Pow: np.power,
        }  # fmt: skip
        comparisons: dict[type[exp.Expr], Any] = {
            exp.EQ: np.equal, exp.NEQ: np.not_equal, exp.GT: np.greater, exp.GTE: np.greater_equal,
            exp.LT: np.less, exp.LTE: np.less_equal,
        }  # fmt: skip
        functions: dict[type[exp.Expr], Any] = {
            exp.Abs: np.abs, exp.Sqrt: np.sqrt, exp.Exp: np.exp, exp.Ln: np.log, exp.Sign: np.sign,
            exp.Floor: np.floor, exp.Ceil: np.ceil, exp.Sin: np.sin, exp.Cos: np.cos,
            exp.Tan: np.tan,
        }  # fmt: skip
        kind = type(node)
        if kind in arithmetic:
            left, right = (self._number(part, depth) for part in _sides(node))
            return _pair(arithmetic[kind], left, right), NUMBER
        if kind in comparisons:
            (left, kind_left), (right, kind_right) = (
                self.term(part, depth) for part in _sides(node)
            )
            if kind_left != kind_right:
                raise ExpressionError(
                    f"{node.sql()!r} compares {kind_left} with {kind_right}",
                    "compare like with like",
                )
            return _pair(comparisons[kind], left, right), CONDITION
        if kind in functions and not node.args.get("decimals"):
            return _each(functions[kind], self._number(node.this, depth)), NUMBER
        if isinstance(node, exp.Log):
            return self._log(node, depth), NUMBER
        raise _refused(node)

    def _column(self, node: exp.Expr) -> Typed:
        written = ".".join(part.name for part in node.parts)  # type: ignore[attr-defined]
        name = self._folded.get(written.casefold())
        if name is None:
            raise ExpressionError(
                f"there is no measurement {written!r}", f"known are {', '.join(self._known)}"
            )
        self.names[name] = None
        return (lambda row, count: row[name]), CONDITION if self._known[name] else NUMBER

    def _number(self, node: exp.Expr, depth: int) -> Term:
        return self._of_kind(node, depth, NUMBER)

    def _condition(self, node: exp.Expr, depth: int) -> Term:
        return self._of_kind(node, depth, CONDITION)

    def _of_kind(self, node: exp.Expr, depth: int, wanted: str) -> Term:
        from sqlglot import exp

        if isinstance(node, exp.Null):
            return _constant(False if wanted == CONDITION else 0.0, False)
        term, kind = self.term(node, depth)
        if kind != wanted:
            raise ExpressionError(
                f"{node.sql()!r} is {kind}, not {wanted}", "compare it, or use IF"
            )
        return term

    def _same(self, nodes: Sequence[exp.Expr], depth: int) -> tuple[list[Term], str]:
        """Terms that must be of one kind; a null is of any."""
        from sqlglot import exp

        known = [None if isinstance(n, exp.Null) else self.term(n, depth) for n in nodes]
        kinds = {found[1] for found in known if found is not None} or {NUMBER}
        if len(kinds) > 1:
            raise ExpressionError("a number and a condition are mixed", "use one of them")
        kind = kinds.pop()
        null = _constant(False if kind == CONDITION else 0.0, False)
        return [null if found is None else found[0] for found in known], kind

    def _choice(self, node: exp.Expr, depth: int) -> Typed:
        from sqlglot import exp

        if isinstance(node, exp.If):
            tests, results = [node.this], [node.args["true"]]
            other = node.args.get("false")
        else:
            cases = node.args["ifs"]
            tests, results = [c.this for c in cases], [c.args["true"] for c in cases]
            other = node.args.get("default")
            if node.this is not None:
                tests = [exp.EQ(this=node.this, expression=test) for test in tests]
        conditions = [self._condition(test, depth) for test in tests]
        terms, kind = self._same([*results, other or exp.Null()], depth)
        return _select(conditions, terms), kind

    def _coalesce(self, nodes: Sequence[exp.Expr], depth: int) -> Typed:
        terms, kind = self._same(nodes, depth)
        return _first(terms), kind

    def _round(self, node: exp.Expr, depth: int) -> Term:
        from sqlglot import exp

        places = node.args.get("decimals")
        digits = 0
        if places is not None:
            if not isinstance(places, exp.Literal) or places.is_string:
                raise _refused(node)
            digits = int(places.this)
        factor = 10.0**digits
        # Half away from zero, as SQL rounds; numpy rounds half to even.
        return _each(
            lambda v: np.copysign(np.floor(np.abs(v) * factor + 0.5) / factor, v),
            self._number(node.this, depth),
        )

    def _log(self, node: exp.Log, depth: int) -> Term:
        """``log(x)`` and ``log10(x)``: to the base 10; ``log(b, x)`` and ``log2(x)``."""
        if node.expression is None:
            return _each(np.log10, self._number(node.this, depth))
        base, value = self._number(node.this, depth), self._number(node.expression, depth)
        return _pair(lambda b, v: np.log(v) / np.log(b), base, value)


def _sides(node: exp.Expr) -> tuple[exp.Expr, exp.Expr]:
    return node.args["this"], node.args["expression"]


def _one_of(value: exp.Expr, others: Sequence[exp.Expr]) -> exp.Expr:
    """``value IN (others)`` written out."""
    from sqlglot import exp

    found: exp.Expr = exp.EQ(this=value, expression=others[0])
    for other in others[1:]:
        found = exp.Or(this=found, expression=exp.EQ(this=value, expression=other))
    return found


def _refused(node: exp.Expr) -> ExpressionError:
    return ExpressionError(
        f"{node.sql()!r} cannot be computed here",
        "use + - * / %, comparisons, AND OR NOT, CASE, IF, COALESCE, LEAST, GREATEST, ABS, ROUND,"
        " FLOOR, CEIL, SQRT, POWER, EXP, LN, LOG10, SIGN, SIN, COS, TAN",
    )


def _constant(value: float | bool, valid: bool) -> Term:
    return lambda row, count: Value(np.full(count, value), np.full(count, valid))


def _each(function: Callable[[AnyArray], AnyArray], term: Term) -> Term:
    def run(row: Row, count: int) -> Value:
        found = term(row, count)
        values = function(found.values)
        return Value(values, found.valid & np.isfinite(values))

    return run


def _pair(function: Callable[[AnyArray, AnyArray], AnyArray], left: Term, right: Term) -> Term:
    def run(row: Row, count: int) -> Value:
        a, b = left(row, count), right(row, count)
        values = function(a.values, b.values)
        valid = a.valid & b.valid
        return Value(values, valid if values.dtype == np.bool_ else valid & np.isfinite(values))

    return run


def _not(term: Term) -> Term:
    def run(row: Row, count: int) -> Value:
        found = term(row, count)
        return Value(~found.values, found.valid)

    return run


def _junction(terms: Sequence[Term], is_and: bool) -> Term:
    """AND is false where one side is, OR is true where one side is; else null counts."""

    def run(row: Row, count: int) -> Value:
        a, b = (term(row, count) for term in terms)
        decided = (a.valid & (a.values != is_and)) | (b.valid & (b.values != is_and))
        return Value(np.where(decided, not is_and, is_and), decided | (a.valid & b.valid))

    return run


def _is_null(term: Term) -> Term:
    return lambda row, count: Value(~term(row, count).valid, np.ones(count, np.bool_))


def _select(conditions: Sequence[Term], results: Sequence[Term]) -> Term:
    """The first result whose condition is true, else the last one."""

    def run(row: Row, count: int) -> Value:
        last = results[-1](row, count)
        values, valid = last.values.copy(), last.valid.copy()
        open_rows = np.ones(count, np.bool_)
        for condition, result in zip(conditions, results[:-1], strict=True):
            test = condition(row, count)
            chosen = open_rows & test.valid & test.values
            found = result(row, count)
            values = np.where(chosen, found.values, values)
            valid = np.where(chosen, found.valid, valid)
            open_rows &= ~chosen
        return Value(values, valid)

    return run


def _first(terms: Sequence[Term]) -> Term:
    def run(row: Row, count: int) -> Value:
        found = terms[0](row, count)
        values, valid = found.values, found.valid
        for term in terms[1:]:
            other = term(row, count)
            values = np.where(valid, values, other.values)
            valid = valid | other.valid
        return Value(values, valid)

    return run


def _extreme(function: Callable[[AnyArray, AnyArray], AnyArray], terms: Sequence[Term]) -> Term:
    def run(row: Row, count: int) -> Value:
        found = [term(row, count) for term in terms]
        values = [np.where(f.valid, f.values, np.nan) for f in found]
        total = reduce(function, values)
        return Value(np.nan_to_num(total), ~np.isnan(total))

    return run
