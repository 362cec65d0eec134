"""Kafka: a reader for each subscription, and the way to the cluster.

The library is imported when a collector is made, never before: an edge without one does without it.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import structs

from mainstem_edge.assembly import lines
from mainstem_edge.assembly.subscribing import subscribed
from mainstem_edge.assembly.workbench import Workbench
from mainstem_edge.collectors.interface import Collector
from mainstem_edge.collectors.message_queue import MessageQueue
from mainstem_edge.kafka.offset_book import OffsetBook
from mainstem_edge.kafka.place import RecordPlace
from mainstem_edge.kafka.settings import KafkaSettings
from mainstem_edge.reader import Reader
from mainstem_node.config.collectors.kafka import KafkaCollectorConfig, KafkaSubscriptionConfig
from mainstem_node.extras import require

LAST_PART = "{topic[-1]}"
"""What a record of one value is called, unless something else is said."""


def readers(bench: Workbench, config: KafkaCollectorConfig) -> list[Reader]:
    return [_reader(bench, each, config.message_limit) for each in config.subscriptions]


def _reader(bench: Workbench, config: KafkaSubscriptionConfig, limit: int) -> Reader:
    place = _place(config)
    time = config.time
    if time.source == "record":  # what a row without a time takes, and no other
        time = structs.replace(time, source="arrival")
    changed = subscribed(
        config,
        place.filter,
        device=None if config.device is None else place.pattern(config.device),
        tags={name: place.pattern(text) for name, text in config.tags.items()},
        measurement=place.pattern(_measurement(config)) or None,
        time=time,
    )
    return lines.reader(bench, changed, limit)


def _place(config: KafkaSubscriptionConfig) -> RecordPlace:
    texts = (config.device or "", _measurement(config), *config.tags.values())
    return RecordPlace.of(config.topic, texts)


def _measurement(config: KafkaSubscriptionConfig) -> str:
    return config.measurement or (LAST_PART if config.codec == "raw" else "")


def collector(
    bench: Workbench, number: int, config: KafkaCollectorConfig, found: Sequence[Reader]
) -> Collector:
    require("kafka")
    from mainstem_edge.collectors.kafka import Feed, KafkaCollector

    settings = kafka_settings(bench.node.id, config)
    return KafkaCollector(
        f"kafka-{number}",
        found,
        MessageQueue(config.in_flight, config.queue_bytes),
        settings=settings,
        feeds=[Feed(_place(each), each.time.source != "arrival") for each in config.subscriptions],
        book=OffsetBook(bench.node.data_dir, settings.group),
        from_latest=config.start == "latest",
        rng=bench.rng,
        clock_ns=bench.clock_ns,
    )


def kafka_settings(node: str, config: KafkaCollectorConfig) -> KafkaSettings:
    """How to reach the cluster. Raises OSError for a file of `tls` that cannot be read."""
    for file in (config.tls.ca, config.tls.cert, config.tls.key):
        if file is not None:
            file.open("rb").close()  # librdkafka does not say which one it is
    reveal = getattr(config.password, "reveal", None)
    return KafkaSettings(
        config.brokers,
        config.group or f"mainstem-{node}",
        f"mainstem-{node}",
        config.security,
        config.tls.ca,
        config.tls.cert,
        config.tls.key,
        config.sasl,
        config.username,
        config.password if reveal is None else reveal(),
        config.prefetch,
    )
