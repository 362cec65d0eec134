"""``mqtt.publish``: a message to a device that listens to a broker.

1. Only topics are published to that a filter of the configuration allows: there is no default.
2. Each command has a connection of its own, a clean session, and one PUBLISH: no library sends it
   again behind anybody's back.
3. Done means that the broker has it (PUBACK). Without a connection nothing was done (FAILED); once
   the message has left, and no answer comes, nobody knows (UNKNOWN).
"""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from paho.mqtt.client import Client, topic_matches_sub
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from mainstem_node.commanding.action import (
    ActionError,
    UncertainActionError,
    not_allowed,
    refuse_unknown,
)
from mainstem_node.errors import BadRequestError

NAME = "mqtt.publish"
CONNECT_S_MAX = 10.0
ANSWER_S_MAX = 10.0
PAYLOAD_BYTES_MAX = 64 << 10
TOPIC_BYTES_MAX = 65_535
KEEPALIVE_S = 30
ARGUMENTS = ("topic", "payload", "retain")


@dataclass(frozen=True, slots=True)
class Broker:
    """Where to publish. ``password`` stays out of every message. ``topics``: filters of what may be
    published there."""

    host: str
    port: int
    client_id: str
    topics: Sequence[str]
    username: str | None = None
    password: str | None = None
    tls: ssl.SSLContext | None = None

    def __repr__(self) -> str:
        return f"Broker({self.host}:{self.port})"


class MqttPublish:
    """See the module. The broker whose filters allow a topic first is used."""

    name = NAME

    def __init__(
        self,
        brokers: Sequence[Broker],
        *,
        connect_s: float = CONNECT_S_MAX,
        answer_s: float = ANSWER_S_MAX,
    ) -> None:
        self._brokers = tuple(brokers)
        self._connect_s = connect_s
        self._answer_s = answer_s

    def check(self, arguments: Mapping[str, Any]) -> None:
        """``topic``: text; ``payload``: text, or anything else, which is sent as JSON; ``retain``:
        true or false. Raises BadRequestError."""
        refuse_unknown(NAME, arguments, ARGUMENTS)
        topic = arguments.get("topic")
        if not isinstance(topic, str) or not topic or len(topic.encode()) > TOPIC_BYTES_MAX:
            raise BadRequestError("topic is missing, or no text", field="topic")
        if any(sign in topic for sign in "+#\0"):
            raise BadRequestError(f"{topic!r} is no topic to publish to", field="topic")
        if not isinstance(arguments.get("retain", False), bool):
            raise BadRequestError("retain is not true or false", field="retain")
        if len(_payload(arguments)) > PAYLOAD_BYTES_MAX:
            raise BadRequestError(
                f"the payload has more than {PAYLOAD_BYTES_MAX} bytes", field="payload"
            )
        self._broker(topic)

    def run(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Publishes once, with QoS 1."""
        topic = str(arguments["topic"])
        broker = self._broker(topic)
        attempt = _Attempt(broker)
        try:
            attempt.connect(self._connect_s)
            attempt.publish(
                topic, _payload(arguments), bool(arguments.get("retain")), self._answer_s
            )
        finally:
            attempt.close()
        return {"broker": f"{broker.host}:{broker.port}", "topic": topic}

    def _broker(self, topic: str) -> Broker:
        for broker in self._brokers:
            if any(topic_matches_sub(each, topic) for each in broker.topics):
                return broker
        raise not_allowed(f"publishing to {topic!r}", "topic", "filter")


class _Attempt:
    """One connection for one message."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._connected = threading.Event()
        self._ended = threading.Event()
        self._published = threading.Event()
        self._refusal = ""
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=broker.client_id,
            protocol=MQTTProtocolVersion.MQTTv311,
            clean_session=True,
            reconnect_on_failure=False,
        )
        if broker.username is not None:
            client.username_pw_set(broker.username, broker.password)
        if broker.tls is not None:
            client.tls_set_context(broker.tls)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        self._client = client

    def connect(self, timeout_s: float) -> None:
        """Raises ActionError."""
        where = f"{self._broker.host}:{self._broker.port}"
        self._client.connect_timeout = timeout_s
        try:
            self._client.connect(self._broker.host, self._broker.port, KEEPALIVE_S)
        except (OSError, ValueError) as error:
            raise ActionError(f"the broker {where} cannot be reached: {error}") from error
        self._client.loop_start()
        if not self._connected.wait(timeout_s) or self._refusal:
            raise ActionError(f"the broker {where} does not let in: {self._refusal or 'no answer'}")

    def publish(self, topic: str, payload: bytes, retain: bool, timeout_s: float) -> None:
        """Raises ActionError, UncertainActionError."""
        sent = self._client.publish(topic, payload, qos=1, retain=retain)
        if sent.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise ActionError(f"the message was not sent: {sent.rc.name}")
        if not self._published.wait(timeout_s):
            raise UncertainActionError("the broker did not acknowledge the message")
        if self._refusal:
            raise UncertainActionError(f"the broker answered: {self._refusal}")

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(
        self, client: Client, userdata: object, flags: object, reason: ReasonCode, *_: object
    ) -> None:
        if reason.is_failure:
            self._refusal = str(reason)
        self._connected.set()

    def _on_disconnect(
        self, client: Client, userdata: object, flags: object, reason: ReasonCode, *_: object
    ) -> None:
        if not self._published.is_set():
            self._refusal = self._refusal or "the connection ended"
        self._connected.set()
        self._published.set()

    def _on_publish(
        self, client: Client, userdata: object, mid: int, reason: ReasonCode, *_: object
    ) -> None:
        if reason.is_failure:
            self._refusal = str(reason)
        self._published.set()


def _payload(arguments: Mapping[str, Any]) -> bytes:
    payload = arguments.get("payload", "")
    text = payload if isinstance(payload, str) else json.dumps(payload, ensure_ascii=False)
    return text.encode()
