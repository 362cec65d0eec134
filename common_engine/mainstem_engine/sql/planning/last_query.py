"""``SELECT LAST a, b FROM path``: the newest value of every series, as IoTDB shows it.

One row per device and measurement that has a value: ``time``, ``series`` (path and measurement),
``value`` as text, because series differ in type, and ``type``.

Measurements that have one type wherever they are come from one row per device, whose columns are
laid out as rows. The others have a query each.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from mainstem_engine.errors import NotFoundError, SqlUnsupportedError
from mainstem_engine.sql.select.relations import DEVICE, TIME, Relation, RelationColumn

SERIES = "series"


def last_query(select: exp.Select, relation: Relation) -> exp.Query:
    """The query that answers it."""
    columns = last_measurements(select, relation)
    alike = [column for column in columns if _is_alike(column, relation)]
    if len(alike) < 2:
        alike = []
    parts = [_of_measurement(select, column) for column in columns if column not in alike]
    if alike:
        parts.append(_of_devices(select, alike))
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


def last_measurements(select: exp.Select, relation: Relation) -> list[RelationColumn]:
    """Those that are asked for. Raises NotFoundError, SqlUnsupportedError."""
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


def _is_alike(column: RelationColumn, relation: Relation) -> bool:
    key = column.name.casefold()
    return {m.columns[key].type for m in relation.members if key in m.columns} == {column.type}


def _of_devices(select: exp.Select, columns: Sequence[RelationColumn]) -> exp.Select:
    """Columns of one row per device as rows."""
    newest = exp.Select(
        expressions=[_column(DEVICE)],
        from_=select.args["from_"].copy(),
        group=exp.Group(expressions=[_column(DEVICE)]),
    )
    where = select.args.get("where")
    if where is not None:
        newest.set("where", where.copy())
    lists: list[list[exp.Expr]] = [[], [], [], []]
    for number, column in enumerate(columns):
        time, value = f"#last{number}", f"#value{number}"
        at, found = _newest(column)
        newest.append("expressions", exp.alias_(at, _identifier(time)))
        newest.append("expressions", exp.alias_(found, _identifier(value)))
        for items, item in zip(
            lists,
            (
                _column(time),
                exp.Literal.string(f".{column.name}"),
                exp.cast(_column(value), exp.DType.TEXT),
                exp.Literal.string(column.type.name),
            ),
            strict=True,
        ):
            items.append(item)
    times, names, values, types = (
        exp.Anonymous(this="UNNEST", expressions=[exp.Array(expressions=items)]) for items in lists
    )
    laid_out = exp.Select(
        expressions=[
            exp.alias_(times, _identifier(TIME)),
            exp.alias_(exp.DPipe(this=_column(DEVICE), expression=names), _identifier(SERIES)),
            exp.alias_(values, _identifier("value")),
            exp.alias_(types, _identifier("type")),
        ],
        from_=exp.From(this=exp.Subquery(this=newest, alias=_alias("newest"))),
    )
    there = exp.Not(this=exp.Is(this=_column("value"), expression=exp.Null()))
    return exp.Select(
        expressions=[exp.Star()],
        from_=exp.From(this=exp.Subquery(this=laid_out, alias=_alias("series"))),
        where=exp.Where(this=there),
    )


def _newest(column: RelationColumn) -> tuple[exp.Expr, exp.Expr]:
    """(time, value) of the newest value."""
    value = _column(column.name)
    present = exp.Not(this=exp.Is(this=value.copy(), expression=exp.Null()))
    at = exp.Filter(this=exp.Max(this=_column(TIME)), expression=exp.Where(this=present))
    return at, exp.ArgMax(this=value, expression=_column(TIME))


def _of_measurement(select: exp.Select, column: RelationColumn) -> exp.Select:
    at, newest = _newest(column)
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
