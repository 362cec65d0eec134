"""A SELECT with windows: rows, windows of them, aggregates of each window, and the answer.

```
SELECT <items over windows and aggregates>
FROM <windows> AS "#w" JOIN (SELECT "#g", <aggregates> FROM <rows of windows> GROUP BY "#g")
WHERE <having> ORDER BY ... LIMIT ...
```

1. The walk makes two tables of the rows: the windows with their keys, times and what functions of
   windows say of them; and the rows of each window.
2. Every aggregate of the items, HAVING and ORDER BY is computed once per window, over its rows.
   Rows of nulls, which stand for a window without rows, are filtered.
3. A key, a tag or the device needs no aggregate; any other column does.
"""

from __future__ import annotations

from typing import Any

from sqlglot import exp

from mainstem_engine.errors import SqlError
from mainstem_engine.sql.aggregates import is_aggregate
from mainstem_engine.sql.calls import Call, call_of
from mainstem_engine.sql.clauses import PARTITION, SLIMIT, SOFFSET, WINDOW
from mainstem_engine.sql.lowering import Lowered
from mainstem_engine.sql.relations import RelationColumn
from mainstem_engine.sql.rows_query import RowsQuery, column, identity
from mainstem_engine.sql.walk_nodes import Walk, walk_table
from mainstem_engine.sql.window_clauses import WindowPlan, plan_window

PSEUDO_COLUMNS = {
    "_wstart": "#start",
    "_wend": "#end",
    "_wduration": "#width",
    "_qstart": "#qstart",
    "_qend": "#qend",
    "__endtime": "#last",
}
"""Names that a window answers to, and the columns of its table."""
_KEEPERS = frozenset({"TAG", "DEVICE", "TBNAME"})


def lower_windows(select: exp.Select, lowered: Lowered) -> exp.Select:
    """The SELECT over walks. Raises SqlError for items that a window has no value of."""
    return _WindowQuery(select, lowered).build()


class _WindowQuery:
    def __init__(self, select: exp.Select, lowered: Lowered) -> None:
        self._select = select
        self._lowered = lowered
        self._rows = RowsQuery(select, lowered.scopes, lowered.times)
        self._number = next(lowered.numbers)
        self._aliases = {p.alias.casefold(): p.this for p in select.expressions if p.alias}
        self._aggregates: dict[str, tuple[str, exp.Expr]] = {}
        self._functions: dict[str, dict[str, Any]] = {}
        for key in self._keys():
            self._rows.add_key(key)
        self._plan: WindowPlan = plan_window(select.args.get(WINDOW), self._rows, lowered)

    def _keys(self) -> list[exp.Expr]:
        partition, group = self._select.args.get(PARTITION), self._select.args.get("group")
        keys = [key.unalias() for key in partition.expressions] if partition is not None else []
        if group is not None:
            keys += [self._group_key(key) for key in group.expressions]
        return keys

    def _group_key(self, key: exp.Expr) -> exp.Expr:
        """A key of GROUP BY may be the number or the name of an item."""
        if isinstance(key, exp.Literal) and not key.is_string and key.this.isdecimal():
            items = self._select.expressions
            if 1 <= int(key.this) <= len(items):
                item: exp.Expr = items[int(key.this) - 1].unalias()
                return item
        if isinstance(key, exp.Column) and not key.table and self._rows.origin(key) is None:
            found: exp.Expr = self._aliases.get(key.name.casefold(), key)
            return found
        return key

    # The answer

    def build(self) -> exp.Select:
        select = self._select
        items = [self._item(projection) for projection in select.expressions]
        if self._shows_label():
            name = exp.to_identifier("time", quoted=True)
            items.insert(0, exp.alias_(column("#label"), name))
        having = select.args.get("having")
        condition = None if having is None else self.place(having.this)
        order = select.args.get("order")
        if order is not None:
            order = self.place(order)
        elif not select.args.get("distinct"):
            order = exp.Order(expressions=[exp.Ordered(this=column("#g"), nulls_first=False)])
        query = exp.Select(expressions=items, order=order)
        for key in ("with_", "distinct", "limit", "offset"):
            value = select.args.get(key)
            if value is not None:
                query.set(key, value.copy())
        self._set_from(query)
        for node in (condition, self._partitions(), self._answered()):
            if node is not None:
                query.where(node, copy=False)
        return query

    def _item(self, projection: exp.Expr) -> exp.Expr:
        node = projection.unalias()
        if isinstance(node, exp.Star):
            raise SqlError("* is no item of windows", hint="name aggregates, such as avg(x)")
        heading = exp.to_identifier(projection.alias_or_name, quoted=True)
        return exp.alias_(self.place(node), heading)

    def _shows_label(self) -> bool:
        relation = self._rows.relation
        if relation is None or not relation.is_path or not self._lowered.by_itself:
            return False
        if self._plan.walk["kind"] == "whole":
            return False
        return not any(
            isinstance(p.unalias(), exp.Column) and self._rows.is_time(p.unalias())
            for p in self._select.expressions
        )

    def _partitions(self) -> exp.Expr | None:
        """SLIMIT and SOFFSET."""
        limit, offset = self._select.args.get(SLIMIT), self._select.args.get(SOFFSET)
        first = int(offset.this) if offset is not None else 0
        conditions: list[exp.Expr] = []
        if first:
            conditions.append(exp.GTE(this=column("#s"), expression=exp.Literal.number(first)))
        if limit is not None:
            beyond = exp.Literal.number(first + int(limit.this))
            conditions.append(exp.LT(this=column("#s"), expression=beyond))
        return exp.and_(*conditions) if conditions else None

    def _answered(self) -> exp.Expr | None:
        """A function of all rows that has no answer gives no row."""
        if self._plan.walk["kind"] != "whole" or self._rows.keys or self._aggregates:
            return None
        found = [
            exp.Not(this=exp.Is(this=column(call["output"]), expression=exp.Null()))
            for call in self._functions.values()
        ]
        return exp.or_(*found)

    def _set_from(self, query: exp.Select) -> None:
        needed = self._rows.columns() if self._aggregates else None
        walk = Walk(
            "windows",
            {
                "keys": self._rows.keys,
                "window": self._plan.walk,
                "controls": self._plan.controls,
                "functions": list(self._functions.values()),
                "columns": needed,
                "zone": self._lowered.time_zone,
                "precision_ns": self._lowered.precision_ns,
            },
            self._relation_number(),
        )
        windows = walk_table(self._number, "windows", "#w", self._rows.build(), walk)
        query.set("from_", exp.From(this=windows))
        if not self._aggregates:
            return
        group = column("#g")
        inner = exp.Select(
            expressions=[
                group.copy(),
                *(
                    exp.alias_(node, exp.to_identifier(name, quoted=True))
                    for name, node in self._aggregates.values()
                ),
            ],
            from_=exp.From(this=walk_table(self._number, "rows", "#r")),
            group=exp.Group(expressions=[group.copy()]),
        )
        alias = exp.TableAlias(this=exp.to_identifier("#x", quoted=True))
        using = [exp.to_identifier("#g", quoted=True)]
        query.set("joins", [exp.Join(this=exp.Subquery(this=inner, alias=alias), using=using)])

    def _relation_number(self) -> int | None:
        relation = self._rows.relation
        if relation is None:
            return None
        return next(i for i, r in enumerate(self._lowered.relations) if r is relation)

    # Expressions over windows

    def place(self, node: exp.Expr) -> exp.Expr:
        """An expression over rows as one over windows and aggregates."""
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
        elif isinstance(node, exp.Window):
            # The function itself runs over windows; what it is given may be an aggregate.
            for child in (*node.this.iter_expressions(), *_parts(node, "this")):
                self._place(child)
        elif (call := call_of(node)) is not None:
            node.replace(self._function(node, call))
        elif is_aggregate(node):
            node.replace(self.aggregate(node))
        elif not isinstance(node, exp.Query):
            for child in list(node.iter_expressions()):
                self._place(child)

    def _place_column(self, node: exp.Column) -> None:
        name = node.name.casefold()
        if name.startswith("#"):
            return
        found = self._rows.origin(node)
        if found is None:
            if name in PSEUDO_COLUMNS and not node.table:
                node.replace(column(PSEUDO_COLUMNS[name]))
                return
            if name in self._aliases and not node.table:
                return
        if self._rows.is_time(node):
            node.replace(column("#label"))
            return
        is_kept = isinstance(found, RelationColumn) and found.kind in _KEEPERS
        if not is_kept and identity(node) not in self._plan.shown:
            raise SqlError(
                f"{node.name} is neither aggregated nor a key",
                field=node.name,
                hint=f"use an aggregate such as last({node.name}), or PARTITION BY {node.name}",
            )
        node.replace(self.aggregate(exp.AnyValue(this=node.copy())))

    def aggregate(self, node: exp.Expr) -> exp.Column:
        """The column of an aggregate of the rows of each window."""
        made = exp.Paren(this=node.copy())
        for inner in list(made.find_all(exp.Column)):
            inner.replace(column("#t") if self._rows.is_time(inner) else self._rows.add(inner))
        if self._plan.has_empty:
            self._filter(made.this)
        for star in list(made.find_all(exp.Star)):
            star.replace(column("#t"))
        number = len(self._aggregates)
        text = made.this.sql(dialect="duckdb")
        name, _ = self._aggregates.setdefault(text, (f"#x{number}", made.this))
        return column(name)

    def _filter(self, node: exp.Expr) -> None:
        """Leaves rows out that stand for a window without rows."""
        present = exp.Not(this=exp.Is(this=column("#t"), expression=exp.Null()))
        if isinstance(node, exp.Filter):
            where = node.expression
            where.set("this", exp.and_(where.this, present))
        else:
            inner = node.copy()
            node.replace(exp.Filter(this=inner, expression=exp.Where(this=present)))

    def _function(self, node: exp.Expr, call: Call) -> exp.Column:
        if call["is_point"]:
            raise SqlError(
                f"{call['name']} makes points, not one value per window",
                field=call["name"],
                hint="use it in a sub-query, or without the window",
            )
        columns = [self._rows.add(argument).name for argument in node.expressions]
        key = f"{node.sql()} {sorted(call['options'].items())}"
        found = self._functions.setdefault(
            key,
            {
                "name": call["name"],
                "columns": columns,
                "options": call["options"],
                "output": f"#f{len(self._functions)}",
            },
        )
        return column(found["output"])


def _parts(node: exp.Expr, *left_out: str) -> list[exp.Expr]:
    return [
        child
        for key, value in node.args.items()
        if key not in left_out
        for child in (value if isinstance(value, list) else [value])
        if isinstance(child, exp.Expr)
    ]
