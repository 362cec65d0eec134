"""From values of points to rows as messages carry them.

1. Values of one device and one time are one row; a second value of one measurement at one time is a
   row of its own, and the later one wins.
2. A row's time is the source's, else the server's, else that of arrival; a setting begins later in
   this order.
3. A null is a row only where the template stores how good it is.
4. After a loss, what has quality is stale from then on. A value that did not change meanwhile comes
   again with its old time: it is stored once more, at the time that the server says it holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from asyncua import ua

from mainstem_edge.opcua.points import Names, Place, Point
from mainstem_edge.opcua.values import (
    STALE,
    has_overflow,
    plain,
    quality_of,
    status_of,
    time_ns,
)
from mainstem_node.config.templates import QUALITY_SUFFIX

ROWS_PER_MESSAGE = 1000
SOURCE, SERVER, ARRIVAL = "source", "server", "arrival"

Value = tuple[Point, ua.DataValue]
Payload = tuple[str, bytes]
"""(topic, payload)."""


@dataclass(slots=True)
class Counts:
    """Since the start. ``lost``: values before which the server says that it dropped others."""

    values: int = 0
    lost: int = 0
    valueless: int = 0
    not_good: int = 0


@dataclass(slots=True)
class Rows:
    """``time``: where the order of times begins. ``names``: by template, those of now."""

    time: str = SOURCE
    names: Mapping[str, Names] = field(default_factory=dict)
    counts: Counts = field(default_factory=Counts)
    newest_ns: dict[Place, int] = field(default_factory=dict)
    """Of the values that came."""
    _live: dict[Place, set[str]] = field(default_factory=dict)
    """Measurements with quality whose last value came over the present session."""
    _stale_ns: dict[Place, int] = field(default_factory=dict)
    _encode: Any = field(default_factory=lambda: msgspec.msgpack.Encoder().encode)

    def of_values(
        self, values: Iterable[Value], arrived_ns: int, firsts: frozenset[Point] = frozenset()
    ) -> list[Payload]:
        """Messages of these values. ``firsts``: points whose value tells what holds now."""
        rows: dict[tuple[Place, int], dict[str, Any]] = {}
        closed: list[tuple[Place, dict[str, Any]]] = []
        counts = self.counts
        for point, value in values:
            counts.values += 1
            status = status_of(value)
            if status:
                counts.lost += has_overflow(status)
                counts.not_good += status >= 1 << 30
            place, name = point.place, point.name
            quality = quality_of(status)
            content = None if value.Value is None else plain(value.Value.Value)
            keeps_quality = name in self.names[place.template].with_quality
            if content is None and (quality is None or not keeps_quality):
                counts.valueless += 1
                continue
            at_ns = self._time(value, arrived_ns)
            if point in firsts:
                at_ns = self._since(place, value, at_ns, arrived_ns)
            row = rows.get((place, at_ns))
            if row is None or name in row or name + QUALITY_SUFFIX in row:
                if row is not None:
                    closed.append((place, row))
                row = rows[place, at_ns] = {"device": place.device, "time": at_ns}
                self.newest_ns[place] = max(at_ns, self.newest_ns.get(place, 0))
            if content is not None:
                row[name] = content
            if quality is not None:
                row[name + QUALITY_SUFFIX] = quality
            if keeps_quality:
                self._live.setdefault(place, set()).add(name)
        return self._packed([*closed, *((place, row) for (place, _), row in rows.items())])

    def stale(self, now_ns: int) -> list[Payload]:
        """Messages that say of all that has quality that it is not known any more."""
        rows: list[tuple[Place, dict[str, Any]]] = []
        for place, names in self._live.items():
            marks = {name + QUALITY_SUFFIX: STALE for name in sorted(names)}
            rows.append((place, {"device": place.device, "time": now_ns, **marks}))
            self._stale_ns[place] = now_ns
        self._live = {}
        return self._packed(rows)

    def _time(self, value: ua.DataValue, arrived_ns: int) -> int:
        found = None
        if self.time == SOURCE:
            found = time_ns(value.SourceTimestamp)
        if found is None and self.time != ARRIVAL:
            found = time_ns(value.ServerTimestamp)
        return arrived_ns if found is None else found

    def _since(self, place: Place, value: ua.DataValue, at_ns: int, arrived_ns: int) -> int:
        """The time of a value that a new session begins with."""
        stale_ns = self._stale_ns.get(place)
        if stale_ns is None or at_ns > stale_ns:
            return at_ns
        server_ns = time_ns(value.ServerTimestamp)
        return server_ns if server_ns is not None and server_ns > stale_ns else arrived_ns

    def _packed(self, rows: Sequence[tuple[Place, dict[str, Any]]]) -> list[Payload]:
        by_topic: dict[str, list[dict[str, Any]]] = {}
        for place, row in rows:
            by_topic.setdefault(place.topic, []).append(row)
        return [
            (topic, self._encode(some[start : start + ROWS_PER_MESSAGE]))
            for topic, some in by_topic.items()
            for start in range(0, len(some), ROWS_PER_MESSAGE)
        ]
