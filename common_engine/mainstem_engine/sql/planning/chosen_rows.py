"""Columns beside a function that chooses a row: ``SELECT MAX(a), b`` has the ``b`` of that row.

1. It is meant where a SELECT of one table, without GROUP BY, has exactly one of MAX, MIN, FIRST,
   LAST and LAST_ROW, of columns and operators, and no other function. Of equal values any row may
   be chosen.
2. Each column that stands outside of the function becomes the value of the row where the function
   has its own: null if the row has none. Keys of PARTITION BY, tags and devices beside them or of
   a pattern (which partition it), and the time of windows stay as they are.
"""

from __future__ import annotations

from sqlglot import exp

from mainstem_engine.errors import SqlError
from mainstem_engine.sql.grammar.clauses import MERGE, PARTITION, PARTITIONED, WINDOW
from mainstem_engine.sql.grammar.dialect import TEXT
from mainstem_engine.sql.planning.group_columns import is_row_time
from mainstem_engine.sql.select.relations import TIME, Relation

_BY_VALUE: dict[type[exp.Expr], str] = {exp.Max: "arg_max_null", exp.Min: "arg_min_null"}
_BY_NAME = {"max_value": "arg_max_null", "min_value": "arg_min_null", "last_row": "arg_max_null"}
_BY_TIME: dict[type[exp.Expr], str] = {
    exp.Last: "arg_max_null",
    exp.LastValue: "arg_max_null",
    exp.First: "arg_min_null",
    exp.FirstValue: "arg_min_null",
}

_OTHERS = (exp.Query, exp.Window, exp.Star, exp.Filter, exp.IgnoreNulls, exp.RespectNulls)
"""With one of these in an item, it is SQL of its own."""


def name_chosen_rows(select: exp.Select, relation: Relation, time: exp.Column) -> None:
    """Rewrites the columns beside the one function that chooses a row, if there are any."""
    is_grouped = select.args.get("group") is not None and PARTITIONED not in select.meta
    if is_grouped or select.args.get("distinct") is not None:
        return
    chooser = _chooser(select)
    if chooser is None:
        return
    columns = [
        node
        for item in select.expressions
        for node in item.find_all(exp.Column)
        if _is_chosen(node, chooser, select, relation)
    ]
    for column in columns:
        made = exp.Anonymous(
            this=_name_of(chooser), expressions=[column.copy(), _key(chooser, time)]
        )
        if column.parent is select:
            column.replace(exp.alias_(made, column.name, quoted=True))
        else:
            column.replace(made)


def expand_cols(select: exp.Select) -> None:
    """``count_time(*)``, IoTDB's, counts times. ``cols(last(a), b, c AS d)``, TDengine's, becomes
    an item for each column of the row. Raises SqlError where it is not understood."""
    time = exp.column(exp.to_identifier(TIME, quoted=True))
    items: list[exp.Expr] = []
    for item in select.expressions:
        node = item.unalias()
        name = node.name.casefold() if isinstance(node, exp.Anonymous) else ""
        if name == "count_time":
            # Of rows, whatever columns are named.
            times = exp.Count(this=exp.Distinct(expressions=[time.copy()]), big_int=True)
            items.append(exp.alias_(times, item.alias or item.meta.get(TEXT), quoted=True))
            continue
        if name != "cols":
            items.append(item)
            continue
        chooser = node.expressions[0] if len(node.expressions) > 1 else None
        if chooser is None or not _name_of(chooser):
            raise SqlError(
                "COLS takes a function that chooses a row, and columns",
                field="COLS",
                hint="write cols(last(ts), a, b); also FIRST, MAX and MIN",
            )
        for column in node.expressions[1:]:
            if isinstance(column, exp.Star):
                raise SqlError("COLS takes columns, not *", field="COLS", hint="name them")
            value = column.unalias()
            key = _key(chooser, time)
            made = exp.Anonymous(this=_name_of(chooser), expressions=[value.copy(), key])
            name = column.alias or (column.name if isinstance(column, exp.Column) else value.sql())
            items.append(exp.alias_(made, name, quoted=True))
    select.set("expressions", items)


def _chooser(select: exp.Select) -> exp.Expr | None:
    """The one function that chooses a row; None where there is none, or anything beside it."""
    found: list[exp.Expr] = []
    for item in select.expressions:
        if item.find(*_OTHERS) is not None:
            return None
        for node in item.walk():
            if _name_of(node):
                found.append(node)
            elif isinstance(node, exp.Func):
                return None
    return found[0] if len(found) == 1 else None


def _name_of(node: exp.Expr) -> str:
    """The function that finds another column of the row that ``node`` chooses; empty for others."""
    if isinstance(node, exp.Anonymous):
        is_single = len(node.expressions) == 1
        return _BY_NAME.get(node.name.casefold(), "") if is_single else ""
    given = {key for key, value in node.args.items() if value}
    if given != {"this"} or not isinstance(node.this, exp.Expr):
        return ""
    return _BY_VALUE.get(type(node)) or _BY_TIME.get(type(node), "")


def _key(chooser: exp.Expr, time: exp.Column) -> exp.Expr:
    """What is greatest or least in the row that is chosen, null in rows that cannot be."""
    if isinstance(chooser, exp.Anonymous) and chooser.name.casefold() == "last_row":
        return time.copy()
    value: exp.Expr = chooser.expressions[0] if isinstance(chooser, exp.Anonymous) else chooser.this
    if type(chooser) not in _BY_TIME:
        return value.copy()
    present = exp.Not(this=exp.Is(this=value.copy(), expression=exp.Null()))
    return exp.Case(ifs=[exp.If(this=present, true=time.copy())])


def _is_chosen(node: exp.Column, chooser: exp.Expr, select: exp.Select, relation: Relation) -> bool:
    column = relation.columns.get(node.name.casefold())
    if column is None or _is_within(node, chooser):
        return False
    clauses = (select.args.get(PARTITION), select.args.get("group"))
    keys = {
        key.name.casefold()
        for clause in clauses
        if isinstance(clause, exp.Expr)
        for key in clause.find_all(exp.Column)
    }
    if node.name.casefold() in keys:
        return False
    if is_row_time(column):
        return not any(select.args.get(key) for key in (WINDOW, MERGE))
    return column.kind in ("MEASUREMENT", "MEAN") or not (keys or relation.name.is_pattern)


def _is_within(node: exp.Expr, outer: exp.Expr) -> bool:
    parent: exp.Expr | None = node
    while parent is not None and parent is not outer:
        parent = parent.parent
    return parent is outer
