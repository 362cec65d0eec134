"""A SELECT with INTERP: rows, their values at moments, and the answer.

1. RANGE says from when to when, both inclusive, EVERY how often; RANGE of one moment needs no
   EVERY, and EVERY by itself goes from the first row to the last.
2. FILL says what a moment without a row has; without FILL there are only the moments of rows.
   PREV, NEXT, NEAR and LINEAR look at rows outside of RANGE too: at the next ones before and after
   (surrounding_rows), or, of partitions that are not of whole devices, at all that WHERE leaves.
3. A second moment of RANGE that is a duration is how far neighbours may be; FILL may then have a
   constant for moments without one.
4. Beside INTERP stand ``_irowts``, ``_irowts_origin``, ``_isfilled``, keys, tags and the device.
"""

from __future__ import annotations

from typing import Any

from sqlglot import exp

from mainstem_engine.errors import SqlError
from mainstem_engine.sql.grammar.clauses import FILL, RANGE, WINDOW
from mainstem_engine.sql.lowering.answer import Answer
from mainstem_engine.sql.lowering.fill import constant_of, constants_of
from mainstem_engine.sql.lowering.lowered import Lowered
from mainstem_engine.sql.lowering.query import WalkQuery
from mainstem_engine.sql.lowering.surrounding_rows import (
    Edges,
    with_neighbours,
    with_neighbours_of_devices,
)
from mainstem_engine.sql.lowering.window_clauses import span_of
from mainstem_engine.sql.select.aggregates import is_aggregate
from mainstem_engine.sql.select.calls import Call
from mainstem_engine.sql.select.relations import RelationColumn
from mainstem_engine.sql.select.rows_query import column, identity, is_one_device
from mainstem_engine.sql.select.walk_nodes import Walk, walk_table
from mainstem_engine.sql.times import NS_PER_US

PSEUDO_COLUMNS = {"_irowts": "#t", "_irowts_origin": "#origin", "_isfilled": "#filled"}
"""Names that a moment answers to, and the columns of the walk."""
_KEEPERS = frozenset({"TAG", "DEVICE", "TBNAME"})
_SEEING = ("PREVIOUS", "NEXT", "NEAR", "LINEAR")
"""Modes that look at rows outside of RANGE."""
_WITH_CONSTANTS = ("VALUE", "VALUE_F")


def lower_interp(select: exp.Select, lowered: Lowered) -> exp.Select:
    """The SELECT over a walk. Raises SqlError."""
    return _InterpQuery(select, lowered).build()


def is_interp(node: exp.Expr) -> bool:
    """True for a call of INTERP."""
    return isinstance(node, exp.Anonymous) and node.name.casefold() == "interp"


class _InterpQuery(WalkQuery):
    def __init__(self, select: exp.Select, lowered: Lowered) -> None:
        super().__init__(select, lowered)
        if select.args.get(WINDOW) is not None:
            raise SqlError(
                "RANGE and a window do not go together",
                field="RANGE",
                hint="SELECT the window from a sub-query with INTERP",
            )
        # The moments are filled here; nothing is left to fill of the answer.
        self._fill = select.args.get(FILL)
        select.set(FILL, None)
        self._calls: dict[str, dict[str, Any]] = {}
        self._shown: dict[str, str] = {}

    def build(self) -> exp.Select:
        """The whole answer."""
        time = column("#t")
        answer = Answer(exp.Select(), self.items(), time, column("#s"))
        answer.order = self.order()
        keys = [column(f"#p{number}") for number in range(self.rows.keys)]
        answer.natural = [*keys, time]
        if not self._calls:
            raise SqlError(
                "RANGE and EVERY need INTERP",
                field="RANGE",
                hint="SELECT INTERP(x) ... RANGE(a, b)",
            )
        self._bound_rows()
        arguments = {**self._range(), "keys": self.rows.keys, "shown": list(self._shown.values())}
        arguments["calls"] = self._filled_calls(arguments.pop("surround_ns"))
        walk = Walk("interpolate", arguments)
        rows = walk_table(self.number, "rows", "#w", self._rows(), walk)
        source = exp.Select(from_=exp.From(this=rows))
        shows = self.shape.shows_time and self.shows_time()
        return self.answer(source, time if shows else None, answer)

    def shows_time(self) -> bool:
        """False when the moment is an item."""
        return super().shows_time() and not any(
            isinstance(p.unalias(), exp.Column) and p.unalias().name.casefold() == "_irowts"
            for p in self.select.expressions
        )

    # Clauses

    def _range(self) -> dict[str, Any]:
        clause = self.select.args.get(RANGE)
        if clause is None:
            raise SqlError(
                "INTERP needs RANGE", field="INTERP", hint="RANGE(first, last) EVERY(1m) FILL(PREV)"
            )
        start, end = clause.args.get("start"), clause.args.get("end")
        start_ns = None if start is None else self._moment(start)
        end_ns = start_ns if end is None else self._moment(end)
        every, surround = clause.args.get("every"), clause.args.get("surround")
        if surround is not None and surround.months:
            raise SqlError("RANGE takes no months", field="RANGE", hint="use days")
        if every is None and start_ns != end_ns:
            raise SqlError(
                "RANGE of two moments needs EVERY", field="EVERY", hint="EVERY(1m) says how often"
            )
        return {
            "start_ns": start_ns,
            "end_ns": end_ns,
            "every": span_of(every),
            "zone": self.lowered.time_zone,
            "surround_ns": None if surround is None else surround.ns,
        }

    def _rows(self) -> exp.Select:
        """The rows that a moment can see."""
        query, relation = self.rows.build(), self.rows.relation
        clause = self.select.args[RANGE]
        start, end = clause.args.get("start"), clause.args.get("end")
        ignores = {call["filling"]["ignores_null"] for call in self._calls.values()}
        is_bounded = self._fill is None or self._fill.args["mode"] not in _SEEING
        if start is None or is_bounded or clause.args.get("surround") is not None:
            return query
        is_one = self.lowered.scopes.only_relation(self.select) is not None
        if relation is None or not is_one or relation.is_sampled or len(ignores) > 1:
            return query
        edges = Edges(self.rows.time(), start, end or start, relation, ignores == {True})
        if is_one_device(relation) and not self.rows.keys and not edges.ignoring:
            return with_neighbours(query, edges, self.lowered)
        return with_neighbours_of_devices(query, edges, self.lowered) or query

    def _bound_rows(self) -> None:
        """Leaves rows out that no moment can see, so that they are not read."""
        clause = self.select.args.get(RANGE)
        start = None if clause is None else clause.args.get("start")
        if clause is None or start is None:
            return
        end, surround = clause.args.get("end"), clause.args.get("surround")
        mode = "NONE" if self._fill is None else self._fill.args["mode"]
        reach_us = 0
        if mode in _SEEING:
            # A partition of which nothing is near has its moments all the same.
            if surround is None or surround.months or self.rows.keys:
                return
            reach_us = -(-surround.ns // NS_PER_US)
        reach = exp.Interval(this=exp.Literal.string(str(reach_us)), unit=exp.var("MICROSECOND"))
        low = exp.Sub(this=exp.paren(start.copy()), expression=reach)
        high = exp.Add(this=exp.paren((end or start).copy()), expression=reach.copy())
        self.rows.add_condition(exp.GTE(this=self.rows.time(), expression=low))
        self.rows.add_condition(exp.LTE(this=self.rows.time(), expression=high))

    def _moment(self, node: exp.Expr) -> int:
        found = self.lowered.times.constant_ns(node)
        if found is None:
            raise SqlError(
                f"{node.sql()} is not a time",
                field="RANGE",
                hint="write '2026-10-03T06:00:00Z' or an integer",
            )
        return found

    def _filled_calls(self, surround_ns: int | None) -> list[dict[str, Any]]:
        """The calls, each with its filling."""
        calls = list(self._calls.values())
        mode, constants = "NONE", []
        if self._fill is not None:
            mode = self._fill.args["mode"]
            constants = constants_of(self._fill, len(calls), self.lowered.times, "INTERP")
            if mode == "CONSTANT":
                mode = "VALUE"
        if constants and mode not in _WITH_CONSTANTS and surround_ns is None:
            raise SqlError(
                f"FILL({mode}) with a constant needs how far neighbours may be",
                field="FILL",
                hint="write RANGE(moment, 1h)",
            )
        for number, call in enumerate(calls):
            call["filling"] = {
                "mode": mode.removesuffix("_F"),
                "constant": constants[number] if constants else None,
                "surround_ns": surround_ns,
                "ignores_null": call.pop("ignores_null"),
                # A constant is for moments of which nothing is near, if nothing is there at all.
                "is_forced": mode.endswith("_F") or (bool(constants) and surround_ns is not None),
            }
        return calls

    # Expressions over the moments

    def place_other(self, node: exp.Expr) -> bool:
        if is_aggregate(node):
            raise SqlError(
                "an aggregate is one value, beside values at moments",
                hint="SELECT it from a sub-query with INTERP",
            )
        if not is_interp(node):
            return False
        arguments = list(node.expressions)
        ignores_null = False
        if len(arguments) == 2:
            option = constant_of(arguments.pop(), self.lowered.times)
            ignores_null = option == 1
            arguments = arguments if option in (0, 1) else []
        if len(arguments) != 1:
            raise SqlError("INTERP takes a column and 0 or 1", hint="INTERP(x[, ignore_null])")
        source = self.rows.add(arguments[0]).name
        output = f"#f{len(self._calls)}"
        call = {"column": source, "output": output, "ignores_null": ignores_null}
        found = self._calls.setdefault(f"{source} {ignores_null}", call)
        node.replace(column(found["output"]))
        return True

    def place_column(self, node: exp.Column) -> None:
        found = self.rows.origin(node)
        pseudo = PSEUDO_COLUMNS.get(node.name.casefold())
        if found is None and pseudo is not None and not node.table:
            node.replace(column(pseudo))
        elif self.is_alias(node):
            return
        elif self.rows.is_time(node):
            node.replace(column("#t"))
        elif isinstance(found, RelationColumn) and found.kind in _KEEPERS:
            name = self._shown.setdefault(identity(node), self.rows.add(node).name)
            node.replace(column(name))
        else:
            raise SqlError(
                f"{node.name} has no value at the moments of RANGE",
                field=node.name,
                hint=f"write INTERP({node.name}), or PARTITION BY {node.name}",
            )

    def place_call(self, node: exp.Expr, call: Call) -> exp.Expr:
        raise SqlError(
            f"{call['name']} cannot stand beside INTERP",
            field=call["name"],
            hint="use INTERP in a sub-query",
        )
