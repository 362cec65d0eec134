"""Aggregate push-down: a SELECT that only aggregates reads groups instead of rows.

1. Understood is a SELECT over one template, device or pattern, a statement by itself or a part of
   one: count, min, max, sum, avg, FIRST, LAST and LAST_ROW of measurements, their times, and
   count(*), anywhere in the select list, HAVING and ORDER BY; by device, tbname, tags, and by
   buckets of the time (time_buckets.py). Its WHERE must be one that the scan's narrowing and
   filters of values say completely (pushdown.py, value_filters.py).
2. The relation then delivers, in place of rows, one row per device (if any of its columns is named)
   and window (if the time is), with what the engine aggregated there. The tree stays as it is, but
   that every function is replaced by the one that joins such groups (group_columns.py).
3. A window divides every bucket of the statement, so that its start falls into the same bucket as
   all of its rows. Rows of a rollup are at the start of windows: its time is such a bucket.
4. A SELECT that asks for newest values alone, of all time or since some time, reads the engine's
   newest values, one row per device.

Anything else is left alone and reads rows.
"""

from __future__ import annotations

import math
from typing import Any

from sqlglot import exp

from mainstem_engine.sql.plan import Partials
from mainstem_engine.sql.planning.group_columns import (
    END,
    FIRST_AT,
    LAST_AT,
    LAST_ROW,
    NEWEST,
    Call,
    GroupColumns,
    is_row_time,
)
from mainstem_engine.sql.select.relations import Relation, RelationColumn
from mainstem_engine.sql.select.time_buckets import bucket_of, is_time_bucket
from mainstem_engine.windows import COUNT, FIRST, LAST, MAX, MEAN, MIN, SUM

_CLAUSES = frozenset(
    {"expressions", "from_", "where", "group", "having", "order", "limit", "offset"}
)
_FUNCTIONS: dict[type[exp.Expr], str] = {
    exp.Count: COUNT, exp.Min: MIN, exp.Max: MAX, exp.Sum: SUM, exp.Avg: MEAN,
}  # fmt: skip


def push_aggregates(tree: exp.Expr, relation: Relation, zone: str, table_precision_ns: int) -> bool:
    """Rewrites a SELECT over ``relation`` alone, whose WHERE is said by its narrowing and filters,
    to read groups; True if it did. Sets ``partials`` of the relation and of its members."""
    if not isinstance(tree, exp.Select) or relation.is_sampled:
        return False
    if relation.filters and relation.is_path and not _is_one_device(relation):
        # Rows of several devices may be joined to one, which then passes or does not.
        return False
    if {key for key, value in tree.args.items() if value} - _CLAUSES:
        return False
    found = _Statement(tree, relation, zone)
    if not found.is_understood():
        return False
    every_ns = math.gcd(*found.buckets) if found.buckets else None
    if every_ns is not None and (every_ns % table_precision_ns or found.groups_are_rows(every_ns)):
        return False
    newest = found.asks_newest and every_ns is None
    if not newest and any(call.function == LAST_ROW for call in found.calls):
        return False
    columns = GroupColumns(relation)
    if not all(columns.offer(call) for call in found.calls):
        return False
    for call in found.calls:
        call.node.replace(columns.joined(call))
    tree.set("where", None)
    by_device = found.by_device or newest
    columns.publish(by_device=by_device, by_time=every_ns is not None)
    filters = tuple(relation.filters)
    relation.partials = Partials(columns.functions, every_ns, by_device, filters, newest)
    for member in relation.members:
        functions = columns.of_member(member)
        member.partials = Partials(functions, every_ns, by_device, filters, newest)
    return True


def _is_one_device(relation: Relation) -> bool:
    devices = relation.members[0].devices
    return len(relation.members) == 1 and devices is not None and len(devices) <= 1


class _Statement:
    """What a SELECT computes of which columns."""

    def __init__(self, tree: exp.Select, relation: Relation, zone: str) -> None:
        self._tree = tree
        self._relation = relation
        self._zone = zone
        self._alias = tree.args["from_"].this.alias or relation.alias
        self.calls: list[Call] = []
        self.buckets: list[int] = []
        self.by_device = False

    def is_understood(self) -> bool:
        """Fills the fields; False if something is not understood."""
        named = (self._tree.args.get(key) for key in ("group", "having", "order"))
        clauses = [*self._tree.expressions, *(clause for clause in named if clause)]
        alias = self._tree.args["from_"].this.args.get("alias")
        if isinstance(alias, exp.TableAlias) and alias.columns:
            return False
        return all(self._walk(node) for node in clauses) and bool(self.calls)

    @property
    def asks_newest(self) -> bool:
        """True when the newest values of devices are all that is asked for."""
        asked = {_name_of(call) for call in self.calls}
        return (
            asked <= NEWEST
            and bool(asked & {LAST, LAST_ROW})
            and not self._relation.filters
            and self._relation.end_ns is None
        )

    def groups_are_rows(self, every_ns: int) -> bool:
        """True when a rollup has no more than one row for a group: then rows can be streamed."""
        return self.by_device and every_ns == self._rollup_ns()

    def _walk(self, node: exp.Expr) -> bool:
        if isinstance(node, exp.Query | exp.Window | exp.Distinct | exp.Star):
            return False
        if isinstance(node, exp.AggFunc | exp.Filter | exp.Anonymous):
            # A function that is not known here could aggregate.
            call = self._filtered(node) if isinstance(node, exp.Filter) else self._call(node)
            if call is not None:
                self.calls.append(call)
            return call is not None
        if is_time_bucket(node):
            return self._bucket(node)
        if isinstance(node, exp.Column):
            return self._key(node)
        return all(self._walk(child) for child in node.iter_expressions())

    def _key(self, node: exp.Column) -> bool:
        """A column that is not aggregated: a group's, or the name of a result."""
        found = self._column(node)
        if found is None:
            names = {item.alias_or_name.casefold() for item in self._tree.expressions}
            return not node.table and node.name.casefold() in names
        if is_row_time(found):
            every_ns = self._rollup_ns()
            self.buckets += [] if every_ns is None else [every_ns]
            return every_ns is not None
        self.by_device = True
        return found.kind in ("DEVICE", "TAG", "TBNAME")

    def _rollup_ns(self) -> int | None:
        """The window that every row of the relation stands for, None for plain rows."""
        found = {
            m.table.template.every_ns if m.table.replaces_rows else None
            for m in self._relation.members
        }
        return found.pop() if len(found) == 1 else None

    def _filtered(self, node: exp.Filter) -> Call | None:
        """A function over the rows of one device, or the time of a value."""
        where = node.expression
        if not isinstance(where, exp.Where):
            return None
        inner = node.this
        if isinstance(where.this, exp.EQ) and isinstance(inner, exp.AggFunc | exp.Anonymous):
            column, value = self._column(where.this.this), where.this.expression
            call = self._call(inner)
            if column is None or column.kind != "DEVICE" or call is None:
                return None
            if not isinstance(value, exp.Literal) or not value.is_string:
                return None
            self.by_device = True
            return Call(node, call.function, call.column, where)
        return self._time_of_value(node, where.this)

    def _time_of_value(self, node: exp.Filter, condition: exp.Expr) -> Call | None:
        """``max(time) FILTER (WHERE NOT x IS NULL)``, as MAX_TIME(x) is written."""
        function = {exp.Max: LAST_AT, exp.Min: FIRST_AT}.get(type(node.this))
        time = self._column(node.this.this) if function is not None else None
        if function is None or time is None or not is_row_time(time):
            return None
        is_null = condition.this if isinstance(condition, exp.Not) else None
        if not isinstance(is_null, exp.Is) or not isinstance(is_null.expression, exp.Null):
            return None
        column = self._column(is_null.this)
        if column is None or column.kind != "MEASUREMENT":
            return None
        return Call(node, function, column)

    def _call(self, node: exp.Expr) -> Call | None:
        if isinstance(node, exp.Anonymous):
            arguments = node.expressions
            if node.name.lower() != "arg_max_null" or len(arguments) != 2:
                return None
            return self._by_time(node, LAST_ROW, arguments[0], arguments[1])
        if isinstance(node, exp.ArgMax | exp.ArgMin):
            if not {key for key, value in node.args.items() if value} <= {"this", "expression"}:
                return None
            function = LAST if isinstance(node, exp.ArgMax) else FIRST
            return self._by_time(node, function, node.this, node.expression)
        function = _FUNCTIONS.get(type(node), "")
        known = {key for key, value in node.args.items() if value} <= {"this", "big_int"}
        if not function or not known:
            return None
        if isinstance(node.this, exp.Star):
            is_plain = not any(node.this.args.values())
            return Call(node, COUNT, None) if function == COUNT and is_plain else None
        column = self._column(node.this)
        if column is None:
            return None
        if is_row_time(column):
            if function == COUNT:
                return Call(node, COUNT, None)
            return Call(node, function, column) if function in (MIN, MAX) else None
        return Call(node, function, column) if column.kind == "MEASUREMENT" else None

    def _by_time(
        self, node: exp.Expr, function: str, value: exp.Expr, time: exp.Expr
    ) -> Call | None:
        by, column = self._column(time), self._column(value)
        if by is None or column is None or not is_row_time(by) or column.kind != "MEASUREMENT":
            return None
        return Call(node, function, column)

    def _column(self, node: Any) -> RelationColumn | None:
        if not isinstance(node, exp.Column):
            return None
        if node.table and node.table.casefold() != self._alias.casefold():
            # Of a table around this SELECT.
            return None
        return self._relation.columns.get(node.name.casefold())

    def _bucket(self, node: exp.Expr) -> bool:
        width, time = bucket_of(node, self._zone, self._relation.start_ns)
        column = self._column(time)
        if width is None or column is None or not is_row_time(column):
            return False
        self.buckets.append(width)
        return True


def _name_of(call: Call) -> str:
    """What a call asks, as NEWEST names it."""
    if call.column is not None and is_row_time(call.column):
        return END if call.function == MAX else call.function
    return call.function if call.column is not None else COUNT
