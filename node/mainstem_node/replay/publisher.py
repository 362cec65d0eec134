"""MQTT publishing that knows which messages the broker took.

1. ``publish`` waits while WINDOW messages are unacknowledged, hands the message to paho and files
   its message id with the caller's token.
2. A PUBACK (QoS 1) or PUBCOMP (QoS 2) takes the id out of the ledger. A reason code of 0x80 or
   more (MQTT 5) is a refusal: the broker answered but did not take the message.
3. paho reconnects by itself and sends again what was not acknowledged. ``publish`` and ``drain``
   give up only when no acknowledgement arrived for ``stall_timeout_s``.

The protocol is MQTT 5 and, where the broker does not speak it, 3.1.1.
"""

from __future__ import annotations

import contextlib
import os
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from mainstem_node.replay.errors import BrokerError

WINDOW = 1000
"""Unacknowledged messages held at most: covers a round trip of 100 ms at 10,000 messages/s."""

KEEPALIVE_S = 30
"""A dead connection is noticed within 1.5 times this."""

CONNECT_TIMEOUT_S = 10.0
STALL_TIMEOUT_S = 60.0
"""Without any acknowledgement for this long nobody is listening any more."""

FAILURE = 0x80
"""MQTT 5 reason codes from here on are failures."""

_PORTS = {"mqtt": 1883, "tcp": 1883, "mqtts": 8883, "ssl": 8883}
_TLS_SCHEMES = ("mqtts", "ssl")


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where a broker listens, from ``mqtt://[user[:password]@]host[:port]`` (``mqtts`` for TLS)."""

    host: str
    port: int
    tls: bool = False
    username: str | None = None
    password: str | None = None

    @classmethod
    def parse(cls, url: str) -> BrokerAddress:
        """Raises BrokerError for a URL that names no broker."""
        text = url if "://" in url else f"mqtt://{url}"
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError as error:
            raise BrokerError(f"broker {url!r}: {error}", hint="use mqtt://HOST:PORT") from None
        if parts.scheme not in _PORTS or not parts.hostname:
            raise BrokerError(f"broker {url!r} is not an MQTT address", hint="use mqtt://HOST:PORT")
        password = unquote(parts.password) if parts.password else None
        return cls(
            parts.hostname,
            port or _PORTS[parts.scheme],
            parts.scheme in _TLS_SCHEMES,
            unquote(parts.username) if parts.username else None,
            # A password on the command line is seen by everybody on the machine.
            password or os.environ.get("MAINSTEM_MQTT_PASSWORD"),
        )

    def __str__(self) -> str:
        return f"{'mqtts' if self.tls else 'mqtt'}://{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class PublishStatistics:
    """Messages handed over, acknowledged, refused, and still without an answer."""

    messages: int
    acknowledged: int
    refused: int
    outstanding: int
    reconnects: int
    first_refusal: str | None


class Publisher:
    """One connection that publishes. ``publish`` may be called from one thread at a time.

    ``on_acknowledged`` is called on the network thread with the token of each message that the
    broker took.
    """

    def __init__(
        self,
        address: BrokerAddress,
        *,
        qos: int = 1,
        client_id: str | None = None,
        window: int = WINDOW,
        stall_timeout_s: float = STALL_TIMEOUT_S,
        on_acknowledged: Callable[[Any], None] | None = None,
    ) -> None:
        self._address = address
        self._qos = qos
        self._client_id = client_id or f"mainstem-publish-{uuid.uuid4().hex[:12]}"
        self._window = window
        self._stall_timeout_s = stall_timeout_s
        self._on_acknowledged = on_acknowledged
        self._client: mqtt.Client | None = None
        self._changed = threading.Condition()
        self._outstanding: dict[int, Any] = {}
        self._early: dict[int, ReasonCode] = {}
        self._messages = self._acknowledged = self._refused = 0
        self._connects = 0
        self._first_refusal: str | None = None
        self._answer: str | None = None

    def connect(self, timeout_s: float = CONNECT_TIMEOUT_S) -> None:
        """Connects, with MQTT 3.1.1 where version 5 is refused. Raises BrokerError.

        A second connection of one client id would take over from the first, which comes back and
        takes over again: what was not answered is then published twice each time.
        """
        if self._client is not None:
            raise BrokerError("connected already", hint="call connect() once, or close() first")
        problem = ""
        for protocol in (MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311):
            problem = self._try(protocol, timeout_s)
            if not problem:
                return
            self.close()
        raise BrokerError(
            f"the broker {self._address} {problem}",
            hint="check the credentials, and that this is an MQTT port",
        )

    def publish(self, topic: str, payload: bytes, token: Any = None) -> None:
        """Hands one message over. Raises BrokerError when the broker stops acknowledging."""
        client = self._client
        if client is None:
            raise BrokerError("not connected", hint="call connect() first")
        self._wait(lambda: len(self._outstanding) < self._window)
        info = client.publish(topic, payload, qos=self._qos)
        # Without a connection paho keeps the message and sends it after the next connect.
        if info.rc not in (MQTTErrorCode.MQTT_ERR_SUCCESS, MQTTErrorCode.MQTT_ERR_NO_CONN):
            raise BrokerError(f"paho refused a message: {mqtt.error_string(info.rc)}")
        with self._changed:
            self._messages += 1
            self._outstanding[info.mid] = token
            early = self._early.pop(info.mid, None)
            if early is not None:
                self._settle(info.mid, early)

    def drain(self) -> None:
        """Waits until every message was answered. Raises BrokerError when the answers stop."""
        self._wait(lambda: not self._outstanding)

    def statistics(self) -> PublishStatistics:
        with self._changed:
            return PublishStatistics(
                self._messages,
                self._acknowledged,
                self._refused,
                len(self._outstanding),
                max(0, self._connects - 1),
                self._first_refusal,
            )

    def close(self) -> None:
        """Disconnects. What was not acknowledged stays so."""
        if self._client is not None:
            with contextlib.suppress(OSError):
                self._client.disconnect()
            self._client.loop_stop()
            self._client = None

    def __enter__(self) -> Publisher:
        self.connect()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _try(self, protocol: MQTTProtocolVersion, timeout_s: float) -> str:
        """Connects with one protocol version; the answer is the problem, or nothing."""
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=self._client_id, protocol=protocol
        )
        client.max_inflight_messages_set(self._window)
        if self._address.username is not None:
            client.username_pw_set(self._address.username, self._address.password)
        if self._address.tls:
            client.tls_set()
        client.on_connect = self._connected
        client.on_connect_fail = self._not_connected
        client.on_disconnect = self._disconnected
        client.on_publish = self._published
        with self._changed:
            self._answer = None
            self._connects = 0
        try:
            client.connect(self._address.host, self._address.port, KEEPALIVE_S)
        except OSError as error:
            raise BrokerError(
                f"the broker {self._address} cannot be reached ({error.strerror or error})",
                hint="check address and port, and that the broker is running",
            ) from None
        self._client = client
        client.loop_start()
        with self._changed:
            self._changed.wait_for(lambda: self._answer is not None, timeout_s)
            return "does not answer" if self._answer is None else self._answer

    def _wait(self, condition: Callable[[], bool]) -> None:
        with self._changed:
            while not condition():
                before = self._acknowledged + self._refused
                self._changed.wait_for(
                    lambda before=before: (  # type: ignore[misc]
                        condition() or self._acknowledged + self._refused != before
                    ),
                    self._stall_timeout_s,
                )
                if self._acknowledged + self._refused == before and not condition():
                    raise BrokerError(
                        f"no acknowledgement for {self._stall_timeout_s:g} s,"
                        f" {len(self._outstanding)} messages without one",
                        hint=f"check the broker {self._address} and publish again",
                    )

    def _settle(self, mid: int, reason: ReasonCode) -> None:
        token = self._outstanding.pop(mid)
        if reason.value >= FAILURE:
            self._refused += 1
            self._first_refusal = self._first_refusal or str(reason)
        else:
            self._acknowledged += 1
            if self._on_acknowledged is not None:
                self._on_acknowledged(token)
        self._changed.notify_all()

    def _published(
        self, _client: mqtt.Client, _data: Any, mid: int, reason: ReasonCode, _properties: Any
    ) -> None:
        with self._changed:
            if mid in self._outstanding:
                self._settle(mid, reason)
            else:
                # The answer overtook publish(), which has not filed the id yet.
                self._early[mid] = reason

    def _connected(
        self, _client: mqtt.Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any
    ) -> None:
        with self._changed:
            self._answer = f"refuses the connection ({reason})" if reason.is_failure else ""
            self._connects += not reason.is_failure
            self._changed.notify_all()

    def _not_connected(self, _client: mqtt.Client, _data: Any) -> None:
        with self._changed:
            self._answer = self._answer or "cannot be reached"
            self._changed.notify_all()

    def _disconnected(
        self, _client: mqtt.Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any
    ) -> None:
        with self._changed:
            if self._answer is None:
                self._answer = f"ended the connection ({reason})"
            self._changed.notify_all()
