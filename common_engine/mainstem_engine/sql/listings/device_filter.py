"""SHOW DEVICES ... WHERE: which devices a condition on their names and tags is true for.

Only what push-down understands whole is taken (=, IN and LIKE of device, tbname and tags, joined by
AND): the answer comes from the catalog's indexes and reads no row.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlglot import exp

from mainstem_engine.catalog.catalog import Catalog
from mainstem_engine.errors import SqlUnsupportedError
from mainstem_engine.sql.grammar.dialect import RELATION
from mainstem_engine.sql.plan import Request
from mainstem_engine.sql.planning.pushdown import PushDown
from mainstem_engine.sql.select.guard import check_query
from mainstem_engine.sql.select.relations import Relation, RelationColumn, members_of
from mainstem_engine.sql.select.scopes import Scopes
from mainstem_engine.sql.select.time_expressions import Clock, TimeExpressions
from mainstem_engine.sql.statements import Name
from mainstem_engine.sql.times import NS_PER_MS

_KINDS = frozenset({"DEVICE", "TAG", "TBNAME"})


def filter_devices(
    catalog: Catalog, devices: Iterable[int], where: exp.Expr, request: Request
) -> list[int]:
    """Those of ``devices`` (ascending ids) for which ``where`` holds, ascending. A device whose
    template lacks a tag has no value of it. Raises SqlUnsupportedError."""
    members = members_of(catalog, devices)
    columns: dict[str, RelationColumn] = {}
    for member in members:
        for key, column in member.columns.items():
            if column.kind in _KINDS:
                columns.setdefault(key, column)
    found: list[int] = []
    for member in members:
        own = {key: c for key, c in member.columns.items() if c.kind in _KINDS}
        relation = Relation(Name(("devices",)), "devices", [member], True, own, [])
        table = exp.Table(this=exp.to_identifier("devices"))
        table.meta[RELATION] = 0
        select = exp.Select(
            expressions=[exp.Star()],
            from_=exp.From(this=table),
            where=exp.Where(this=where.copy()),
        )
        check_query(select)
        named = {column.name.casefold() for column in where.find_all(exp.Column)}
        if not named <= own.keys():
            if not named <= columns.keys():
                raise _not_understood(columns)
            continue
        scopes = Scopes([relation])
        clock = Clock(request.now_ns, request.zone, NS_PER_MS, request.params)
        narrowing = PushDown(catalog, scopes, TimeExpressions(scopes, clock))
        narrowing.narrow(select)
        if not narrowing.is_exact:
            raise _not_understood(columns)
        if member.devices is not None:
            found += member.devices.tolist()
    return sorted(found)


def _not_understood(columns: Iterable[str]) -> SqlUnsupportedError:
    return SqlUnsupportedError(
        "this condition on devices is not supported",
        hint=f"use =, IN and LIKE, joined by AND, of {', '.join(columns)}",
    )
