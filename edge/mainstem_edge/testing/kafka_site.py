"""A topic of its own on a cluster, and collectors that read it and end with their test."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mainstem_edge.collectors.kafka import Feed, KafkaCollector
from mainstem_edge.collectors.message_queue import MessageQueue
from mainstem_edge.intake import Intake
from mainstem_edge.kafka.offset_book import OffsetBook
from mainstem_edge.kafka.place import RecordPlace
from mainstem_edge.kafka.settings import KafkaSettings
from mainstem_edge.testing.kafka_cluster import KafkaCluster
from mainstem_edge.testing.parts import T0_MS, subscription
from mainstem_edge.testing.patience import eventually

QUICK = {
    "session.timeout.ms": 1000,
    "heartbeat.interval.ms": 100,
    "fetch.wait.max.ms": 50,
    "fetch.error.backoff.ms": 20,
    "reconnect.backoff.ms": 20,
    "reconnect.backoff.max.ms": 100,
    "topic.metadata.refresh.interval.ms": 200,
}
"""Whoever vanishes is missed after a second, not after 45."""
MESSAGE_BYTES_MAX = 500_000
"""Less than the cluster takes."""
_names = itertools.count(1)


def row(number: int) -> bytes:
    return json.dumps({"ts": T0_MS + number, "count": number}).encode()


def rows(start: int, count: int) -> list[bytes]:
    return [row(number) for number in range(start, start + count)]


class KafkaSite:
    """A topic of its own on the cluster, a group, and those who read it."""

    def __init__(self, cluster: KafkaCluster, place: Path, make_intake: Callable[..., Intake]):
        self.cluster = cluster
        self.place = place
        self.group = f"g{next(_names)}"
        self.topic = f"{self.group}.values"
        self._make_intake = make_intake
        self._running: list[tuple[KafkaCollector, Intake | None]] = []
        self.book_of: dict[str, OffsetBook] = {}

    def collector(
        self,
        *,
        asked: str = "{key}",
        name: str = "kafka-0",
        topic: str = "",
        stamps: bool = True,
        queue: MessageQueue | None = None,
        place: Path | None = None,
        options: dict[str, Any] | None = None,
        brokers: str = "",
        security: dict[str, Any] | None = None,
        **more: Any,
    ) -> KafkaCollector:
        """Not started. Its rows have the device root.plant.KEY."""
        where = RecordPlace.of(topic or self.topic, [asked])
        reader = subscription(
            where.filter, f"root.plant.{where.pattern(asked)}", message_bytes_max=MESSAGE_BYTES_MAX
        )
        settings = KafkaSettings(
            (brokers or self.cluster.brokers,),
            self.group,
            name,
            options={**QUICK, **(options or {})},
            **(security or {}),
        )
        return KafkaCollector(
            name,
            [reader],
            MessageQueue(10_000, 64 << 20) if queue is None else queue,
            settings=settings,
            feeds=[Feed(where, stamps)],
            book=OffsetBook(place or self.place, self.group),
            **{"commit_s": 0.05, "book_s": 0.05, **more},
        )

    def start(self, collector: KafkaCollector, *, stored: bool = True) -> Intake | None:
        """Returns when it has its partitions. ``stored`` False: nobody takes its messages."""
        intake = None
        if stored:
            intake = self._make_intake()
            intake.collector = collector
            intake.start()
        self._running.append((collector, intake))
        collector.start()
        eventually(lambda: collector.status()["state"] == "connected", "connected")
        return intake

    def stop(self, collector: KafkaCollector) -> None:
        """As a node stops."""
        for each, intake in self._running:
            if each is collector:
                collector.pause()
                if intake is not None:
                    assert intake.drain(10)
                collector.stop(5)

    def stop_all(self) -> None:
        for collector, intake in self._running:
            collector.pause()
            if intake is not None:
                intake.drain(10)
            collector.stop(5)

    def produce(self, *values: bytes | None, **options: Any) -> None:
        self.cluster.produce(self.topic, *values, **{"key": "m1", **options})

    def committed(self, partition: int = 0) -> int | None:
        return self.cluster.committed(self.group, self.topic, partition)
