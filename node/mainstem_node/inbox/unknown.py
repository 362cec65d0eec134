"""One unknown device: what the quarantine keeps of it, as people see it.

1. Rows are grouped by template and name: the path that the device would have, the topic where
   there is none, or the series or source that no template was found for.
2. Values are read from what the quarantine shows. The type of a field is the narrowest that all of
   its values have: BOOLEAN, INT64, DOUBLE, TEXT. Text counts as a number if all of it is one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mainstem_engine.model import ColumnType
from mainstem_node import reasons
from mainstem_node.inbox.book import identity

FIELDS_MAX = 100
"""Fields shown of a device; more are one row with generated names."""
SAMPLE_CHARS_MAX = 400
NOT_VALUES = frozenset({"ts", "timestamp", "time", "device"})
"""What rows carry besides their measurements."""
DEPTH_MAX = 8
"""Of nested objects in a payload; deeper ones are nobody's measurements."""


@dataclass(frozen=True, slots=True)
class KeptRow:
    """A row of the quarantine, read. ``values`` is None if it cannot be read any more (cut).
    ``template``: the one that it asked for in vain; ``tags`` as it says itself."""

    name: str
    values: Mapping[str, Any] | None
    template: str = ""
    tags: Mapping[str, Any] = field(default_factory=dict)


def read_item(item: Mapping[str, Any]) -> KeptRow | None:
    """An item of the quarantine as a row of an unknown device; None if it is none."""
    if item["reason"] not in reasons.INBOX or item["measurement"]:
        return None
    if item["reason"] == reasons.UNKNOWN_TOPIC:
        return KeptRow(item["device"], _of_payload(item["device"], item["value"]))
    value = _parsed(item["value"])
    found = value if isinstance(value, dict) else None
    if item["device"]:
        return KeptRow(item["device"], None if found is None else _values(found))
    if found is None:
        return None
    if "measurement" in found and isinstance(found.get("fields"), dict):
        tags = found["tags"] if isinstance(found.get("tags"), dict) else {}
        name = ".".join([str(found["measurement"]), *map(str, tags.values())])
        return KeptRow(name, found["fields"], str(found["measurement"]), tags)
    source = str(found.pop("source", ""))
    return KeptRow(source, found) if source else None


def _of_payload(topic: str, text: Any) -> dict[str, Any] | None:
    """The values of a message: those of an object, or its one value under the topic's last level.
    None for what is no JSON."""
    value = _parsed(text)
    if isinstance(value, list):
        value = next((each for each in value if isinstance(each, dict)), None)
    if isinstance(value, dict):
        inner = value.get("values")
        return _values(inner if isinstance(inner, dict) else value)
    return {topic.rpartition("/")[2]: value} if isinstance(value, bool | int | float) else None


def _values(found: Mapping[str, Any], prefix: str = "", depth: int = 0) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in found.items():
        if isinstance(value, dict) and depth < DEPTH_MAX:
            values |= _values(value, f"{prefix}{name}.", depth + 1)
        elif isinstance(value, bool | int | float | str) and (
            prefix or str(name).casefold() not in NOT_VALUES
        ):
            values[f"{prefix}{name}"] = value
    return values


def _parsed(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None


def type_of(value: object) -> ColumnType:
    """The narrowest type of a value."""
    match value:
        case bool():
            return ColumnType.BOOLEAN
        case int():
            return ColumnType.INT64
        case float():
            return ColumnType.DOUBLE
        case str() if _is_number(value):
            return ColumnType.DOUBLE
        case _:
            return ColumnType.TEXT


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _wider(one: ColumnType, other: ColumnType) -> ColumnType:
    if one == other:
        return one
    numbers = {ColumnType.INT64, ColumnType.DOUBLE}
    return ColumnType.DOUBLE if {one, other} == numbers else ColumnType.TEXT


@dataclass(slots=True)
class Unknown:
    """A device that is not there. Times are ms; ``first_ms`` and ``last_ms`` are arrivals."""

    table: str
    name: str
    first_ms: int = 0
    last_ms: int = 0
    rows: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    sample: Any = None
    fields: dict[str, ColumnType] = field(default_factory=dict)
    template: str = ""
    tags: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return identity(self.table, self.name)

    @property
    def is_topic(self) -> bool:
        """True if its name is a topic that nobody asked for."""
        return reasons.UNKNOWN_TOPIC in self.reasons

    def add(self, row: KeptRow, item: Mapping[str, Any]) -> None:
        """A row; the newest comes first."""
        if not self.rows:
            self.last_ms = item["at"]
            value = item["value"]
            self.sample = value[:SAMPLE_CHARS_MAX] if isinstance(value, str) else value
            self.template, self.tags = row.template, row.tags
        self.first_ms = item["at"]
        self.rows += 1
        self.reasons[item["reason"]] = self.reasons.get(item["reason"], 0) + 1
        for name, value in (row.values or {}).items():
            kind = type_of(value)
            known = self.fields.get(name)
            if known is not None:
                self.fields[name] = _wider(known, kind)
            elif len(self.fields) < FIELDS_MAX:
                self.fields[name] = kind


def gathered(items: Iterable[Mapping[str, Any]], devices_max: int) -> tuple[list[Unknown], bool]:
    """(unknown devices, the one that came last first; True if there are more)."""
    found: dict[tuple[str, str], Unknown] = {}
    more = False
    for item in items:
        row = read_item(item)
        if row is None:
            continue
        key = (item["table"], row.name)
        unknown = found.get(key)
        if unknown is None:
            if len(found) >= devices_max:
                more = True
                continue
            unknown = found[key] = Unknown(*key)
        unknown.add(row, item)
    return list(found.values()), more
