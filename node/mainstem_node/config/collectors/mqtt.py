"""MQTT: topics of a broker."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from mainstem_node.config.collectors.client_tls import ClientTlsConfig
from mainstem_node.config.collectors.subscription import SubscriptionConfig
from mainstem_node.config.kinds import DurationNs, MqttUrl, SecretText, SizeBytes, Text

MIB = 1 << 20
SECOND_NS = 1_000_000_000


class MqttCollectorConfig(Struct, frozen=True, kw_only=True):
    """An MQTT client with a persistent session; messages are acknowledged when durable."""

    type: Literal["mqtt"]
    url: MqttUrl
    protocol: Literal["auto", "5", "3.1.1"] = "auto"
    qos: Literal[0, 1, 2] = 1
    subscriptions: tuple[SubscriptionConfig, ...]
    client_id: Text | None = None
    """Default mainstem-<node id>: fixed, because the broker keeps the session under this name."""
    username: Text | None = None
    password: SecretText | None = None
    keepalive: DurationNs = 30 * SECOND_NS
    in_flight: int = 5000
    """Messages taken but not yet acknowledged (MQTT 5 Receive Maximum)."""
    queue_bytes: SizeBytes = 32 * MIB
    """Payload bytes between the network thread and the decoder; beyond it reading stops."""
    message_limit: SizeBytes = 1 * MIB
    """A larger message is quarantined, counted and acknowledged."""
    tls: ClientTlsConfig = ClientTlsConfig()

    @property
    def templates(self) -> tuple[str, ...]:
        """The templates whose rows it brings, as far as they are named."""
        named = (each.template for each in self.subscriptions)
        return tuple(dict.fromkeys(name for name in named if name is not None))
