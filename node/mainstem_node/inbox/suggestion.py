"""Which template fits an unknown device: one that is there, else a new one, ready for the file.

The score of a template, 0 to 1: seven tenths for the share of the device's fields that it has (by
name without case, of a type that can hold them), three tenths for the share of its measurements
that the device sends. A device may send only some of them at a time; a field without a measurement
would be put aside.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import yaml

from mainstem_engine.catalog.names import join_path, split_path
from mainstem_engine.catalog.templates import Table
from mainstem_engine.errors import SchemaError
from mainstem_engine.model import ColumnType
from mainstem_node.inbox.unknown import Unknown

FITS = 0.5
"""Below this a template of its own is suggested: half of the fields would be put aside."""
OF_FIELDS, OF_MEASUREMENTS = 0.7, 0.3

_NOT_A_NAME = re.compile(r"[^A-Za-z0-9_]+")


@dataclass(frozen=True, slots=True)
class Suggestion:
    """``exists``: the template is there. ``extra`` fields that it lacks, ``missing`` measurements
    that were not seen. ``yaml``: what belongs into the file, empty if nothing does."""

    template: str
    exists: bool
    score: float
    extra: tuple[str, ...]
    missing: tuple[str, ...]
    device: str
    yaml: str


def suggest(unknown: Unknown, tables: Iterable[Table], prefix: str) -> Suggestion:
    """For one device. ``prefix``: where devices without a path of their own would be."""
    device = suggested_path(unknown, prefix)
    candidates = list(tables)
    if unknown.table or unknown.template:  # its collector, or the series itself, says which one
        wanted = (unknown.table or unknown.template).casefold()
        candidates = [each for each in candidates if each.name.casefold() == wanted]
    best = max(candidates, key=lambda table: score(unknown.fields, table), default=None)
    if best is not None and (
        unknown.table or unknown.template or score(unknown.fields, best) >= FITS
    ):
        names = {m.name.casefold() for m in best.shown}
        return Suggestion(
            best.name,
            True,
            round(score(unknown.fields, best), 2),
            tuple(name for name in unknown.fields if name.casefold() not in names),
            tuple(m.name for m in best.shown if m.name.casefold() not in _folded(unknown.fields)),
            device,
            _subscription(unknown, best.name, device),
        )
    name = unknown.table or unknown.template or new_name(unknown)
    text = _template(name, unknown.fields) + _subscription(unknown, name, device)
    return Suggestion(name, False, 0.0, (), (), device, text)


def score(fields: Mapping[str, ColumnType], table: Table) -> float:
    """How well a template fits, 0 to 1."""
    measurements = {m.name.casefold(): m.type for m in table.shown}
    if not fields or not measurements:
        return 0.0
    held = sum(
        1
        for name, kind in fields.items()
        if name.casefold() in measurements and holds(measurements[name.casefold()], kind)
    )
    return OF_FIELDS * held / len(fields) + OF_MEASUREMENTS * held / len(measurements)


def holds(column: ColumnType, kind: ColumnType) -> bool:
    """True if a column can hold values of a kind."""
    if kind == ColumnType.INT64:
        return column.is_integer or column.is_float
    if kind == ColumnType.DOUBLE:
        return column.is_float
    return column == kind


def suggested_path(unknown: Unknown, prefix: str) -> str:
    """The name itself if it is a path, else below the prefix: a level of the topic an element."""
    try:
        if unknown.name.startswith("root.") and len(split_path(unknown.name)) > 1:
            return unknown.name
    except SchemaError:
        pass
    parts = re.split(r"[/.]", unknown.name)
    elements = [_NOT_A_NAME.sub("_", part).strip("_") for part in parts]
    return join_path([*split_path(prefix), *(each for each in elements if each)])


def new_name(unknown: Unknown) -> str:
    """A template of its own: what the topic begins with is the maker or the line."""
    first = re.split(r"[/.]", unknown.name.removeprefix("root."))[0]
    name = _NOT_A_NAME.sub("_", first).strip("_") or "device"
    return name if name[0].isalpha() else f"t_{name}"


def _folded(names: Iterable[str]) -> set[str]:
    return {name.casefold() for name in names}


def _template(name: str, fields: Mapping[str, ColumnType]) -> str:
    measurements = {each: {"type": kind.name} for each, kind in fields.items()}
    return _yaml({"templates": {name: {"measurements": measurements}}})


def _subscription(unknown: Unknown, template: str, device: str) -> str:
    """What reads a topic for good."""
    if not unknown.is_topic:
        return ""
    entry = {"topic": unknown.name, "template": template, "device": device}
    return _yaml({"subscriptions": [entry]})


def _yaml(data: object) -> str:
    text: str = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=1000)
    return text
