"""An MQTT broker that something is collected from."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from mainstem_node.config.collectors.client_tls import ClientTlsConfig
from mainstem_node.config.kinds import DurationNs, MqttUrl, SecretText, SizeBytes, Text

MIB = 1 << 20
SECOND_NS = 1_000_000_000


class BrokerConfig(Struct, frozen=True, kw_only=True):
    """What all kinds of collectors at a broker have in common."""

    url: MqttUrl
    protocol: Literal["auto", "5", "3.1.1"] = "auto"
    username: Text | None = None
    password: SecretText | None = None
    keepalive: DurationNs = 30 * SECOND_NS
    in_flight: int = 5000
    """Messages taken but not yet acknowledged (MQTT 5 Receive Maximum)."""
    queue_bytes: SizeBytes = 32 * MIB
    """Payload bytes between the network thread and the decoder; beyond it reading stops."""
    tls: ClientTlsConfig = ClientTlsConfig()
