"""Functions that the peers have under names or with meanings that the executing database lacks.

1. LAST(x) is the newest value that is not null, LAST_ROW(x) the newest row's even if null, FIRST(x)
   the oldest that is not null: by the table's time, not by the order of a scan. They are rewritten
   in a SELECT that reads one table; with joins they keep the executing database's meaning.
2. PERCENTILE(x, p) is exact, between two values on the line of both; APERCENTILE(x, p) comes from a
   t-digest. ``p`` is from 0 to 100. EXTREME(x) is the value farthest from zero, the positive one of
   two. HYPERLOGLOG(x) counts distinct values roughly. They need no time.
3. Calls with parameters by name, as IoTDB writes them, are functions of analysis.
4. ``_rowts`` and ``_c0`` are the time of a row.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp

from mainstem_engine.errors import SqlError
from mainstem_engine.sql.select.relations import TIME
from mainstem_engine.sql.select.stars import refuse_star

Build = Callable[[exp.Expr, exp.Expr], exp.Expr]
"""Makes the function of its argument and the time."""


def _newest_row(value: exp.Expr, time: exp.Expr) -> exp.Expr:
    return exp.Anonymous(this="arg_max_null", expressions=[value, time])


def _time_where(kind: type[exp.Max] | type[exp.Min]) -> Build:
    def build(value: exp.Expr, time: exp.Expr) -> exp.Expr:
        present = exp.Not(this=exp.Is(this=value, expression=exp.Null()))
        return exp.Filter(this=kind(this=time), expression=exp.Where(this=present))

    return build


def _newest(value: exp.Expr, time: exp.Expr) -> exp.Expr:
    return exp.ArgMax(this=value, expression=time)


def _oldest(value: exp.Expr, time: exp.Expr) -> exp.Expr:
    return exp.ArgMin(this=value, expression=time)


_OF_TIME: dict[type[exp.Expr] | str, Build] = {
    exp.Last: _newest,
    exp.LastValue: _newest,
    exp.First: _oldest,
    exp.FirstValue: _oldest,
    "last_row": _newest_row,
    "max_time": _time_where(exp.Max),
    "min_time": _time_where(exp.Min),
}


def _spread(value: exp.Expr) -> exp.Expr:
    return exp.paren(exp.Sub(this=exp.Max(this=value), expression=exp.Min(this=value.copy())))


def _extreme(value: exp.Expr) -> exp.Expr:
    high, low = exp.Max(this=value), exp.Min(this=value.copy())
    is_high = exp.GTE(this=high, expression=exp.Neg(this=low))
    return exp.Case(ifs=[exp.If(this=is_high, true=high.copy())], default=low.copy())


_PLAIN: dict[str, Callable[[exp.Expr], exp.Expr]] = {
    "max_value": lambda value: exp.Max(this=value),
    "min_value": lambda value: exp.Min(this=value),
    "spread": _spread,
    "extreme": _extreme,
    "hyperloglog": lambda value: exp.ApproxDistinct(this=value),
}
_PERCENTILES = {"percentile": "quantile_cont", "apercentile": "approx_quantile"}


def rewrite_peer_functions(select: exp.Select, time: exp.Column | None) -> None:
    """Rewrites the functions of one SELECT; sub-queries are left alone. ``time``: of its one table,
    None where there are several or none. Raises SqlError for percentiles without a rank."""
    for node in list(select.find_all(exp.Func)):
        if node.find_ancestor(exp.Select) is not select or _is_windowed(node):
            continue
        made = _rewritten(node, time)
        if made is not None:
            node.replace(made)


def _rewritten(node: exp.Func, time: exp.Column | None) -> exp.Expr | None:
    name = node.name.casefold() if isinstance(node, exp.Anonymous) else ""
    if name in _PERCENTILES:
        return _percentile(name, node.expressions)
    value = node.this
    if isinstance(node, exp.Anonymous):
        value = node.expressions[0] if len(node.expressions) == 1 else None
    if not isinstance(value, exp.Expr) or isinstance(value, exp.Order):
        return None
    if name in _PLAIN or name in _OF_TIME or type(node) in _OF_TIME:
        refuse_star(node, name or node.sql_name().lower())
    if name in _PLAIN:
        return _PLAIN[name](value.copy())
    build = _OF_TIME.get(name) or _OF_TIME.get(type(node))
    if build is None or time is None:
        return None
    return build(value.copy(), time.copy())


def _percentile(name: str, arguments: list[exp.Expr]) -> exp.Expr | None:
    """APERCENTILE may name its algorithm, which makes no difference here."""
    ranks = [argument for argument in arguments[1:] if not _is_text(argument)]
    if any(isinstance(argument, exp.EQ) for argument in arguments):
        return None
    if not ranks:
        raise SqlError(
            f"{name} needs a rank from 0 to 100", field=name, hint=f"{name.upper()}(x, 50)"
        )
    shares = [_share(name, rank) for rank in ranks]
    share = shares[0] if len(shares) == 1 else exp.Array(expressions=shares)
    value = exp.cast(arguments[0].copy(), exp.DType.DOUBLE)
    return exp.Anonymous(this=_PERCENTILES[name], expressions=[value, share])


def _share(name: str, rank: exp.Expr) -> exp.Expr:
    if isinstance(rank, exp.Literal):
        if not 0 <= float(rank.this) <= 100:
            raise SqlError(
                f"{name}: the rank is from 0 to 100, not {rank.this}",
                field=name,
                hint=f"{name.upper()}(x, 50) is the median",
            )
        return exp.Literal.number(repr(float(rank.this) / 100))
    return exp.Div(this=exp.paren(rank.copy()), expression=exp.Literal.number("100.0"))


def _is_text(node: exp.Expr) -> bool:
    if isinstance(node, exp.Column) and node.this.args.get("quoted"):
        return node.name.casefold() in ("t-digest", "default")
    return isinstance(node, exp.Literal) and bool(node.is_string)


def name_row_times(select: exp.Select) -> None:
    """Names the time in place of ``_rowts``, in a SELECT that reads one table of ours."""
    for node in list(select.find_all(exp.Column)):
        if node.name.casefold() in ("_rowts", "_c0") and node.find_ancestor(exp.Select) is select:
            node.set("this", exp.to_identifier(TIME, quoted=True))


def _is_windowed(node: exp.Expr) -> bool:
    parent = node.parent
    while isinstance(parent, exp.IgnoreNulls | exp.RespectNulls | exp.Filter):
        parent = parent.parent
    return isinstance(parent, exp.Window)
