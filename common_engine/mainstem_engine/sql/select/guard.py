"""What a query may not contain, checked before anything is read.

The executing database is closed off by its own configuration (no files, no network, no extensions,
settings locked), and looks itself at the text that it is to run (admission.py). This check comes
first: it gives a clear message, and depends on neither. Table functions are allowed by name,
everything else in FROM must be a table of ours; functions on the list of refused ones are refused.
"""

from __future__ import annotations

from sqlglot import exp

from mainstem_engine.errors import SqlUnsupportedError
from mainstem_engine.sql.select.function_list import PLACE, is_refused
from mainstem_engine.sql.select.trees import find_nodes

_TABLE_FUNCTIONS = (exp.GenerateSeries, exp.Unnest, exp.Explode, exp.Values)
_REFUSED_NODES: dict[type[exp.Expr], tuple[str, str]] = {
    exp.Pivot: ("PIVOT", "use aggregates with FILTER (WHERE ...)"),
    exp.Into: ("SELECT INTO", "INSERT the rows, or export them"),
    exp.Lock: ("FOR UPDATE", "leave it out: rows are never locked"),
    exp.HistoricalData: ("AT (VERSION ...)", "leave it out"),
    exp.Summarize: ("SUMMARIZE", "use SELECT with count, min, max, avg"),
    exp.Describe: ("DESCRIBE in a query", "use DESCRIBE by itself"),
    exp.Command: ("this command", "use SELECT"),
    exp.DDL: ("a definition in a query", "use it by itself"),
    exp.DML: ("a change in a query", "use it by itself"),
}

_CHECKED: tuple[type[exp.Expr], ...] = (
    *_REFUSED_NODES,
    exp.Placeholder,
    exp.Parameter,
    exp.SessionParameter,
    exp.Table,
    exp.Func,
)
"""Everything that _check_node looks at."""


def check_query(tree: exp.Expr) -> None:
    """Raises SqlUnsupportedError, naming the construct, when a query holds what is not run."""
    for node in find_nodes(tree, *_CHECKED):
        _check_node(node)


def _check_node(node: exp.Expr) -> None:
    for kind, (what, hint) in _REFUSED_NODES.items():
        if isinstance(node, kind):
            raise SqlUnsupportedError(f"{what} is not supported", hint=hint)
    if isinstance(node, exp.Placeholder) and not (node.name or "").isdecimal():
        raise SqlUnsupportedError(
            f"parameter {node.name!r} is not supported", hint="write ? and pass values in order"
        )
    if isinstance(node, exp.Parameter | exp.SessionParameter):
        raise SqlUnsupportedError("variables are not supported", hint="write ? and pass values")
    if isinstance(node, exp.Table) and isinstance(node.this, exp.Func):
        if not isinstance(node.this, _TABLE_FUNCTIONS):
            raise SqlUnsupportedError(
                f"table function {_function_name(node.this)} is not available", hint=PLACE
            )
    elif isinstance(node, exp.Func):
        name = _function_name(node)
        if is_refused(name):
            raise SqlUnsupportedError(f"function {name} is not available", hint=PLACE)


def _function_name(node: exp.Func) -> str:
    name = node.name if isinstance(node, exp.Anonymous) else node.sql_name()
    return name.lower()
