"""One subscription: what the messages of a topic filter become, all rows of one template.

``read`` is pure but for a cache of device names: messages in, a Reading out. A Reading has every
row of the messages, typed and checked, the entry of its device, and what was put aside.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mainstem_edge.collectors.interface import Message
from mainstem_edge.decode.interface import DEVICE_KEY, VALUE_KEY, Codec, Decoded, KnownNames
from mainstem_edge.decode.number_texts import NumberTexts
from mainstem_edge.device_book import Entry
from mainstem_edge.errors import PathFormError
from mainstem_edge.patterns import PathPattern, Pattern, names_whole_path, text_of, whole_path
from mainstem_edge.payload_time import TimeReader
from mainstem_edge.preprocess import TemplateRules, prepare
from mainstem_edge.reading import Index, Reading
from mainstem_edge.rejects import Reject, payload_text
from mainstem_edge.row_checks import ClockBounds, check_clock, check_rows
from mainstem_edge.values import number_of
from mainstem_engine.model import ColumnType
from mainstem_node import reasons
from mainstem_node.inbox import InboxBook

ENTRIES_MAX = 200_000
"""Device names kept per subscription, about 60 MB; beyond it the cache starts anew."""

MakeCodec = Callable[[KnownNames, Sequence[str]], Codec]


class Subscription:
    """A topic filter and its meaning.

    ``device`` None: the payload must name a whole path. ``measurement``: what a message's one value
    (VALUE_KEY) is called, None where there is no such thing. ``tag_types`` of the template.
    ``message_bytes_max``: a longer payload is put aside unread. ``knows_quality``: the source says
    of each measurement ``m`` how good it is, under ``m_quality``, whether the template stores that
    or not. ``decimal``: numbers and booleans may come as text, with this before the fraction.
    ``inbox``: says what became of names of which no path can be formed. Used by one thread
    at a time.
    """

    def __init__(
        self,
        filter: str,  # noqa: A002 - the word of the MQTT specification
        rules: TemplateRules,
        make_codec: MakeCodec,
        *,
        device: PathPattern | None,
        measurement: Pattern | None = None,
        tags: Mapping[str, Pattern] | None = None,
        tag_types: Mapping[str, ColumnType] | None = None,
        times: TimeReader,
        clock: ClockBounds,
        create: bool = True,
        message_bytes_max: int = 1 << 20,
        knows_quality: bool = False,
        decimal: str | None = None,
        inbox: InboxBook | None = None,
    ) -> None:
        self._inbox = inbox or InboxBook()
        self._inbox_revision = self._inbox.revision
        self.filter = filter
        self.rules = rules
        self.create = create
        self._device = device
        self._tags = dict(tags or {})
        self._tag_types = {name.casefold(): kind for name, kind in (tag_types or {}).items()}
        self._times = times
        self._clock = clock
        self._message_bytes_max = message_bytes_max
        self._measurement = measurement
        patterns: list[Pattern] = [*self._tags.values(), *([] if device is None else [device])]
        self._payload_names = tuple(
            dict.fromkeys(name for pattern in patterns for name in pattern.payload_names)
        )
        qualities = rules.quality_names(knows_quality)
        others = (DEVICE_KEY, *times.names, *self._payload_names, *qualities)
        if measurement is not None:
            others = (*others, VALUE_KEY, *measurement.payload_names)
        typed = {rule.source: rule.parsed_as for rule in rules.measurements if not rule.computed}
        self._numbers = None if decimal is None else NumberTexts(typed, decimal)
        self._measurements = KnownNames((*rules.source_names, *qualities))
        known = KnownNames((*rules.source_names, *others), rules.number_names.difference(others))
        self._codec = make_codec(known, times.number_names)
        self._entries: dict[tuple[str | None, ...], Entry] = {}

    @property
    def templates(self) -> tuple[str, ...]:
        return (self.rules.template,)

    def read(self, messages: Sequence[Message], now_ns: int) -> Sequence[Reading]:
        """Decodes, types and checks all rows of these messages: one reading."""
        if self._inbox_revision != self._inbox.revision:  # a name has got a device
            self._inbox_revision = self._inbox.revision
            self._entries.clear()
        failures: list[Reject] = []
        readable = [m for m in messages if len(m.payload) <= self._message_bytes_max]
        if len(readable) < len(messages):
            failures += [
                Reject(reasons.TOO_LARGE, payload_text(m.payload), time_ns=m.arrived_ns)
                for m in messages
                if len(m.payload) > self._message_bytes_max
            ]
        decoded = self._codec.decode([message.payload for message in readable])
        for failure in decoded.failures:
            message = readable[failure.message]
            shown = payload_text(message.payload) if failure.value is None else failure.value
            failures.append(Reject(reasons.MALFORMED, shown, time_ns=message.arrived_ns))
        if self._measurement is not None:
            self._name_values(self._measurement, decoded, readable)
        if self._numbers is not None:
            self._numbers.take(decoded)
        source = np.array(decoded.source, np.intp)
        stamps = np.array([message.stamp_ns for message in readable], np.int64)
        times = self._times.read(decoded.columns, stamps[source])
        devices, device_of = self._devices_of(readable, decoded, source)
        reading = Reading(
            self.rules.template,
            self.create,
            decoded,
            devices,
            device_of,
            times.ns,
            prepare(decoded, self.rules, self._times),
            np.ones(len(decoded), np.bool_),
            {},
            failures,
        )
        for row, (reason, _) in times.refused.items():
            reading.put_aside(row, reason)
            self._forget_time(reading, row)
        check_clock(reading, self._clock, now_ns)
        check_rows(reading)
        return [reading]

    def count(self, messages: Sequence[Message]) -> Mapping[str, int]:
        """Rows of messages that are not stored again, under its template."""
        readable = [m.payload for m in messages if len(m.payload) <= self._message_bytes_max]
        decoded = self._codec.decode(readable)
        rows = len(decoded) + len(decoded.failures) + len(messages) - len(readable)
        return {self.rules.template: rows}

    def _forget_time(self, reading: Reading, row: int) -> None:
        old = reading.row_rejects[row]
        reading.row_rejects[row] = Reject(old.reason, old.value, old.device, None)

    def _name_values(self, pattern: Pattern, decoded: Decoded, messages: Sequence[Message]) -> None:
        """Moves every row's one value to the measurement that it is of."""
        values = decoded.columns.pop(VALUE_KEY, None)
        if values is None:
            return
        decoded.floats.discard(VALUE_KEY)
        given = [decoded.columns.get(name) for name in pattern.payload_names]
        names: dict[tuple[Any, ...], str | None] = {}
        for row, (message, value) in enumerate(zip(decoded.source, values, strict=True)):
            if value is None:
                continue
            topic = messages[message].topic
            key = (topic, *(None if c is None else text_of(c[row]) for c in given))
            if key not in names:
                found = dict(zip(pattern.payload_names, key[1:], strict=True))
                names[key] = pattern.value(topic.split("/"), found)
            name = names[key] or VALUE_KEY
            known = self._measurements.get(name)
            if known is None:
                decoded.extras.append((row, name, value))
                continue
            column = decoded.columns.get(known)
            if column is None:
                column = decoded.columns[known] = [None] * len(decoded)
            decoded.floats.discard(known)
            column[row] = value

    # Devices

    def _devices_of(
        self, messages: Sequence[Message], decoded: Decoded, source: Index
    ) -> tuple[list[Entry], Index]:
        """(entries, which one each row has)."""
        columns = [decoded.columns.get(name) for name in self._payload_names]
        named = decoded.columns.get(DEVICE_KEY)
        if named is None and not self._payload_names:
            return [self._entry(message.topic, None, ()) for message in messages], source
        entries: dict[Entry, int] = {}
        device_of = np.empty(len(decoded), np.intp)
        for row, message in enumerate(decoded.source):
            device = None if named is None else named[row]
            given = tuple([None if c is None else text_of(c[row]) for c in columns])
            whole = device if names_whole_path(device) else None
            entry = self._entry(messages[message].topic, whole, given)
            device_of[row] = entries.setdefault(entry, len(entries))
        return list(entries), device_of

    def _entry(self, topic: str, whole: str | None, given: tuple[str | None, ...]) -> Entry:
        key = (topic, whole, *given)
        found = self._entries.get(key)
        if found is None:
            if len(self._entries) >= ENTRIES_MAX:
                self._entries.clear()
            found = self._entries[key] = self._form(topic, whole, given)
        return found

    def _form(self, topic: str, whole: str | None, given: tuple[str | None, ...]) -> Entry:
        levels = topic.split("/")
        row = dict(zip(self._payload_names, given, strict=True))
        try:
            if whole is not None:
                path = whole_path(whole)
            elif self._device is not None:
                path = self._device.path(levels, row)
            else:
                raise PathFormError("neither the subscription nor the payload names a device")
        except PathFormError:
            shown = (topic if whole is None else str(whole))[:1024]
            adopted = self._inbox.path_of(self.rules.template, shown)
            if adopted is None:
                return Entry(shown, reason=reasons.BAD_PATH, permanent=True, topic=topic)
            path = adopted
        tags = {
            name: self._tag(name, pattern.value(levels, row))
            for name, pattern in self._tags.items()
        }
        return Entry(path, tags, topic=topic)

    def _tag(self, name: str, text: str | None) -> Any:
        """The text as the tag's type; None when it does not fit."""
        kind = self._tag_types.get(name.casefold(), ColumnType.TEXT)
        if text is None or kind == ColumnType.TEXT:
            return text
        if kind == ColumnType.BOOLEAN:
            return {"true": True, "false": False}.get(text.casefold())
        value = number_of(text)
        fits = int if kind.is_integer else int | float
        return value if isinstance(value, fits) else None


def filter_matches(topic_filter: str, topic: str) -> bool:
    """True when an MQTT topic filter matches a topic. Topics that begin with ``$`` are not matched
    by a filter that begins with a wildcard. A shared subscription's prefix is not looked at."""
    if topic_filter.startswith("$share/"):
        topic_filter = topic_filter.split("/", 2)[-1]
    wanted, levels = topic_filter.split("/"), topic.split("/")
    if topic.startswith("$") and wanted[0] in ("+", "#"):
        return False
    for position, level in enumerate(wanted):
        if level == "#":
            return True
        if position >= len(levels) or level not in ("+", levels[position]):
            return False
    return len(levels) == len(wanted)
