"""A statement that is being lowered: what every SELECT of it needs, and small words about trees."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

from sqlglot import exp

from mainstem_engine.catalog.catalog import Catalog
from mainstem_engine.errors import SqlUnsupportedError
from mainstem_engine.sql.select.relations import Relation
from mainstem_engine.sql.select.scopes import Scopes
from mainstem_engine.sql.select.time_expressions import TimeExpressions


@dataclass(slots=True)
class Lowered:
    """What lowering a statement needs of it. ``by_itself``: the statement reads one table.
    ``is_used``: a SELECT was lowered."""

    catalog: Catalog
    scopes: Scopes
    times: TimeExpressions
    relations: list[Relation]
    time_zone: str
    precision_ns: int
    by_itself: bool
    is_used: bool = False
    warnings: list[str] = field(default_factory=list)
    per_second: set[str] = field(default_factory=set)
    """Headings, in lower case, of columns that are rates of a measurement."""
    numbers: Iterator[int] = field(default_factory=itertools.count)


def put_in_place(select: exp.Select, made: exp.Select) -> None:
    """Replaces a SELECT. A part of a UNION is put in parentheses: its order is its own."""
    if isinstance(select.parent, exp.SetOperation):
        select.replace(exp.Subquery(this=made))
    else:
        select.replace(made)


def own_nodes(select: exp.Select) -> Iterator[exp.Expr]:
    """The nodes of a SELECT that belong to it, not to a sub-query; what FROM reads is left out."""
    waiting = [
        child
        for key, value in select.args.items()
        if key not in ("from_", "joins", "with_", "laterals")
        for child in (value if isinstance(value, list) else [value])
        if isinstance(child, exp.Expr)
    ]
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, exp.Query):
            waiting += list(node.iter_expressions())


def refuse(what: str, hint: str) -> SqlUnsupportedError:
    """An error for what cannot be lowered."""
    return SqlUnsupportedError(f"{what} is not supported", hint=hint)
