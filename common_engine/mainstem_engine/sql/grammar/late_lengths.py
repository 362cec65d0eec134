"""Lengths and counts of clauses that are known when a statement is planned, not when it is parsed.

1. A length without a unit, as TDengine's users write it, is in the precision of the statement's
   tables: INTERVAL(1000).
2. A parameter in the place of a length is a text such as ``1h30m``, a whole number in that
   precision, or a timedelta; in the place of a count it is a whole number.
3. A parameter of FILL beside PREVIOUS, NEXT, NEAR or LINEAR is how far a value may be carried,
   unless the SELECT has RANGE, where it is a constant.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

from sqlglot import exp

from mainstem_engine.errors import SqlSyntaxError
from mainstem_engine.sql.grammar.clauses import (
    ALIGN_EVERY,
    DURATION_NS_MAX,
    FILL,
    RANGE,
    SLIMIT,
    SOFFSET,
    WINDOW,
    CountWindow,
    Duration,
    IntervalWindow,
    TrueFor,
    read_duration,
)
from mainstem_engine.sql.times import TIME_UNITS

BARE = "bare"
"""Unit of a Duration that counts in the precision."""
ROWS_MAX = 2**31 - 1
"""Rows of a COUNT window, partitions of SLIMIT."""
_LENGTHS = {
    "interval": ("the length of the window", 1),
    "step": ("the step", 1),
    "sliding": ("the step of the window", 1),
    "offset": ("an offset", 0),
    "gap": ("the gap of a session", 1),
    "every": ("the step", 1),
    "surround": ("how far neighbours may be", 0),
    "limit": ("how far a value may be carried", 1),
}
"""What the lengths of clauses are, and the least of each."""
_COUNTS = {
    "rows": ("the rows of a window", 1),
    "slide": ("the rows to slide by", 1),
    "keep": ("a number of rows", 0),
}
_CARRIED = ("PREVIOUS", "NEXT", "NEAR", "LINEAR")

Value = Callable[[exp.Placeholder], Any]
"""The value of a parameter."""


def resolve_lengths(select: exp.Select, precision_ns: int, value: Value) -> None:
    """Gives the lengths and counts of a SELECT's clauses their values. Raises SqlSyntaxError."""
    resolve = _Resolve(precision_ns, value)
    fill = select.args.get(FILL)
    if fill is not None and select.args.get(RANGE) is None:
        _carry(fill)
    for key in (WINDOW, RANGE, ALIGN_EVERY, FILL):
        clause = select.args.get(key)
        if clause is None:
            continue
        for node in (clause, *(clause.expressions if key == ALIGN_EVERY else ())):
            resolve.clause(node)
        if isinstance(clause, IntervalWindow):
            check_sliding(clause)
        if isinstance(clause, CountWindow):
            check_slide(clause)
    for key in (SLIMIT, SOFFSET):
        node = select.args.get(key)
        if isinstance(node, exp.Placeholder):
            count = resolve.count(node, "a number of partitions", 0)
            select.set(key, exp.Literal.number(count))


def _carry(fill: exp.Expr) -> None:
    values = fill.expressions
    is_limit = fill.args["mode"] in _CARRIED and fill.args.get("limit") is None
    if is_limit and len(values) == 1 and isinstance(values[0], exp.Placeholder):
        fill.set("limit", values[0])
        fill.set("expressions", [])


class _Resolve:
    def __init__(self, precision_ns: int, value: Value) -> None:
        self._precision_ns = precision_ns
        self._value = value

    def clause(self, node: exp.Expr) -> None:
        """Puts values in the place of parameters and bare lengths."""
        for name, value in list(node.args.items()):
            if name in _LENGTHS and isinstance(value, exp.Placeholder | Duration):
                what, least = _LENGTHS[name]
                # Not set(): it would take a Duration for a list of nodes.
                node.args[name] = self.length(value, what, least)
            elif name in _COUNTS and isinstance(value, exp.Placeholder):
                node.args[name] = self.count(value, *_COUNTS[name])
            elif name == "delta" and isinstance(value, exp.Placeholder):
                node.args[name] = self._number(value)
            elif isinstance(value, TrueFor):
                node.args[name] = self._true_for(value)

    def length(self, written: exp.Placeholder | Duration, what: str, least: int) -> Duration:
        """A length with its unit."""
        found = written if isinstance(written, Duration) else self._duration(written, what)
        if found.unit == BARE:
            found = Duration(0, found.ns * self._precision_ns, TIME_UNITS[self._precision_ns])
        if found.ns > DURATION_NS_MAX:
            raise SqlSyntaxError(f"{what} is too long", hint="use less than 146 years")
        if found.months + found.ns < least or found.ns < 0:
            raise _wrong(f"{what}, longer than zero", written)
        return found

    def _duration(self, node: exp.Placeholder, what: str) -> Duration:
        value = _plain(self._value(node))
        if isinstance(value, str):
            return read_duration(value.strip())
        if isinstance(value, dt.timedelta):
            return Duration(0, value // dt.timedelta(microseconds=1) * 1_000, "us")
        if type(value) is int:
            return Duration(0, value, BARE)
        raise _wrong(f"{what}, such as '10s'", node)

    def count(self, node: exp.Placeholder, what: str, least: int) -> int:
        """A whole number."""
        value = _plain(self._value(node))
        if type(value) is not int or not least <= value <= ROWS_MAX:
            raise _wrong(f"{what}, from {least} to {ROWS_MAX}", node)
        return value

    def _number(self, node: exp.Placeholder) -> float:
        value = _plain(self._value(node))
        if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
            raise _wrong("the variation, zero or more", node)
        return float(value)

    def _true_for(self, written: TrueFor) -> TrueFor:
        ns, rows = written.ns, written.rows
        if isinstance(ns, exp.Placeholder):
            found = self.length(ns, "the least length of a window", 0)
            if found.months:
                raise _wrong("the least length of a window without months", ns)
            ns = found.ns
        if isinstance(rows, exp.Placeholder):
            rows = self.count(rows, "the least rows of a window", 1)
        return TrueFor(ns, rows, written.is_either)


def _plain(value: Any) -> Any:
    """A number of numpy as one of Python."""
    return value.item() if hasattr(value, "item") and not isinstance(value, bytes) else value


def _wrong(what: str, written: object) -> SqlSyntaxError:
    number = written.name if isinstance(written, exp.Placeholder) else ""
    where = f"Parameter {number}: expected" if number else "Expected"
    return SqlSyntaxError(
        f"{where} {what}",
        field=f"parameter {number}" if number else None,
        hint="pass a length as '10s' or a whole number of ticks, a count as a whole number",
    )


def check_sliding(window: IntervalWindow) -> None:
    """Raises SqlSyntaxError for a step that would leave gaps."""
    interval, sliding = window.args["interval"], window.args.get("sliding")
    if not isinstance(interval, Duration) or not isinstance(sliding, Duration):
        return
    if BARE in (interval.unit, sliding.unit):
        return
    if (sliding.months > 0) != (interval.months > 0) or sliding[:2] > interval[:2]:
        raise SqlSyntaxError(
            "SLIDING is longer than INTERVAL, which would leave gaps",
            hint="use a step up to the length of the window",
        )


def check_slide(window: CountWindow) -> None:
    """Raises SqlSyntaxError for a step that would leave gaps."""
    rows, slide = window.args["rows"], window.args.get("slide")
    if isinstance(rows, int) and isinstance(slide, int) and slide > rows:
        raise SqlSyntaxError(
            "a COUNT window cannot slide by more rows than it has",
            hint="use a step up to the rows of the window",
        )
