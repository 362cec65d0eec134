"""Which steps of a program are short queries (short_query.py), read off their trees.

1. The tables are scans whose WHERE is said completely by their narrowing, groups of the engine, and
   what walks over windows made. Whatever stands in a tree beside the nodes that are known here
   leaves it to the executing database: it answers everything.
2. Rows keep the order of the scan, which is that of time for one device. The newest rows are at its
   end. Any other order of rows is left alone. Filters of values are those of push-down.
3. Groups of the engine are one per device and window. Where the statement groups by both, or by all
   of them, nothing is to be joined; a bucket of time that is as long as the windows is their time.
4. A program is answered so only as a whole: its walks make windows, or fill them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlglot import exp

from mainstem_engine.sql.plan import TableInput
from mainstem_engine.sql.planning.pushdown import PushDown
from mainstem_engine.sql.planning.short_items import (
    NotShort,
    SelectItems,
    SourceTable,
    expression_of,
    given,
)
from mainstem_engine.sql.select.relations import TIME, Relation
from mainstem_engine.sql.select.walk_nodes import Extracted
from mainstem_engine.sql.short_query import LastValues, Number, Parameter, ShortQuery

_CLAUSES = frozenset(
    {"expressions", "from_", "where", "group", "order", "limit", "offset", "joins"}
)
_WALKS = frozenset({"windows", "fill"})
_GROUP = "#g"


def short_queries(
    tree: exp.Query,
    extracted: Sequence[Extracted],
    push_down: PushDown,
    inputs: Mapping[str, tuple[TableInput, Relation]],
    zone: str,
) -> tuple[ShortQuery, ...] | None:
    """Of each step that is SQL in order, the last query's at the end; None when one is more."""
    if any(
        each.walk.operation not in _WALKS or each.walk.arguments.get("functions")
        for each in extracted
    ):
        return None
    reader = _Reader(push_down, inputs, zone)
    try:
        queries = [reader.query(each.query) for each in extracted]
        return (*queries, reader.query(tree))
    except NotShort:
        return None


def last_values(
    inputs: Sequence[TableInput], series: Sequence[tuple[str, str]]
) -> tuple[LastValues] | None:
    """Of SELECT LAST: ``series`` are (name, type) of its measurements. None when it reads more than
    the newest values of one template."""
    if len(inputs) != 1 or not series:
        return None
    (source,) = inputs
    is_newest = source.partials is not None and source.partials.newest
    if not is_newest or any(f"#last:{name}" not in source.columns for name, _ in series):
        return None
    return (LastValues(source.name, tuple(series)),)


class _Reader:
    def __init__(
        self,
        push_down: PushDown,
        inputs: Mapping[str, tuple[TableInput, Relation]],
        zone: str,
    ) -> None:
        self._push_down = push_down
        self._inputs = inputs
        self._zone = zone

    def query(self, tree: exp.Expr) -> ShortQuery:
        """Raises NotShort."""
        if not isinstance(tree, exp.Select) or given(tree) - _CLAUSES:
            raise NotShort
        table = self._table(tree.args["from_"].this if tree.args.get("from_") else None)
        limit, offset = _number(tree.args.get("limit")), _number(tree.args.get("offset"))
        if tree.args.get("joins"):
            return self._of_windows(tree, table, limit, offset)
        select = SelectItems(tree, table, self._zone)
        if table.read is None:
            if tree.args.get("where") is not None or tree.args.get("group") is not None:
                raise NotShort
            return select.plain(select.order(), limit, offset)
        if table.read.partials is not None:
            return self._of_groups(tree, select, limit, offset)
        if not self._push_down.is_said(tree) or tree.args.get("group") is not None:
            raise NotShort
        relation = table.relation
        assert relation is not None
        if relation.is_sampled:
            raise NotShort
        query = select.plain((), limit, offset)
        filters = [
            (table.column(exp.column(exp.to_identifier(name))), operator, number)
            for name, operator, number in relation.filters
        ]
        return replace(
            query, is_reversed=self._is_reversed(select, table.read), filters=tuple(filters)
        )

    def _is_reversed(self, select: SelectItems, read: TableInput) -> bool:
        """Raises NotShort for an order that the scan does not have."""
        order = select.order()
        if not order:
            return False
        is_one = read.devices is not None and len(read.devices) == 1
        if len(order) != 1 or order[0].column != TIME or not is_one:
            raise NotShort
        if order[0].is_descending and (read.edge is None or not read.edge[1]):
            raise NotShort
        return order[0].is_descending

    def _of_groups(
        self, tree: exp.Select, select: SelectItems, limit: Number, offset: Number
    ) -> ShortQuery:
        table = select.table
        assert table.read is not None
        partials = table.read.partials
        assert partials is not None
        if tree.args.get("where") is not None:
            raise NotShort
        group = tree.args.get("group")
        items = select.items()
        shown = {str(e[1]) for _, e in items if e[0] == "column"}
        if group is None:
            if shown or select.order():
                raise NotShort
            return ShortQuery(table.source, items, keys=(), limit=limit, offset=offset)
        if given(group) - {"expressions"} or not group.expressions:
            raise NotShort
        keys = tuple(dict.fromkeys(select.key(node) for node in group.expressions))
        order = select.order()
        if (shown | {each.column for each in order}) - {*keys}:
            raise NotShort
        # Of one device and window there is one group.
        is_each = (not partials.by_device or "device" in keys) and (
            partials.every_ns is None or TIME in keys
        )
        return ShortQuery(
            table.source,
            items,
            keys=None if is_each else keys,
            order=order,
            limit=limit,
            offset=offset,
        )

    def _of_windows(
        self, tree: exp.Select, table: SourceTable, limit: Number, offset: Number
    ) -> ShortQuery:
        """Windows beside aggregates of their rows."""
        joins = tree.args["joins"]
        join = joins[0]
        side = (join.args.get("side") or "").upper()
        using: list[exp.Expr] = list(join.args.get("using") or ())
        if len(joins) != 1 or given(join) - {"this", "using", "side"} or side not in ("", "LEFT"):
            raise NotShort
        if len(using) != 1 or using[0].name != _GROUP or tree.args.get("where") is not None:
            raise NotShort
        if table.read is not None or tree.args.get("group") or not _is_subquery(join.this):
            raise NotShort
        inner = join.this.this
        if not isinstance(inner, exp.Select) or given(inner) - {"expressions", "from_", "group"}:
            raise NotShort
        rows = self._table(inner.args["from_"].this)
        groups = inner.args["group"].expressions
        if rows.read is not None or len(groups) != 1 or groups[0].name != _GROUP:
            raise NotShort
        items = SelectItems(inner, rows, self._zone)
        select = SelectItems(tree, SourceTable(table.source, "", {}), self._zone)
        shown = [(name, _name_of(node)) for name, node in select.named()]
        return ShortQuery(
            rows.source,
            items.items(),
            keys=(_GROUP,),
            order=select.order(),
            limit=limit,
            offset=offset,
            windows=table.source,
            has_all=side == "LEFT",
            shown=tuple(shown),
        )

    def _table(self, node: Any) -> SourceTable:
        if isinstance(node, exp.Table):
            alias = node.args.get("alias")
            if given(node) - {"this", "alias"} or (alias is not None and alias.columns):
                raise NotShort
            return SourceTable(_of_walk(node), node.alias_or_name, {})
        if not _is_subquery(node) or not isinstance(node.this, exp.Select):
            raise NotShort
        inner = node.this
        if given(inner) - {"expressions", "from_"}:
            raise NotShort
        from_ = inner.args.get("from_")
        source = None if from_ is None else from_.this
        if not isinstance(source, exp.Table) or given(source) - {"this", "alias"}:
            raise NotShort
        if [type(item) for item in inner.expressions] == [exp.Star]:
            if given(inner.expressions[0]):
                raise NotShort
            return SourceTable(_of_walk(source), node.alias, {})
        found = self._inputs.get(source.name)
        if found is None:
            raise NotShort
        columns = {
            item.alias.casefold(): (item.alias, expression_of(item.unalias()))
            for item in inner.expressions
        }
        read, relation = found
        return SourceTable(source.name, node.alias, columns, relation, read)


def _is_subquery(node: Any) -> bool:
    if not isinstance(node, exp.Subquery) or given(node) - {"this", "alias"}:
        return False
    alias = node.args.get("alias")
    return not (isinstance(alias, exp.TableAlias) and alias.columns)


def _of_walk(node: exp.Table) -> str:
    """The name of a table that a walk made. Raises NotShort for others, and for what is called."""
    if not isinstance(node.this, exp.Identifier) or not node.name.startswith("#"):
        raise NotShort
    return node.name


def _name_of(node: exp.Expr) -> str:
    if not isinstance(node, exp.Column):
        raise NotShort
    return node.name


def _number(node: Any) -> Number:
    """Of a LIMIT or OFFSET. Raises NotShort."""
    if node is None:
        return None
    value = node.expression if isinstance(node, exp.Limit | exp.Offset) else None
    if isinstance(node, exp.Expr) and given(node) - {"expression"}:
        raise NotShort
    if isinstance(value, exp.Placeholder) and value.name.isdecimal():
        return Parameter(int(value.name))
    if isinstance(value, exp.Literal) and not value.is_string and value.name.isdecimal():
        return int(value.name)
    raise NotShort
