"""FILL: over what a walk answers, and over the rows of a SELECT that has no other clause.

1. Rows are filled in order of their time, which is the first item that is a time, one column and
   one partition at a time. Partitions are those of PARTITION BY; without it a table of several
   devices is filled device by device. Devices that stand side by side are columns, and are filled
   where another one has a row.
2. Times, keys, tags and names of devices are not filled.
3. ORDER BY, LIMIT and OFFSET apply to the rows that are filled.
"""

from __future__ import annotations

from typing import Any

from sqlglot import exp

from mainstem_engine.errors import SqlError
from mainstem_engine.sql.grammar.clauses import (
    ALIGN_EVERY,
    FILL,
    PARTITION,
    RANGE,
    WINDOW,
    FillClause,
)
from mainstem_engine.sql.lowering.lowered import Lowered, put_in_place
from mainstem_engine.sql.select.aggregates import is_aggregate
from mainstem_engine.sql.select.relations import DEVICE, TIME, RelationColumn
from mainstem_engine.sql.select.rows_query import column, identity
from mainstem_engine.sql.select.time_expressions import TimeExpressions
from mainstem_engine.sql.select.walk_nodes import Walk, walk_table
from mainstem_engine.sql.walks.timelines import TIME as ROW_TIME
from mainstem_engine.sql.walks.timelines import key_name

_KEPT = frozenset({"TAG", "DEVICE", "TBNAME"})
_CONSTANTS = ("VALUE", "VALUE_F", "CONSTANT")


def fill_walk(fill: exp.Expr, names: list[str], lowered: Lowered, *, keys: int = 1) -> Walk:
    """The walk that fills the columns ``names``. Raises SqlError for values that do not match."""
    mode = fill.args["mode"]
    values = constants_of(fill, len(names), lowered.times, "columns")
    if values and mode not in _CONSTANTS:
        raise SqlError(
            f"FILL({mode}) takes no value here",
            field="FILL",
            hint="FILL(PREV, value) belongs to INTERP with RANGE",
        )
    return Walk(
        "fill",
        {
            "keys": keys,
            "columns": names,
            "mode": mode,
            "limit_ns": limit_ns(fill, "FILL"),
            "values": values,
        },
    )


def constants_of(fill: exp.Expr, count: int, times: TimeExpressions, what: str) -> list[Any]:
    """The values of FILL, one for each of ``count`` columns; empty when there are none. Raises
    SqlError when they do not match."""
    values = [constant_of(node, times) for node in fill.expressions]
    if len(values) == 1:
        values *= count
    if values and len(values) != count:
        raise SqlError(
            f"FILL has {len(values)} values for {count} {what}",
            field="FILL",
            hint="write one value for all columns, or one for each that is not a time or a key",
        )
    return values


def limit_ns(node: exp.Expr, clause: str) -> int | None:
    """The argument ``limit`` of a node, without months. Raises SqlError."""
    limit = node.args.get("limit")
    if limit is None:
        return None
    if limit.months:
        raise SqlError(f"the limit of {clause} has no months", field=clause, hint="use days")
    return int(limit.ns)


def constant_of(node: exp.Expr, times: TimeExpressions) -> Any:
    """The value of a constant of FILL. Raises SqlError for anything else."""
    if isinstance(node, exp.Paren):
        return constant_of(node.this, times)
    if isinstance(node, exp.Neg):
        value = constant_of(node.this, times)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return -value
    elif isinstance(node, exp.Null):
        return None
    elif isinstance(node, exp.Boolean):
        return bool(node.this)
    elif isinstance(node, exp.Placeholder):
        value = times.parameter(node)
        if value is None or isinstance(value, bool | int | float | str):
            return value
    elif isinstance(node, exp.Literal):
        if node.is_string:
            return str(node.this)
        text = node.this.replace("_", "")
        return int(text) if text.isdecimal() else float(text)
    raise SqlError(
        f"{node.sql()} is not a constant", field="FILL", hint="write a number, text, TRUE or NULL"
    )


def lower_fills(tree: exp.Query, lowered: Lowered) -> exp.Query:
    """Lowers every SELECT that has FILL still; returns the tree."""
    for select in reversed(list(tree.find_all(exp.Select))):
        if select.args.get(FILL) is None or any(
            select.args.get(key) is not None for key in (WINDOW, RANGE, ALIGN_EVERY)
        ):
            continue
        made = fill_rows(select, lowered)
        if select is tree:
            tree = made
        elif made is not select:
            put_in_place(select, made)
    return tree


def fill_rows(select: exp.Select, lowered: Lowered) -> exp.Select:
    """The SELECT over a walk that fills the rows of ``select``, which has FILL and no other clause
    but PARTITION BY. Raises SqlError when no item is a time."""
    fill = select.args[FILL]
    if fill.args["mode"] == "NONE":
        select.set(FILL, None)
        select.set(PARTITION, None)
        return select
    return _RowsToFill(select, fill, lowered).build()


class _RowsToFill:
    def __init__(self, select: exp.Select, fill: FillClause, lowered: Lowered) -> None:
        self._select = select
        self._fill = fill
        self._lowered = lowered
        self._items = self._expanded()
        self._keys = self._partition_keys()

    def build(self) -> exp.Select:
        select = self._select
        inner = select.copy()
        for key in (FILL, PARTITION, "order", "limit", "offset", "distinct", "with_"):
            inner.set(key, None)
        for key in ("group", "having"):
            self._resolve(inner.args.get(key))
        order = select.args.get("order")
        ordered = list(order.expressions) if order is not None else []
        inner.set(
            "expressions",
            [
                *(_named(key, key_name(n)) for n, key in enumerate(self._keys)),
                _named(self._time(), ROW_TIME),
                *(_named(item.unalias(), f"#i{n}") for n, item in enumerate(self._items)),
                *(_named(self._ordered_by(node.this), f"#o{n}") for n, node in enumerate(ordered)),
            ],
        )
        by = [*(key_name(n) for n in range(len(self._keys))), ROW_TIME]
        inner.set("order", _order(by))
        names = [f"#i{n}" for n, item in enumerate(self._items) if self._is_filled(item.unalias())]
        walk = fill_walk(self._fill, names, self._lowered, keys=len(self._keys))
        table = walk_table(next(self._lowered.numbers), "rows", "#f", inner, walk)
        query = exp.Select(
            expressions=[
                _named(column(f"#i{n}"), item.alias_or_name) for n, item in enumerate(self._items)
            ],
            from_=exp.From(this=table),
        )
        if order is None:
            query.set("order", _order(by))
        else:
            order = order.copy()
            for number, node in enumerate(order.expressions):
                node.set("this", column(f"#o{number}"))
            query.set("order", order)
        for key in ("with_", "distinct", "limit", "offset"):
            value = select.args.get(key)
            if value is not None:
                query.set(key, value.copy())
        return query

    def _resolve(self, clause: exp.Expr | None) -> None:
        """Puts items in the place of their names and numbers, which they lose inside."""
        nodes = list(clause.find_all(exp.Column, exp.Literal)) if clause is not None else []
        for node in nodes:
            is_number = isinstance(node, exp.Literal)
            if is_number and not isinstance(node.parent, exp.Group):
                continue
            if is_number or self._origin(node) is None:
                node.replace(self._ordered_by(node).copy())

    def _expanded(self) -> list[exp.Expr]:
        """The items, with the columns of ``*``."""
        items: list[exp.Expr] = []
        for projection in self._select.expressions:
            if not isinstance(projection.unalias(), exp.Star):
                items.append(projection)
                continue
            for source in self._lowered.scopes.sources(self._select):
                if source.relation is None:
                    raise SqlError(
                        "FILL does not know the columns of *", hint="name them, the time first"
                    )
                items += [column(name) for name in source.relation.star]
        return items

    def _partition_keys(self) -> list[exp.Expr]:
        partition = self._select.args.get(PARTITION)
        if partition is not None:
            return [key.unalias() for key in partition.expressions]
        sources = list(self._lowered.scopes.sources(self._select))
        relation = sources[0].relation if sources else None
        if relation is None or self._select.args.get("group") is not None:
            return [
                item.unalias()
                for item in self._items
                if not self._is_filled(item.unalias()) and not self._is_time(item.unalias())
            ]
        devices = sum(2 if m.devices is None else len(m.devices) for m in relation.members)
        return [column(DEVICE)] if devices > 1 else []

    def _time(self) -> exp.Expr:
        times = [item.unalias() for item in self._items if self._is_time(item.unalias())]
        # The time of the table comes before measurements that are times.
        for node in times:
            found = self._origin(node)
            if isinstance(found, RelationColumn) and TIME in (found.name, found.source):
                return node
        if times:
            return times[0]
        if self._select.args.get("group") is None:
            if any(is_aggregate(node) for item in self._items for node in item.walk()):
                # One row, to which only a constant can do anything.
                return exp.cast(exp.Literal.string("1970-01-01 00:00:00+00"), exp.DType.TIMESTAMPTZ)
            source = next(iter(self._lowered.scopes.sources(self._select)), None)
            if source is not None and source.relation is not None:
                table = exp.to_identifier(source.alias, quoted=True)
                return exp.Column(this=exp.to_identifier(TIME, quoted=True), table=table)
        raise SqlError(
            "FILL needs rows with a time",
            field="FILL",
            hint="select the time too, or use it with a window",
        )

    def _origin(self, node: exp.Expr) -> object:
        if not isinstance(node, exp.Column):
            return None
        return self._lowered.scopes.origin(node, self._select)

    def _is_time(self, node: exp.Expr) -> bool:
        return self._lowered.times.is_time_of(node, self._select)

    def _ordered_by(self, node: exp.Expr) -> exp.Expr:
        """What a term of ORDER BY is: an item by its number or name, or an expression."""
        if isinstance(node, exp.Literal) and not node.is_string and node.this.isdecimal():
            number = int(node.this)
            if 1 <= number <= len(self._items):
                return self._items[number - 1].unalias()
        if isinstance(node, exp.Column) and not node.table:
            for item in self._items:
                if item.alias and item.alias.casefold() == node.name.casefold():
                    return item.unalias()
        return node

    def _is_filled(self, node: exp.Expr) -> bool:
        if self._is_time(node):
            return False
        found = self._origin(node)
        if isinstance(found, RelationColumn) and found.kind in _KEPT:
            return False
        partition = self._select.args.get(PARTITION)
        keys = partition.expressions if partition is not None else []
        return all(identity(key.unalias()) != identity(node) for key in keys)


def _named(node: exp.Expr, name: str) -> exp.Expr:
    return exp.alias_(node.copy(), exp.to_identifier(name, quoted=True))


def _order(names: list[str]) -> exp.Order:
    return exp.Order(
        expressions=[exp.Ordered(this=column(name), nulls_first=True) for name in names]
    )
