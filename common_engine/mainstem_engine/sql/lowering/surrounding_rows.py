"""The rows of a range of time, with those before and after it that values at its edges are made of.

A scan of the range alone lacks these neighbours, and a scan of everything may be ten years long. So
the rows are three queries: those inside, and on each side

1. of one device the newest before and the oldest after; LIMIT push-down lets them read some blocks
   only;
2. of several devices, or where nulls are ignored, one row for each device, of aggregates of its
   rows on that side: which statistics and rollups can answer. A device's own neighbour is among
   them whatever the partitions, if these are of whole devices.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sqlglot import exp

from mainstem_engine.sql.grammar.dialect import RELATION
from mainstem_engine.sql.lowering.lowered import Lowered
from mainstem_engine.sql.select.relations import DEVICE, Relation
from mainstem_engine.sql.select.rows_query import column
from mainstem_engine.sql.walks.timelines import TIME as ROW_TIME

_DEVICE = "#d"
"""The column that orders rows of one time."""
_OF_DEVICE = ("TAG", "DEVICE", "TBNAME")


@dataclass(frozen=True, slots=True)
class Edges:
    """``low`` and ``high``, both inclusive, of the rows' ``time``. ``ignoring``: nulls are no rows,
    in any column; ``alias``: of the one table."""

    time: exp.Column
    low: exp.Expr
    high: exp.Expr
    relation: Relation
    ignoring: bool


def with_neighbours(query: exp.Select, edges: Edges, lowered: Lowered) -> exp.Select:
    """Rule 1: the rows of ``query``, which reads one device, from the first edge to the second, in
    order of time. The query is taken over."""
    time = edges.time
    before, after = _copy(query, lowered), _copy(query, lowered)
    _cut(query, edges, inside=True)
    query.set("order", None)
    for part, is_newest in ((before, True), (after, False)):
        _cut(part, edges, before=is_newest)
        ordered = exp.Ordered(this=time.copy(), desc=is_newest, nulls_first=False)
        part.set("order", exp.Order(expressions=[ordered]))
        part.set("limit", exp.Limit(expression=exp.Literal.number(1)))
    names = [projection.alias for projection in query.expressions]
    return _united([query, before, after], names, [ROW_TIME])


def with_neighbours_of_devices(
    query: exp.Select, edges: Edges, lowered: Lowered
) -> exp.Select | None:
    """Rule 2; None where a key is not of the device, or a value no column. In order of keys, time
    and device. The query is taken over."""
    names = [item.alias for item in query.expressions]
    kept = [item for item in query.expressions if _is_of_device(item.this, edges)]
    values = [item for item in query.expressions if item not in kept and item.alias != ROW_TIME]
    if not all(_is_column(item.this, edges) for item in values):
        return None
    if any(item.alias.startswith("#p") for item in values):
        return None
    sides = [
        _side(_copy(query, lowered), edges, kept, asked, before=before)
        for before in (True, False)
        for asked in ([[value] for value in values] if edges.ignoring else [values])
    ]
    _cut(query, edges, inside=True)
    query.set("order", None)
    query.append("expressions", _named(_device(edges), _DEVICE))
    keys = [name for name in names if name.startswith("#p")]
    return _united([query, *sides], names, [*keys, ROW_TIME, _DEVICE])


def _side(
    query: exp.Select,
    edges: Edges,
    kept: list[exp.Expr],
    asked: list[exp.Expr],
    *,
    before: bool,
) -> exp.Select:
    """One row for each device: the one next to the edge; the one with a value of the only column
    ``asked``, where nulls are ignored."""
    _cut(query, edges, before=before)
    time = edges.time
    extreme, chosen = (exp.Max, exp.ArgMax) if before else (exp.Min, exp.ArgMin)
    items: list[exp.Expr] = []
    whole = extreme(this=time.copy())
    for item in query.expressions:
        node, name = item.this, item.alias
        if any(name == other.alias for other in kept):
            items.append(item.copy())
            continue
        if name == ROW_TIME:
            items.append(
                _named(_at(asked[0].this, edges, extreme) if edges.ignoring else whole, name)
            )
            continue
        value: exp.Expr = chosen(this=node.copy(), expression=time.copy())
        if not edges.ignoring:
            # The very row that is next, though its value be null.
            is_next = exp.EQ(this=_at(node, edges, extreme), expression=whole.copy())
            value = exp.Case(ifs=[exp.If(this=is_next, true=value)])
        elif all(name != other.alias for other in asked):
            # Null, in the type of the column.
            value = exp.Case(ifs=[exp.If(this=exp.false(), true=value)])
        items.append(_named(value, name))
    device = _device(edges)
    query.set("expressions", [*items, _named(device, _DEVICE)])
    grouped = [*(item.this.copy() for item in kept), device.copy()]
    query.set("group", exp.Group(expressions=grouped))
    query.set("order", None)
    if edges.ignoring:
        there = exp.Not(this=exp.Is(this=_at(asked[0].this, edges, extreme), expression=exp.Null()))
        query.set("having", exp.Having(this=there))
    return query


def _at(node: exp.Expr, edges: Edges, extreme: type[exp.Expr]) -> exp.Expr:
    """The first or last time of a value."""
    present = exp.Not(this=exp.Is(this=node.copy(), expression=exp.Null()))
    return exp.Filter(this=extreme(this=edges.time.copy()), expression=exp.Where(this=present))


def _is_of_device(node: exp.Expr, edges: Edges) -> bool:
    found = edges.relation.columns.get(node.name.casefold()) if _is_column(node, edges) else None
    return found is not None and found.kind in _OF_DEVICE


def _is_column(node: exp.Expr, edges: Edges) -> bool:
    return isinstance(node, exp.Column) and node.name.casefold() in edges.relation.columns


def _device(edges: Edges) -> exp.Column:
    found = edges.time.copy()
    found.set("this", exp.to_identifier(DEVICE, quoted=True))
    return found


def _cut(query: exp.Select, edges: Edges, *, inside: bool = False, before: bool = False) -> None:
    """Adds the condition that rows are inside of the edges, before, or after them."""
    time = edges.time
    if inside:
        query.where(exp.GTE(this=time.copy(), expression=edges.low.copy()), copy=False)
        query.where(exp.LTE(this=time.copy(), expression=edges.high.copy()), copy=False)
    elif before:
        query.where(exp.LT(this=time.copy(), expression=edges.low.copy()), copy=False)
    else:
        query.where(exp.GT(this=time.copy(), expression=edges.high.copy()), copy=False)


def _united(parts: list[exp.Select], names: list[str], order: list[str]) -> exp.Select:
    rows: exp.Query = parts[0]
    for part in parts[1:]:
        rows = exp.Union(this=rows, expression=exp.Subquery(this=part), distinct=False)
    alias = exp.TableAlias(this=exp.to_identifier("#u", quoted=True))
    ordered = [exp.Ordered(this=column(name), nulls_first=True) for name in order]
    return exp.Select(
        expressions=[column(name) for name in names],
        from_=exp.From(this=exp.Subquery(this=rows, alias=alias)),
        order=exp.Order(expressions=ordered),
    )


def _named(node: exp.Expr, name: str) -> exp.Expr:
    return exp.alias_(node, exp.to_identifier(name, quoted=True))


def _copy(query: exp.Select, lowered: Lowered) -> exp.Select:
    """The same query over a relation of its own, so that it is narrowed by itself."""
    made = query.copy()
    for table in made.find_all(exp.Table):
        relation = lowered.scopes.relation(table)
        if relation is not None:
            table.meta[RELATION] = len(lowered.relations)
            lowered.relations.append(_own(relation))
    return made


def _own(relation: Relation) -> Relation:
    members = [replace(member, columns=dict(member.columns)) for member in relation.members]
    return replace(
        relation,
        members=members,
        columns=dict(relation.columns),
        ranges=dict(relation.ranges),
        filters=list(relation.filters),
        moments=list(relation.moments),
        choices=list(relation.choices),
    )
