"""The window clause of a SELECT as arguments of the walk that makes its windows.

1. Times of a clause are read as constants that are compared with a time, and its expressions become
   columns of the rows.
2. A range of time also bounds the rows that are read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sqlglot import exp

from mainstem_engine.errors import SqlError
from mainstem_engine.sql.clauses import (
    Duration,
    IntervalWindow,
    RangeWindow,
    SessionWindow,
    WindowClause,
)
from mainstem_engine.sql.lowering import Lowered, refuse
from mainstem_engine.sql.rows_query import RowsQuery, identity


@dataclass(slots=True)
class WindowPlan:
    """``walk``: the argument ``window`` of the walk; ``controls``: names of the columns of its
    expressions; ``has_empty``: windows may have no rows; ``shown``: columns that are the same all
    over a window, as identity() has them."""

    walk: dict[str, Any]
    controls: list[str] = field(default_factory=list)
    has_empty: bool = False
    shown: frozenset[str] = frozenset()


def plan_window(
    clause: WindowClause | None, rows: RowsQuery, lowered: Lowered, *, is_dense: bool = False
) -> WindowPlan:
    """``is_dense``: windows of time without rows are wanted too. Raises SqlError."""
    if clause is None:
        return WindowPlan({"kind": "whole"}, has_empty=not rows.keys)
    if isinstance(clause, RangeWindow):
        return _range(clause, rows, lowered)
    if isinstance(clause, IntervalWindow):
        walk = {
            "kind": "interval",
            "interval": _pair(clause.args["interval"]),
            "offset": _pair(clause.args.get("offset")),
            "is_auto": bool(clause.args.get("is_auto")),
            "sliding": _pair(clause.args.get("sliding")),
            "is_dense": is_dense,
        }
        return WindowPlan(walk, has_empty=is_dense)
    if isinstance(clause, SessionWindow):
        gap: Duration = clause.args["gap"]
        if gap.months:
            raise SqlError("the gap of SESSION has no months", field="SESSION", hint="use days")
        return WindowPlan({"kind": "session", "gap_ns": gap.ns})
    raise refuse(f"the window {type(clause).__name__}", "use INTERVAL or SESSION")


def _range(clause: RangeWindow, rows: RowsQuery, lowered: Lowered) -> WindowPlan:
    start, end = clause.args["start"], clause.args["end"]
    is_right_closed = bool(clause.args.get("is_right_closed"))
    walk = {
        "kind": "range",
        "start_ns": _moment(start, lowered),
        "end_ns": _moment(end, lowered),
        "interval": _pair(clause.args["interval"]),
        "step": _pair(clause.args.get("step")),
        "is_right_closed": is_right_closed,
    }
    after = exp.GT if is_right_closed else exp.GTE
    before = exp.LTE if is_right_closed else exp.LT
    rows.add_condition(after(this=rows.time(), expression=start.copy()))
    rows.add_condition(before(this=rows.time(), expression=end.copy()))
    return WindowPlan(walk, has_empty=True)


def _moment(node: exp.Expr, lowered: Lowered) -> int:
    found = lowered.times.constant_ns(node)
    if found is None:
        raise SqlError(
            f"{node.sql()} is not a time", hint="write '2026-10-03T06:00:00Z' or an integer"
        )
    return found


def _pair(duration: Duration | None) -> list[int] | None:
    """Months and nanoseconds."""
    return None if duration is None else [duration.months, duration.ns]


def shown(nodes: list[exp.Expr]) -> frozenset[str]:
    """Columns that windows of these expressions have one value of."""
    return frozenset(identity(node) for node in nodes if isinstance(node, exp.Column))
