"""``*`` as the argument of a function: one item per measurement.

1. ``last_value(*)``, ``diff(*)`` and the like are repeated for every measurement, and
   ``last(a, b)`` and its kin for every column that they name.
2. ``count(*)`` from a path that begins with ``root`` counts the values of each measurement, as
   IoTDB does; where rows are grouped, or the item has a name of its own, it counts rows.
3. ``expand_star`` is for statements whose items are not the executing database's own.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlglot import exp

from mainstem_engine.catalog.names import ROOT
from mainstem_engine.errors import SqlError
from mainstem_engine.sql.grammar.clauses import MERGE, PARTITION, LevelGroups
from mainstem_engine.sql.grammar.dialect import TEXT
from mainstem_engine.sql.select.relations import Relation
from mainstem_engine.sql.select.scopes import Scopes

_SEVERAL: dict[str, type[exp.First] | type[exp.Last] | None] = {
    "first": exp.First,
    "last": exp.Last,
    "last_row": None,
}
"""Functions of TDengine that take several columns."""


def expand_functions_of_stars(select: exp.Select, relation: Relation) -> None:
    """Repeats the items of a SELECT that reads ``relation`` alone."""
    items: list[exp.Expr] = []
    for projection in select.expressions:
        if _is_repeated(projection, select, relation):
            items += _repeated(projection, relation)
        elif _names_several(projection):
            items += _one_by_one(projection)
        else:
            items.append(projection)
    select.set("expressions", items)


def expand_in_sub_queries(tree: exp.Expr, scopes: Scopes) -> None:
    """The same of every other SELECT that reads one table; ``count(*)`` counts rows there."""
    for select in list(tree.find_all(exp.Select)):
        relation = scopes.only_relation(select)
        if relation is None:
            continue
        items: list[exp.Expr] = []
        for projection in select.expressions:
            counts = any(isinstance(s.parent, exp.Count) for s in projection.find_all(exp.Star))
            is_repeated = not counts and _is_repeated(projection, select, relation)
            items += _repeated(projection, relation) if is_repeated else [projection]
        select.set("expressions", items)


def refuse_star(node: exp.Expr, name: str) -> None:
    """Raises SqlError for a ``*`` that nobody knows the columns of."""
    if any(isinstance(child, exp.Star) for child in node.iter_expressions()):
        raise SqlError(
            f"{name}(*) needs a SELECT of one table or path",
            field=name,
            hint="name the columns",
        )


def _is_repeated(projection: exp.Expr, select: exp.Select, relation: Relation) -> bool:
    stars = [star for star in projection.find_all(exp.Star) if isinstance(star.parent, exp.Func)]
    if not stars or any(isinstance(star.parent, exp.Columns) for star in stars):
        return False
    if not all(isinstance(star.parent, exp.Count) for star in stars):
        return True
    is_root = relation.is_path and relation.name.elements[0] == ROOT
    merge = select.args.get(MERGE)
    groups = any(select.args.get(key) for key in ("group", PARTITION))
    groups = groups or (merge is not None and not isinstance(merge, LevelGroups))
    return is_root and not groups and not isinstance(projection, exp.Alias)


def _names_several(projection: exp.Expr) -> bool:
    is_call = isinstance(projection, exp.Anonymous) and projection.name.casefold() in _SEVERAL
    return is_call and len(projection.expressions) > 1


def _one_by_one(projection: exp.Expr) -> Iterator[exp.Expr]:
    name = projection.name
    for argument in projection.expressions:
        kind = _SEVERAL[name.casefold()]
        item = exp.Anonymous(this=name, expressions=[argument.copy()])
        made: exp.Expr = item if kind is None else kind(this=argument.copy())
        made.meta[TEXT] = f"{name.lower()}({argument.sql()})"
        yield made


def _repeated(projection: exp.Expr, relation: Relation) -> Iterator[exp.Expr]:
    for name in measurements(relation):
        item = projection.copy()
        for star in list(item.find_all(exp.Star)):
            star.replace(exp.column(exp.to_identifier(name, quoted=True)))
        text = projection.meta.get(TEXT)
        if text is not None:
            item.meta[TEXT] = text.replace("*", name)
        if isinstance(item, exp.Alias):
            heading = f"{projection.alias}({name})"
            item.set("alias", exp.to_identifier(heading, quoted=True))
        yield item


def expand_star(select: exp.Select, relation: Relation) -> None:
    """Replaces a plain ``*`` by the columns that it shows; from a path, by the measurements."""
    names = measurements(relation) if relation.is_path else relation.star
    items: list[exp.Expr] = []
    for projection in select.expressions:
        if isinstance(projection, exp.Star):
            left_out = {c.name.casefold() for c in projection.args.get("except_") or ()}
            items += [
                exp.column(exp.to_identifier(name, quoted=True))
                for name in names
                if name.casefold() not in left_out
            ]
        else:
            items.append(projection)
    select.set("expressions", items)


def measurements(relation: Relation) -> list[str]:
    """The measurements of a relation, as written."""
    return [column.name for column in relation.columns.values() if column.kind == "MEASUREMENT"]
