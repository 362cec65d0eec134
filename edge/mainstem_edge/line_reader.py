"""Line protocol without a template: each measurement is one, each series a device.

As over HTTP (line_protocol/storing.py of the node): names, devices and templates are made alike.
The values go the way of all that an edge collects: rules of the template, clock, memory, counts.
A line of no template that could be found or made is put aside by itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mainstem_edge.collectors.interface import Message
from mainstem_edge.decode.interface import Decoded, Failure, KnownNames
from mainstem_edge.decode.line_codec import add_fields, pieces_of
from mainstem_edge.device_book import Entry
from mainstem_edge.errors import PathFormError
from mainstem_edge.patterns import PathPattern
from mainstem_edge.payload_time import TimeReader
from mainstem_edge.preprocess import TemplateRules, prepare
from mainstem_edge.reading import Index, Reading, nothing_read
from mainstem_edge.rejects import Reject, payload_text
from mainstem_edge.row_checks import ClockBounds, check_clock, check_rows
from mainstem_engine.catalog.templates import Table
from mainstem_engine.errors import SchemaError
from mainstem_engine.model import TimesNs
from mainstem_node import reasons
from mainstem_node.line_protocol.naming import device_path, field_column, tag_column
from mainstem_node.line_protocol.points import Points, Tags
from mainstem_node.line_protocol.storing import tag_value

ENTRIES_MAX = 200_000
"""Series remembered per reader, about 60 MB; beyond it the map starts anew."""

FindTable = Callable[[Points], tuple[Table, TemplateRules] | None]
"""The template of points, with columns for their fields as far as they may be made; None: put them
aside."""
FindTags = Callable[[str], Mapping[str, object] | None]
"""The tags of a device that exists."""


@dataclass(slots=True)
class _Rows:
    """Rows of one template, message by message."""

    table: Table
    rules: TemplateRules
    known: KnownNames
    decoded: Decoded = field(default_factory=lambda: Decoded([], {}))
    entries: list[Entry] = field(default_factory=list)
    device_of: list[Index] = field(default_factory=list)
    times: list[TimesNs] = field(default_factory=list)
    untimed: list[int] = field(default_factory=list)


class LineReader:
    """Reads the lines of one topic filter. Used by one thread at a time.

    ``prefix``: of the devices, by the topic. ``source`` of the time as in payload_time.py.
    """

    def __init__(
        self,
        filter: str,  # noqa: A002 - the word of the MQTT specification
        *,
        prefix: PathPattern,
        table: FindTable,
        tags: FindTags,
        clock: ClockBounds,
        precision_ns: int = 1,
        source: str = "auto",
        create: bool = True,
        message_bytes_max: int = 1 << 20,
    ) -> None:
        self.filter = filter
        self._prefix = prefix
        self._table = table
        self._tags = tags
        self._clock = clock
        self._precision_ns = precision_ns
        self._source = source
        self._create = create
        self._message_bytes_max = message_bytes_max
        self._templates: dict[str, None] = {}
        self._entries: dict[tuple[str, str, Tags], Entry] = {}
        self._keys: dict[str, frozenset[str]] = {}

    @property
    def templates(self) -> tuple[str, ...]:
        """Those that lines were of since the start."""
        return tuple(self._templates)

    def read(self, messages: Sequence[Message], now_ns: int) -> Sequence[Reading]:
        """All rows of these messages; the last reading may be of no template."""
        other = nothing_read("")
        readable = []
        for message in messages:
            if len(message.payload) <= self._message_bytes_max:
                readable.append(message)
            else:
                shown = payload_text(message.payload)
                other.failures.append(Reject(reasons.TOO_LARGE, shown, time_ns=message.arrived_ns))
        found: dict[str, _Rows] = {}
        for piece in pieces_of([message.payload for message in readable], self._precision_ns):
            for points in piece.parsed.points:
                self._add(points, piece.messages(points), readable, found, other)
            other.failures += [_malformed(failure, readable) for failure in piece.failures]
        readings = [self._reading(rows, now_ns) for rows in found.values()]
        return [*readings, other] if other.failures else readings

    def count(self, messages: Sequence[Message]) -> Mapping[str, int]:
        """Rows by template of messages that are not stored again."""
        counts: dict[str, int] = {}
        payloads = [m.payload for m in messages if len(m.payload) <= self._message_bytes_max]
        for piece in pieces_of(payloads, self._precision_ns):
            for points in piece.parsed.points:
                place = self._table(points)
                if place is not None:
                    name = place[0].name
                    counts[name] = counts.get(name, 0) + len(points)
        return counts

    def _add(
        self,
        points: Points,
        numbers: list[int],
        messages: Sequence[Message],
        found: dict[str, _Rows],
        other: Reading,
    ) -> None:
        """Appends the points of a measurement to the rows of their template."""
        place = self._table(points)
        if place is None:
            other.failures += _untold(points, numbers, messages)
            return
        table, rules = place
        self._templates[table.name] = None
        rows = found.get(table.name)
        if rows is None:
            rows = found[table.name] = _Rows(table, rules, KnownNames(rules.source_names))
        elif rows.rules is not rules:  # it has got columns meanwhile
            rows.table, rows.rules, rows.known = table, rules, KnownNames(rules.source_names)

        def name_of(key: str) -> str | None:
            return rows.known.get(field_column(key, lambda name: table.tag(name) is not None))

        stamps = np.array([messages[number].stamp_ns for number in numbers], np.int64)
        before = len(rows.decoded)
        timed = points.timed & (self._source != "arrival")
        if self._source == "payload":
            rows.untimed += (np.flatnonzero(~timed) + before).tolist()
        rows.times.append(np.where(timed, points.time_ns, stamps))
        rows.device_of.append(self._devices(points, numbers, messages, rows))
        add_fields(rows.decoded, points, numbers, name_of)

    def _devices(
        self, points: Points, numbers: list[int], messages: Sequence[Message], rows: _Rows
    ) -> Index:
        """intp[n] of ``rows.entries``, to which the new ones are added."""
        places: dict[tuple[str, int], int] = {}
        device_of = np.empty(len(points), np.intp)
        for row, (number, series) in enumerate(
            zip(numbers, points.series_of.tolist(), strict=True)
        ):
            topic = messages[number].topic
            at = places.get((topic, series))
            if at is None:
                at = places[topic, series] = len(rows.entries)
                tags = points.series[series]
                rows.entries.append(self._entry(topic, points.measurement, tags, rows.table))
            device_of[row] = at
        return device_of

    def _entry(self, topic: str, measurement: str, tags: Tags, table: Table) -> Entry:
        key = (topic, measurement, tags)
        found = self._entries.get(key)
        if found is None:
            if len(self._entries) >= ENTRIES_MAX:
                self._entries.clear()
                self._keys.clear()
            found = self._entries[key] = self._form(topic, measurement, tags, table)
        return found

    def _form(self, topic: str, measurement: str, tags: Tags, table: Table) -> Entry:
        columns = {}
        for key, value in tags:
            tag = table.tag(tag_column(key))
            if tag is not None:
                columns[tag.name] = tag_value(tag.type, value)
        try:
            path = device_path(self._prefix.path(topic.split("/"), {}), measurement, tags)
        except (SchemaError, PathFormError):
            shown = ".".join([topic, measurement, *(value for _, value in tags)])
            return Entry(shown[:1024], reason=reasons.BAD_PATH, permanent=True)
        # Series with equal values under other keys would be one device.
        names = frozenset(name.casefold() for name in columns)
        known = self._keys.get(path)
        if known is None:
            kept = self._tags(path)
            known = names
            if kept is not None:
                known = frozenset(n.casefold() for n, value in kept.items() if value is not None)
            self._keys[path] = known
        if not names <= known:
            return Entry(path, reason=reasons.TAGS_DIFFER, permanent=True)
        return Entry(path, columns, topic=topic)

    def _reading(self, rows: _Rows, now_ns: int) -> Reading:
        decoded = rows.decoded
        reading = Reading(
            rows.table.name,
            self._create,
            decoded,
            rows.entries,
            np.concatenate(rows.device_of),
            np.concatenate(rows.times),
            prepare(decoded, rows.rules, TimeReader()),
            np.ones(len(decoded), np.bool_),
        )
        for row in rows.untimed:
            reading.put_aside(row, reasons.NO_TIME)
        check_clock(reading, self._clock, now_ns)
        check_rows(reading)
        return reading


def _malformed(failure: Failure, messages: Sequence[Message]) -> Reject:
    arrived_ns = messages[failure.message].arrived_ns
    return Reject(reasons.MALFORMED, failure.value, time_ns=arrived_ns)


def _untold(points: Points, numbers: list[int], messages: Sequence[Message]) -> list[Reject]:
    """Points of a measurement for which there is no template."""
    fields: list[dict[str, object]] = [{} for _ in numbers]
    for column in points.columns:
        for row, value in zip(column.rows.tolist(), column.values.tolist(), strict=True):
            fields[row][column.name] = value
    found = []
    for row, values in enumerate(fields):
        point = {
            "measurement": points.measurement,
            "tags": dict(points.series[int(points.series_of[row])]),
            "fields": values,
        }
        timed = bool(points.timed[row])
        time_ns = int(points.time_ns[row]) if timed else messages[numbers[row]].stamp_ns
        text = json.dumps(point, ensure_ascii=False)
        found.append(Reject(reasons.UNKNOWN_TEMPLATE, text, time_ns=time_ns))
    return found
