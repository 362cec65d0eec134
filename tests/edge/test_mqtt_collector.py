"""The MQTT collector against a real broker: sessions, acknowledgements, kills, fallback.

What is acknowledged is asked of the broker: it sends again what it has no acknowledgement for.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from mainstem_edge.collectors.deliveries import Deliveries
from mainstem_edge.collectors.interface import Message
from mainstem_edge.collectors.message_queue import MessageQueue
from mainstem_edge.collectors.mqtt import MqttCollector
from mainstem_edge.collectors.mqtt_connection import MqttSettings
from mainstem_edge.intake import Intake
from mainstem_edge.testing.gated_filesystem import GatedFilesystem
from mainstem_edge.testing.parts import T0_MS, recorded_counts, stored, subscription
from mainstem_edge.testing.patience import eventually, taken
from mainstem_engine.engine import Engine
from mainstem_node.broker import EmbeddedBroker
from mainstem_node.replay import BrokerAddress, Publisher
from mainstem_sync.receiving.quarantine import QuarantineStore

MakeIntake = Callable[..., Intake]


def settings(url: str, **options: Any) -> MqttSettings:
    parts = urlsplit(url)
    defaults: dict[str, Any] = {
        "host": parts.hostname,
        "port": parts.port,
        "client_id": "mainstem-edge",
        "topics": (("plant/+/t", 1),),
        "keepalive_s": 30,
        "in_flight": 5000,
    }
    return MqttSettings(**{**defaults, **options})


def make_collector(
    url: str, *, queue: MessageQueue | None = None, protocol: str = "auto", **options: Any
) -> MqttCollector:
    return MqttCollector(
        "mqtt-0",
        settings(url, **options),
        [subscription()],
        MessageQueue(10_000, 64 << 20) if queue is None else queue,
        protocol=protocol,
    )


def connect(collector: MqttCollector) -> None:
    collector.start()
    eventually(lambda: collector.status()["state"] == "connected", "connected")


def publish(url: str, *payloads: Any, topic: str = "plant/m1/t") -> None:
    """Returns when the broker has acknowledged all of them."""
    with Publisher(BrokerAddress.parse(url)) as publisher:
        for payload in payloads:
            data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
            publisher.publish(topic, data)
        publisher.drain()


def numbered(start: int, count: int) -> list[dict[str, int]]:
    return [{"ts": T0_MS + n, "count": n} for n in range(start, start + count)]


def counts_of(messages: list[Message]) -> list[int]:
    return [json.loads(message.payload)["count"] for message in messages]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker(tmp_path / "broker", sync_always=False, redelivery_s=1) as started:
        yield started


@pytest.fixture
def wire(make_intake: MakeIntake) -> Iterator[Callable[[MqttCollector], Intake]]:
    """Puts a running intake behind a collector; both end with the test."""
    running: list[tuple[Intake, MqttCollector]] = []

    def connect_them(collector: MqttCollector) -> Intake:
        intake = make_intake()
        intake.collector = collector
        running.append((intake, collector))
        intake.start()
        connect(collector)
        return intake

    yield connect_them
    for intake, collector in running:
        collector.pause()
        intake.drain(10)
        collector.stop(5)


def test_a_broker_without_mqtt_5_is_asked_again_with_3_1_1(broker: EmbeddedBroker) -> None:
    collector = make_collector(broker.url)
    try:
        connect(collector)
        status = collector.status()
        assert (status["protocol"], status["connects"], status["disconnects"]) == ("3.1.1", 1, 0)
    finally:
        collector.stop(5)
    assert collector.status()["state"] == "stopped"


def test_version_5_alone_is_not_given_up(broker: EmbeddedBroker) -> None:
    collector = make_collector(broker.url, protocol="5")
    collector.start()
    try:
        eventually(lambda: collector.status()["disconnects"] >= 2, "tried again")
        assert "Unsupported protocol version" in collector.status()["last_error"]
        assert collector.state().connected_ns is None
    finally:
        collector.stop(5)


def test_messages_become_rows_and_are_acknowledged(
    broker: EmbeddedBroker, wire: Callable[[MqttCollector], Intake], engine: Engine
) -> None:
    collector = make_collector(broker.url)
    intake = wire(collector)
    publish(broker.url, *numbered(0, 300), [{"ts": T0_MS + n, "count": n} for n in (300, 301)])
    eventually(lambda: len(stored(engine)) == 302, "stored")
    eventually(lambda: intake.oldest_waiting_ns() is None, "all durable")
    collector.stop(5)
    acknowledged = collector.status()["acknowledged"]
    for since in ("since_arrival", "since_durable"):  # 301 messages: one had two rows
        assert sum(acknowledged[since]["counts"]) == 301
    assert acknowledged["since_arrival"]["sum_s"] >= acknowledged["since_durable"]["sum_s"] > 0
    publish(broker.url, *numbered(500, 1))
    later = make_collector(broker.url)
    connect(later)
    try:
        # The session held nothing but what came after: all else had been acknowledged.
        assert counts_of(taken(later, 1)) == [500]
    finally:
        later.stop(5)


def test_nothing_is_acknowledged_before_it_is_durable(
    broker: EmbeddedBroker,
    wire: Callable[[MqttCollector], Intake],
    engine: Engine,
    fs: GatedFilesystem,
) -> None:
    first = make_collector(broker.url)
    wire(first)
    fs.gate.clear()
    publish(broker.url, *numbered(0, 100))
    assert fs.waiting.wait(10)
    eventually(lambda: first.status()["messages"] == 100, "arrived")
    assert sum(first.status()["acknowledged"]["since_arrival"]["counts"]) == 0
    # The edge is cut off in this state; the broker sends all of it to the next connection.
    first.stop(5)
    second = make_collector(broker.url)
    connect(second)
    try:
        again = taken(second, 100)
        assert counts_of(again) == list(range(100))
        assert all(message.redelivered for message in again)
    finally:
        second.stop(5)
        fs.gate.set()
    eventually(lambda: len(stored(engine)) == 100, "stored by the first after all")


def test_a_killed_broker_redelivers_and_every_row_is_there_once(
    broker: EmbeddedBroker,
    wire: Callable[[MqttCollector], Intake],
    engine: Engine,
    fs: GatedFilesystem,
) -> None:
    collector = make_collector(broker.url)
    wire(collector)
    fs.gate.clear()
    publish(broker.url, *numbered(0, 200))
    eventually(lambda: collector.status()["messages"] == 200, "arrived")
    broker.kill()
    eventually(lambda: collector.status()["state"] != "connected", "noticed")
    fs.gate.set()  # durable while there is no connection: these identifiers are void
    eventually(lambda: len(stored(engine)) == 200, "stored")
    broker.start()
    eventually(lambda: collector.status()["messages"] == 400, "redelivered")
    publish(broker.url, *numbered(200, 50))
    eventually(lambda: len(stored(engine)) == 250, "the new ones are stored")
    eventually(lambda: recorded_counts(engine)["received"] == 450, "all counted")
    counts = recorded_counts(engine)
    assert (counts["accepted"], counts["filtered"]) == (250, 200)
    assert [row["count"] for row in stored(engine)] == list(range(250))


def test_a_broker_that_is_not_there_yet_is_found(
    tmp_path: Path, wire: Callable[[MqttCollector], Intake], engine: Engine
) -> None:
    broker = EmbeddedBroker(tmp_path / "broker", sync_always=False)
    with broker:
        pass  # finds a port
    collector = make_collector(broker.url)
    collector.start()
    eventually(lambda: collector.status()["disconnects"] >= 1, "tried")
    assert "refused" in collector.status()["last_error"].lower()
    with broker:
        eventually(lambda: collector.status()["state"] == "connected", "connected")
        assert collector.status()["last_error"] is None
        collector.stop(5)


def test_bad_input_through_a_broker_leaves_the_good_flow_alone(
    broker: EmbeddedBroker,
    wire: Callable[[MqttCollector], Intake],
    engine: Engine,
    quarantine: QuarantineStore,
) -> None:
    collector = make_collector(broker.url)
    intake = wire(collector)
    mixed: list[Any] = []
    for n in range(1000):
        mixed += [{"ts": T0_MS + n, "count": n}, b'{"broken": %d' % n]
    publish(broker.url, *mixed, b"x" * (2 << 20), {"ts": 1000, "count": 1})
    publish(broker.url, {"ts": T0_MS, "count": 1}, topic="plant/../t")
    eventually(lambda: collector.status()["messages"] == 2003, "arrived")
    eventually(lambda: intake.oldest_waiting_ns() is None, "all durable")
    counts = recorded_counts(engine)
    assert (counts["received"], counts["accepted"], counts["quarantined"]) == (2003, 1000, 1003)
    reasons = {item["reason"] for item in quarantine.items(limit=5000)}
    assert reasons == {"malformed", "too_large", "time_past", "bad_path"}


def test_behind_a_full_queue_nothing_is_read(broker: EmbeddedBroker, engine: Engine) -> None:
    queue = MessageQueue(50, 64 << 20)
    collector = make_collector(broker.url, queue=queue)
    connect(collector)
    try:
        publish(broker.url, *numbered(0, 2000))
        eventually(lambda: queue.statistics().full == 1, "full")
        arrived = collector.status()["messages"]
        assert arrived < 2000
        assert counts_of(taken(collector, 2000)) == list(range(2000))
    finally:
        collector.stop(5)


def test_a_paused_collector_still_acknowledges(broker: EmbeddedBroker) -> None:
    collector = make_collector(broker.url)
    connect(collector)
    publish(broker.url, *numbered(0, 3))
    first, second, third = taken(collector, 3)
    collector.pause()
    publish(broker.url, *numbered(3, 1))
    first.origin.acknowledge([first.id, third.id])
    collector.stop(5)
    first.origin.acknowledge([second.id])  # of a connection that has ended: without effect
    later = make_collector(broker.url)
    connect(later)
    try:
        assert sorted(counts_of(taken(later, 2))) == [1, 3]
    finally:
        later.stop(5)


def test_copies_of_one_connection_are_told_from_messages() -> None:
    deliveries = Deliveries()
    assert not deliveries.is_copy(5, 111, redelivered=False)
    assert deliveries.is_copy(5, 111, redelivered=True)  # not acknowledged yet
    assert deliveries.is_copy(5, 111, redelivered=True)
    deliveries.acknowledged(5)
    assert deliveries.unacknowledged() == []
    assert deliveries.is_copy(5, 111, redelivered=True)  # crossed the acknowledgement
    assert not deliveries.is_copy(5, 111, redelivered=True)  # another message of that content
    assert not deliveries.is_copy(6, 111, redelivered=True)  # of an earlier connection
    assert not deliveries.is_copy(7, 222, redelivered=False)
    assert sorted(deliveries.unacknowledged()) == [111, 111, 222]


def test_a_broker_that_repeats_itself_on_one_connection_gets_one_acknowledgement(
    broker: EmbeddedBroker,
    wire: Callable[[MqttCollector], Intake],
    engine: Engine,
    fs: GatedFilesystem,
) -> None:
    collector = make_collector(broker.url)
    wire(collector)
    fs.gate.clear()
    publish(broker.url, *numbered(0, 20))
    eventually(lambda: collector.status()["copies"] >= 20, "sent again while unacknowledged")
    fs.gate.set()
    publish(broker.url, *numbered(20, 30))
    eventually(lambda: len(stored(engine)) == 50, "stored")
    assert recorded_counts(engine)["received"] == 50


def test_status_tells_what_people_ask(broker: EmbeddedBroker) -> None:
    collector = make_collector(broker.url, username="u", password="secret")
    connect(collector)
    try:
        publish(broker.url, *numbered(0, 2))
        taken(collector, 2)
        status = collector.status()
        assert (status["messages"], status["redelivered"]) == (2, 0)
        assert status["bytes"] == sum(len(json.dumps(row)) for row in numbered(0, 2))
        assert status["last_message_ms"] > T0_MS - 10**12
        assert status["subscriptions"] == ["plant/+/t"]
        assert "secret" not in f"{status} {collector._settings!r}"
    finally:
        collector.stop(5)
