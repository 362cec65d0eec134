"""An engine with a book of notices, and those who are told."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np

from mainstem_edge.notices.book import NoticeBook
from mainstem_edge.notices.courier import Courier, Sender
from mainstem_edge.notices.notice import Telling, told
from mainstem_engine.consumers import AppliedRows, RowSink
from mainstem_engine.engine import Engine
from mainstem_engine.filesystem import byte_view
from mainstem_engine.log.records import Record, RecordKind, decode_payload
from mainstem_engine.model import Column, Rows
from mainstem_node.alarms import journal
from mainstem_node.config.rules import ALARMS, RuleConfig

S = 10**9
HOT = "root.plant.m1.alarms.hot"
COLD = "root.plant.m1.alarms.cold"
RULE = RuleConfig(name="hot", template="pump", measurement="heat", severity="critical")


class Receiver:
    """Has ``troubles`` first, one a try."""

    shown = "here"

    def __init__(self, *troubles: Exception) -> None:
        self.troubles = list(troubles)
        self.told: list[Telling] = []

    def send(self, telling: Telling) -> None:
        if self.troubles:
            raise self.troubles.pop(0)
        self.told.append(telling)

    def greet(self) -> None:
        """It is there."""

    def rest(self) -> None:
        """It keeps nothing open."""

    @property
    def times(self) -> list[int]:
        return [each.fields["time"] // 1000 for each in self.told]


class EventLog:
    """What was appended beside rows, by header."""

    name = "events"
    kinds = frozenset({RecordKind.EVT})

    def __init__(self) -> None:
        self.headers: list[dict[str, Any]] = []

    def apply(self, record: Record, decoded: Any, sink: RowSink) -> None:
        self.headers.append(decode_payload(byte_view(record.payload))[0])

    def rows_applied(self, batch: AppliedRows) -> None:
        """It keeps no rows."""

    def snapshot(self) -> bytes:
        return b""

    def restore(self, data: bytes) -> None:
        """It begins empty."""


class Site:
    """An engine with a book; ``open`` is a start of the process."""

    def __init__(self, directory: Path, waiting_max: int = 100) -> None:
        self.directory = directory
        self.waiting_max = waiting_max
        self.now_s = 0.0
        self.open()

    def open(self, *names: str) -> None:
        self.book = NoticeBook(self.waiting_max)
        log = EventLog()
        self.said = log.headers
        self.engine = Engine.open(self.directory, consumers=[self.book, log])
        journal.make_table(self.engine)
        self.book.bind(self.engine, names or ["ops"], self.addressees)

    def addressees(self, device: int) -> frozenset[str]:
        """``hot`` is told to everybody, ``cold`` to ``other`` alone."""
        path = self.engine.catalog.devices.path(device)
        return frozenset(("ops", "new", "other") if path.endswith("hot") else ("other",))

    def crash(self, *names: str) -> None:
        self.engine.abandon()
        self.open(*names)

    def change(self, second: int, *, raised: bool = True, path: str = HOT) -> None:
        ids = self.engine.device_ids(ALARMS, [path], create=True)
        number = journal.column_ids(self.engine)
        columns = {
            number[journal.RAISED]: Column(np.array([raised])),
            number[journal.VALUE]: Column(np.array([91.5])),
            number[journal.MESSAGE]: Column(np.array(["hot"], object)),
        }
        rows = Rows(ids, np.array([second * S], np.int64), columns)
        self.engine.write_rows(self.engine.catalog.table(ALARMS), rows, derived=True).wait()

    def alarms(self) -> list[dict[str, Any]]:
        """What the node says of itself."""
        self.engine.append(RecordKind.EVT, {"op": "barrier"}).wait()
        return [each for each in self.said if each["op"] == "alarm"]

    def courier(self, receiver: Sender, name: str = "ops", **options: Any) -> Courier:
        settings: dict[str, Any] = {
            "node": "edge", "expire_ns": 3600 * S, "per_minute": 100, "rng": random.Random(1),
            "clock_ns": lambda: int(self.now_s * S), "monotonic": lambda: self.now_s,
        }  # fmt: skip
        return Courier(
            name, "test", receiver, self.book, self.engine,
            lambda notice: told(self.engine, "edge", RULE, notice), **{**settings, **options},
        )  # fmt: skip
