"""MQTT: subscriptions, the way to the broker, and the action that publishes."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import unquote, urlsplit

from mainstem_edge.actions.mqtt_publish import MqttPublish
from mainstem_edge.actions.publisher import Broker
from mainstem_edge.assembly import lines
from mainstem_edge.assembly.workbench import Workbench
from mainstem_edge.collectors.interface import Collector
from mainstem_edge.collectors.message_queue import MessageQueue
from mainstem_edge.collectors.mqtt import MqttCollector, tls_context
from mainstem_edge.collectors.mqtt_connection import MqttSettings
from mainstem_edge.reader import Reader
from mainstem_edge.subscription import filter_matches
from mainstem_node.config.collectors.broker import BrokerConfig
from mainstem_node.config.collectors.mqtt import MqttCollectorConfig
from mainstem_node.config.schema import MqttPublishConfig

SECOND_NS = 1_000_000_000
PORTS = {"mqtt": 1883, "mqtts": 8883}


def readers(bench: Workbench, config: MqttCollectorConfig) -> list[Reader]:
    """Those that look around come last: a topic is read by the first that matches."""
    known = [each for each in config.subscriptions if not each.inbox]
    return [
        *(lines.reader(bench, each, config.message_limit) for each in known),
        *(bench.around(each) for each in config.subscriptions if each.inbox),
    ]


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
    topics = dict.fromkeys((topic, min(config.qos, 1)) for topic in asked_for(config))
    return settings(config, config.client_id or default_id, tuple(topics))


def asked_for(config: MqttCollectorConfig) -> list[str]:
    """The filters to ask the broker for: not those that one that looks around covers, because
    brokers may send a message once for each filter that matches."""
    around = [each.topic for each in config.subscriptions if each.inbox]
    return [
        each.topic
        for each in config.subscriptions
        if each.inbox or not any(_covers(wide, each.topic) for wide in around)
    ]


def _covers(wide: str, narrow: str) -> bool:
    """True for some filters that cover another; one without # at its end is not looked at."""
    levels = len(wide.split("/")) - 1
    if not wide.endswith("#") or "#" in narrow.split("/")[:levels]:
        return False
    return filter_matches(wide, narrow)


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
