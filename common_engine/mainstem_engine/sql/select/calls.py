"""Calls of the functions of analysis in a statement: which function, of which columns.

1. A call is recognised by its name. A function that the executing database has under the same name
   is meant only when the call has parameters by name, as IoTDB writes them.
2. Columns come first; constants, and what is written ``'k'='2'``, are parameters. They are bound
   before anything is read, and leave the tree.
3. What is left is the function over its columns. What was bound is a meta entry of plain values.
"""

from __future__ import annotations

from typing import Any, TypedDict, cast

from sqlglot import exp

from mainstem_engine.analysis import library
from mainstem_engine.analysis.function import (
    Function,
    Ns,
    PointFunction,
    Written,
    bind,
    describe,
)
from mainstem_engine.analysis.histograms import BIN_TYPES
from mainstem_engine.errors import SqlError, SqlUnsupportedError
from mainstem_engine.sql.grammar.dialect import DURATION_NS
from mainstem_engine.sql.select.function_list import ALLOWED
from mainstem_engine.sql.select.stars import refuse_star
from mainstem_engine.sql.select.time_expressions import TimeExpressions
from mainstem_engine.sql.times import TIME_UNITS, parse_duration_ns

CALL = "mainstem_call"
"""Meta entry of a function: its ``Call``."""
NATIVE = frozenset(
    {"median", "mad", "mode", "histogram", "quantile", "stddev", "variance", "skewness", "range"}
)
"""Functions that DuckDB has too; they are its own unless a parameter is named."""


_SIGNS: dict[type[exp.Expr], str] = {
    exp.GTE: ">=",
    exp.GT: ">",
    exp.EQ: "=",
    exp.LTE: "<=",
    exp.LT: "<",
}


class Call(TypedDict):
    """A bound call. ``outputs``: how many columns it makes."""

    name: str
    is_point: bool
    keeps_rows: bool
    options: dict[str, Any]
    outputs: list[str]
    takes_time: bool


def call_of(node: exp.Expr) -> Call | None:
    """What was bound, None for anything else."""
    return cast("Call | None", node.meta.get(CALL))


def function_name(node: exp.Expr) -> str | None:
    """The name of a function as written, in lower case; None for other nodes."""
    if isinstance(node, exp.Anonymous):
        return str(node.name).casefold()
    if isinstance(node, exp.GenerateSeries):
        return "range"
    if isinstance(node, exp.Func) and not isinstance(node, exp.Cast | exp.Case | exp.Connector):
        return node.sql_name().casefold()
    return None


def arguments_of(node: exp.Expr) -> list[exp.Expr]:
    """The arguments of a function, in order."""
    if isinstance(node, exp.Anonymous):
        return list(node.expressions)
    return list(node.iter_expressions())


def find_function(node: exp.Expr, *, groups: bool) -> Function | None:
    """The function that a node calls; ``groups``: by a SELECT that groups or has windows."""
    name = function_name(node)
    if name is None:
        return None
    point, window = library.point_function(name), library.window_function(name)
    if point is None and window is None:
        return None
    if isinstance(node.parent, exp.Window):
        if name in ALLOWED:
            return None
        raise SqlUnsupportedError(
            f"{name} goes by time by itself, without OVER",
            field=name,
            hint="write PARTITION BY after FROM and WHERE",
        )
    arguments = arguments_of(node)
    if name == "histogram" and _is_binned(arguments):
        return window
    if name in NATIVE and not any(_named(argument) for argument in arguments):
        return None
    if name == "count_if" and len(arguments) == 1:  # of rows, as the executing database has it
        return None
    if groups:
        if window is not None and point is not None and _is_only(node, point, window):
            return point  # windows of its own, as in completeness(x, 'window'='15')
        return window or point
    return point or window


def _is_binned(arguments: list[exp.Expr]) -> bool:
    """Whether a histogram is written with a kind of bins, as TDengine has it."""
    written = [pair[0].casefold() for argument in arguments if (pair := _named(argument))]
    second = arguments[1] if len(arguments) > 1 else None
    is_kind = isinstance(second, exp.Literal) and str(second.this).lower() in BIN_TYPES
    return is_kind or "bin_type" in written


def _is_only(node: exp.Expr, point: Function, window: Function) -> bool:
    """Whether a call names a parameter that only the point function has."""
    only = {parameter.name for parameter in point.parameters}
    only -= {parameter.name for parameter in window.parameters}
    named = (_named(argument) for argument in arguments_of(node))
    return any(pair is not None and pair[0].casefold() in only for pair in named)


def bind_call(node: exp.Expr, function: Function, times: TimeExpressions) -> exp.Expr:
    """Replaces a call by the function over its columns; returns the new node."""
    refuse_star(node, function.name)
    columns: list[exp.Expr] = []
    positional: list[Any] = []
    named: list[tuple[str, Any]] = []
    most = function.columns[1]
    takes_time = not isinstance(function, PointFunction) and function.takes_time
    waiting = arguments_of(node)
    if takes_time:
        waiting = waiting[1:]
    for argument in waiting:
        pair = _named(argument)
        kept = None if pair is not None else _keep(argument, function)
        if kept is not None:
            named += [("keep", _constant(argument.expression, times)), ("operator", kept)]
        elif pair is not None:
            named.append((pair[0], _constant(pair[1], times)))
        elif len(columns) < most and not positional and not _is_constant(argument):
            columns.append(argument.copy())
        else:
            positional.append(_constant(argument, times))
    if len(columns) < function.columns[0]:
        raise SqlError(
            f"{function.name} takes at least {function.columns[0]} column",
            field=function.name,
            hint=describe(function),
        )
    options = bind(
        function,
        Written(tuple(positional), tuple(named)),
        parse_duration=lambda text: parse_duration_ns(
            text, bare_unit=TIME_UNITS[times.precision_ns]
        ),
        parse_time=lambda text: _time(text, times),
    )
    is_point = isinstance(function, PointFunction)
    bound = exp.Anonymous(this=function.name, expressions=columns)
    bound.meta[CALL] = Call(
        name=function.name,
        is_point=is_point,
        keeps_rows=isinstance(function, PointFunction) and function.keeps_rows,
        options=options,
        outputs=list(function.outputs) if isinstance(function, PointFunction) else [],
        takes_time=takes_time,
    )
    node.replace(bound)
    return bound


def _time(text: str, times: TimeExpressions) -> int:
    literal = exp.Literal.number(text) if text.lstrip("-").isdecimal() else exp.Literal.string(text)
    found = times.constant_ns(literal)
    assert found is not None
    return found


def _named(node: exp.Expr) -> tuple[str, exp.Expr] | None:
    """The name and value of ``'k'='2'`` or ``"k"="2"``."""
    if not isinstance(node, exp.EQ):
        return None
    name = _quoted(node.this)
    return None if name is None else (name, node.expression)


def _keep(node: exp.Expr, function: Function) -> str | None:
    """The operator of ``keep >= 3``, which COUNT_IF has in place of a number."""
    sign = _SIGNS.get(type(node))
    is_asked = any(parameter.name == "keep" for parameter in function.parameters)
    is_keep = isinstance(node.this, exp.Column) and node.this.name.casefold() == "keep"
    return sign if is_asked and is_keep else None


def _quoted(node: exp.Expr) -> str | None:
    if isinstance(node, exp.Literal) and node.is_string:
        return str(node.this)
    if isinstance(node, exp.Column) and not node.table and node.this.args.get("quoted"):
        return str(node.name)
    return None


def _is_constant(node: exp.Expr) -> bool:
    if isinstance(node, exp.Neg | exp.Paren):
        return _is_constant(node.this)
    return isinstance(node, exp.Literal | exp.Boolean | exp.Null | exp.Interval | exp.Placeholder)


def _constant(node: exp.Expr, times: TimeExpressions) -> Any:
    """The value of a parameter. A bare word is a text, as in STATECOUNT(x, GT, 1)."""
    if isinstance(node, exp.Paren):
        return _constant(node.this, times)
    if isinstance(node, exp.Neg):
        value = _constant(node.this, times)
        if isinstance(value, int | float):
            return -value
    elif isinstance(node, exp.Literal):
        if node.is_string:
            return str(node.this)
        text = node.this.replace("_", "")
        return int(text) if text.isdecimal() else float(text)
    elif isinstance(node, exp.Boolean):
        return bool(node.this)
    elif isinstance(node, exp.Null):
        return None
    elif isinstance(node, exp.Placeholder):
        return times.parameter(node)
    elif isinstance(node, exp.Interval) and DURATION_NS in node.meta:
        return Ns(int(node.meta[DURATION_NS]))
    elif isinstance(node, exp.Column) and not node.table:
        return str(node.name)
    raise SqlError(
        f"{node.sql()} is not a constant", hint="parameters of functions are numbers and texts"
    )
