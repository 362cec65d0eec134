"""``SELECT LAST a, b FROM path``: the newest value of every series, as IoTDB shows it.

One row per device and measurement that has a value: ``time``, ``series`` (path and measurement),
``value`` as text, because series differ in type, and ``type``.
"""

from __future__ import annotations

from sqlglot import exp

from mainstem_engine.errors import NotFoundError, SqlUnsupportedError
from mainstem_engine.sql.select.relations import DEVICE, TIME, Relation, RelationColumn

SERIES = "series"


def last_query(select: exp.Select, relation: Relation) -> exp.Query:
    """The query that answers it: a UNION ALL over the measurements."""
    parts = [_of_measurement(select, column) for column in _measurements(select, relation)]
    union: exp.Query = parts[0]
    for part in parts[1:]:
        union = exp.Union(this=union, expression=part, distinct=False)
    outer = exp.select("*").from_(exp.Subquery(this=union, alias=_alias("last_values")))
    order = select.args.get("order")
    if order is None:
        order = exp.Order(expressions=[exp.Ordered(this=_column(SERIES), nulls_first=False)])
    for column in list(order.find_all(exp.Column)):
        if column.name.casefold() == "timeseries":
            column.replace(_column(SERIES))
    outer.set("order", order)
    for key in ("limit", "offset"):
        outer.set(key, select.args.get(key))
    return outer


def _measurements(select: exp.Select, relation: Relation) -> list[RelationColumn]:
    found: dict[str, RelationColumn] = {}
    for projection in select.expressions:
        if isinstance(projection, exp.Star):
            for key, column in relation.columns.items():
                if column.kind == "MEASUREMENT":
                    found.setdefault(key, column)
        elif isinstance(projection, exp.Column):
            known = relation.columns.get(projection.name.casefold())
            if known is None or known.kind != "MEASUREMENT":
                raise NotFoundError(
                    f"{relation.name} has no measurement {projection.name!r}",
                    field=projection.name,
                    hint="DESCRIBE lists them",
                )
            found[known.name.casefold()] = known
        else:
            raise SqlUnsupportedError(
                "SELECT LAST of an expression is not supported",
                hint="name measurements, or use LAST(x) in an expression",
            )
    return list(found.values())


def _of_measurement(select: exp.Select, column: RelationColumn) -> exp.Select:
    value = _column(column.name)
    present = exp.Not(this=exp.Is(this=value.copy(), expression=exp.Null()))
    newest = exp.ArgMax(this=value, expression=_column(TIME))
    at = exp.Filter(this=exp.Max(this=_column(TIME)), expression=exp.Where(this=present))
    series = exp.DPipe(this=_column(DEVICE), expression=exp.Literal.string(f".{column.name}"))
    there = exp.Not(this=exp.Is(this=newest.copy(), expression=exp.Null()))
    part = exp.Select(
        expressions=[
            exp.alias_(at, _identifier(TIME)),
            exp.alias_(series, _identifier(SERIES)),
            exp.alias_(exp.cast(newest, exp.DType.TEXT), _identifier("value")),
            exp.alias_(exp.Literal.string(column.type.name), _identifier("type")),
        ],
        from_=select.args["from_"].copy(),
        group=exp.Group(expressions=[_column(DEVICE)]),
        # Not a condition of WHERE: the newest values say it without reading rows.
        having=exp.Having(this=there),
    )
    where = select.args.get("where")
    if where is not None:
        part.set("where", where.copy())
    return part


def _identifier(name: str) -> exp.Identifier:
    return exp.to_identifier(name, quoted=True)


def _column(name: str) -> exp.Column:
    return exp.column(_identifier(name))


def _alias(name: str) -> exp.TableAlias:
    return exp.TableAlias(this=_identifier(name))
