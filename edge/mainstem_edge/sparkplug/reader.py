"""Bundles become readings: metrics are measurements, sources devices, births make templates.

The values go the way of all that an edge collects: rules of the template, clock, memory, counts.
A row whose metrics have no value (nulls, deaths) is stored where the template stores quality; where
it does not there is nothing to store, and the row is only counted (``valueless``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mainstem_edge.collectors.interface import Message
from mainstem_edge.decode.interface import Decoded, KnownNames
from mainstem_edge.device_book import Entry
from mainstem_edge.errors import PathFormError
from mainstem_edge.payload_time import TimeReader
from mainstem_edge.preprocess import TemplateRules, prepare
from mainstem_edge.reading import Reading, nothing_read
from mainstem_edge.rejects import Reject
from mainstem_edge.row_checks import ClockBounds, check_clock, check_rows
from mainstem_edge.sparkplug.bundle import TOPIC, Bundle, rows_of, unpack, unread_of
from mainstem_edge.sparkplug.datatypes import TEMPLATE, column_type
from mainstem_edge.sparkplug.placing import Place, Placing, column_of
from mainstem_edge.sparkplug.rows import Row, Source, Unread
from mainstem_engine.model import ColumnType
from mainstem_node import reasons
from mainstem_node.config.templates import QUALITY_SUFFIX

ENTRIES_MAX = 200_000
"""Sources remembered per reader, about 60 MB; beyond it the map starts anew."""

FindRules = Callable[[Place, Mapping[str, ColumnType]], TemplateRules | None]
"""The rules of a template, which is made or gets these columns where it is data's own; None when it
is not there."""


class _Names:
    """What the metrics of one template are called there."""

    def __init__(self, rules: TemplateRules) -> None:
        self.rules = rules
        self._known = KnownNames(rules.source_names)
        self._of: dict[str, str | None] = {}
        self._stored = {rule.source for rule in rules.measurements if rule.quality is not None}

    def get(self, metric: str) -> str | None:
        if metric not in self._of:
            self._of[metric] = self._known.get(metric) or self._known.get(column_of(metric))
        return self._of[metric]

    def stores_quality(self, metric: str) -> bool:
        return self.get(metric) in self._stored


@dataclass(slots=True)
class _Rows:
    """Rows of one template, message by message."""

    names: _Names
    decoded: Decoded = field(default_factory=lambda: Decoded([], {}))
    entries: dict[Entry, int] = field(default_factory=dict)
    device_of: list[int] = field(default_factory=list)
    times: list[int] = field(default_factory=list)


class SparkplugReader:
    """Reads the bundles of one collector. Used by one thread at a time."""

    filter = f"{TOPIC}/#"

    def __init__(
        self, placing: Placing, find: FindRules, clock: ClockBounds, *, create: bool = True
    ) -> None:
        self._placing = placing
        self._find = find
        self._clock = clock
        self._create = create
        self._templates: dict[str, None] = {}
        self._entries: dict[Source, Entry] = {}
        self._names: dict[str, _Names] = {}
        self.valueless = 0

    @property
    def templates(self) -> tuple[str, ...]:
        """Those that rows were of since the start."""
        return tuple(self._templates)

    def read(self, messages: Sequence[Message], now_ns: int) -> Sequence[Reading]:
        """All rows of these messages; the last reading may be of no template."""
        other = nothing_read("")
        found: dict[str, _Rows] = {}
        for number, message in enumerate(messages):
            bundle = unpack(message.payload)
            self._make(bundle)
            for row in rows_of(bundle):
                self._add(row, number, found, other)
            other.failures += [_unread(each, message.arrived_ns) for each in unread_of(bundle)]
        readings = [self._reading(rows, now_ns) for rows in found.values()]
        return [*readings, other] if other.failures else readings

    def count(self, messages: Sequence[Message]) -> Mapping[str, int]:
        """Rows by template of messages that are not stored again."""
        counts: dict[str, int] = {}
        for message in messages:
            for row in rows_of(unpack(message.payload)):
                place = self._placing.place(row.source)
                rules = None if place is None else self._find(place, {})
                if rules is not None:
                    counts[rules.template] = counts.get(rules.template, 0) + 1
        return counts

    def _make(self, bundle: Bundle) -> None:
        """Templates and columns that births call for."""
        for definition, members in bundle.definitions.items():
            place = self._placing.definition_place(definition)
            if place is not None:
                self._find(place, _columns(members))
        for at, types in bundle.types:
            place = self._placing.place(bundle.source(at))
            if place is not None and place.is_own:
                self._find(place, _columns(types))

    def _add(self, row: Row, number: int, found: dict[str, _Rows], other: Reading) -> None:
        place = self._placing.place(row.source)
        rules = None if place is None else self._find(place, {})
        if rules is None:
            shown = {"source": str(row.source), **row.values}
            if row.values:
                other.failures.append(Reject(reasons.UNKNOWN_TEMPLATE, shown, time_ns=row.time_ns))
            return
        names = self._names_of(rules)
        has_value = any(value is not None for value in row.values.values())
        if not has_value and not any(map(names.stores_quality, row.qualities)):
            self.valueless += 1
            return
        rows = found.get(rules.template)
        if rows is None:
            rows = found[rules.template] = _Rows(names)
            self._templates[rules.template] = None
        rows.names = names
        entry = self._entry(row.source)
        rows.device_of.append(rows.entries.setdefault(entry, len(rows.entries)))
        rows.times.append(row.time_ns)
        columns: dict[str, list[Any]] = {}
        for metric, value in row.values.items():
            name = names.get(metric)
            if name is not None and name not in columns:
                columns[name] = [value]
            elif value is not None:
                rows.decoded.extras.append((len(rows.decoded), metric, value))
        for metric, quality in row.qualities.items():
            name = names.get(metric)
            if name is not None:
                columns[name + QUALITY_SUFFIX] = [quality]
        rows.decoded.add([number], columns)

    def _names_of(self, rules: TemplateRules) -> _Names:
        found = self._names.get(rules.template)
        if found is None or found.rules is not rules:  # data may have added columns
            found = self._names[rules.template] = _Names(rules)
        return found

    def _entry(self, source: Source) -> Entry:
        found = self._entries.get(source)
        if found is None:
            if len(self._entries) >= ENTRIES_MAX:
                self._entries.clear()
            try:
                found = Entry(self._placing.path(source))
            except PathFormError:
                found = Entry(str(source)[:1024], reason=reasons.BAD_PATH, permanent=True)
            self._entries[source] = found
        return found

    def _reading(self, rows: _Rows, now_ns: int) -> Reading:
        rules = rows.names.rules
        reading = Reading(
            rules.template,
            self._create,
            rows.decoded,
            list(rows.entries),
            np.array(rows.device_of, np.intp),
            np.array(rows.times, np.int64),
            prepare(rows.decoded, rules, TimeReader(unit="ns")),
            np.ones(len(rows.decoded), np.bool_),
        )
        check_clock(reading, self._clock, now_ns)
        check_rows(reading)
        return reading


def _columns(types: Mapping[str, int]) -> dict[str, ColumnType]:
    return {column_of(name): column_type(kind) for name, kind in types.items() if kind != TEMPLATE}


def _unread(unread: Unread, arrived_ns: int) -> Reject:
    shown = {"source": str(unread.source or ""), "problem": unread.problem, "found": unread.shown}
    return Reject(reasons.MALFORMED, shown, time_ns=arrived_ns)
