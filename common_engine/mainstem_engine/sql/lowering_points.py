"""A SELECT with point functions: rows, the points of each function, and the answer.

1. Functions that keep the rows add a column to them; the SELECT then reads the rows.
2. Any other function makes points, and the SELECT reads these. Several functions, and columns that
   stand beside them, are brought together by time.
3. A function inside of another, or inside of WHERE, is computed before it.
"""

from __future__ import annotations

from typing import Any

from sqlglot import exp

from mainstem_engine.sql.calls import Call, call_of
from mainstem_engine.sql.lowering import Lowered
from mainstem_engine.sql.rows_query import RowsQuery, column
from mainstem_engine.sql.walk_nodes import Walk, walk_table


def lower_points(select: exp.Select, lowered: Lowered) -> exp.Select:
    """The SELECT over a walk."""
    return _PointQuery(select, lowered).build()


class _PointQuery:
    def __init__(self, select: exp.Select, lowered: Lowered) -> None:
        self._select = select
        self._lowered = lowered
        self._rows = RowsQuery(select, lowered.scopes, lowered.times)
        self._number = next(lowered.numbers)
        self._aliases = {p.alias.casefold(): p.this for p in select.expressions if p.alias}
        self._functions: dict[str, dict[str, Any]] = {}
        group = select.args.get("group")
        for key in group.expressions if group is not None else ():
            self._rows.add_key(key)

    def build(self) -> exp.Select:
        select = self._select
        items = []
        for projection in select.expressions:
            heading = exp.to_identifier(projection.alias_or_name, quoted=True)
            items.append(exp.alias_(self.place(projection.unalias()), heading))
        if self._shows_time():
            items.insert(0, exp.alias_(column("#t"), exp.to_identifier("time", quoted=True)))
        query = exp.Select(expressions=items)
        order = select.args.get("order")
        if order is not None:
            query.set("order", self.place(order))
        for key in ("with_", "distinct", "limit", "offset"):
            value = select.args.get(key)
            if value is not None:
                query.set(key, value.copy())
        walk = Walk(
            "points",
            {
                "keys": self._rows.keys,
                "functions": list(self._functions.values()),
                "with_rows": False,
            },
        )
        query.set(
            "from_", exp.From(this=walk_table(self._number, "rows", "#w", self._rows.build(), walk))
        )
        return query

    def _shows_time(self) -> bool:
        relation = self._rows.relation
        if relation is None or not relation.is_path or not self._lowered.by_itself:
            return False
        return not any(
            isinstance(p.unalias(), exp.Column) and self._rows.is_time(p.unalias())
            for p in self._select.expressions
        )

    def place(self, node: exp.Expr) -> exp.Expr:
        """An expression over rows as one over the walk."""
        holder = exp.Paren(this=node.copy())
        self._place(holder.this)
        found: exp.Expr = holder.this
        return found

    def _place(self, node: exp.Expr) -> None:
        key = None if isinstance(node, exp.Literal) else self._rows.key_of(node)
        if key is not None:
            node.replace(key)
        elif isinstance(node, exp.Column):
            self._place_column(node)
        elif (call := call_of(node)) is not None:
            node.replace(self._function(node, call))
        elif not isinstance(node, exp.Query):
            for child in list(node.iter_expressions()):
                self._place(child)

    def _place_column(self, node: exp.Column) -> None:
        name = node.name.casefold()
        if name.startswith("#"):
            return
        found = self._rows.origin(node)
        if found is None and not node.table:
            if name == "_rowts":
                node.replace(column("#t"))
                return
            if name in self._aliases:
                return
        node.replace(column("#t") if self._rows.is_time(node) else self._rows.add(node))

    def _function(self, node: exp.Expr, call: Call) -> exp.Column:
        columns = [self._rows.add(argument).name for argument in node.expressions]
        key = f"{node.sql()} {sorted(call['options'].items())}"
        number = len(self._functions)
        found = self._functions.setdefault(
            key,
            {
                "name": call["name"],
                "columns": columns,
                "options": call["options"],
                "outputs": [f"#f{number}"],
            },
        )
        return column(found["outputs"][0])
