"""Point functions inside of something else: they are computed first, by a sub-query.

1. A function inside of WHERE, of an aggregate, of the clause of a window or of another function
   moves into a sub-query, which delivers what it makes as a column.
2. WHERE then is in two places: what it says of time, device and tags narrows the rows that the
   function sees; where it asks for the function itself, everything else waits for it.
3. The sub-query has the partitions of its SELECT, and may need one of its own in turn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from sqlglot import exp

from mainstem_engine.errors import SqlUnsupportedError
from mainstem_engine.sql.grammar.clauses import PARTITION, WINDOW, PartitionClause
from mainstem_engine.sql.lowering.lowered import Lowered, own_nodes
from mainstem_engine.sql.lowering.shape import FROM_PATH
from mainstem_engine.sql.select.aggregates import is_aggregate
from mainstem_engine.sql.select.calls import call_of
from mainstem_engine.sql.select.relations import DEVICE, TIME, RelationColumn
from mainstem_engine.sql.select.rows_query import RowsQuery, is_one_device
from mainstem_engine.sql.select.scopes import TableSource

_KINDS = frozenset({"TIME", "ALIAS", "TAG", "DEVICE", "TBNAME"})
"""Columns that are not of the rows' values."""


Lower = Callable[[exp.Select, Lowered], exp.Select | None]


def pull_calls(select: exp.Select, lowered: Lowered, lower: Lower) -> None:
    """Puts a sub-query under a SELECT that has functions inside of something else; ``lower`` is
    called for the sub-query, and answers what stands for it."""
    where = select.args.get("where")
    in_where = where is not None and any(_is_point(node) for node in where.walk())
    pulled = [node for node in own_nodes(select) if _is_pulled(node, select, in_where=in_where)]
    # A function inside of one that moves goes along with it.
    pulled = [node for node in pulled if not _is_inside(node, pulled)]
    if not pulled:
        return
    rows = RowsQuery(select, lowered.scopes, lowered.times)
    source = _only_source(rows, select, lowered)
    inner, waiting = _inner(select, rows, source, pulled, in_where=in_where)
    if lowered.by_itself and source.relation is not None and source.relation.is_path:
        select.meta[FROM_PATH] = True
    made_of = exp.Subquery(this=inner)
    if source.alias:
        made_of.set("alias", exp.TableAlias(this=exp.to_identifier(source.alias, quoted=True)))
    select.set("from_", exp.From(this=made_of))
    select.set("where", exp.Where(this=exp.and_(*waiting)) if waiting else None)
    made = lower(inner, replace(lowered, by_itself=False))
    if made is not None:
        inner.replace(made)
    lowered.is_used = True


def show_time(select: exp.Select, lowered: Lowered) -> None:
    """The time comes first in a SELECT from a path, which now reads a sub-query."""
    rows = RowsQuery(select, lowered.scopes, lowered.times)
    items = select.expressions
    columns = [item.unalias() for item in items if isinstance(item.unalias(), exp.Column)]
    if (
        FROM_PATH in select.meta
        and not any(rows.is_time(node) for node in columns)
        and not any(is_aggregate(node) for item in items for node in item.walk())
        and not (select.args.get("group") or select.args.get("distinct"))
    ):
        select.set("expressions", [_column(TIME), *items])


def _is_point(node: exp.Expr) -> bool:
    call = call_of(node)
    return call is not None and call["is_point"]


def _is_pulled(node: exp.Expr, select: exp.Select, *, in_where: bool) -> bool:
    call = call_of(node)
    if call is None or not call["is_point"]:
        return False
    if in_where and call["keeps_rows"]:
        return True
    above = node.parent
    while above is not None and above is not select:
        if isinstance(above, exp.Where) or is_aggregate(above) or call_of(above) is not None:
            return True
        if above is select.args.get(WINDOW):
            return True
        above = above.parent
    return False


def _is_inside(node: exp.Expr, others: list[exp.Expr]) -> bool:
    above = node.parent
    while above is not None:
        if any(above is other for other in others):
            return True
        above = above.parent
    return False


def _only_source(rows: RowsQuery, select: exp.Select, lowered: Lowered) -> TableSource:
    if len(rows.sources) != 1:
        raise SqlUnsupportedError(
            "functions of time inside of others, over a join, are not supported",
            hint="compute them in a sub-query of one table",
        )
    source = rows.sources[0]
    relation = source.relation
    several = relation is not None and relation.is_path and not is_one_device(relation)
    if several and lowered.by_itself and not select.args.get(PARTITION):
        raise SqlUnsupportedError(
            "functions of time inside of others, over several devices, are not supported",
            hint="add PARTITION BY device, or select from one device",
        )
    return source


def _inner(
    select: exp.Select,
    rows: RowsQuery,
    source: TableSource,
    pulled: list[exp.Expr],
    *,
    in_where: bool,
) -> tuple[exp.Select, list[exp.Expr]]:
    """The sub-query, and the conditions that wait for it."""
    from_ = select.args["from_"]
    items: dict[str, exp.Expr] = {}
    for number, node in enumerate(pulled):
        name = f"@{number}"
        items[name] = node.copy()
        node.replace(_column(name))
    where = select.args.get("where")
    early: list[exp.Expr] = []
    late: list[exp.Expr] = []
    for condition in _conditions(where):
        waits = in_where and not _is_of_device(condition, rows)
        (late if waits else early).append(condition.copy())
    named = {TIME: rows.time()}
    for node in own_nodes(select):
        if isinstance(node, exp.Column) and rows.origin(node) is not None:
            named.setdefault(node.name.casefold(), node)
    if source.relation is not None and DEVICE in source.relation.columns:
        named.setdefault(DEVICE, _column(DEVICE))
    expressions = [_named(node.copy(), node.name) for node in named.values()]
    expressions += [_named(node, name) for name, node in items.items()]
    inner = exp.Select(expressions=expressions, from_=from_.copy())
    if early:
        inner.set("where", exp.Where(this=exp.and_(*early)))
    keys = _keys(select, rows)
    if keys:
        inner.set(PARTITION, PartitionClause(expressions=keys))
    return inner, late


def _keys(select: exp.Select, rows: RowsQuery) -> list[exp.Expr]:
    """Keys that are columns of the rows."""
    clauses = [select.args.get(PARTITION), select.args.get("group")]
    keys = [key.unalias() for clause in clauses if clause is not None for key in clause.expressions]
    return [
        key.copy() for key in keys if isinstance(key, exp.Column) and rows.origin(key) is not None
    ]


def _conditions(where: exp.Expr | None) -> list[exp.Expr]:
    """What WHERE joins by AND."""
    if where is None:
        return []
    return list(where.this.flatten()) if isinstance(where.this, exp.And) else [where.this]


def _is_of_device(condition: exp.Expr, rows: RowsQuery) -> bool:
    """True when a condition is of the time, the device and its tags only."""
    for node in condition.find_all(exp.Column):
        found = rows.origin(node)
        if not isinstance(found, RelationColumn) or found.kind not in _KINDS:
            return False
    return True


def _named(node: exp.Expr, name: str) -> exp.Expr:
    return exp.alias_(node, exp.to_identifier(name, quoted=True))


def _column(name: str) -> exp.Column:
    return exp.column(exp.to_identifier(name, quoted=True))
