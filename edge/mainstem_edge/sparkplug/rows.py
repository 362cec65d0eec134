"""What comes out of a message: rows of values, and what could not be read of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mainstem_edge.sparkplug.topics import NodeKey

GOOD_CODE, BAD_CODE, STALE_CODE = 192, 0, 500
"""As the property ``Quality`` says it."""

GOOD, UNCERTAIN, BAD, STALE = "good", "uncertain", "bad", "stale"


@dataclass(frozen=True, slots=True)
class Source:
    """Whose values they are: an edge node, one of its devices, or an instance of a template in
    either. ``definition``: the template's name, as the edge node calls it."""

    key: NodeKey
    device: str = ""
    instance: str = ""
    definition: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (str(self.key), self.device, self.instance) if part)


@dataclass(slots=True)
class Row:
    """Values of one time. ``qualities``: of those metrics that are not good."""

    source: Source
    time_ns: int
    values: dict[str, Any] = field(default_factory=dict)
    qualities: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Unread:
    """A message, or a metric of it, that gives no value. ``shown``: what there was."""

    source: Source | None
    problem: str
    shown: str


@dataclass(slots=True)
class Outcome:
    """Of one message. ``definitions``: templates as members and data types, by name. ``types``: of
    the metrics of a birth that have values of their own, by name."""

    rows: list[Row] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)
    definitions: dict[str, dict[str, int]] = field(default_factory=dict)
    types: dict[Source, dict[str, int]] = field(default_factory=dict)


def quality_of(code: int | None) -> str:
    """The quality of a code; without one a value is good. Codes up to 255 are OPC's: the upper two
    bits decide."""
    if code is None or code == GOOD_CODE:
        return GOOD
    if code == STALE_CODE:
        return STALE
    if 0 <= code <= 255:
        return {0xC0: GOOD, 0x40: UNCERTAIN}.get(code & 0xC0, BAD)
    return BAD


class RowBuilder:
    """Puts the metrics of one message into rows: those of one source and time share a row."""

    def __init__(self) -> None:
        self._rows: dict[tuple[Source, int], Row] = {}
        self._closed: list[Row] = []

    def add(self, source: Source, time_ns: int, name: str, value: Any, quality: str) -> None:
        row = self._rows.get((source, time_ns))
        if row is None or name in row.values:
            if row is not None:  # a second value of one time: a row of its own, the later one wins
                self._closed.append(row)
            row = self._rows[source, time_ns] = Row(source, time_ns)
        row.values[name] = value
        if quality != GOOD:
            row.qualities[name] = quality

    def rows(self) -> list[Row]:
        return [*self._closed, *self._rows.values()]
