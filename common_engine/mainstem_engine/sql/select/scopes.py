"""Which column of which table a name in a SELECT means.

1. The tables of a SELECT are those of its FROM and JOINs: relations of ours, sub-queries and common
   table expressions, walks with the query of their rows, or something else (VALUES, table
   functions) that is not looked into.
2. A qualified column belongs to the table of that alias, an unqualified one to the first table that
   has it; else the enclosing SELECT is asked.
3. What cannot be resolved is None, never a guess: the executing database reports unknown names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlglot import exp

from mainstem_engine.model import ColumnType
from mainstem_engine.sql.grammar.dialect import RELATION
from mainstem_engine.sql.select.relations import Relation, RelationColumn
from mainstem_engine.sql.select.walk_nodes import WALK_TIMES, WalkTable, walk_query

DEPTH_MAX = 32
"""Nested queries that are followed; a recursive WITH would otherwise never end."""


@dataclass(frozen=True, slots=True)
class TableSource:
    """One table of a SELECT: a relation, or a query with its column aliases, or neither."""

    alias: str
    relation: Relation | None
    query: exp.Query | None
    column_names: tuple[str, ...]
    join: exp.Join | None
    is_walk: bool = False


class Scopes:
    """Resolution in one statement. Table nodes carry the number of their relation."""

    def __init__(self, relations: Sequence[Relation]) -> None:
        self._relations = relations

    def relation(self, table: exp.Table) -> Relation | None:
        """The relation that a table node stands for, None for others."""
        number = table.meta.get(RELATION)
        return None if number is None else self._relations[number]

    def sources(self, select: exp.Select) -> Iterator[TableSource]:
        """The tables of a SELECT, in order."""
        from_ = select.args.get("from_")
        if from_ is not None:
            yield from self._sources_of(from_.this, None)
        for join in select.args.get("joins") or ():
            yield from self._sources_of(join.this, join)

    def only_relation(self, select: exp.Select) -> Relation | None:
        """The relation of a SELECT that reads one table of ours and nothing else."""
        from_ = select.args.get("from_")
        if from_ is None or select.args.get("joins") or from_.this.args.get("joins"):
            return None
        return self.relation(from_.this) if isinstance(from_.this, exp.Table) else None

    def _sources_of(self, node: exp.Expr, join: exp.Join | None) -> Iterator[TableSource]:
        alias = node.args.get("alias")
        names = tuple(c.name for c in alias.columns) if isinstance(alias, exp.TableAlias) else ()
        if isinstance(node, exp.Table):
            relation = self.relation(node)
            cte = None if relation is not None else find_cte(node)
            if cte is not None and not names:
                names = tuple(column.name for column in cte.args["alias"].columns)
            label = node.alias or (relation.alias if relation is not None else node.name)
            yield TableSource(label, relation, _query(cte), names, join)
        elif isinstance(node, exp.Subquery):
            yield TableSource(node.alias, None, _query(node), names, join)
        elif isinstance(node, WalkTable):
            yield TableSource(node.alias, None, walk_query(node), (), join, is_walk=True)
        else:
            yield TableSource(node.alias_or_name, None, None, names, join)
        for inner in node.args.get("joins") or ():
            yield from self._sources_of(inner.this, inner)

    def comes_from_star(self, column: exp.Column, select: exp.Select) -> bool:
        """True when ``column`` is a column of a sub-query that only its ``*`` delivers."""
        name = column.name.casefold()
        for source in self.sources(select):
            if column.table and column.table.casefold() != source.alias.casefold():
                continue
            if source.relation is not None:
                if name in source.relation.columns:
                    return False
                continue
            inner = first_select(source.query)
            if inner is None:
                continue
            if name in (p.alias_or_name.casefold() for p in inner.expressions):
                return False
            if any(_is_star(p) for p in inner.expressions):
                return True
        return False

    def output(
        self, source: TableSource, name: str, depth: int = 0
    ) -> tuple[exp.Expr, exp.Select] | None:
        """The expression, and its SELECT, behind the output column ``name`` of a sub-query."""
        select = first_select(source.query)
        if select is None or depth > DEPTH_MAX:
            return None
        projections = select.expressions
        if name in (folded := [n.casefold() for n in source.column_names]):
            position = folded.index(name)
            return (projections[position], select) if position < len(projections) else None
        for projection in projections:
            if projection.alias_or_name.casefold() == name and not _is_star(projection):
                return projection, select
        if any(_is_star(projection) for projection in projections):
            return exp.column(exp.to_identifier(name, quoted=True)), select
        return None

    def origin(
        self, column: exp.Column, select: exp.Select | None, depth: int = 0
    ) -> RelationColumn | tuple[exp.Expr, exp.Select] | None:
        """What a column is in the end, through sub-queries: a relation's column, or the expression
        that makes it with the SELECT that this stands in."""
        name = column.name.casefold()
        while select is not None and depth <= DEPTH_MAX:
            for source in self.sources(select):
                if column.table and column.table.casefold() != source.alias.casefold():
                    continue
                if source.relation is not None:
                    found = source.relation.columns.get(name)
                    if found is not None and not source.column_names:
                        return found
                    continue
                if source.is_walk and name in WALK_TIMES:
                    return RelationColumn(name, ColumnType.TIMESTAMP, kind="WALK")
                inner = self.output(source, name, depth)
                if inner is None:
                    continue
                expression, scope = inner
                target = expression.unalias()
                if isinstance(target, exp.Column):
                    return self.origin(target, scope, depth + 1)
                return target, scope
            select = select.find_ancestor(exp.Select)
        return None


def find_cte(table: exp.Table) -> exp.CTE | None:
    """The common table expression that a table node names, or None."""
    name = table.name.casefold()
    node: exp.Expr | None = table
    inside: exp.CTE | None = None
    while node is not None:
        if isinstance(node, exp.CTE):
            inside = node
        with_ = node.args.get("with_")
        if isinstance(with_, exp.With):
            for cte in with_.expressions:
                if cte is inside and not with_.args.get("recursive"):
                    break
                if cte.alias.casefold() == name:
                    return cte if isinstance(cte, exp.CTE) else None
        node = node.parent
    return None


def _query(node: exp.Expr | None) -> exp.Query | None:
    inner = None if node is None else node.this
    return inner if isinstance(inner, exp.Query) else None


def first_select(query: exp.Expr | None) -> exp.Select | None:
    """The SELECT that names the columns of a query: the left one of a set operation."""
    while query is not None and not isinstance(query, exp.Select):
        if isinstance(query, exp.SetOperation | exp.Subquery):
            query = query.this
        else:
            return None
    return query


def _is_star(node: exp.Expr) -> bool:
    return isinstance(node, exp.Star) or (
        isinstance(node, exp.Column) and isinstance(node.this, exp.Star)
    )
