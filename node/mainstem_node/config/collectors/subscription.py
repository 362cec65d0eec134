"""What messages become: subscriptions, for every kind of collector whose source sends messages."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from mainstem_node.config.kinds import Name, Notation, RowsPath, Text, ValuePath, Zone


class PayloadTimeConfig(Struct, frozen=True, kw_only=True):
    """Where a payload has its time. Default: ts, timestamp or time, else the arrival time."""

    field: Text | None = None
    clock_field: Text | None = None
    """Where the time of day is a field of its own: `field` has the date."""
    format: Notation = "iso"
    """Of times in text. dmy: 24.11.2026 06:00; mdy: 11/24/2026 6:00 AM; or a pattern such as
    %d.%m.%y %H:%M:%S."""
    unit: Literal["auto", "s", "ms", "us", "ns"] = "auto"
    zone: Zone | None = None
    """For times written without a zone; without it such rows are quarantined."""
    source: Literal["auto", "payload", "record", "arrival"] = "auto"
    """payload: a row without a time is quarantined. arrival: the payload's time is not used.
    record, of Kafka: always the record's own time, which is also what auto takes there where the
    payload has none."""


class MapConfig(Struct, frozen=True, kw_only=True):
    """Where the rows of a payload are, for shapes that are not read as they are. Paths are names
    joined by dots, `[n]`, and `[*]` or `*` for every element; `$` begins at the whole payload."""

    rows: RowsPath | None = None
    """Default: the payload, or each element of an array."""
    columns: ValuePath | None = None
    """Instead of `rows`: an object of arrays that stand side by side."""
    fields: dict[Text, ValuePath] = {}
    """Name to path in a row; `@n`: the key that the n-th `*` of `rows` met, from 0. Names are those
    of measurements, of `time: {field}` and of placeholders."""
    spread: tuple[ValuePath, ...] = ()
    """Objects in a row all of whose values are taken under their own names; `.` is the row."""


class ReadingConfig(Struct, frozen=True, kw_only=True):
    """What the messages of a source become: how they are read, and whose rows they are."""

    codec: Literal["json", "msgpack", "csv", "line_protocol", "raw", "auto"] = "json"
    """raw: a message is one value. auto: found out for each message, for trying out."""
    template: Name | None = None
    """Line protocol may go without: then each measurement is a template."""
    device: Text | None = None
    """The device's path; `{topic[n]}` (from 0, -1 is the last) and `{payload.NAME}` are put in.
    `{payload.NAME}` alone: the payload has the whole path. Of line protocol without a template:
    what stands before the measurement and the values of the tags; default the node's first path."""
    measurement: Text | None = None
    """Of a message that is one value, or has it under `value`: what it is called. With placeholders
    as `device`; default of raw `{topic[-1]}`."""
    tags: dict[Name, Text] = {}
    decimal: Literal[".", ","] | None = None
    """Numbers and booleans that come as text are taken as such, with this before the fraction.
    Default: those of csv and raw, with a point."""
    map: MapConfig | None = None
    time: PayloadTimeConfig = PayloadTimeConfig()
    auto_create: bool = True


class SubscriptionConfig(ReadingConfig, frozen=True, kw_only=True):
    """One topic filter and what its messages become."""

    topic: Text
    inbox: bool = False
    """Looks around: what no other subscription of the collector asks for goes to the inbox."""
