"""A SELECT with point functions: rows, the points of each function, and the answer.

1. Functions that keep the rows add a column to them; the SELECT then reads the rows.
2. Any other function makes points, and the SELECT reads these, with their time in front. TDengine's
   selections (TOP, TAIL ...) show what stands beside them in the row of the point. Other functions
   and columns are brought together by time, as IoTDB shows them.
"""

from __future__ import annotations

from typing import Any

from sqlglot import exp

from mainstem_engine.errors import SqlError
from mainstem_engine.sql.grammar.dialect import ALIGN
from mainstem_engine.sql.lowering.answer import Answer
from mainstem_engine.sql.lowering.lowered import Lowered, own_nodes
from mainstem_engine.sql.lowering.query import WalkQuery
from mainstem_engine.sql.select.aggregates import is_aggregate
from mainstem_engine.sql.select.calls import Call, call_of
from mainstem_engine.sql.select.relations import DEVICE, RelationColumn
from mainstem_engine.sql.select.rows_query import column
from mainstem_engine.sql.select.walk_nodes import Walk, walk_table

SELECTIONS = frozenset({"top", "bottom", "unique", "tail", "sample"})
"""Functions whose points are rows, beside which TDengine shows columns of that row."""


def lower_points(select: exp.Select, lowered: Lowered) -> exp.Select:
    """The SELECT over a walk. Raises SqlError for aggregates beside points."""
    return _PointQuery(select, lowered).build()


class _PointQuery(WalkQuery):
    def __init__(self, select: exp.Select, lowered: Lowered) -> None:
        super().__init__(select, lowered)
        self._functions: dict[str, dict[str, Any]] = {}
        self._has_columns = False
        relation = self.rows.relation
        is_pattern = relation is not None and relation.is_path and relation.name.is_pattern
        is_asked = lowered.by_itself or ALIGN in select.meta
        if is_pattern and is_asked and not self.shape.keys:
            # Devices that are named, and so do not stand side by side, are partitions all the same.
            self.rows.add_key(column(DEVICE))

    def build(self) -> exp.Select:
        """The whole answer."""
        time = column("#t")
        answer = Answer(exp.Select(), self.items(), time, column("#s"))
        answer.order = self.order()
        having = self.select.args.get("having")
        condition = None if having is None else self.place(having.this)
        keys = [column(f"#p{number}") for number in range(self.rows.keys)]
        answer.natural = [*keys, time]
        calls = [call for node in own_nodes(self.select) if (call := call_of(node)) is not None]
        keeps_rows = all(call["keeps_rows"] for call in calls)
        is_selection = len(self._functions) == 1 and calls[0]["name"] in SELECTIONS
        walk = Walk(
            "points",
            {
                "keys": self.rows.keys,
                "functions": list(self._functions.values()),
                "with_rows": self._has_columns and not is_selection,
            },
        )
        rows = walk_table(self.number, "rows", "#w", self.rows.build(), walk)
        source = exp.Select(from_=exp.From(this=rows))
        if condition is not None:
            source.where(condition, copy=False)
        shows = (self.shape.shows_time or not keeps_rows) and self.shows_time()
        return self.answer(source, time if shows else None, answer)

    def place_other(self, node: exp.Expr) -> bool:
        if is_aggregate(node):
            raise SqlError(
                "an aggregate is one value, beside functions that make points",
                hint="use a sub-query for one of them",
            )
        return False

    def place_column(self, node: exp.Column) -> None:
        name = node.name.casefold()
        found = self.rows.origin(node)
        if found is None and name == "_rowts" and not node.table:
            node.replace(column("#t"))
        elif self.is_alias(node):
            return
        elif self.rows.is_time(node):
            node.replace(column("#t"))
        else:
            if not isinstance(found, RelationColumn) or found.kind not in ("TAG", "DEVICE"):
                self._has_columns = True
            node.replace(self.rows.add(node))

    def place_call(self, node: exp.Expr, call: Call) -> exp.Expr:
        columns = [self.rows.add(argument).name for argument in node.expressions]
        number = len(self._functions)
        names = call["outputs"] or [""]
        found = self._functions.setdefault(
            f"{node.sql()} {sorted(call['options'].items())}",
            {
                "name": call["name"],
                "columns": columns,
                "options": call["options"],
                "outputs": [f"#f{number}_{n}" for n in range(len(names))],
            },
        )
        return column(found["outputs"][0])
