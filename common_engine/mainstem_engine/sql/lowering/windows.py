"""A SELECT with windows: rows, windows of them, aggregates of each window, and the answer.

```
SELECT <items over windows and aggregates>
FROM <windows> AS "#w" JOIN (SELECT "#g", <aggregates> FROM <rows of windows> GROUP BY "#g")
WHERE <having> ORDER BY ... LIMIT ...
```

1. The walk makes two tables of the rows: the windows with their keys, times and what functions of
   windows say of them; and the rows of each window.
2. Every aggregate of the items, HAVING and ORDER BY is computed once per window, over its rows.
   Rows of nulls, which stand for a window without rows, are filtered. Windows that are only there
   to be filled know nothing.
3. A key, a tag or the device needs no aggregate; any other column does.
4. A point function makes points of the rows of each window, each a row of the answer with its own
   time: TOP(x, 2) with INTERVAL. What is said of the window stands beside every point of it.
"""

from __future__ import annotations

from typing import Any

from sqlglot import exp

from mainstem_engine.errors import SqlError
from mainstem_engine.sql.grammar.clauses import FILL, WINDOW
from mainstem_engine.sql.lowering.answer import Answer
from mainstem_engine.sql.lowering.lowered import Lowered, own_nodes
from mainstem_engine.sql.lowering.panes import read_panes
from mainstem_engine.sql.lowering.query import WalkQuery
from mainstem_engine.sql.lowering.shape import device_count, device_members
from mainstem_engine.sql.lowering.window_clauses import WindowPlan, plan_window
from mainstem_engine.sql.select.aggregates import is_aggregate
from mainstem_engine.sql.select.calls import Call, call_of
from mainstem_engine.sql.select.relations import DEVICE, RelationColumn
from mainstem_engine.sql.select.rows_query import column, identity
from mainstem_engine.sql.select.walk_nodes import Walk, walk_table

PSEUDO_COLUMNS = {
    "_wstart": "#start",
    "_wend": "#end",
    "_wduration": "#width",
    "_qstart": "#qstart",
    "_qend": "#qend",
    "__endtime": "#last",
}
"""Names that a window answers to, and the columns of its table."""
DEVICES_MAX = 1_000
"""Devices below each other whose empty windows are answered; of more, only those with rows: a plan
holds their names."""
_KEEPERS = frozenset({"TAG", "DEVICE", "TBNAME"})


def lower_windows(select: exp.Select, lowered: Lowered) -> exp.Select:
    """The SELECT over walks. Raises SqlError for items that a window has no value of."""
    return _WindowQuery(select, lowered).build()


class _WindowQuery(WalkQuery):
    def __init__(self, select: exp.Select, lowered: Lowered) -> None:
        super().__init__(select, lowered)
        self._aggregates: dict[str, tuple[str, exp.Expr]] = {}
        self._functions: dict[str, dict[str, Any]] = {}
        self._points: dict[str, dict[str, Any]] = {}
        self._has_points = any(
            call["is_point"] for node in own_nodes(select) if (call := call_of(node)) is not None
        )
        args = select.args
        self._plan: WindowPlan = plan_window(args.get(WINDOW), self.rows, lowered, args.get(FILL))

    def build(self) -> exp.Select:
        """The whole answer."""
        is_whole = self._plan.walk["kind"] == "whole"
        for projection in self.select.expressions:
            if isinstance(projection.unalias(), exp.Star):
                raise SqlError("* is no item of windows", hint="name aggregates, such as avg(x)")
        moment = column("#at" if self._has_points else "#label")
        time = None if is_whole and not self._has_points else moment
        answer = Answer(exp.Select(), self.items(), time, column("#s"))
        having = self.select.args.get("having")
        conditions = [self._answered(), None if having is None else self.place(having.this)]
        answer.order = self.order()
        answer.has_all = having is None and self._plan.walk["kind"] in ("range", "whole")
        answer.natural = [column("#g"), column("#at")] if self._has_points else [column("#g")]
        source = self._source()
        for condition in conditions:
            if condition is not None:
                source.where(condition, copy=False)
        first = time if self.shape.shows_time and self.shows_time() else None
        return self.answer(source, first, answer)

    def shows_time(self) -> bool:
        """False also when the start of the window is an item."""
        items = (projection.unalias() for projection in self.select.expressions)
        is_start = any(isinstance(i, exp.Column) and i.name.casefold() == "_wstart" for i in items)
        return super().shows_time() and not is_start

    def _answered(self) -> exp.Expr | None:
        """A function of all rows that has no answer gives no row."""
        if self._plan.walk["kind"] != "whole" or self.rows.keys or self._aggregates:
            return None
        found = [
            exp.Not(this=exp.Is(this=column(call["output"]), expression=exp.Null()))
            for call in self._functions.values()
        ]
        return exp.or_(*found) if found else None

    def _source(self) -> exp.Select:
        rows, columns = self.rows.build(), self.rows.columns()
        panes = None
        if not self._functions and not self._points and self.lowered.precision_ns > 1:
            relation = self.lowered.scopes.only_relation(self.select)
            zone = self.lowered.time_zone
            panes = read_panes(rows, relation, self._plan.walk, zone, self._aggregates)
        if panes is not None:
            rows, self._aggregates, columns = panes
        walk = Walk(
            "windows",
            {
                "keys": self.rows.keys,
                "window": self._plan.walk,
                "controls": self._plan.controls,
                "expected": self._expected(),
                "functions": list(self._functions.values()),
                "columns": columns if self._aggregates or self._points else None,
                "with_empty": self._plan.has_empty,
                "zone": self.lowered.time_zone,
                "precision_ns": self.lowered.precision_ns,
            },
            self._relation_number(),
        )
        windows = walk_table(self.number, "windows", "#w", rows, walk)
        query = exp.Select(from_=exp.From(this=windows))
        if self._points:
            query.append("joins", _join_by_window(self._points_of_windows(), "#q"))
        if self._aggregates:
            side = "LEFT" if self._plan.is_dense else None
            query.append("joins", _join_by_window(self._aggregates_of_windows(), "#x", side))
        return query

    def _expected(self) -> list[str] | None:
        """The devices or levels that have windows even where they have no rows."""
        relation = self.rows.relation
        if self._plan.walk["kind"] != "range" or relation is None or self.rows.keys != 1:
            return None
        where = self.select.args.get("where")
        for node in where.find_all(exp.Column) if where is not None else ():
            found = self.rows.origin(node)
            if isinstance(found, RelationColumn) and found.kind in _KEEPERS:
                return None
        if self.shape.side is not None:
            return list(self.shape.values)
        if not any(heading == DEVICE for heading, _ in self.shape.shown):
            return None
        if device_count(relation, self.lowered.catalog) > DEVICES_MAX:
            return None
        asked = {
            node.name.casefold()
            for node in own_nodes(self.select)
            if isinstance(node, exp.Column)
            and (found := relation.columns.get(node.name.casefold())) is not None
            and found.kind == "MEASUREMENT"
        }
        return [
            path
            for path, member in device_members(relation, self.lowered.catalog)
            if not asked or asked & member.columns.keys()
        ]

    def _aggregates_of_windows(self) -> exp.Select:
        group = column("#g")
        return exp.Select(
            expressions=[
                group.copy(),
                *(
                    exp.alias_(node, exp.to_identifier(name, quoted=True))
                    for name, node in self._aggregates.values()
                ),
            ],
            from_=exp.From(this=walk_table(self.number, "rows", "#r")),
            group=exp.Group(expressions=[group.copy()]),
        )

    def _points_of_windows(self) -> exp.Select:
        """The points of each window, with its number ``#g`` and their time ``#at``."""
        calls = list(self._points.values())
        read = list(dict.fromkeys(name for call in calls for name in call["columns"]))
        time = column("#t")
        rows = exp.Select(
            expressions=[
                exp.alias_(column("#g"), exp.to_identifier("#p0", quoted=True)),
                time,
                *map(column, read),
            ],
            from_=exp.From(this=walk_table(self.number, "rows", "#r")),
            where=exp.Where(this=exp.Not(this=exp.Is(this=time.copy(), expression=exp.Null()))),
            order=exp.Order(
                expressions=[
                    exp.Ordered(this=column(name), nulls_first=False) for name in ("#p0", "#t")
                ]
            ),
        )
        walk = Walk("points", {"keys": 1, "functions": calls, "with_rows": False})
        made = walk_table(next(self.lowered.numbers), "rows", "#q", rows, walk)
        return exp.Select(
            expressions=[
                exp.alias_(column("#p0"), exp.to_identifier("#g", quoted=True)),
                exp.alias_(time.copy(), exp.to_identifier("#at", quoted=True)),
                *(column(name) for call in calls for name in call["outputs"]),
            ],
            from_=exp.From(this=made),
        )

    def _relation_number(self) -> int | None:
        relation = self.rows.relation
        if relation is None:
            return None
        return next(i for i, r in enumerate(self.lowered.relations) if r is relation)

    # Expressions over windows

    def place_other(self, node: exp.Expr) -> bool:
        if is_aggregate(node):
            node.replace(self._aggregate(node))
            return True
        if self._plan.shown and identity(node) in self._plan.shown:
            node.replace(self._aggregate(exp.AnyValue(this=node.copy())))
            return True
        return False

    def place_column(self, node: exp.Column) -> None:
        name = node.name.casefold()
        found = self.rows.origin(node)
        if found is None and name in PSEUDO_COLUMNS and not node.table:
            node.replace(column(PSEUDO_COLUMNS[name]))
            return
        if self.is_alias(node):
            return
        if self.rows.is_time(node):
            node.replace(column("#at" if self._has_points else "#label"))
            return
        is_kept = isinstance(found, RelationColumn) and found.kind in _KEEPERS
        if not is_kept and identity(node) not in self._plan.shown:
            raise SqlError(
                f"{node.name} is neither aggregated nor a key",
                field=node.name,
                hint=f"use an aggregate such as last({node.name}), or PARTITION BY {node.name}",
            )
        node.replace(self._aggregate(exp.AnyValue(this=node.copy())))

    def _aggregate(self, node: exp.Expr) -> exp.Column:
        """The column of an aggregate of the rows of each window."""
        inside = next((call for each in node.walk() if (call := call_of(each))), None)
        if inside is not None:
            raise SqlError(
                f"{inside['name']} is one value per window, and cannot be aggregated in it",
                field=inside["name"],
                hint="aggregate it in a SELECT around this one",
            )
        made = exp.Paren(this=node.copy())
        for inner in list(made.find_all(exp.Column)):
            inner.replace(column("#t") if self.rows.is_time(inner) else self.rows.add(inner))
        if self._plan.has_empty:
            _leave_out_empty(made.this)
        for star in list(made.find_all(exp.Star)):
            star.replace(column("#t"))
        number = len(self._aggregates)
        text = made.this.sql(dialect="duckdb")
        name, _ = self._aggregates.setdefault(text, (f"#x{number}", made.this))
        return column(name)

    def _point(self, key: str, call: Call, columns: list[str]) -> str:
        """The column of a point function."""
        number = len(self._points)
        found = self._points.setdefault(
            key,
            {
                "name": call["name"],
                "columns": columns,
                "options": call["options"],
                "outputs": [f"#q{number}_{n}" for n in range(max(len(call["outputs"]), 1))],
            },
        )
        name: str = found["outputs"][0]
        return name

    def place_call(self, node: exp.Expr, call: Call) -> exp.Expr:
        columns = [self.rows.add(argument).name for argument in node.expressions]
        key = f"{node.sql()} {sorted(call['options'].items())}"
        if call["is_point"]:
            return column(self._point(key, call, columns))
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


def _join_by_window(query: exp.Select, alias: str, side: str | None = None) -> exp.Join:
    name = exp.TableAlias(this=exp.to_identifier(alias, quoted=True))
    return exp.Join(
        this=exp.Subquery(this=query, alias=name),
        using=[exp.to_identifier("#g", quoted=True)],
        side=side,
    )


def _leave_out_empty(node: exp.Expr) -> None:
    """Filters rows that stand for a window without rows."""
    present = exp.Not(this=exp.Is(this=column("#t"), expression=exp.Null()))
    if isinstance(node, exp.Filter):
        where = node.expression
        where.set("this", exp.and_(where.this, present))
    else:
        inner = node.copy()
        node.replace(exp.Filter(this=inner, expression=exp.Where(this=present)))
