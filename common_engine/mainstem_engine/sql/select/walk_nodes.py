"""What a walk makes, as a table in FROM, and how such tables become steps of a program.

1. ``WalkTable`` stands in FROM for one output of an operation (walks). The node that is first in
   the tree holds the query of the rows; others name the same walk by its number.
2. Until the tree is written, everything that looks at it (push-down, times, columns) sees the query
   of the rows as a part of the statement.
3. ``extract_steps`` then takes the walks out, innermost first. A query that reads a common table
   expression gets a copy of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlglot import exp

WALK_TIMES = frozenset({"#t", "#at", "#label", "#start", "#end", "#last", "#qstart", "#qend"})
"""Columns of walks that are times."""


class WalkTable(exp.Expression):
    """``this``: the query of the rows, or None; ``number``: of the walk; ``output``: its table;
    ``alias``: TableAlias. ``walk``: its ``Walk``."""

    arg_types = {  # noqa: RUF012 -- sqlglot's own declaration
        "this": False,
        "number": True,
        "output": True,
        "walk": False,
        "alias": False,
    }


@dataclass(eq=False, slots=True)
class Walk:
    """``arguments``: as the operation takes them. ``relation``: number of the relation whose
    bounds of time become its argument ``span``, None without."""

    operation: str
    arguments: dict[str, Any] = field(default_factory=dict)
    relation: int | None = None


def walk_table(
    number: int, output: str, alias: str, query: exp.Query | None = None, walk: Walk | None = None
) -> WalkTable:
    """A node for FROM. ``query`` and ``walk`` belong to the first of a number."""
    name = exp.TableAlias(this=exp.to_identifier(alias, quoted=True))
    return WalkTable(this=query, number=number, output=output, walk=walk, alias=name)


def walk_query(node: WalkTable) -> exp.Query | None:
    """The query of the rows of a walk, wherever it is held."""
    if node.this is not None:
        return node.this if isinstance(node.this, exp.Query) else None
    for other in node.root().find_all(WalkTable):
        if other.args["number"] == node.args["number"] and isinstance(other.this, exp.Query):
            return other.this
    return None


@dataclass(frozen=True, slots=True)
class Extracted:
    """A walk that was taken out: ``name`` of its step, the query of its rows, and its ``Walk``."""

    name: str
    query: exp.Query
    walk: Walk


def extract_steps(tree: exp.Expr) -> list[Extracted]:
    """Replaces every walk of a tree by a table, in the order in which they can be made."""
    found: list[Extracted] = []
    for node in list(_walks(tree)):
        name = f"#{node.args['number']}"
        if isinstance(node.this, exp.Query):
            query = node.this.copy()
            _bring_ctes(node, query)
            found.append(Extracted(name, query, node.args["walk"]))
        table = exp.Table(
            this=exp.to_identifier(f"{name}:{node.args['output']}", quoted=True),
            alias=node.args["alias"].copy(),
        )
        node.replace(table)
    return found


def _walks(node: exp.Expr) -> Iterator[WalkTable]:
    """Walks in order of need: those of WITH, then inner ones, then the node itself."""
    with_ = node.args.get("with_")
    if isinstance(with_, exp.Expr):
        yield from _walks(with_)
    for child in node.iter_expressions():
        if child is not with_:
            yield from _walks(child)
    if isinstance(node, WalkTable):
        yield node


def _bring_ctes(node: exp.Expr, query: exp.Query) -> None:
    """Gives a query that leaves its statement the common table expressions that it reads."""
    wanted = _table_names(query)
    brought: list[exp.Expr] = []
    inside: exp.Expr | None = None
    above: exp.Expr | None = node
    while above is not None:
        if isinstance(above, exp.CTE):
            inside = above
        with_ = above.args.get("with_")
        if isinstance(with_, exp.With):
            ctes = list(with_.expressions)
            position = next((n for n, cte in enumerate(ctes) if cte is inside), len(ctes))
            earlier = ctes[:position]
            for cte in reversed(earlier):
                if cte.alias.casefold() in wanted:
                    wanted |= _table_names(cte)
                    brought.insert(0, cte.copy())
        above = above.parent
    if not brought:
        return
    own = query.args.get("with_")
    if isinstance(own, exp.With):
        own.set("expressions", [*brought, *own.expressions])
    else:
        query.set("with_", exp.With(expressions=brought))


def _table_names(node: exp.Expr) -> set[str]:
    return {table.name.casefold() for table in node.find_all(exp.Table)}
