"""Columns of a statement: which ones the scans must deliver, how the result's are called.

1. A relation delivers the columns whose name stands anywhere in the statement, and all that ``*``
   shows where a ``*`` or a whole row is used. A superset is never wrong.
2. Columns that answer to their name but are no part of ``*`` are kept out of every ``*``.
3. An expression without a name is headed by its text as written.
4. A result's column has the unit of the measurement that it is, or that it is the mean of.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlglot import exp

from mainstem_engine.sql.grammar.dialect import TEXT
from mainstem_engine.sql.select.relations import Relation, RelationColumn
from mainstem_engine.sql.select.rows_query import is_of_walk
from mainstem_engine.sql.select.scopes import DEPTH_MAX, Scopes, TableSource, first_select
from mainstem_engine.sql.select.trees import find_nodes

HEADING_CHARS_MAX = 200
"""A longer expression is headed by whatever the executing database calls it."""

_KEEPS_UNIT = (
    exp.Alias,
    exp.Paren,
    exp.Min,
    exp.Max,
    exp.Avg,
    exp.Sum,
    exp.Median,
    exp.Stddev,
    exp.PercentileCont,
    exp.PercentileDisc,
    exp.AnyValue,
    exp.ArgMax,
    exp.ArgMin,
    exp.Filter,
    exp.Window,
    exp.Lag,
    exp.Lead,
)


def set_headings(tree: exp.Query) -> None:
    """Unnamed expressions are headed by their text as written, those of sub-queries too."""
    # Inner ones first: naming an item copies what is in it.
    for select in reversed(list(tree.find_all(exp.Select))):
        _set_headings(select)


def _set_headings(select: exp.Select) -> None:
    for projection in list(select.expressions):
        text = projection.meta.get(TEXT)
        is_plain = isinstance(projection, exp.Alias | exp.Column | exp.Star | exp.Columns)
        if text is None or is_plain or len(text) > HEADING_CHARS_MAX:
            continue
        if projection.find(exp.Columns, exp.Explode, exp.Unnest) is None:
            alias = exp.to_identifier(text, quoted=True)
            projection.replace(exp.alias_(projection.copy(), alias))


def choose_columns(tree: exp.Expr, scopes: Scopes, relations: Sequence[Relation]) -> None:
    """Fills ``wanted`` and keeps columns that ``*`` does not show out of every ``*``."""
    named = {identifier.name.casefold() for identifier in find_nodes(tree, exp.Identifier)}
    whole = {id(relation) for relation in _whole_relations(tree, scopes, relations, named)}
    for relation in relations:
        shown = {name.casefold() for name in relation.star}
        relation.wanted = [
            column.name
            for key, column in relation.columns.items()
            if key in named or (id(relation) in whole and key in shown)
        ]
        _drop_members(relation)
    for select in find_nodes(tree, exp.Select):
        _hide_columns(select, scopes)


def _whole_relations(
    tree: exp.Expr, scopes: Scopes, relations: Sequence[Relation], named: set[str]
) -> Iterable[Relation]:
    """Relations whose every column of ``*`` is needed."""
    for select in find_nodes(tree, exp.Select):
        stars = find_nodes(select, exp.Star, exp.Columns)
        if any(not isinstance(s.parent, exp.Count) for s in stars) or _is_natural(select):
            for source in scopes.sources(select):
                if source.relation is not None:
                    yield source.relation
        for source in scopes.sources(select):
            # Column aliases name columns by position; an alias used as a column is a whole row.
            if source.relation is not None and source.column_names:
                yield source.relation
    for relation in relations:
        if relation.alias.casefold() in named and relation.alias.casefold() not in relation.columns:
            columns = find_nodes(tree, exp.Column)
            if any(c.name.casefold() == relation.alias.casefold() for c in columns):
                yield relation


def _is_natural(select: exp.Select) -> bool:
    joins = select.args.get("joins") or ()
    return any((join.method or "").upper() == "NATURAL" for join in joins)


def rename_time_of_stars(tree: exp.Expr, scopes: Scopes) -> None:
    """The declared name of the time, asked of a sub-query whose ``*`` calls it ``time``."""
    for column in find_nodes(tree, exp.Column):
        select = column.find_ancestor(exp.Select)
        if select is None or not column.name or is_of_walk(column):
            continue
        if not scopes.comes_from_star(column, select):
            continue
        found = scopes.origin(column, select)
        if isinstance(found, RelationColumn) and found.kind == "ALIAS" and found.source:
            renamed = column.copy()
            renamed.set("this", exp.to_identifier(found.source, quoted=True))
            is_projection = column.parent is select and column.arg_key == "expressions"
            heading = exp.to_identifier(column.name, quoted=True)
            column.replace(exp.alias_(renamed, heading) if is_projection else renamed)


def _drop_members(relation: Relation) -> None:
    """Devices of a pattern that have none of the wanted measurements have no rows for it."""
    values = [
        name.casefold()
        for name in relation.wanted
        if relation.columns[name.casefold()].kind in ("MEASUREMENT", "MEAN")
    ]
    if values and len(relation.members) > 1:
        having = [m for m in relation.members if any(name in m.columns for name in values)]
        relation.members[:] = having or relation.members[:1]


def _hide_columns(select: exp.Select, scopes: Scopes) -> None:
    """Keeps columns that are wanted by name, but are no part of ``*``, out of the stars."""
    sources = [source for source in scopes.sources(select) if not _is_filter(source)]
    hidden: dict[str, list[str]] = {}
    for source in sources:
        if source.relation is not None and source.column_names:
            source.relation.wanted = list(source.relation.star)
        elif source.relation is not None:
            shown = {name.casefold() for name in source.relation.star}
            extra = [name for name in source.relation.wanted if name.casefold() not in shown]
            if extra:
                hidden[source.alias.casefold()] = extra
    if not hidden:
        return
    projections: list[exp.Expr] = []
    for projection in select.expressions:
        if isinstance(projection, exp.Star):
            projections += _hiding_star(projection, sources, hidden)
            continue
        if isinstance(projection, exp.Column) and isinstance(projection.this, exp.Star):
            _exclude(projection.this, hidden.get(projection.table.casefold(), []))
        projections.append(projection)
    select.set("expressions", projections)


def _hiding_star(
    star: exp.Star, sources: Sequence[TableSource], hidden: dict[str, list[str]]
) -> list[exp.Expr]:
    """A bare ``*`` without the hidden columns of each table."""
    joins_by_name = any(s.join is not None and s.join.args.get("using") for s in sources)
    if len(sources) == 1 or joins_by_name:
        _exclude(star, list(dict.fromkeys(name for names in hidden.values() for name in names)))
        return [star]
    # Table by table, so that a column of the same name in another table stays.
    parts: list[exp.Expr] = []
    for source in sources:
        part = star.copy()
        _exclude(part, hidden.get(source.alias.casefold(), []))
        parts.append(exp.Column(this=part, table=exp.to_identifier(source.alias, quoted=True)))
    return parts


def _is_filter(source: TableSource) -> bool:
    """True for the right side of SEMI and ANTI joins, which adds no columns."""
    return source.join is not None and (source.join.kind or "").upper() in ("SEMI", "ANTI")


def _exclude(star: exp.Expr, names: Sequence[str]) -> None:
    present = list(star.args.get("except_") or ())
    written = {column.name.casefold() for column in present}
    added = [
        exp.column(exp.to_identifier(name, quoted=True))
        for name in names
        if name.casefold() not in written
    ]
    if added:
        star.set("except_", present + added)


def column_units(tree: exp.Query, scopes: Scopes) -> dict[str, str]:
    """Units of the result's columns that are a measurement, or its minimum, mean and so on."""
    units: dict[str, str] = {}
    select = first_select(tree)
    if select is None:
        return units
    for projection in select.expressions:
        if isinstance(projection, exp.Star) or isinstance(projection.this, exp.Star):
            for source in scopes.sources(select):
                if source.relation is not None:
                    for column in source.relation.columns.values():
                        if column.unit is not None:
                            units.setdefault(column.name.casefold(), column.unit)
            continue
        unit = _unit(projection, select, scopes)
        if unit is not None:
            units[projection.alias_or_name.casefold()] = unit
    return units


def _unit(node: Any, select: exp.Select, scopes: Scopes) -> str | None:
    """The unit of an expression, through sub-queries and the rows of walks."""
    for _ in range(DEPTH_MAX):
        while isinstance(node, _KEEPS_UNIT):
            node = node.this
        if isinstance(node, exp.Anonymous) and node.name.casefold() == "interp":
            node = next(iter(node.expressions), None)
        if not isinstance(node, exp.Column):
            return None
        found = scopes.origin(node, select)
        if found is None or isinstance(found, RelationColumn):
            return None if found is None else found.unit
        node, select = found
    return None
