"""Lengths without a unit, as TDengine's users write them: INTERVAL(1000) is in the precision of the
statement's tables, which is known when it is planned."""

from __future__ import annotations

from sqlglot import exp

from mainstem_engine.errors import SqlSyntaxError
from mainstem_engine.sql.grammar.clauses import RANGE, WINDOW, Duration, IntervalWindow
from mainstem_engine.sql.times import TIME_UNITS

BARE = "bare"
"""Unit of a Duration that counts in the precision."""
_DURATION_NS_MAX = 2**62
"""As of lengths with a unit."""


def resolve_bare_lengths(select: exp.Select, precision_ns: int) -> None:
    """Gives the lengths of a SELECT's clauses their unit. Raises SqlSyntaxError."""
    for key in (WINDOW, RANGE):
        clause = select.args.get(key)
        if clause is None:
            continue
        for name, value in clause.args.items():
            if isinstance(value, Duration) and value.unit == BARE:
                length_ns = value.ns * precision_ns
                if length_ns > _DURATION_NS_MAX:
                    raise SqlSyntaxError(f"{value.ns} is too long", hint="use less than 146 years")
                clause.args[name] = Duration(0, length_ns, TIME_UNITS[precision_ns])
        if isinstance(clause, IntervalWindow):
            check_sliding(clause)


def check_sliding(window: IntervalWindow) -> None:
    """Raises SqlSyntaxError for a step that would leave gaps."""
    interval, sliding = window.args["interval"], window.args.get("sliding")
    if sliding is None or BARE in (interval.unit, sliding.unit):
        return
    if (sliding.months > 0) != (interval.months > 0) or sliding[:2] > interval[:2]:
        raise SqlSyntaxError(
            "SLIDING is longer than INTERVAL, which would leave gaps",
            hint="use a step up to the length of the window",
        )
