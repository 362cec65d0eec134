"""The rows of a range of time, with the one before it and the one after it.

A scan of the range alone lacks the neighbours that values at its edges are made of, and a scan of
everything may be ten years long. So the rows are three queries: those inside, the newest before and
the oldest after; LIMIT push-down lets the last two read some blocks only.
"""

from __future__ import annotations

from dataclasses import replace

from sqlglot import exp

from mainstem_engine.sql.grammar.dialect import RELATION
from mainstem_engine.sql.lowering.lowered import Lowered
from mainstem_engine.sql.select.relations import Relation
from mainstem_engine.sql.select.rows_query import column
from mainstem_engine.sql.walks.timelines import TIME as ROW_TIME


def with_neighbours(
    query: exp.Select, time: exp.Column, edges: tuple[exp.Expr, exp.Expr], lowered: Lowered
) -> exp.Select:
    """The rows of ``query``, which reads one device, from the first edge to the second, both
    inclusive, and their neighbours, in order of ``time``. The query is taken over."""
    low, high = edges
    before, after = _copy(query, lowered), _copy(query, lowered)
    query.where(exp.GTE(this=time.copy(), expression=low.copy()), copy=False)
    query.where(exp.LTE(this=time.copy(), expression=high.copy()), copy=False)
    before.where(exp.LT(this=time.copy(), expression=low.copy()), copy=False)
    after.where(exp.GT(this=time.copy(), expression=high.copy()), copy=False)
    query.set("order", None)
    for part, is_newest in ((before, True), (after, False)):
        ordered = exp.Ordered(this=time.copy(), desc=is_newest, nulls_first=False)
        part.set("order", exp.Order(expressions=[ordered]))
        part.set("limit", exp.Limit(expression=exp.Literal.number(1)))
    names = [projection.alias for projection in query.expressions]
    rows: exp.Query = query
    for part in (before, after):
        rows = exp.Union(this=rows, expression=exp.Subquery(this=part), distinct=False)
    alias = exp.TableAlias(this=exp.to_identifier("#u", quoted=True))
    by_time = exp.Ordered(this=column(ROW_TIME), nulls_first=True)
    return exp.Select(
        expressions=[column(name) for name in names],
        from_=exp.From(this=exp.Subquery(this=rows, alias=alias)),
        order=exp.Order(expressions=[by_time]),
    )


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
    return replace(relation, members=[replace(member) for member in relation.members])
