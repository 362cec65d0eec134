"""Limit push-down: ``ORDER BY time LIMIT n`` reads the rows at one end of time only.

1. Understood is a SELECT of one table that neither groups nor aggregates, is in order of its time
   alone, and whose WHERE is said completely by the narrowing of the scan: then the first n rows of
   the scan are the answer, whatever comes after them.
2. The scan delivers at least n rows of that end (edges.py); sorting and LIMIT stay as they are.
"""

from __future__ import annotations

from typing import Any

from sqlglot import exp

from mainstem_engine.sql.planning.group_columns import is_row_time
from mainstem_engine.sql.select.aggregates import is_aggregate
from mainstem_engine.sql.select.relations import Relation
from mainstem_engine.sql.select.time_expressions import TimeExpressions

ROWS_MAX = 100_000
"""More rows are read as a stream; finding their end would cost more than it spares."""
_CLAUSES = frozenset({"expressions", "from_", "where", "order", "limit", "offset"})
_MAKES_ROWS = (exp.Window, exp.Query, exp.UDTF, exp.Explode)


def push_limit(select: exp.Select, relation: Relation, times: TimeExpressions) -> None:
    """Sets ``edge`` of a relation that ``select`` alone reads, with a WHERE that is said by its
    narrowing and filters."""
    if {key for key, value in select.args.items() if value} - _CLAUSES:
        return
    if relation.filters or relation.is_sampled or relation.partials is not None:
        return
    alias = select.args["from_"].this.args.get("alias")
    if isinstance(alias, exp.TableAlias) and alias.columns:
        return
    rows = _number(select.args.get("limit"), times)
    skipped = 0 if not select.args.get("offset") else _number(select.args["offset"], times)
    if rows is None or skipped is None or rows + skipped > ROWS_MAX:
        return
    newest = _direction(select, relation)
    if newest is None or any(_makes_rows(item) for item in select.expressions):
        return
    relation.edge = (rows + skipped, newest)


def _number(node: Any, times: TimeExpressions) -> int | None:
    """The number of a LIMIT or OFFSET, None when it is not plain."""
    value = node.expression if isinstance(node, exp.Limit | exp.Offset) else None
    if isinstance(value, exp.Placeholder):
        found = times.parameter(value)
        return found if type(found) is int and found >= 0 else None
    if isinstance(value, exp.Literal) and not value.is_string and value.name.isdecimal():
        return int(value.name)
    return None


def _direction(select: exp.Select, relation: Relation) -> bool | None:
    """True for newest first, False for oldest first, None for another order."""
    order = select.args.get("order")
    if order is None or len(order.expressions) != 1:
        return None
    (ordered,) = order.expressions
    node = ordered.this if isinstance(ordered, exp.Ordered) else None
    if not isinstance(node, exp.Column):
        return None
    for item in select.expressions:
        # A name of an item comes before one of the table.
        if item.alias.casefold() == node.name.casefold() and item.this != node and not node.table:
            return None
    found = relation.columns.get(node.name.casefold())
    if found is None or not is_row_time(found):
        return None
    return bool(ordered.args.get("desc"))


def _makes_rows(item: exp.Expr) -> bool:
    """True for what does not give one value for each row, as far as it is known."""
    return any(
        isinstance(node, _MAKES_ROWS)
        or is_aggregate(node)
        or (
            isinstance(node, exp.Anonymous)
            and node.name.casefold() in ("unnest", "generate_series")
        )
        for node in item.walk()
    )
