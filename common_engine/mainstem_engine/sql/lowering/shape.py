"""The shape of an answer that is lowered: which keys are the statement's own, how they are shown.

1. Keys are those of PARTITION BY and GROUP BY; TAGS(...) adds tags, which are shown.
2. From a pattern of several devices, and with LEVEL, each device or level is a partition, and they
   stand side by side: a column ``<path>.<item>`` each. A query that groups, or shows devices or
   tags, keeps its rows; ALIGN BY DEVICE shows the device in front.
3. From a path, and for points that have times of their own, the time comes first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlglot import exp

from mainstem_engine.catalog.catalog import Catalog
from mainstem_engine.catalog.names import join_path, split_path
from mainstem_engine.sql.grammar.clauses import MERGE, PARTITION, LevelGroups, TagGroups
from mainstem_engine.sql.grammar.dialect import ALIGN
from mainstem_engine.sql.select.alignment import has_columns, names_devices
from mainstem_engine.sql.select.relations import DEVICE, Member, Relation
from mainstem_engine.sql.select.rows_query import column
from mainstem_engine.sql.select.suffixes import is_named_so

_ELEMENT = "`(?:[^`]|``)*`|[^.]+"
"""An element of a path."""


_OF_DEVICE = ("DEVICE", "TBNAME", "TAG")
"""Kinds of columns that have one value per device."""
FROM_PATH = "mainstem_from_path"
"""Meta entry of a SELECT that reads a path through a sub-query of lowering."""


@dataclass(slots=True)
class Shape:
    """``keys``: expressions; ``shown``: (heading, key) of those that come in front of the items;
    ``side``: the key whose values stand side by side, with these values in their order; ``members``
    by value, where only some have all columns. ``by_item``: columns of an item stand together."""

    keys: list[exp.Expr] = field(default_factory=list)
    shown: list[tuple[str, exp.Expr]] = field(default_factory=list)
    side: exp.Expr | None = None
    values: list[str] = field(default_factory=list)
    members: dict[str, Member] = field(default_factory=dict)
    by_item: bool = False
    shows_time: bool = False


def shape_of(
    select: exp.Select, relation: Relation | None, catalog: Catalog, *, by_itself: bool
) -> Shape:
    """``relation``: of the first table. Keys of GROUP BY are still as they are written."""
    partition, group, merge = (select.args.get(key) for key in (PARTITION, "group", MERGE))
    shape = Shape()
    if partition is not None:
        shape.keys += [key.unalias() for key in partition.expressions]
    if group is not None:
        shape.keys += list(group.expressions)
    is_path = relation is not None and relation.is_path and (by_itself or ALIGN in select.meta)
    shape.shows_time = (is_path or FROM_PATH in select.meta) and not select.args.get("distinct")
    if isinstance(merge, TagGroups):
        shape.keys += merge.expressions
        shape.shown += [(key.alias_or_name, key) for key in merge.expressions]
        return shape
    if relation is None:
        return shape
    if isinstance(merge, LevelGroups):
        _set_levels(shape, merge.args["levels"], relation, catalog)
        return shape
    if not is_path or shape.keys:
        return shape
    if select.meta.get(ALIGN) == "DEVICE":
        shape.keys.append(column(DEVICE))
        shape.shown.append((DEVICE, column(DEVICE)))
    elif relation.name.is_pattern and _shows_devices(select, relation):
        shape.keys.append(column(DEVICE))
    elif relation.name.is_pattern and not names_devices(select, relation):
        shape.side = column(DEVICE)
        shape.keys.append(shape.side)
        for path, member in device_members(relation, catalog):
            shape.values.append(path)
            shape.members[path] = member
    return shape


def _shows_devices(select: exp.Select, relation: Relation) -> bool:
    """True when an item is the device or a tag itself: each device is answered for."""
    items = [projection.unalias() for projection in select.expressions]
    columns = [relation.columns.get(i.name.casefold()) for i in items if isinstance(i, exp.Column)]
    return any(found is not None and found.kind in _OF_DEVICE for found in columns)


def device_members(relation: Relation, catalog: Catalog) -> list[tuple[str, Member]]:
    """The devices of a relation, by path."""
    found = [
        (path, member)
        for member in relation.members
        for path in catalog.devices.paths(_ids(member, catalog))
    ]
    return sorted(found, key=lambda pair: pair[0])


def device_count(relation: Relation, catalog: Catalog) -> int:
    """How many devices a relation has."""
    return sum(
        len(catalog.devices.of_family(m.table.family) if m.devices is None else m.devices)
        for m in relation.members
    )


def _ids(member: Member, catalog: Catalog) -> list[int]:
    ids = member.devices
    found: list[int] = (
        catalog.devices.of_family(member.table.family) if ids is None else ids
    ).tolist()
    return found


def _set_levels(shape: Shape, levels: Sequence[int], relation: Relation, catalog: Catalog) -> None:
    # The root is always shown.
    levels = sorted({0, *levels})
    shape.side = _level_key(levels)
    shape.keys.append(shape.side)
    shape.by_item = True
    names = (level_name(path, levels) for path, _ in device_members(relation, catalog))
    shape.values = list(dict.fromkeys(names))


def level_name(path: str, levels: Sequence[int]) -> str:
    """The elements of a path at some levels, ``*`` at those between: ``root.*.d1``."""
    elements = split_path(path)
    kept = [
        join_path([elements[level]]) if level in levels and level < len(elements) else "*"
        for level in range(max(levels) + 1)
    ]
    return ".".join(kept)


def _level_key(levels: Sequence[int]) -> exp.Expr:
    """The expression that is level_name() of the device."""
    elements = exp.Anonymous(
        this="regexp_extract_all", expressions=[column(DEVICE), exp.Literal.string(_ELEMENT)]
    )
    parts: list[exp.Expr] = []
    for level in range(max(levels) + 1):
        if level not in levels:
            parts.append(exp.Literal.string("*"))
            continue
        number = exp.Literal.number(level + 1)
        element = exp.Anonymous(this="list_extract", expressions=[elements.copy(), number])
        parts.append(exp.func("COALESCE", element, exp.Literal.string("*")))
    return exp.Anonymous(this="concat_ws", expressions=[exp.Literal.string("."), *parts])


def stands_beside(shape: Shape, item: exp.Expr, value: str, relation: Relation) -> bool:
    """False for a device that has none of the columns of an item."""
    member = shape.members.get(value)
    return member is None or (has_columns(item, relation, member) and is_named_so(item, value))
