"""Parameters of the text that the executing database runs, and their values.

A placeholder of the tree is a parameter of the statement, named by its number from 1, or a moment
that is left open (time_expressions), m0, m1 and so on. In the text they are numbered anew.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlglot import exp

from mainstem_engine.errors import SqlError
from mainstem_engine.sql.plan import Request
from mainstem_engine.sql.select.time_expressions import TimeExpressions, datetime_ns, moment_text
from mainstem_engine.sql.select.trees import find_nodes
from mainstem_engine.sql.times import format_time


@dataclass(frozen=True, slots=True)
class Source:
    """Where the value of a parameter of the text comes from: the statement's parameter ``number``,
    or a constant, as text of a type."""

    number: int = 0
    node: exp.Expr | None = None
    type_name: str = ""


@dataclass(frozen=True, slots=True)
class TextParameters:
    """Of one text: values, and where each comes from."""

    values: tuple[Any, ...]
    sources: tuple[Source, ...]


def number_parameters(
    tree: exp.Expr,
    request: Request,
    times: TimeExpressions,
    written: Mapping[int, exp.Expr] | None = None,
) -> TextParameters:
    """Numbers the placeholders that are left from 1. ``written``: by number of a parameter that
    stands for a literal, that literal."""
    values: list[Any] = []
    sources: list[Source] = []
    numbers: dict[str, int] = {}
    for node in find_nodes(tree, exp.Placeholder):
        if node.name in numbers:
            node.set("this", str(numbers[node.name]))
            continue
        if node.name.startswith("m"):
            constant, type_name = times.left[int(node.name[1:])]
            moment_ns, _ = times.moment_ns(constant)
            value: Any = moment_text(moment_ns or 0, type_name)
            source = Source(0, constant, type_name)
        else:
            source = Source(int(node.name))
            value = _value(node, source.number, request, times, written or {})
            if isinstance(value, exp.Expr):
                node.replace(value)
                continue
        values.append(value)
        sources.append(source)
        numbers[node.name] = len(values)
        node.set("this", str(len(values)))
    return TextParameters(tuple(values), tuple(sources))


def _value(
    node: exp.Placeholder,
    number: int,
    request: Request,
    times: TimeExpressions,
    written: Mapping[int, exp.Expr],
) -> Any:
    """A plain value, or the expression that is to stand in the place of the parameter."""
    value = times.open_parameter(node)
    if number in written and not isinstance(value, str):
        # DuckDB gives a number a type of its own by where it stands.
        times.asked.add(number)
        return written[number].copy()
    plain = plain_value(value, request.zone)
    if isinstance(plain, exp.Expr):
        times.asked.add(number)
    return plain


def plain_value(value: Any, zone: dt.tzinfo) -> Any:
    """A parameter as it can cross to another process, or an expression for a datetime."""
    if hasattr(value, "item") and not isinstance(value, bytes):
        value = value.item()
    if isinstance(value, dt.datetime):
        moment = datetime_ns(value, zone) // 1000 * 1000
        text = format_time(moment, dt.UTC, 1_000).replace("Z", "+00:00")
        return exp.cast(exp.Literal.string(text), exp.DType.TIMESTAMPTZ)
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**64:
        raise SqlError(f"parameter {value} does not fit 64 bits", hint="pass it as text")
    if value is not None and not isinstance(value, bool | int | float | str | bytes):
        raise SqlError(
            f"a parameter of type {type(value).__name__} is not supported",
            hint="pass None, bool, int, float, str, bytes or datetime",
        )
    return value
