"""What a child says of itself, in the shape that whoever reads it relies on.

1. A status comes from another machine, with those of all nodes below it, and is read at every tier
   above: by the status, the metrics, the console, the commands. What has not its type here is left
   out; the rest stands. So a mistake of one child shows at that child, and nowhere else.
2. A node below without a usable name is left out with everything below it.
3. Fields that are not named here pass as they are: a newer child may say more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from mainstem_sync.wire.fields import NAME_CHARS_MAX

TREE_DEPTH_MAX = 16
"""Tiers of a federation; what another machine sends may be deeper."""

_ITEM_TEXTS = ("id", "node", "table", "reason")


def shaped(status: Mapping[Any, Any], depth: int = 0) -> dict[str, Any]:
    """A status of a child. New, but for what is deeper in it."""
    found: dict[str, Any] = {}
    for key, value in status.items():
        if not isinstance(key, str):
            continue
        if key == "children":
            found[key] = _children(value, depth)
        elif key not in _FIELDS or value is None or _FIELDS[key](value):
            found[key] = value
    if found.get("quarantine") is not None:
        found["quarantine"] = _quarantine(found["quarantine"])
    return found


def _children(value: object, depth: int) -> list[dict[str, Any]]:
    if not isinstance(value, list) or depth >= TREE_DEPTH_MAX:
        return []
    return [
        shaped(child, depth + 1)
        for child in value
        if isinstance(child, dict) and _is_name(child.get("node"))
    ]


def _quarantine(said: Mapping[str, Any]) -> dict[str, Any]:
    found = {**said, "items": _items(said.get("items"))}
    if not _is_number(found.get("bytes")):
        found["bytes"] = 0
    page = found.pop("page", None)
    if isinstance(page, dict):
        found["page"] = {**page, "items": _items(page.get("items"))}
    return found


def _items(value: object) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        return []
    return [item for item in value if isinstance(item, dict) and _is_item(item)]


def _is_item(item: Mapping[Any, Any]) -> bool:
    """An item of a quarantine as the contract has it."""
    texts = all(_is_text(item.get(key)) for key in _ITEM_TEXTS)
    rest = item.keys() >= {"device", "measurement", "time", "value"}
    return texts and rest and _is_number(item.get("at"))


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value.isprintable()


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= NAME_CHARS_MAX and value.isprintable()


def _is_number(value: object) -> bool:
    return type(value) is int or (type(value) is float and math.isfinite(value))


def _is_count(value: object) -> bool:
    return type(value) is int


def _is_map(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(key, str) for key in value)


def _is_delivery(value: object) -> bool:
    """Numbers, and nulls where there are none."""
    return isinstance(value, dict) and all(
        isinstance(key, str) and (each is None or _is_number(each)) for key, each in value.items()
    )


def _is_accounting(value: object) -> bool:
    """Sums and single counts by table. Which terms a sum has is said by accounting.check."""
    return isinstance(value, dict) and all(
        isinstance(table, str) and _is_map(sums) and all(map(_is_sum, sums.values()))
        for table, sums in value.items()
    )


def _is_sum(value: object) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_number(n) for key, n in value.items())
    return value is None or _is_number(value)


def _is_maps(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_map, value))


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


_FIELDS: Mapping[str, Callable[[object], bool]] = {
    "node": _is_name,
    "tier": _is_text,
    "path": _is_text,
    "state": _is_text,
    "paths": _is_texts,
    "now": _is_count,
    "alarms": _is_count,
    "lag_ms": _is_number,
    "clock_offset_ms": _is_number,
    "delivery": _is_delivery,
    "accounting": _is_accounting,
    "completeness": _is_maps,
    "quarantine": _is_map,
    "buffer": _is_map,
    "drops": _is_map,
    "link": _is_map,
}
"""What is read of a node below, with its type; null passes everywhere."""
