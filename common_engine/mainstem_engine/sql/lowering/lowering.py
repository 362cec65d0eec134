"""Lowering: SELECTs with clauses and functions of time become SELECTs over walks.

1. Every SELECT is looked at by itself, sub-queries and common table expressions too, inner ones
   first. What one of DuckDB's can say is left alone.
2. Calls of functions of analysis are bound (calls). A SELECT with a window, or with functions of
   windows, goes to windows; one with point functions only to points.
3. What comes out is a SELECT that reads walks (walk_nodes). Everything that the planner does with a
   tree afterwards sees the rows of a walk as a sub-query.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlglot import exp

from mainstem_engine.analysis.function import WindowFunction
from mainstem_engine.errors import NotFoundError
from mainstem_engine.sql.grammar.clauses import (
    ALIGN_EVERY,
    MERGE,
    PARTITION,
    RANGE,
    WINDOW,
    has_clauses,
)
from mainstem_engine.sql.grammar.dialect import ALIGN, TEXT
from mainstem_engine.sql.grammar.late_lengths import resolve_lengths
from mainstem_engine.sql.lowering.align import lower_align
from mainstem_engine.sql.lowering.interp import is_interp, lower_interp
from mainstem_engine.sql.lowering.lowered import Lowered, own_nodes, put_in_place, refuse
from mainstem_engine.sql.lowering.nested import pull_calls, show_time
from mainstem_engine.sql.lowering.points import lower_points
from mainstem_engine.sql.lowering.windows import lower_windows
from mainstem_engine.sql.select.aggregates import is_aggregate
from mainstem_engine.sql.select.alignment import shape_path_query
from mainstem_engine.sql.select.calls import bind_call, call_of, find_function
from mainstem_engine.sql.select.peer_functions import rewrite_peer_functions
from mainstem_engine.sql.select.projection import HEADING_CHARS_MAX
from mainstem_engine.sql.select.rows_query import RowsQuery
from mainstem_engine.sql.select.stars import expand_star
from mainstem_engine.sql.select.suffixes import resolve_suffixes

_LEFT_OUT = {"qualify": "QUALIFY", "sample": "USING SAMPLE"}
"""Clauses that a SELECT over walks would have to mean otherwise."""


def lower(tree: exp.Query, lowered: Lowered) -> exp.Query:
    """Lowers every SELECT of a statement; returns its tree."""
    for column in tree.find_all(exp.Column):
        _refuse_hidden(column, lowered)
    for select in list(_selects(tree)):
        resolve_lengths(select, lowered.precision_ns, lowered.times.parameter)
        _bind(select, lowered)
        made = lower_select(select, lowered)
        if made is None:
            _align_by(select, lowered)
            continue
        lowered.is_used = True
        if select is tree:
            tree = made
        else:
            put_in_place(select, made)
    return tree


def _align_by(select: exp.Select, lowered: Lowered) -> None:
    """ALIGN BY of a sub-query; that of a whole statement is the planner's."""
    relation = lowered.scopes.only_relation(select)
    if lowered.by_itself or ALIGN not in select.meta or relation is None or not relation.is_path:
        return
    resolve_suffixes(select, relation, lowered.catalog)
    shape_path_query(select, relation, lowered.catalog, lowered.warnings)
    del select.meta[ALIGN]


def _refuse_hidden(column: exp.Column, lowered: Lowered) -> None:
    """Raises NotFoundError for a name that only the columns of walks could answer to."""
    if not column.name.startswith("#"):
        return
    select = column.find_ancestor(exp.Select)
    is_alias = select is not None and column.name in (item.alias for item in select.expressions)
    if not is_alias and lowered.scopes.origin(column, select) is None:
        raise NotFoundError(
            f"there is no column {column.name!r}",
            field=column.name,
            hint="DESCRIBE lists the columns of a table",
        )


def _selects(node: exp.Expr) -> Iterator[exp.Select]:
    """Every SELECT after those that it reads; those of WITH come first, in their order."""
    with_ = node.args.get("with_")
    if isinstance(with_, exp.Expr):
        yield from _selects(with_)
    for child in node.iter_expressions():
        if child is not with_:
            yield from _selects(child)
    if isinstance(node, exp.Select):
        yield node


def _bind(select: exp.Select, lowered: Lowered) -> None:
    groups = _groups(select)
    single = [node for node in own_nodes(select) if _is_single(node)]
    is_named = has_clauses(select)
    if is_named:
        _name_items(select)
    # Inner calls first: an outer one keeps copies of them.
    for node in reversed(list(own_nodes(select))):
        if call_of(node) is not None:
            continue
        beside = any(not _is_inside(node, other) for other in single)
        function = find_function(node, groups=groups or beside)
        if function is not None:
            if not is_named:
                _name_items(select)
                is_named = True
            bind_call(node, function, lowered.times)


def _is_single(node: exp.Expr) -> bool:
    """True for what has one value for all rows: beside it, so have names that are both."""
    if is_aggregate(node):
        return True
    function = find_function(node, groups=True)
    return isinstance(function, WindowFunction) and find_function(node, groups=False) is function


def _is_inside(node: exp.Expr, outer: exp.Expr) -> bool:
    parent = node.parent
    while parent is not None and parent is not outer:
        parent = parent.parent
    return parent is outer


def _name_items(select: exp.Select) -> None:
    """Items of a sub-query without a name are called by their text, as those of the answer are."""
    for item in list(select.expressions):
        if isinstance(item, exp.Alias | exp.Column | exp.Star | exp.Columns):
            continue
        text = str(item.meta.get(TEXT) or item.sql(dialect="duckdb"))[:HEADING_CHARS_MAX]
        alias = exp.Alias(alias=exp.to_identifier(text, quoted=True))
        item.replace(alias)
        alias.set("this", item)


def _groups(select: exp.Select) -> bool:
    return any(select.args.get(key) for key in ("group", WINDOW, MERGE, PARTITION))


def lower_select(select: exp.Select, lowered: Lowered) -> exp.Select | None:
    """The SELECT over walks, None for one that needs none, which may have got a sub-query."""
    calls = [found for node in own_nodes(select) if (found := call_of(node)) is not None]
    args = select.args
    if args.get(ALIGN_EVERY) is not None:
        return lower_align(select, lowered)
    if args.get(RANGE) is not None or any(is_interp(node) for node in own_nodes(select)):
        return lower_interp(select, lowered)
    groups = args.get(WINDOW) is not None or args.get(MERGE) is not None
    if not groups and not calls:
        # FILL by itself comes after the shape of the rows, see fill.
        return None
    relation = lowered.scopes.only_relation(select)
    if relation is not None:
        expand_star(select, relation)
    pull_calls(select, lowered, lower_select)
    calls = [found for node in own_nodes(select) if (found := call_of(node)) is not None]
    if not groups and not calls:
        show_time(select, lowered)
        return None
    for key, clause in _LEFT_OUT.items():
        if args.get(key) is not None:
            raise refuse(
                f"{clause} beside windows or functions of time", "put it around a sub-query"
            )
    rewrite_over_sub_query(select, lowered)
    if groups or any(not call["is_point"] for call in calls):
        return lower_windows(select, lowered)
    return lower_points(select, lowered)


def rewrite_over_sub_query(select: exp.Select, lowered: Lowered) -> None:
    """LAST and its kin over a sub-query go by its time; over a table they did already."""
    rows = RowsQuery(select, lowered.scopes, lowered.times)
    if len(rows.sources) == 1 and rows.relation is None:
        rewrite_peer_functions(select, rows.time())
