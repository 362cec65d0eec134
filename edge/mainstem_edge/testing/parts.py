"""A template ``press``, subscriptions to it, and fakes for what surrounds an intake.

Tests run as if now were NOW_NS, ten seconds after a whole minute.
"""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from mainstem_edge.collectors.interface import CollectorState, Message, Origin
from mainstem_edge.collectors.message_queue import MessageQueue
from mainstem_edge.decode.json_codec import JsonCodec
from mainstem_edge.patterns import PathPattern, Pattern
from mainstem_edge.payload_time import TimeReader
from mainstem_edge.preprocess import MeasurementRule, TemplateRules
from mainstem_edge.reader import Reader
from mainstem_edge.row_checks import ClockBounds
from mainstem_edge.subscription import MakeCodec, Subscription
from mainstem_engine.engine import Engine
from mainstem_engine.log.records import RecordKind, decode_payload
from mainstem_engine.model import ColumnType, Measurement, Tag, Template

T0_MS = 1_792_540_800_000
"""A whole minute."""
NS_PER_MS = 1_000_000
NOW_NS = (T0_MS + 10_000) * NS_PER_MS

COLUMNS = {
    "temperature": ColumnType.DOUBLE,
    "pressure": ColumnType.FLOAT,
    "count": ColumnType.INT64,
    "running": ColumnType.BOOLEAN,
    "note": ColumnType.TEXT,
}
TEMPLATE = Template(
    "press",
    tuple(Measurement(i, name, kind) for i, (name, kind) in enumerate(COLUMNS.items())),
    (Tag("line"), Tag("slot", ColumnType.INT32)),
)


def rules(**changes: Mapping[str, Any]) -> TemplateRules:
    """The rules of template ``press``; ``temperature={"deadband": 1.0}`` changes one."""
    return TemplateRules(
        "press",
        tuple(
            MeasurementRule(**{"id": i, "name": n, "type": t, "source": n, **changes.get(n, {})})
            for i, (n, t) in enumerate(COLUMNS.items())
        ),
    )


def subscription(
    topic: str = "plant/+/t",
    device: str | None = "root.plant.{topic[1]}",
    template: TemplateRules | None = None,
    *,
    tags: Mapping[str, str] | None = None,
    create: bool = True,
    message_bytes_max: int = 1 << 20,
    decimal: str | None = None,
    codec: MakeCodec = JsonCodec,
    measurement: str | None = None,
    **time: Any,
) -> Subscription:
    found = template or rules()
    return Subscription(
        topic,
        found,
        codec,
        device=None if device is None else PathPattern(device),
        measurement=None if measurement is None else Pattern(measurement),
        tags={name: Pattern(text) for name, text in (tags or {}).items()},
        tag_types={tag.name: tag.type for tag in TEMPLATE.tags},
        times=TimeReader(not_times=found.source_names, **time),
        clock=ClockBounds(946_684_800 * 10**9, 300 * 10**9),
        create=create,
        message_bytes_max=message_bytes_max,
        decimal=decimal,
    )


class FakeOrigin:
    """A connection that remembers what was acknowledged."""

    def __init__(self) -> None:
        self.acknowledged: list[int] = []
        self._changed = threading.Condition()

    def acknowledge(self, ids: Sequence[int]) -> None:
        with self._changed:
            self.acknowledged.extend(ids)
            self._changed.notify_all()

    def wait(self, count: int, timeout_s: float = 10.0) -> list[int]:
        """What is acknowledged, once it is ``count`` messages."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.acknowledged) >= count, timeout_s)
            return list(self.acknowledged)


class FakeCollector:
    """A collector whose messages the test puts on the queue."""

    def __init__(self, *readers: Reader) -> None:
        self.name = "fake"
        self.readers = readers
        self.queue = MessageQueue(100_000, 1 << 30)
        self.origin = FakeOrigin()
        self.paused = False

    def start(self) -> None: ...

    def pause(self) -> None:
        self.paused = True

    def stop(self, timeout_s: float) -> None: ...

    def state(self) -> CollectorState:
        return CollectorState(self.origin, None, None)

    def status(self) -> dict[str, Any]:
        return {"name": self.name, "state": "connected"}


_numbers = itertools.count(1)


def message(
    payload: object,
    topic: str = "plant/m1/t",
    *,
    origin: Origin | None = None,
    redelivered: bool = False,
    repeated: bool = False,
    number: int | None = None,
    arrived_ns: int = NOW_NS,
) -> Message:
    """A message; anything but bytes is written as JSON."""
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return Message(
        topic,
        data,
        arrived_ns,
        redelivered,
        repeated,
        next(_numbers) if number is None else number,
        origin or FakeOrigin(),
    )


def stored(engine: Engine, device: str | None = None) -> list[dict[str, Any]]:
    """Stored rows, times in the table's precision, nulls left out."""
    table = engine.scan("press", devices=device).read_all()
    return [
        {name: value for name, value in row.items() if value is not None}
        for row in table.to_pylist()
    ]


def recorded_counts(engine: Engine) -> dict[str, int]:
    """The intake's counts of all records of the log, summed; with ``accepted``."""
    total: dict[str, int] = {"accepted": 0}
    for record in engine.log.read(1):
        if record.kind == RecordKind.PTS:
            header, _ = decode_payload(record.payload)
            total["accepted"] += header["acc"]
            for name, count in header.get("in", {}).items():
                total[name] = total.get(name, 0) + count
    return total
