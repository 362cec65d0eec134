"""Whom an edge tells of alarms: the keys of a broker's topic and of a web hook."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct, field

from mainstem_node.config.collectors.client_tls import ClientTlsConfig
from mainstem_node.config.kinds import DurationNs, HttpUrl, MqttUrl, Name, SecretText, Text

SECOND_NS = 1_000_000_000
DAY_NS = 86_400 * SECOND_NS
LOG = "log"
"""The action that every rule has where it names none: a line in the log of the edge."""
TOPIC_NAMES = ("node", "device", "rule", "measurement", "severity", "change")


class NotifyConfig(Struct, frozen=True, kw_only=True):
    """What both kinds have in common."""

    expire: DurationNs = DAY_NS
    """A change that is older is given up."""
    per_minute: int = 60
    """What is more waits."""
    timeout: DurationNs = 10 * SECOND_NS
    tls: ClientTlsConfig = ClientTlsConfig()


class MqttNotifyConfig(NotifyConfig, frozen=True, kw_only=True):
    """A message to a topic, with QoS 1."""

    type: Literal["mqtt"]
    name: Name = "mqtt"
    """What rules call it."""
    url: MqttUrl
    topic: Text = "mainstem/{node}/alarms/{device}/{rule}"
    """With {node}, {device}, {rule}, {measurement}, {severity} and {change}."""
    retain: bool = False
    protocol: Literal["auto", "5", "3.1.1"] = "auto"
    """A broker of 3.1.1 cannot say that it refuses a message."""
    client_id: Text | None = None
    """Default mainstem-<node id>-<name>."""
    username: Text | None = None
    password: SecretText | None = None


class WebhookNotifyConfig(NotifyConfig, frozen=True, kw_only=True):
    """A POST of JSON."""

    type: Literal["webhook"]
    name: Name = "webhook"
    """What rules call it."""
    url: HttpUrl
    secret: SecretText | None = None
    """Of the HMAC in the header `Mainstem-Signature`, over time and body."""
    secret_headers: dict[Text, SecretText] = field(default_factory=dict)
