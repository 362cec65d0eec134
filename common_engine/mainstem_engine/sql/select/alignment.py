"""The shape of a SELECT from a path: time comes first, several devices stand side by side.

1. From one device: ``time`` is put before the items, unless one of them is the time, a ``*`` or an
   aggregate, or the query groups.
2. From a pattern: one row per time with a column ``<path>.<item>`` per device and item; aggregates
   give one row. A query that asks for ``device``, ``tbname`` or a tag, or that groups, keeps one
   row per device and time: it is standard SQL.
3. ALIGN BY DEVICE shows the device and keeps one row per device and time, or one per device for
   aggregates.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlglot import exp

from mainstem_engine.catalog.catalog import Catalog
from mainstem_engine.errors import SqlError, SqlLimitError
from mainstem_engine.sql.grammar.clauses import PARTITION
from mainstem_engine.sql.grammar.dialect import ALIGN
from mainstem_engine.sql.select.aggregates import is_aggregate
from mainstem_engine.sql.select.partitions import cut, is_one_of
from mainstem_engine.sql.select.relations import DEVICE, TIME, Member, Relation
from mainstem_engine.sql.select.suffixes import is_named_so

COLUMNS_MAX = 1_000
"""Columns of a result with devices side by side; nobody reads more, and planning would slow."""


def shape_path_query(
    select: exp.Select, relation: Relation, catalog: Catalog, warnings: list[str]
) -> None:
    """Shapes the only SELECT of a statement, which reads one path. Raises SqlLimitError."""
    is_grouped = bool(select.args.get("group") or select.args.get("distinct"))
    has_aggregates = any(is_aggregate(node) for node in _item_nodes(select))
    if select.meta.get(ALIGN) == "DEVICE" and not is_grouped:
        _show_device(select, relation, has_aggregates=has_aggregates)
        return
    is_beside = relation.name.is_pattern and select.args.get(PARTITION) is None
    if is_beside and not is_grouped and not names_devices(select, relation):
        if any(isinstance(node, exp.Window | exp.Query) for node in _item_nodes(select)):
            warnings.append("window functions are not aligned by time; `device` tells rows apart")
            select.expressions.insert(0, _column(DEVICE))
        else:
            _align(select, relation, catalog, has_aggregates=has_aggregates)
            return
    if not is_grouped and not has_aggregates and not _shows_time(select, relation):
        select.set("expressions", [_column(TIME), *select.expressions])


def _item_nodes(select: exp.Select) -> Iterator[exp.Expr]:
    for projection in select.expressions:
        yield from projection.walk()


def _shows_time(select: exp.Select, relation: Relation) -> bool:
    for projection in select.expressions:
        node = projection.unalias()
        if isinstance(node, exp.Star | exp.Columns) or isinstance(node.this, exp.Star):
            return True
        if isinstance(node, exp.Column):
            column = relation.columns.get(node.name.casefold())
            if column is not None and TIME in (column.name, column.source):
                return True
    return False


def names_devices(select: exp.Select, relation: Relation) -> bool:
    """True when an item is of the device: ``device``, ``tbname`` or a tag."""
    for node in _item_nodes(select):
        column = (
            relation.columns.get(node.name.casefold()) if isinstance(node, exp.Column) else None
        )
        if column is not None and column.kind in ("DEVICE", "TBNAME", "TAG"):
            return True
    return False


# Several devices


def _show_device(select: exp.Select, relation: Relation, *, has_aggregates: bool) -> None:
    columns = [_column(DEVICE)] if has_aggregates else [_column(TIME), _column(DEVICE)]
    select.set("expressions", [*columns, *_items(select, relation)])
    if has_aggregates:
        select.set("group", exp.Group(expressions=[_column(DEVICE)]))


def _align(
    select: exp.Select, relation: Relation, catalog: Catalog, *, has_aggregates: bool
) -> None:
    devices = [
        (path, member)
        for member in relation.members
        if member.devices is not None
        for path in catalog.devices.paths(member.devices.tolist())
    ]
    devices.sort(key=lambda pair: pair[0])
    kept = cut(select, devices)
    if len(kept) < len(devices):
        select.where(is_one_of(_column(DEVICE), [path for path, _ in kept]), copy=False)
        devices = kept
    items = _items(select, relation)
    columns: list[exp.Expr] = []
    for path, member in devices:
        for item in items:
            if not has_columns(item, relation, member) or not is_named_so(item, path):
                continue
            name = exp.to_identifier(f"{path}.{item.alias_or_name}", quoted=True)
            columns.append(
                exp.alias_(_of_device(item.unalias().copy(), path, has_aggregates), name)
            )
            if len(columns) > COLUMNS_MAX:
                raise SqlLimitError(
                    f"{len(devices)} devices side by side make more than {COLUMNS_MAX} columns",
                    hint="select `device` too, or select from the template",
                )
    if has_aggregates:
        select.set("expressions", columns)
        return
    _check_order(select, relation)
    select.set("expressions", [_column(TIME), *columns])
    select.set("group", exp.Group(expressions=[_column(TIME)]))
    if select.args.get("order") is None:
        ordered = exp.Ordered(this=_column(TIME), nulls_first=False)
        select.set("order", exp.Order(expressions=[ordered]))


def _check_order(select: exp.Select, relation: Relation) -> None:
    """Raises SqlError for an order of columns of which there are several."""
    order = select.args.get("order")
    for ordered in order.expressions if order is not None else ():
        for node in ordered.find_all(exp.Column):
            found = relation.columns.get(node.name.casefold())
            if found is not None and TIME not in (found.name, found.source):
                raise SqlError(
                    "devices side by side are ordered by time",
                    field="ORDER BY",
                    hint="write ORDER BY time, ALIGN BY DEVICE, or select `device` too",
                )


def _items(select: exp.Select, relation: Relation) -> list[exp.Expr]:
    """What is shown of each device: ``*`` is every measurement; the time is shown once."""
    items: list[exp.Expr] = []
    for projection in select.expressions:
        if isinstance(projection, exp.Star):
            left_out = {c.name.casefold() for c in projection.args.get("except_") or ()}
            items += [
                _column(column.name)
                for key, column in relation.columns.items()
                if column.kind == "MEASUREMENT" and key not in left_out
            ]
            continue
        node = projection.unalias()
        column = (
            relation.columns.get(node.name.casefold()) if isinstance(node, exp.Column) else None
        )
        if column is None or TIME not in (column.name, column.source):
            items.append(projection)
    return items


def has_columns(item: exp.Expr, relation: Relation, member: Member) -> bool:
    """True when a device of ``member`` has every column of an item."""
    names: Sequence[str] = [column.name.casefold() for column in item.find_all(exp.Column)]
    return all(name in member.columns or name not in relation.columns for name in names)


def _of_device(item: exp.Expr, path: str, has_aggregates: bool) -> exp.Expr:
    """The item over the rows of one device only."""
    if not has_aggregates:
        return _filter(exp.AnyValue(this=item), path)
    holder = exp.paren(item, copy=False)
    for node in list(holder.find_all(exp.AggFunc, exp.Anonymous)):
        if not is_aggregate(node):
            continue
        parent = node.parent
        if isinstance(parent, exp.Filter):
            where = parent.expression
            where.set("this", exp.and_(where.this, _is_device(path)))
        else:
            node.replace(_filter(node.copy(), path))
    found: exp.Expr = holder.this
    return found


def _filter(node: exp.Expr, path: str) -> exp.Expr:
    return exp.Filter(this=node, expression=exp.Where(this=_is_device(path)))


def _is_device(path: str) -> exp.Expr:
    return exp.EQ(this=_column(DEVICE), expression=exp.Literal.string(path))


def _column(name: str) -> exp.Column:
    return exp.column(exp.to_identifier(name, quoted=True))
