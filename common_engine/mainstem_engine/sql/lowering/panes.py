"""Panes: windows of time whose aggregates can be joined from groups read groups instead of rows.

1. A pane is a stretch of time that divides every window of the clause: no window cuts one. The rows
   of a walk then become one row per key and pane, made by GROUP BY; its time is the pane's start.
2. Each aggregate is split: a part over the rows of a pane, and one over the panes of a window, as a
   sum of counts. Both are plain SQL: push-down decides later whether groups of the engine, from
   statistics and rollups, stand for the panes (aggregation).
3. Only windows of fixed length in UTC, or of months, have panes; only measurements, keys of the
   device, and count, min, max, avg, first, last, and the sum of floats are split. Everything else
   reads rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from sqlglot import exp

from mainstem_engine.sql.select.relations import Relation, RelationColumn
from mainstem_engine.sql.select.rows_query import column
from mainstem_engine.sql.times import NS_PER_DAY, NS_PER_MS
from mainstem_engine.sql.walks.timelines import TIME as ROW_TIME

PANE_MIN_NS = 1000 * NS_PER_MS
"""Shorter ones would hold hardly more than a row each."""
_UTC = frozenset({"UTC", "Z"})
_KEEPERS = frozenset({"TAG", "DEVICE", "TBNAME"})
_TAKEN = ("where", "from_")

Aggregates = dict[str, tuple[str, exp.Expr]]
"""Of a SELECT with windows: name of its column and expression over the rows, by its text."""


def read_panes(
    rows: exp.Select,
    relation: Relation | None,
    window: Mapping[str, Any],
    zone: str,
    aggregates: Aggregates,
) -> tuple[exp.Select, Aggregates, list[str]] | None:
    """(query of the panes, aggregates over them, columns that these read); None: read rows.

    ``rows``: the query of the rows; ``relation``: the only table that it reads.
    """
    width_ns = None if relation is None else _width_ns(window, zone)
    if relation is None or width_ns is None or relation.is_sampled or not aggregates:
        return None
    if {key for key, value in rows.args.items() if value} - {*_TAKEN, "expressions", "order"}:
        return None
    alias = rows.args["from_"].this.args.get("alias")
    if isinstance(alias, exp.TableAlias) and alias.columns:
        return None
    items = {item.alias: item.this for item in rows.expressions}
    keys = [item for item in rows.expressions if item.alias.startswith("#p")]
    if not all(_is(item.this, relation, _KEEPERS) for item in keys):
        return None
    split = _Split(relation, items)
    joined: Aggregates = {}
    for text, (name, node) in aggregates.items():
        found = split.joined(node)
        if found is None:
            return None
        joined[text] = (name, found)
    pane = _named(_pane(items[ROW_TIME], width_ns), ROW_TIME)
    query = exp.Select(
        expressions=[*(key.copy() for key in keys), pane, *split.items()],
        group=exp.Group(expressions=[*(key.this.copy() for key in keys), pane.this.copy()]),
    )
    for key in _TAKEN:
        if (value := rows.args.get(key)) is not None:
            query.set(key, value.copy())
    order = [*(column(key.alias) for key in keys), column(ROW_TIME)]
    ordered = [exp.Ordered(this=each, nulls_first=True) for each in order]
    query.set("order", exp.Order(expressions=ordered))
    return query, joined, split.names()


def _width_ns(window: Mapping[str, Any], zone: str) -> int | None:
    """What divides all windows, and the day: None without, or when it is too short."""
    if zone.upper() not in _UTC or window["kind"] not in ("interval", "range"):
        return None
    if window.get("is_auto") or window.get("is_right_closed"):
        return None
    found = NS_PER_DAY
    for name in ("interval", "step", "sliding", "offset"):
        # Months begin at midnight, or at the time of day of the range.
        _, ns, *_ = window.get(name) or (0, 0)
        found = math.gcd(found, ns)
    for name in ("start_ns", "end_ns"):
        found = math.gcd(found, window.get(name) or 0)
    return found if found >= PANE_MIN_NS and found % NS_PER_MS == 0 else None


def _pane(time: exp.Expr, width_ns: int) -> exp.Expr:
    width = exp.Interval(
        this=exp.Literal.string(str(width_ns // NS_PER_MS)), unit=exp.Var(this="MILLISECOND")
    )
    return exp.DateBin(this=width, expression=time.copy())


class _Split:
    """The parts of aggregates over the rows of a pane; equal ones are computed once."""

    def __init__(self, relation: Relation, items: Mapping[str, exp.Expr]) -> None:
        self._relation = relation
        self._items = items
        self._parts: dict[str, tuple[str, exp.Expr]] = {}

    def items(self) -> list[exp.Expr]:
        return [_named(node.copy(), name) for name, node in self._parts.values()]

    def names(self) -> list[str]:
        return [name for name, _ in self._parts.values()]

    def joined(self, node: exp.Expr) -> exp.Expr | None:
        """The aggregate over panes, None for one that cannot be split. A window without rows has
        one pane of nulls, which takes no part in any of them."""
        if isinstance(node, exp.Filter):
            node = node.this if _is_presence(node.expression) else node
        given = {key for key, value in node.args.items() if value}
        if isinstance(node, exp.ArgMax | exp.ArgMin):
            return self._end(node) if given <= {"this", "expression"} else None
        if not given <= {"this", "big_int"} or not isinstance(node.this, exp.Column):
            return None
        name = node.this.name
        if isinstance(node, exp.Count) and name == ROW_TIME:
            return _total(self._part(exp.Count(this=exp.Star())))
        source = self._measurement(name)
        if source is None:
            return None
        value, found = source
        is_number = found.type.is_float or found.type.is_integer
        if isinstance(node, exp.Count):
            return _total(self._part(exp.Count(this=value)))
        if isinstance(node, exp.Min | exp.Max) and is_number:
            return type(node)(this=self._part(type(node)(this=value)))
        if isinstance(node, exp.Sum) and found.type.is_float:
            return exp.Sum(this=self._part(exp.Sum(this=value)))
        if isinstance(node, exp.Avg) and is_number:
            total = self._part(exp.cast(exp.Sum(this=value.copy()), exp.DType.DOUBLE))
            count = exp.Sum(this=self._part(exp.Count(this=value)))
            whole = exp.func("NULLIF", count, exp.Literal.number(0))
            return exp.paren(exp.Div(this=exp.Sum(this=total), expression=whole))
        return None

    def _end(self, node: exp.ArgMax | exp.ArgMin) -> exp.Expr | None:
        """FIRST and LAST: the value, and when it was."""
        by, value = node.expression, node.this
        if not isinstance(by, exp.Column) or by.name != ROW_TIME:
            return None
        source = self._measurement(value.name) if isinstance(value, exp.Column) else None
        if source is None:
            return None
        measured, _ = source
        time = self._items[ROW_TIME]
        present = exp.Not(this=exp.Is(this=measured.copy(), expression=exp.Null()))
        extreme = exp.Max if isinstance(node, exp.ArgMax) else exp.Min
        at = exp.Filter(this=extreme(this=time.copy()), expression=exp.Where(this=present))
        found = self._part(type(node)(this=measured, expression=time.copy()))
        return type(node)(this=found, expression=self._part(at))

    def _part(self, node: exp.Expr) -> exp.Column:
        """The column of an aggregate over the rows of a pane."""
        number = len(self._parts)
        name, _ = self._parts.setdefault(node.sql(dialect="duckdb"), (f"#a{number}", node))
        return column(name)

    def _measurement(self, name: str) -> tuple[exp.Expr, RelationColumn] | None:
        node = self._items.get(name)
        if node is None or not _is(node, self._relation, frozenset({"MEASUREMENT"})):
            return None
        return node.copy(), self._relation.columns[node.name.casefold()]


def _named(node: exp.Expr, name: str) -> exp.Expr:
    return exp.alias_(node, exp.to_identifier(name, quoted=True))


def _is(node: exp.Expr, relation: Relation, kinds: frozenset[str]) -> bool:
    """True for a column of the relation of one of the kinds, the same in all its templates."""
    if not isinstance(node, exp.Column):
        return False
    key = node.name.casefold()
    found = relation.columns.get(key)
    types = {member.columns[key].type for member in _having(relation, key)}
    return found is not None and found.kind in kinds and types == {found.type}


def _having(relation: Relation, key: str) -> Iterator[Any]:
    return (member for member in relation.members if key in member.columns)


def _is_presence(where: exp.Expr) -> bool:
    """``#t IS NOT NULL``: it leaves out the row that stands for a window without rows."""
    node = where.this if isinstance(where, exp.Where) else None
    inner = node.this if isinstance(node, exp.Not) else None
    return (
        isinstance(inner, exp.Is)
        and isinstance(inner.this, exp.Column)
        and inner.this.name == ROW_TIME
        and isinstance(inner.expression, exp.Null)
    )


def _total(counts: exp.Column) -> exp.Expr:
    total = exp.func("COALESCE", exp.Sum(this=counts), exp.Literal.number(0))
    return exp.cast(total, exp.DType.BIGINT)
