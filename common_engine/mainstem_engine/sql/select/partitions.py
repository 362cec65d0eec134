"""How many partitions, and how many rows of each: SLIMIT, SOFFSET, and LIMIT with PARTITION BY.

1. SLIMIT keeps the first partitions, in the order of their keys; SOFFSET leaves some out first. Of
   devices side by side it keeps the first columns.
2. LIMIT and OFFSET of a SELECT with PARTITION BY are of each partition, as TDengine has them,
   unless it has ORDER BY, or aggregates without a window: then they are of the answer.
3. PARTITION BY without aggregates and functions shows rows partition by partition.
4. With aggregates, tags and the device may stand beside them: any row of the partition tells them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from sqlglot import exp

from mainstem_engine.sql.grammar.clauses import PARTITIONED, SLIMIT, SOFFSET
from mainstem_engine.sql.select.aggregates import is_aggregate
from mainstem_engine.sql.select.relations import TIME, Relation

T = TypeVar("T")


def cut(select: exp.Select, partitions: Sequence[T]) -> list[T]:
    """The partitions that SLIMIT and SOFFSET keep; takes the clauses off the SELECT."""
    first, beyond = _slimit(select)
    return list(partitions[first:beyond])


def is_one_of(node: exp.Expr, values: Sequence[str]) -> exp.Expr:
    """The condition that a text is one of some."""
    return exp.In(this=node, expressions=[exp.Literal.string(value) for value in values])


def slimit_condition(select: exp.Select, number: exp.Expr) -> exp.Expr | None:
    """The condition on the number of a partition, from 0, that SLIMIT and SOFFSET are; takes the
    clauses off the SELECT."""
    first, beyond = _slimit(select)
    conditions: list[exp.Expr] = []
    if first:
        conditions.append(exp.GTE(this=number.copy(), expression=exp.Literal.number(first)))
    if beyond is not None:
        conditions.append(exp.LT(this=number.copy(), expression=exp.Literal.number(beyond)))
    return exp.and_(*conditions) if conditions else None


def _slimit(select: exp.Select) -> tuple[int, int | None]:
    limit, offset = select.args.get(SLIMIT), select.args.get(SOFFSET)
    select.set(SLIMIT, None)
    select.set(SOFFSET, None)
    first = int(offset.this) if offset is not None else 0
    return first, None if limit is None else first + int(limit.this)


def is_limited_by_partition(select: exp.Select) -> bool:
    """True when LIMIT and OFFSET are of each partition."""
    has_limit = select.args.get("limit") is not None or select.args.get("offset") is not None
    return has_limit and PARTITIONED in select.meta and select.args.get("order") is None


def limit_each(
    select: exp.Select, partition: Sequence[exp.Expr], order: Sequence[exp.Expr]
) -> exp.Expr:
    """The condition of QUALIFY that LIMIT and OFFSET are of each partition."""
    offset = select.args.get("offset")
    first: exp.Expr = exp.Literal.number(0)
    if offset is not None:
        first = exp.paren(offset.expression.copy())
    number = _number("ROW_NUMBER", partition, order)
    conditions: list[exp.Expr] = [exp.GT(this=number, expression=first)]
    limit = select.args.get("limit")
    if limit is not None:
        beyond = exp.Add(this=first.copy(), expression=exp.paren(limit.expression.copy()))
        conditions.append(exp.LTE(this=number.copy(), expression=beyond))
    return exp.and_(*conditions)


def _number(function: str, partition: Sequence[exp.Expr], order: Sequence[exp.Expr]) -> exp.Window:
    return exp.Window(
        this=exp.Anonymous(this=function, expressions=[]),
        partition_by=[node.copy() for node in partition] or None,
        order=exp.Order(
            expressions=[exp.Ordered(this=node.copy(), nulls_first=True) for node in order]
        ),
    )


def plain_partitions(select: exp.Select, relation: Relation | None) -> None:
    """Rules 1, 3 and 4 for a SELECT whose PARTITION BY became a GROUP BY. ``relation``: its one
    table, None for others."""
    group = select.args.get("group")
    if PARTITIONED not in select.meta or group is None:
        return
    keys = list(group.expressions)
    clauses = [*select.expressions, *filter(None, [select.args.get("having")])]
    if not any(is_aggregate(node) for clause in clauses for node in clause.walk()):
        select.set("group", None)
        time = exp.column(exp.to_identifier(TIME, quoted=True))
        order = [*keys, *([time] if relation is not None else [])]
        if is_limited_by_partition(select):
            _qualify(select, limit_each(select, keys, order))
            select.set("limit", None)
            select.set("offset", None)
        if select.args.get("order") is None:
            ordered = [exp.Ordered(this=node.copy(), nulls_first=True) for node in order]
            select.set("order", exp.Order(expressions=ordered))
    elif relation is not None:
        for item in select.expressions:
            _any_of_partition(item, keys, relation)
    rank = exp.paren(
        exp.Sub(this=_number("DENSE_RANK", [], keys), expression=exp.Literal.number(1))
    )
    condition = slimit_condition(select, rank)
    if condition is not None:
        _qualify(select, condition)


def _any_of_partition(item: exp.Expr, keys: list[exp.Expr], relation: Relation) -> None:
    for node in list(item.find_all(exp.Column)):
        found = relation.columns.get(node.name.casefold())
        if found is None or found.kind not in ("TAG", "DEVICE", "TBNAME") or node in keys:
            continue
        if node.find_ancestor(exp.Query) is not item.find_ancestor(exp.Query):
            continue
        above = node.parent
        while above is not None and above is not item.parent and not is_aggregate(above):
            above = above.parent
        if above is None or above is item.parent:
            made = exp.AnyValue(this=node.copy())
            is_item = node is item
            node.replace(exp.alias_(made, node.name, quoted=True) if is_item else made)


def _qualify(select: exp.Select, condition: exp.Expr) -> None:
    known = select.args.get("qualify")
    both = condition if known is None else exp.and_(known.this, condition)
    select.set("qualify", exp.Qualify(this=both))
