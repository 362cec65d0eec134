"""Functions that the peers have under names or with meanings that the executing database lacks.

LAST(x) is the newest value that is not null, LAST_ROW(x) the newest row's even if null, FIRST(x)
the oldest that is not null: by the table's time, not by the order of a scan. They are rewritten in
a SELECT that reads one table of ours; with joins they keep the executing database's meaning.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp

from mainstem_engine.sql.relations import TIME


def _time() -> exp.Column:
    return exp.column(exp.to_identifier(TIME, quoted=True))


def _newest(value: exp.Expr) -> exp.Expr:
    return exp.ArgMax(this=value, expression=_time())


def _oldest(value: exp.Expr) -> exp.Expr:
    return exp.ArgMin(this=value, expression=_time())


def _newest_row(value: exp.Expr) -> exp.Expr:
    return exp.Anonymous(this="arg_max_null", expressions=[value, _time()])


def _time_where(kind: type[exp.Max] | type[exp.Min]) -> Callable[[exp.Expr], exp.Expr]:
    def build(value: exp.Expr) -> exp.Expr:
        present = exp.Not(this=exp.Is(this=value, expression=exp.Null()))
        return exp.Filter(this=kind(this=_time()), expression=exp.Where(this=present))

    return build


def _spread(value: exp.Expr) -> exp.Expr:
    return exp.paren(exp.Sub(this=exp.Max(this=value), expression=exp.Min(this=value.copy())))


_BY_NODE: dict[type[exp.Expr], Callable[[exp.Expr], exp.Expr]] = {
    exp.Last: _newest,
    exp.LastValue: _newest,
    exp.First: _oldest,
    exp.FirstValue: _oldest,
}
_BY_NAME: dict[str, Callable[[exp.Expr], exp.Expr]] = {
    "last_row": _newest_row,
    "max_value": lambda value: exp.Max(this=value),
    "min_value": lambda value: exp.Min(this=value),
    "max_time": _time_where(exp.Max),
    "min_time": _time_where(exp.Min),
    "spread": _spread,
}


def rewrite_peer_functions(select: exp.Select) -> None:
    """Rewrites the functions of one SELECT that reads one table; sub-queries are left alone."""
    for node in list(select.find_all(exp.Func)):
        if node.find_ancestor(exp.Select) is not select or _is_windowed(node):
            continue
        build = _BY_NODE.get(type(node))
        value = node.this
        if isinstance(node, exp.Anonymous):
            build = _BY_NAME.get(node.name.lower())
            value = node.expressions[0] if len(node.expressions) == 1 else None
        if build is None or not isinstance(value, exp.Expr) or isinstance(value, exp.Order):
            continue
        node.replace(build(value.copy()))


def _is_windowed(node: exp.Expr) -> bool:
    parent = node.parent
    while isinstance(parent, exp.IgnoreNulls | exp.RespectNulls | exp.Filter):
        parent = parent.parent
    return isinstance(parent, exp.Window)
