"""Which functions of a statement aggregate."""

from __future__ import annotations

from sqlglot import exp

_NAMED = frozenset(
    {
        "arg_max_null", "arg_min_null", "product", "fsum", "favg", "mad", "entropy", "histogram",
        "kahan_sum", "sumkahan", "geomean", "geometric_mean", "kurtosis", "kurtosis_pop",
        "skewness", "sem", "quantile_cont", "quantile_disc", "reservoir_quantile",
        "approx_quantile", "approx_top_k", "weighted_avg", "wavg", "bitstring_agg", "countif",
        "arbitrary", "group_concat", "listagg", "mean", "any_value", "string_agg", "list",
        "array_agg", "max_by", "min_by", "argmax", "argmin", "map_agg",
    }
)  # fmt: skip
"""Aggregates that sqlglot does not know as such."""
_WRAPPERS = (exp.Filter, exp.WithinGroup, exp.IgnoreNulls, exp.RespectNulls)


def is_aggregate(node: exp.Expr) -> bool:
    """True for an aggregate, with its FILTER and the like; False for functions of OVER."""
    if isinstance(node, _WRAPPERS):
        return is_aggregate(node.this)
    is_known = isinstance(node, exp.AggFunc) or (
        isinstance(node, exp.Anonymous) and node.name.casefold() in _NAMED
    )
    if not is_known:
        return False
    parent = node.parent
    while isinstance(parent, _WRAPPERS):
        parent = parent.parent
    return not isinstance(parent, exp.Window)
