"""Values of tags as callers give them: checked against what their template declares.

A value that its type cannot hold is refused here, before it is logged: every row of the device
would have it, and no query of the table could be answered.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mainstem_engine.catalog.devices import TagValue
from mainstem_engine.catalog.templates import Table
from mainstem_engine.errors import NotFoundError, OutOfRangeError, SchemaError
from mainstem_engine.model import ColumnType


def check_tag_names(
    table: Table | None, tags: Mapping[str, Sequence[Any]] | None, count: int
) -> None:
    """Raises NotFoundError for a tag that is not declared, SchemaError for a wrong length."""
    for name, values in (tags or {}).items():
        listed = hasattr(values, "__len__") and not isinstance(values, str | bytes)
        if not listed or len(values) != count:
            raise SchemaError(
                f"tag {name}: expected {count} values", field=name, hint="give one per device"
            )
        if table is not None and table.tag(name) is None:
            raise NotFoundError(
                f"template {table.name} has no tag {name!r}",
                field=name,
                hint=f"it has {', '.join(t.name for t in table.template.tags) or 'none'}",
            )


def checked_tags(
    table: Table | None, tags: Mapping[str, Sequence[Any]] | None, count: int
) -> dict[str, list[TagValue]]:
    """Tag columns for ``count`` devices, values of the declared types. Raises SchemaError,
    OutOfRangeError."""
    check_tag_names(table, tags, count)
    checked: dict[str, list[TagValue]] = {}
    for name, values in (tags or {}).items():
        tag = None if table is None else table.tag(name)
        kind = ColumnType.TEXT if tag is None else tag.type
        checked[name if tag is None else tag.name] = _tag_values(name, kind, values)
    return checked


def _tag_values(name: str, kind: ColumnType, values: Sequence[Any]) -> list[TagValue]:
    if kind == ColumnType.TEXT and {type(value) for value in values} <= {str, type(None)}:
        for value in values:
            if value is not None and not value.isascii():
                _check_text(name, value)
        return list(values)
    return [_tag_value(name, kind, value) for value in values]


def _tag_value(name: str, kind: ColumnType, value: Any) -> TagValue:
    if value is None:
        return None
    if hasattr(value, "item"):
        value = value.item()
    wanted: tuple[type, ...]
    if kind == ColumnType.TEXT:
        wanted = (str,)
    elif kind == ColumnType.BLOB:
        wanted = (bytes,)
    elif kind == ColumnType.BOOLEAN:
        wanted = (bool,)
    elif kind.is_float:
        wanted = (int, float)
    else:
        wanted = (int,)
    if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
        raise SchemaError(
            f"tag {name} is {kind.name}, not {type(value).__name__} ({value!r})",
            field=name,
            hint=f"give it a value of type {kind.name}",
        )
    return _within(name, kind, value)


def _within(name: str, kind: ColumnType, value: Any) -> TagValue:
    """``value`` when the type can hold it: one that it cannot would be in every later row."""
    if kind == ColumnType.TEXT:
        _check_text(name, value)
    elif kind.is_float:
        largest = float(np.finfo(kind.dtype).max)
        if isinstance(value, int) or math.isfinite(value):
            _check_range(name, kind, value, -largest, largest)
        return float(value)
    elif kind.dtype.kind in "iu":
        limits = np.iinfo(kind.dtype)
        _check_range(name, kind, value, limits.min, limits.max)
    checked: TagValue = value
    return checked


def _check_range(name: str, kind: ColumnType, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise OutOfRangeError(
            f"tag {name} is {kind.name} and cannot hold {value!r:.60}",
            field=name,
            hint="declare a wider type: ALTER STABLE ... MODIFY TAG",
        )


def _check_text(name: str, value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise SchemaError(
            f"tag {name}: {value!r:.60} is not valid Unicode",
            field=name,
            hint="send it as UTF-8",
        ) from None
