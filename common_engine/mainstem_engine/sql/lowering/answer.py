"""From what a walk made to the answer: nulls are filled, devices put side by side, rows ordered.

1. The items are computed over the walk: one row per window or point, with its partition and time.
2. FILL fills the nulls of each partition, by time (fill).
3. Devices or levels that stand side by side become columns, one row per time.
4. ORDER BY, LIMIT and OFFSET come last.

Without FILL and columns side by side, all of it is one SELECT.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlglot import exp

from mainstem_engine.errors import SqlError, SqlLimitError
from mainstem_engine.sql.grammar.clauses import FILL
from mainstem_engine.sql.lowering.lowered import Lowered
from mainstem_engine.sql.lowering.shape import Shape, stands_beside
from mainstem_engine.sql.select.alignment import COLUMNS_MAX
from mainstem_engine.sql.select.partitions import (
    cut,
    is_limited_by_partition,
    is_one_of,
    limit_each,
    slimit_condition,
)
from mainstem_engine.sql.select.relations import TIME, Relation
from mainstem_engine.sql.select.rows_query import column
from mainstem_engine.sql.select.walk_nodes import walk_table
from mainstem_engine.sql.walks.timelines import TIME as ROW_TIME


@dataclass(frozen=True, slots=True)
class Item:
    """``node``: over the walk; ``written``: over the rows. ``is_filled``: FILL is meant for it."""

    heading: str
    node: exp.Expr
    written: exp.Expr
    is_filled: bool = True


@dataclass(slots=True)
class Answer:
    """What a lowered SELECT answers. ``source``: a SELECT with the FROM, JOIN and WHERE of the
    walk. ``time``: None where there is none to show. ``partition``: the number of the partition.
    ``order``: over the walk; ``natural``: the order of the walk itself. ``has_all``: of
    every window and device there is something to say."""

    source: exp.Select
    items: list[Item]
    time: exp.Expr | None
    partition: exp.Expr
    side: exp.Expr | None = None
    order: exp.Order | None = None
    has_all: bool = False
    natural: list[exp.Expr] = field(default_factory=list)


def finish(
    answer: Answer, select: exp.Select, shape: Shape, relation: Relation | None, lowered: Lowered
) -> exp.Select:
    """The SELECT of an answer, with what is left of ``select`` to do."""
    if shape.side is not None:
        kept = cut(select, shape.values)
        if len(kept) < len(shape.values) and answer.side is not None:
            answer.source.where(is_one_of(answer.side.copy(), kept), copy=False)
            shape.values = kept
    else:
        condition = slimit_condition(select, answer.partition)
        if condition is not None:
            answer.source.where(condition, copy=False)
    fill = select.args.get(FILL)
    if fill is not None and fill.args["mode"] == "NONE":
        fill = None
    if fill is None and shape.side is None:
        query = _plain(answer, select)
    else:
        inner = _numbered(answer)
        if fill is not None:
            inner = _filled(inner, fill, answer, lowered)
        if shape.side is not None:
            assert relation is not None
            query = _side_by_side(inner, answer, shape, relation)
        else:
            query = _renamed(inner, answer)
    keys = ["with_", "distinct", "limit", "offset"]
    if is_limited_by_partition(select) and shape.side is None:
        keys = keys[:2]
        if isinstance(query.args["from_"].this, exp.Subquery):
            each = limit_each(select, [column("#p0")], [column(ROW_TIME)])
        else:
            each = limit_each(select, [answer.partition], answer.natural)
        query.set("qualify", exp.Qualify(this=each))
    for key in keys:
        value = select.args.get(key)
        if value is not None:
            query.set(key, value.copy())
    return query


def _plain(answer: Answer, select: exp.Select) -> exp.Select:
    query = answer.source
    query.set("expressions", [_named(item.node, item.heading) for item in answer.items])
    if answer.order is not None:
        query.set("order", answer.order)
    elif not select.args.get("distinct") and not isinstance(select.parent, exp.SetOperation):
        query.set("order", _order(answer.natural))
    return query


def _numbered(answer: Answer) -> exp.Select:
    """Items as ``#i0`` ..., what is ordered by as ``#o0`` ..., with partition and time."""
    query = answer.source
    parts = [_named(answer.partition, "#p0")]
    if answer.side is not None:
        parts.append(_named(answer.side, "#k"))
    if answer.time is not None:
        parts.append(_named(answer.time, ROW_TIME))
    parts += [_named(item.node, f"#i{n}") for n, item in enumerate(answer.items)]
    ordered = answer.order.expressions if answer.order is not None else []
    parts += [_named(node.this, f"#o{n}") for n, node in enumerate(ordered)]
    query.set("expressions", parts)
    if answer.time is not None:
        query.set("order", _order([column("#p0"), column(ROW_TIME)]))
    return query


def _filled(query: exp.Select, fill: exp.Expr, answer: Answer, lowered: Lowered) -> exp.Select:
    """The same columns, nulls filled."""
    from mainstem_engine.sql.lowering.fill import fill_walk

    if answer.time is None:
        raise SqlError("FILL needs rows with a time", hint="use it with a window")
    names = [f"#i{n}" for n, item in enumerate(answer.items) if item.is_filled]
    walk = fill_walk(fill, names, lowered)
    table = walk_table(next(lowered.numbers), "rows", "#f", query, walk)
    return exp.Select(expressions=[exp.Star()], from_=exp.From(this=table))


def _renamed(inner: exp.Select, answer: Answer) -> exp.Select:
    items = [_named(column(f"#i{n}"), item.heading) for n, item in enumerate(answer.items)]
    query = exp.Select(expressions=items, from_=_from(inner))
    if answer.order is None:
        query.set("order", _order([column("#p0"), column(ROW_TIME)]))
        return query
    order = answer.order.copy()
    for number, node in enumerate(order.expressions):
        node.set("this", column(f"#o{number}"))
    query.set("order", order)
    return query


def _side_by_side(
    inner: exp.Select, answer: Answer, shape: Shape, relation: Relation
) -> exp.Select:
    """A column for each value and item, a row per time."""
    numbered = [(n, item) for n, item in enumerate(answer.items) if item.is_filled]
    pairs = [
        (value, number, item)
        for value in shape.values
        for number, item in numbered
        if stands_beside(shape, item.written, value, relation)
    ]
    if shape.by_item:
        pairs.sort(key=lambda pair: pair[1])
    if len(pairs) > COLUMNS_MAX:
        raise SqlLimitError(
            f"{len(shape.values)} devices side by side make more than {COLUMNS_MAX} columns",
            hint="select `device` too, or select from the template",
        )
    columns = []
    for value, number, item in pairs:
        is_value = exp.EQ(this=column("#k"), expression=exp.Literal.string(value))
        node: exp.Expr = exp.Filter(
            this=exp.AnyValue(this=column(f"#i{number}")), expression=exp.Where(this=is_value)
        )
        if isinstance(item.written, exp.Count) and answer.has_all:
            # A device without rows has no windows here.
            node = exp.func("COALESCE", node, exp.Literal.number(0))
        columns.append(_named(node, f"{value}.{item.heading}"))
    query = exp.Select(expressions=columns, from_=_from(inner))
    if answer.time is None:
        return query
    time = column(ROW_TIME)
    query.set("expressions", [_named(time, TIME), *columns])
    query.set("group", exp.Group(expressions=[time.copy()]))
    query.set("order", _order_of_times(answer))
    return query


def _order_of_times(answer: Answer) -> exp.Order:
    order = answer.order
    if order is None:
        return _order([column(ROW_TIME)])
    ordered = order.copy()
    for node in ordered.expressions:
        if node.this != answer.time:
            raise SqlError(
                "devices side by side are ordered by time",
                hint="write ORDER BY time, or select `device` too",
            )
        node.set("this", column(ROW_TIME))
    return ordered


def _from(inner: exp.Select) -> exp.From:
    alias = exp.TableAlias(this=exp.to_identifier("#n", quoted=True))
    return exp.From(this=exp.Subquery(this=inner, alias=alias))


def _named(node: exp.Expr, name: str) -> exp.Expr:
    return exp.alias_(node, exp.to_identifier(name, quoted=True))


def _order(nodes: list[exp.Expr]) -> exp.Order:
    return exp.Order(
        expressions=[exp.Ordered(this=node.copy(), nulls_first=False) for node in nodes]
    )
