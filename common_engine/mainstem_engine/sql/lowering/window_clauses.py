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
from mainstem_engine.sql.grammar.clauses import (
    ConditionWindow,
    CountWindow,
    Duration,
    EventWindow,
    FillClause,
    IntervalWindow,
    RangeWindow,
    SessionWindow,
    StateWindow,
    TrueFor,
    VariationWindow,
    WindowClause,
)
from mainstem_engine.sql.lowering.lowered import Lowered, refuse
from mainstem_engine.sql.select.aggregates import is_aggregate
from mainstem_engine.sql.select.rows_query import RowsQuery, identity
from mainstem_engine.sql.times import NS_PER_DAY

_CALENDAR_UNITS = frozenset({"", "d", "w", "n", "mo", "y"})
"""Units whose length depends on the calendar; also where none was written."""


@dataclass(slots=True)
class WindowPlan:
    """``walk``: the argument ``window`` of the walk; ``controls``: names of the columns of its
    expressions; ``has_empty``: aggregates are asked of windows without rows; ``is_dense``: there
    are such windows, of which nothing is known; ``shown``: expressions that are the same all over a
    window, as identity() has them."""

    walk: dict[str, Any]
    controls: list[str] = field(default_factory=list)
    has_empty: bool = False
    is_dense: bool = False
    shown: frozenset[str] = frozenset()


def plan_window(
    clause: WindowClause | None, rows: RowsQuery, lowered: Lowered, fill: FillClause | None
) -> WindowPlan:
    """``fill``: windows of time without rows are wanted too. Raises SqlError."""
    if clause is None:
        return WindowPlan({"kind": "whole"}, has_empty=not rows.keys)
    if isinstance(clause, RangeWindow):
        return _range(clause, rows, lowered)
    if isinstance(clause, IntervalWindow):
        mode = "NONE" if fill is None else fill.args["mode"]
        is_dense = mode != "NONE"
        walk = {
            "kind": "interval",
            "interval": span_of(clause.args["interval"]),
            "offset": span_of(clause.args.get("offset")),
            "is_auto": bool(clause.args.get("is_auto")),
            "sliding": span_of(clause.args.get("sliding")),
            "is_dense": is_dense,
            "is_forced": mode in ("NULL_F", "VALUE_F"),
        }
        return WindowPlan(walk, is_dense=is_dense)
    if isinstance(clause, SessionWindow):
        gap: Duration = clause.args["gap"]
        if isinstance(clause.this, exp.Column) and not rows.is_time(clause.this):
            raise SqlError(
                f"SESSION goes by the time of the rows, not by {clause.this.name}",
                field=clause.this.name,
                hint="leave the column out, or select from a sub-query with that time",
            )
        if gap.months:
            raise SqlError("the gap of SESSION has no months", field="SESSION", hint="use days")
        return WindowPlan({"kind": "session", "gap_ns": gap.ns})
    return _of_rows(clause, rows)


def _of_rows(clause: WindowClause, rows: RowsQuery) -> WindowPlan:
    """Windows that the values of rows make."""
    args = clause.args
    walk: dict[str, Any]
    controls = [clause.this] if clause.this is not None else []
    if isinstance(clause, StateWindow):
        controls += args.get("expressions") or []
        walk = {"kind": "state", "extend": args.get("extend") or 0, "states": len(controls)}
        walk["lasting"] = _lasting(args.get("true_for"))
        states = controls
        controls = [*states, *_zeroth(states, args.get("zeroth") or [])]
    elif isinstance(clause, EventWindow):
        walk = {"kind": "event", "lasting": _lasting(args.get("true_for"))}
        controls = [args["start"], args["end"]]
    elif isinstance(clause, CountWindow):
        walk = {"kind": "count", "size": args["rows"], "slide": args.get("slide")}
        walk["keeps_tail"] = not args.get("drops_tail")
        controls = list(args.get("expressions") or ())
    elif isinstance(clause, VariationWindow):
        walk = {"kind": "variation", "delta": args.get("delta") or 0.0}
        walk["ignores_null"] = bool(args.get("ignores_null"))
    elif isinstance(clause, ConditionWindow):
        keep = args.get("keep")
        walk = {"kind": "condition", "operator": args.get("operator") or ">="}
        walk |= {"keep": 1 if keep is None else keep}
        walk["ignores_null"] = bool(args.get("ignores_null"))
    else:
        raise refuse(f"the window {type(clause).__name__}", "use INTERVAL or SESSION")
    if any(is_aggregate(node) for control in controls for node in control.walk()):
        raise SqlError(
            "rows are cut into windows by their values, not by an aggregate",
            hint="compute the aggregate in a sub-query",
        )
    names = [rows.add(control).name for control in controls]
    # A count says nothing of its columns; values of a variation with a delta differ.
    is_one = isinstance(clause, StateWindow | VariationWindow) and not walk.get("delta")
    return WindowPlan(walk, names, shown=shown(controls) if is_one else frozenset())


def _zeroth(states: list[exp.Expr], values: list[exp.Expr]) -> list[exp.Expr]:
    """The condition under which a state is left out, if there is one."""
    asked = [
        exp.EQ(this=state.copy(), expression=value.copy())
        for state, value in zip(states, values, strict=False)
        if not isinstance(value, exp.Null)
    ]
    return [exp.and_(*asked)] if asked else []


def _lasting(true_for: TrueFor | None) -> list[Any] | None:
    return None if true_for is None else [true_for.ns, true_for.rows, true_for.is_either]


def _range(clause: RangeWindow, rows: RowsQuery, lowered: Lowered) -> WindowPlan:
    start, end = clause.args["start"], clause.args["end"]
    is_right_closed = bool(clause.args.get("is_right_closed"))
    walk = {
        "kind": "range",
        "start_ns": _moment(start, lowered),
        "end_ns": _moment(end, lowered),
        "interval": span_of(clause.args["interval"]),
        "step": span_of(clause.args.get("step")),
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


def span_of(duration: Duration | None) -> list[int] | None:
    """A length as walks take it: months and nanoseconds, and 1 where these are exact: 24h is no day
    of the calendar."""
    if duration is None:
        return None
    exact = [] if duration.unit in _CALENDAR_UNITS or duration.ns % NS_PER_DAY else [1]
    return [duration.months, duration.ns, *exact]


def shown(nodes: list[exp.Expr]) -> frozenset[str]:
    """What windows of these expressions have one value of."""
    return frozenset(identity(node) for node in nodes)
