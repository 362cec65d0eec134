"""Kafka: topics of a cluster, read as a member of a consumer group."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Struct

from mainstem_node.config.collectors.client_tls import ClientTlsConfig
from mainstem_node.config.collectors.subscription import ReadingConfig
from mainstem_node.config.kinds import Kind, SecretText, SizeBytes, Text

MIB = 1 << 20


def parse_kafka_broker(text: str) -> str:
    """``host:port``, IPv6 in brackets; nothing else, least of all a credential."""
    host, colon, port = text.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    if not colon or not bare or set(host) & set("/@, ") or not port.isdigit():
        raise ValueError("it is not host:port", "write kafka-1.example:9092")
    return text


BROKER = Kind("broker", parse_kafka_broker, {"type": "string", "examples": ["127.0.0.1:9092"]})
BrokerText = Annotated[str, BROKER]


class KafkaSubscriptionConfig(ReadingConfig, frozen=True, kw_only=True):
    """A topic, or the topics of a pattern, and what their records become. Beside `{payload.NAME}`
    there are `{topic}`, `{topic[n]}` (between the dots, from 0), `{key}`, `{partition}` and
    `{header.NAME}`."""

    topic: Text
    """A name, or a regular expression that begins with ^."""


class KafkaCollectorConfig(Struct, frozen=True, kw_only=True):
    """A consumer whose offsets are committed when the rows are durable."""

    type: Literal["kafka"]
    brokers: tuple[BrokerText, ...]
    """Some of the cluster; it names the others."""
    group: Text | None = None
    """Default mainstem-<node id>. The brokers keep under it how far it has come."""
    subscriptions: tuple[KafkaSubscriptionConfig, ...]
    start: Literal["earliest", "latest"] = "earliest"
    """Where to begin in a topic that the group has never read."""
    security: Literal["none", "tls"] = "none"
    tls: ClientTlsConfig = ClientTlsConfig()
    sasl: Literal["none", "plain", "scram-sha-256", "scram-sha-512"] = "none"
    username: Text | None = None
    password: SecretText | None = None
    in_flight: int = 5000
    """Records that wait for the decoder; beyond it nothing more is taken."""
    queue_bytes: SizeBytes = 32 * MIB
    prefetch: SizeBytes = 16 * MIB
    """What is fetched ahead of that."""
    message_limit: SizeBytes = 1 * MIB
    """A larger record is quarantined, counted and passed over."""

    @property
    def templates(self) -> tuple[str, ...]:
        """The templates whose rows it brings, as far as they are named."""
        named = (each.template for each in self.subscriptions)
        return tuple(dict.fromkeys(name for name in named if name is not None))
