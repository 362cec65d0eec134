"""``FROM a, b ALIGN BY TIME`` (or DEVICE): several paths as one table of all their devices.

1. Names after the first leave FROM. The table that is left stands for the devices of all of them,
   as a pattern would, and is aligned as one: a row per time, devices side by side, or one row per
   device and time.
2. A column that is qualified with a path's alias or last element is shown of that device only.
3. Without ALIGN BY the same holds for paths that are written from the root, if they have no aliases
   and no column is qualified: every device has the columns then.
"""

from __future__ import annotations

import numpy as np
from sqlglot import exp

from mainstem_engine.catalog.catalog import Catalog
from mainstem_engine.catalog.names import ROOT
from mainstem_engine.errors import SqlError
from mainstem_engine.model import DeviceIds
from mainstem_engine.sql.grammar.dialect import ALIGN, NAME
from mainstem_engine.sql.select.relations import Relation, find_relation, make_relation, members_of
from mainstem_engine.sql.select.suffixes import SUFFIX
from mainstem_engine.sql.statements import Name

MORE = "mainstem_more"
"""Meta entry of a table node: the names of the other tables that it stands for."""
PATHS_MAX = 64
"""Names in FROM; a pattern names any number of devices."""

_EVERYTHING = Name((ROOT, "**"), frozenset({1}))


def join_paths(tree: exp.Expr) -> None:
    """Rules 1 and 3, of a statement and of sub-queries with ALIGN BY. Raises SqlError for tables
    that cannot be aligned so."""
    for select in list(tree.find_all(exp.Select)):
        if select is tree or ALIGN in select.meta:
            _join_paths(select)


def _join_paths(tree: exp.Expr) -> None:
    joins = tree.args.get("joins")
    from_ = tree.args.get("from_")
    if not joins or from_ is None or not (ALIGN in tree.meta or _are_paths(tree)):
        return
    nodes = [from_.this, *(join.this for join in joins)]
    if not all(_is_plain(join) for join in joins) or not all(NAME in node.meta for node in nodes):
        raise SqlError(
            "ALIGN BY aligns devices, not JOINs or sub-queries",
            field="ALIGN BY",
            hint="write FROM a, b ALIGN BY TIME with paths, or ALIGN(EVERY 1m)",
        )
    if len(nodes) > PATHS_MAX:
        raise SqlError(f"FROM has more than {PATHS_MAX} names", hint="use a pattern")
    names = [node.meta[NAME] for node in nodes]
    ends = [name.elements[-1] for name in names]
    for node, name, end in zip(nodes, names, ends, strict=True):
        if node.alias:
            _qualify(tree, node.alias, name)
        elif ends.count(end) == 1 and not name.is_pattern:
            _qualify(tree, end, name)
    first = nodes[0]
    first.set("alias", None)
    first.meta[MORE] = tuple(names[1:])
    tree.set("joins", None)


def _are_paths(tree: exp.Expr) -> bool:
    nodes = [tree.args["from_"].this, *(join.this for join in tree.args["joins"])]
    names = [node.meta.get(NAME) for node in nodes]
    return (
        all(name is not None and name.elements[0] == ROOT for name in names)
        and not any(node.alias for node in nodes)
        and all(_is_plain(join) for join in tree.args["joins"])
        and not any(column.table for column in tree.find_all(exp.Column))
    )


def _is_plain(join: exp.Expr) -> bool:
    keys = ("on", "using", "side", "method")
    return not any(join.args.get(key) for key in keys) and join.args.get("kind") in (None, "")


def _qualify(tree: exp.Expr, alias: str, name: Name) -> None:
    """Columns of an alias are those of the path's devices."""
    for column in list(tree.find_all(exp.Column)):
        if column.table.casefold() != alias.casefold() or isinstance(column.this, exp.Star):
            continue
        if name.is_pattern:
            raise SqlError(f"{column.sql()}: {alias} is a pattern", hint="name the column alone")
        plain = exp.column(column.this.copy())
        plain.meta[SUFFIX] = name.elements
        column.replace(plain)


def find_joined(catalog: Catalog, names: tuple[Name, ...], database: str, alias: str) -> Relation:
    """One table of the devices of all names. Raises NotFoundError."""
    ids: list[DeviceIds] = []
    for name in names:
        found = find_relation(catalog, name, database, alias, by_itself=True)
        for member in found.members:
            of_all = catalog.devices.of_family(member.table.family)
            ids.append(of_all if member.devices is None else member.devices)
    devices = np.unique(np.concatenate(ids)).tolist()
    return make_relation(
        _EVERYTHING, alias, members_of(catalog, devices), is_path=True, by_itself=True
    )
