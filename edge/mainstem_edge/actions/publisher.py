"""One MQTT connection to publish over, one message after the other, each with QoS 1.

1. The session is clean and nothing is sent again behind anybody's back: whoever publishes knows
   what became of each message.
2. Published means that the broker has it: PUBACK, in version 5 with a reason below 0x80.
3. After an error the connection is of no use any more.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from mainstem_node.commanding.action import ActionError, UncertainActionError

KEEPALIVE_S = 30
V5, V311 = MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311
_UNSUPPORTED_VERSION = 0x84
_NEVER = frozenset({0x87, 0x90, 0x99})
"""Not authorized, topic name invalid, payload format invalid: the same message is refused again."""


class RefusedVersionError(ActionError):
    """The broker does not speak this version, or hung up before it answered, as old ones do."""


class RefusedMessageError(ActionError):
    """The broker will never take this message."""


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


class Publisher:
    """See the module. Used by one thread."""

    def __init__(self, broker: Broker, version: MQTTProtocolVersion = V311) -> None:
        self._broker = broker
        self._connected = threading.Event()
        self._published = threading.Event()
        self._refusal = ""
        self._reason = 0
        """What CONNACK or PUBACK gave; 0 without an answer, too."""
        self._is_answered = False
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=broker.client_id,
            protocol=version,
            clean_session=None if version == V5 else True,  # version 5 has a clean start
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
        """Raises ActionError, RefusedVersionError."""
        where = f"{self._broker.host}:{self._broker.port}"
        self._client.connect_timeout = timeout_s
        try:
            self._client.connect(self._broker.host, self._broker.port, KEEPALIVE_S)
        except (OSError, ValueError) as error:
            raise ActionError(f"the broker {where} cannot be reached: {error}") from error
        self._client.loop_start()
        is_over = self._connected.wait(timeout_s)
        if is_over and not self._refusal:
            return
        hung_up = is_over and not self._is_answered
        kind = (
            RefusedVersionError if hung_up or self._reason == _UNSUPPORTED_VERSION else ActionError
        )
        raise kind(f"the broker {where} does not let in: {self._refusal or 'no answer'}")

    def publish(self, topic: str, payload: bytes, retain: bool, timeout_s: float) -> None:
        """Raises ActionError, UncertainActionError, RefusedMessageError."""
        self._published.clear()
        sent = self._client.publish(topic, payload, qos=1, retain=retain)
        if sent.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise ActionError(f"the message was not sent: {sent.rc.name}")
        if not self._published.wait(timeout_s):
            raise UncertainActionError("the broker did not acknowledge the message")
        if not self._refusal:
            return
        if self._reason in _NEVER:
            raise RefusedMessageError(f"the broker refuses the message: {self._refusal}")
        raise UncertainActionError(f"the broker answered: {self._refusal}")

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(
        self, client: Client, userdata: object, flags: object, reason: ReasonCode, *_: object
    ) -> None:
        self._is_answered = True
        self._judge(reason)
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
        self._judge(reason)
        self._published.set()

    def _judge(self, reason: ReasonCode) -> None:
        if reason.is_failure:
            self._refusal, self._reason = str(reason), int(reason.value)
