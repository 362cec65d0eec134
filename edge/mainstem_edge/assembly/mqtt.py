"""MQTT: subscriptions, the way to the broker, and the action that publishes."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import unquote, urlsplit

from mainstem_edge.actions.mqtt_publish import Broker, MqttPublish
from mainstem_edge.assembly import lines
from mainstem_edge.assembly.workbench import Workbench
from mainstem_edge.collectors.interface import Collector
from mainstem_edge.collectors.message_queue import MessageQueue
from mainstem_edge.collectors.mqtt import MqttCollector, tls_context
from mainstem_edge.collectors.mqtt_connection import MqttSettings
from mainstem_edge.reader import Reader
from mainstem_node.config.collectors.broker import BrokerConfig
from mainstem_node.config.collectors.mqtt import MqttCollectorConfig
from mainstem_node.config.schema import MqttPublishConfig

SECOND_NS = 1_000_000_000
PORTS = {"mqtt": 1883, "mqtts": 8883}


def readers(bench: Workbench, config: MqttCollectorConfig) -> list[Reader]:
    return [lines.reader(bench, each, config.message_limit) for each in config.subscriptions]


def collector(
    bench: Workbench, number: int, config: MqttCollectorConfig, found: Sequence[Reader]
) -> Collector:
    return MqttCollector(
        f"mqtt-{number}",
        mqtt_settings(bench.node.id, number, config),
        found,
        # As many messages as can be in flight: with QoS 1 the broker stops before the queue.
        MessageQueue(config.in_flight, config.queue_bytes),
        protocol=config.protocol,
        rng=bench.rng,
        clock_ns=bench.clock_ns,
    )


def mqtt_settings(node: str, number: int, config: MqttCollectorConfig) -> MqttSettings:
    """How to reach the broker. The client id is fixed: the broker keeps the session under it."""
    default_id = f"mainstem-{node}" if number == 0 else f"mainstem-{node}-{number}"
    topics = dict.fromkeys((each.topic, min(config.qos, 1)) for each in config.subscriptions)
    return settings(config, config.client_id or default_id, tuple(topics))


def settings(
    config: BrokerConfig, client_id: str, topics: tuple[tuple[str, int], ...]
) -> MqttSettings:
    """What all kinds of collectors at a broker have in common."""
    url = urlsplit(config.url)
    tls = None
    if url.scheme == "mqtts":
        tls = tls_context(config.tls.ca, config.tls.cert, config.tls.key)
    reveal = getattr(config.password, "reveal", None)
    return MqttSettings(
        host=url.hostname or "127.0.0.1",
        port=url.port or PORTS[url.scheme],
        client_id=client_id,
        topics=topics,
        keepalive_s=max(1, config.keepalive // SECOND_NS),
        in_flight=config.in_flight,
        username=config.username or (None if url.username is None else unquote(url.username)),
        password=config.password if reveal is None else reveal(),
        tls=tls,
    )


def publish_action(node: str, configs: Sequence[MqttPublishConfig]) -> MqttPublish:
    """The action ``mqtt.publish`` over the brokers that the configuration names."""
    return MqttPublish([_broker(node, number, config) for number, config in enumerate(configs)])


def _broker(node: str, number: int, config: MqttPublishConfig) -> Broker:
    url = urlsplit(config.url)
    tls = None
    if url.scheme == "mqtts":
        tls = tls_context(config.tls.ca, config.tls.cert, config.tls.key)
    default_id = f"mainstem-{node}-command" + (f"-{number}" if number else "")
    reveal = getattr(config.password, "reveal", None)
    return Broker(
        host=url.hostname or "127.0.0.1",
        port=url.port or PORTS[url.scheme],
        client_id=config.client_id or default_id,
        topics=config.topics,
        username=config.username or (None if url.username is None else unquote(url.username)),
        password=config.password if reveal is None else reveal(),
        tls=tls,
    )
