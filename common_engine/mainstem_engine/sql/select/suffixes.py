"""Measurements named with the end of a path: ``SELECT count(d1.s1) FROM root.plant_a.**``.

1. What stands before the measurement is the end of a device's path. The table is narrowed to the
   devices that are named so, and the column loses its qualifier.
2. Devices stand side by side as ever; an item is shown of the devices that its columns name.
3. ``FROM root.plant_a`` that is no device stands for all below it, if columns are named so.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from sqlglot import exp

from mainstem_engine.catalog.catalog import Catalog
from mainstem_engine.catalog.names import ROOT, split_path
from mainstem_engine.errors import NotFoundError
from mainstem_engine.sql.select.relations import Relation
from mainstem_engine.sql.statements import Name

SUFFIX = "mainstem_suffix"
"""Meta entry of a column: the end of the path of its device, as a tuple."""


def below_prefix(tree: exp.Expr, name: Name) -> Name | None:
    """The pattern that a name in FROM stands for when columns name devices below it."""
    if name.is_pattern or name.elements[0] != ROOT or not any(True for _ in _qualified(tree)):
        return None
    return Name((*name.elements, "**"), frozenset({len(name.elements)}))


def resolve_suffixes(tree: exp.Expr, relation: Relation, catalog: Catalog) -> None:
    """Rule 1, for a statement that reads ``relation`` alone. Raises NotFoundError for a device that
    is not of the table."""
    wanted: set[tuple[str, ...]] = set()
    for column in list(_qualified(tree)):
        suffix = tuple(part.name for part in column.parts[:-1])
        if suffix == (relation.alias,):
            continue
        wanted.add(suffix)
        plain = exp.column(column.this.copy())
        plain.meta[SUFFIX] = suffix
        column.replace(plain)
    if not wanted:
        return
    found: set[tuple[str, ...]] = set()
    for member in relation.members:
        if member.devices is None:
            continue
        paths = [tuple(split_path(path)) for path in catalog.devices.paths(member.devices.tolist())]
        ends = [{suffix for suffix in wanted if path[-len(suffix) :] == suffix} for path in paths]
        found = found.union(*ends)
        member.devices = member.devices[np.array([bool(end) for end in ends], np.bool_)]
    for suffix in sorted(wanted - found):
        path = ".".join(suffix)
        raise NotFoundError(
            f"no device of {relation.name} is called {path}",
            field=path,
            hint="SHOW DEVICES lists them",
        )
    relation.members[:] = [m for m in relation.members if m.devices is None or len(m.devices)]


def is_named_so(item: exp.Expr, path: str) -> bool:
    """False when a column of an item is of a device whose path ends otherwise."""
    elements = None
    for column in item.find_all(exp.Column):
        suffix = column.meta.get(SUFFIX)
        if suffix is not None:
            elements = elements or split_path(path)
            if tuple(elements[-len(suffix) :]) != suffix:
                return False
    return True


def _qualified(tree: exp.Expr) -> Iterator[exp.Column]:
    for column in tree.find_all(exp.Column):
        if column.table and not isinstance(column.this, exp.Star):
            yield column
