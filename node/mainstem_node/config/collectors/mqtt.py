"""MQTT: topics of a broker."""

from __future__ import annotations

from typing import Literal

from mainstem_node.config.collectors.broker import MIB, BrokerConfig
from mainstem_node.config.collectors.subscription import SubscriptionConfig
from mainstem_node.config.kinds import SizeBytes, Text


class MqttCollectorConfig(BrokerConfig, frozen=True, kw_only=True):
    """An MQTT client with a persistent session; messages are acknowledged when durable."""

    type: Literal["mqtt"]
    qos: Literal[0, 1, 2] = 1
    subscriptions: tuple[SubscriptionConfig, ...]
    client_id: Text | None = None
    """Default mainstem-<node id>: fixed, because the broker keeps the session under this name."""
    message_limit: SizeBytes = 1 * MIB
    """A larger message is quarantined, counted and acknowledged."""

    @property
    def templates(self) -> tuple[str, ...]:
        """The templates whose rows it brings, as far as they are named."""
        named = (each.template for each in self.subscriptions)
        return tuple(dict.fromkeys(name for name in named if name is not None))
