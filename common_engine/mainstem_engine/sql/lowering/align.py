"""A SELECT with ALIGN(EVERY ...): tables of different clocks on one grid, side by side.

1. FROM names paths, patterns, sub-queries, separated by commas. Each delivers its rows with its
   number and device; one walk puts every column on the grid by its method.
2. Devices of paths and patterns stand side by side: a row per moment. With PARTITION BY, and from
   a template, there is a row per partition and moment, and one table.
3. The grid is that of RANGE, both ends inclusive, else of the times that WHERE allows, else of the
   rows. WHERE also says which rows there are: with it alone, nothing before its first moment is
   held, and no rate reaches beyond its last one. RANGE sees rows outside of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlglot import exp

from mainstem_engine.errors import SqlError, SqlLimitError
from mainstem_engine.sql.grammar.clauses import (
    ALIGN_EVERY,
    FILL,
    MERGE,
    RANGE,
    SLIMIT,
    SOFFSET,
    WINDOW,
    Duration,
)
from mainstem_engine.sql.lowering.aligned_tables import (
    AlignedSignal,
    AlignedTables,
    ordered_by,
)
from mainstem_engine.sql.lowering.fill import limit_ns
from mainstem_engine.sql.lowering.lowered import Lowered, own_nodes
from mainstem_engine.sql.select.aggregates import is_aggregate
from mainstem_engine.sql.select.alignment import COLUMNS_MAX, has_columns
from mainstem_engine.sql.select.calls import call_of
from mainstem_engine.sql.select.relations import DEVICE, TIME, RelationColumn
from mainstem_engine.sql.select.rows_query import column
from mainstem_engine.sql.select.walk_nodes import Walk, walk_table
from mainstem_engine.sql.walks.timelines import TIME as ROW_TIME
from mainstem_engine.sql.walks.timelines import key_name

_LOCAL_UNITS = frozenset({"d", "w", "mo", "n", "y"})
"""Units whose length depends on the clock of a zone."""
_KEPT = frozenset({"TAG", "DEVICE", "TBNAME"})


def lower_align(select: exp.Select, lowered: Lowered) -> exp.Select:
    """The SELECT over a walk. Raises SqlError."""
    return _AlignQuery(select, lowered).build()


@dataclass(frozen=True, slots=True)
class _Item:
    """``node``: over moments; ``device``: the one that it is of, where several stand side by
    side."""

    heading: str
    node: exp.Expr
    device: str = ""


class _AlignQuery:
    def __init__(self, select: exp.Select, lowered: Lowered) -> None:
        _check(select)
        self._select = select
        self._lowered = lowered
        self._clause = select.args[ALIGN_EVERY]
        self._tables = AlignedTables(select, lowered)
        self._methods = self._find_methods()
        self._signals: dict[tuple[int, str], AlignedSignal] = {}
        self._cells: dict[tuple[int, str | None, str], str] = {}

    def build(self) -> exp.Select:
        """The whole answer."""
        items = self._items()
        order = self._select.args.get("order")
        placed = None if order is None else self._place_order(order)
        walk = self._walk()
        table = walk_table(
            next(self._lowered.numbers), "rows", "#w", self._tables.rows(self._signals), walk
        )
        query = exp.Select(
            expressions=[_named(node, heading) for heading, node in items],
            from_=exp.From(this=table),
        )
        if placed is None:
            keys = self._tables.all[0].rows.keys if self._tables.is_long else 0
            placed = ordered_by([*(key_name(number) for number in range(keys)), ROW_TIME])
        query.set("order", placed)
        for key in ("with_", "limit", "offset"):
            value = self._select.args.get(key)
            if value is not None:
                query.set(key, value.copy())
        return query

    # Columns

    def _find_methods(self) -> dict[tuple[int, str], tuple[str, int | None]]:
        found: dict[tuple[int, str], tuple[str, int | None]] = {}
        for signal in self._clause.expressions:
            owners = [
                n for n, s in enumerate(self._tables.all) if s.has(signal.this, self._lowered)
            ]
            if not owners:
                raise SqlError(
                    f"ALIGN names {signal.this.sql()}, which no table has",
                    field="ALIGN",
                    hint="DESCRIBE lists the columns of a table",
                )
            for owner in owners:
                key = (owner, signal.this.name.casefold())
                found[key] = (signal.args["method"], limit_ns(signal, "ALIGN"))
        return found

    def _cell(self, owner: int, device: str | None, node: exp.Column) -> exp.Column:
        """The column of a signal, of one device where several stand side by side."""
        name = node.name.casefold()
        signal = self._signals.get((owner, name))
        if signal is None:
            method, limit = self._methods.get((owner, name), (None, None))
            if method is None:
                limit = limit_ns(self._clause, "ALIGN")
            number = len(self._signals)
            default = self._clause.args.get("method")
            signal = AlignedSignal(
                node.copy(), f"#a{number}", f"#f{number}", method, default, limit
            )
            self._signals[owner, name] = signal
        if self._tables.is_long or not self._tables.stands_beside:
            return column(signal.output)
        cell = self._cells.setdefault((owner, device, name), f"#c{len(self._cells)}")
        if len(self._cells) > COLUMNS_MAX:
            raise SqlLimitError(
                f"devices side by side make more than {COLUMNS_MAX} columns",
                hint="use PARTITION BY device",
            )
        return column(cell)

    # Items

    def _items(self) -> list[tuple[str, exp.Expr]]:
        found: list[_Item] = []
        for projection in self._select.expressions:
            node = projection.unalias()
            if isinstance(node, exp.Star):
                found += self._star()
            elif isinstance(node, exp.Column) and self._tables.is_time(node):
                found.append(_Item(projection.alias_or_name, column(ROW_TIME)))
            elif isinstance(node, exp.Column) and node is projection and not node.table:
                found += self._of_each(node)
            else:
                found += self._item(node, self._heading(projection))
        if len(self._tables.all) == 1:
            found.sort(key=lambda item: item.device)
        if not any(item.node == column(ROW_TIME) for item in found):
            found.insert(0, _Item(TIME, column(ROW_TIME)))
        self._lowered.per_second.update(
            item.heading.casefold() for item in found if item.node in self._rates()
        )
        return [(item.heading, item.node) for item in found]

    def _of_each(self, node: exp.Column) -> list[_Item]:
        """A column of every table that has one of the name."""
        owners = self._tables.owners(node)
        if len(owners) == 1:
            return self._item(node, self._heading(node))
        found: list[_Item] = []
        for source in (self._tables.all[owner] for owner in owners):
            table = exp.to_identifier(source.table.alias, quoted=True)
            of_one = exp.Column(this=node.this.copy(), table=table)
            name = node.name if source.devices else f"{source.label}.{node.name}"
            found += self._item(of_one, name)
        return found

    def _rates(self) -> list[exp.Expr]:
        """The columns that are rates by name or by default."""
        cells = dict(self._cells)
        for (owner, name), signal in self._signals.items():
            cells[owner, None, name] = cells.get((owner, None, name), signal.output)
        return [
            column(name)
            for (owner, _, signal), name in cells.items()
            if (self._signals[owner, signal].method or self._signals[owner, signal].default)
            == "RATE"
        ]

    def _heading(self, projection: exp.Expr) -> str:
        """The name of a column, with that of its table where another item has it too."""
        heading = projection.alias_or_name
        named = [p for p in self._select.expressions if p.alias_or_name == heading]
        node = projection.unalias()
        if len(named) == 1 or projection.alias or not isinstance(node, exp.Column):
            return heading
        source = self._tables.all[self._tables.owner(node)]
        return heading if source.devices else f"{source.label}.{heading}"

    def _star(self) -> list[_Item]:
        found: list[_Item] = []
        if self._tables.is_long:
            key = self._tables.all[0].rows.key_of(column(DEVICE))
            found += [_Item(DEVICE, key)] if key is not None else []
        for source in self._tables.all:
            table = exp.to_identifier(source.table.alias, quoted=True)
            for name in source.names():
                node = exp.Column(this=exp.to_identifier(name, quoted=True), table=table)
                several = len(self._tables.all) > 1 and not source.devices
                found += self._item(node, f"{source.label}.{name}" if several else name)
        return found

    def _item(self, node: exp.Expr, heading: str) -> list[_Item]:
        """An item, once for each device that stands side by side."""
        owners = {
            self._tables.owner(each)
            for each in node.find_all(exp.Column)
            if not self._tables.is_time(each)
        }
        several = [owner for owner in owners if self._tables.all[owner].devices]
        if self._tables.is_long or not several:
            return [_Item(heading, self._place(node, {}))]
        if len(several) > 1:
            raise SqlError(
                f"{heading} is made of several patterns", hint="compute it in a query around this"
            )
        (owner,) = several
        relation = self._tables.all[owner].table.relation
        assert relation is not None
        return [
            _Item(f"{path}.{heading}", self._place(node, {owner: path}), path)
            for path, member in self._tables.all[owner].devices
            if has_columns(node, relation, member)
        ]

    def _place(self, node: exp.Expr, devices: dict[int, str]) -> exp.Expr:
        """An expression over rows as one over moments."""
        holder = exp.Paren(this=node.copy())
        self._place_in(holder.this, devices)
        found: exp.Expr = holder.this
        return found

    def _place_in(self, node: exp.Expr, devices: dict[int, str]) -> None:
        key = self._tables.all[0].rows.key_of(node) if self._tables.is_long else None
        if key is not None and not isinstance(node, exp.Literal):
            node.replace(key)
        elif isinstance(node, exp.Column):
            node.replace(self._placed_column(node, devices))
        elif isinstance(node, exp.Query) or is_aggregate(node) or call_of(node) is not None:
            raise SqlError(
                f"{node.sql()[:80]} cannot stand beside ALIGN",
                field="ALIGN",
                hint="SELECT it from a sub-query with ALIGN",
            )
        else:
            for child in list(node.iter_expressions()):
                self._place_in(child, devices)

    def _placed_column(self, node: exp.Column, devices: dict[int, str]) -> exp.Column:
        if self._tables.is_time(node):
            return column(ROW_TIME)
        owner = self._tables.owner(node)
        if self._tables.is_long:
            found = self._tables.all[owner].rows.origin(node)
            if isinstance(found, RelationColumn) and found.kind in _KEPT:
                return self._kept(node)
        return self._cell(owner, devices.get(owner), node)

    def _kept(self, node: exp.Column) -> exp.Column:
        """A tag or name of the device, which is one of a partition by device."""
        rows = self._tables.all[0].rows
        if rows.key_of(column(DEVICE)) is None:
            raise SqlError(
                f"{node.name} is no key", field=node.name, hint=f"PARTITION BY {node.name} too"
            )
        return rows.add_key(node)

    def _place_order(self, order: exp.Expr) -> exp.Expr:
        aliases = {p.alias.casefold() for p in self._select.expressions if p.alias}
        placed = order.copy()
        for ordered in placed.expressions:
            node = ordered.this
            is_alias = isinstance(node, exp.Column) and node.name.casefold() in aliases
            if not is_alias and not isinstance(node, exp.Literal):
                ordered.set("this", self._place(node, {}))
        return placed

    # Rows

    def _walk(self) -> Walk:
        every: Duration = self._clause.args["every"]
        columns = [signal.to_map() for signal in self._signals.values()]
        start_ns, end_ns = self._range()
        arguments = {
            "keys": self._tables.all[0].rows.keys,
            "every": [every.months, every.ns, every.unit not in _LOCAL_UNITS],
            "start_ns": start_ns,
            "end_ns": end_ns,
            "zone": self._lowered.time_zone,
            "columns": columns,
            "cells": self._cell_maps(),
        }
        relation = self._tables.all[0].table.relation
        numbers = [n for n, r in enumerate(self._lowered.relations) if r is relation]
        return Walk("align", arguments, numbers[0] if numbers else None)

    def _cell_maps(self) -> list[dict[str, Any]] | None:
        """Whose value stands in which column of the walk, where several stand side by side."""
        if self._tables.is_long or not self._tables.stands_beside:
            return None
        positions = {key: number for number, key in enumerate(self._signals)}
        return [
            {
                "number": owner,
                "device": device or "",
                "column": positions[owner, name],
                "output": output,
            }
            for (owner, device, name), output in self._cells.items()
        ]

    def _range(self) -> tuple[int | None, int | None]:
        clause = self._select.args.get(RANGE)
        if clause is None:
            return None, None
        if any(clause.args.get(key) is not None for key in ("every", "surround")):
            raise SqlError(
                "RANGE of ALIGN is RANGE(first, last)", field="RANGE", hint="EVERY is that of ALIGN"
            )
        moments = []
        for key in ("start", "end"):
            node = clause.args.get(key)
            found = None if node is None else self._lowered.times.constant_ns(node)
            if found is None:
                raise SqlError(
                    "RANGE of ALIGN needs two times", field="RANGE", hint="RANGE(first, last)"
                )
            moments.append(found)
        return moments[0], moments[1]


def _check(select: exp.Select) -> None:
    """Refuses what is not put on a grid."""
    others = (WINDOW, MERGE, FILL, SLIMIT, SOFFSET, "group", "having", "distinct", "qualify")
    for key in others:
        if select.args.get(key) is not None:
            raise SqlError(
                f"{key.removesuffix('_clause').upper()} cannot stand beside ALIGN",
                field="ALIGN",
                hint="SELECT from a sub-query with ALIGN",
            )
    if any(isinstance(node, exp.Window) for node in own_nodes(select)):
        raise SqlError("OVER cannot stand beside ALIGN", hint="SELECT from a sub-query with ALIGN")


def _named(node: exp.Expr, name: str) -> exp.Expr:
    return exp.alias_(node, exp.to_identifier(name, quoted=True))
