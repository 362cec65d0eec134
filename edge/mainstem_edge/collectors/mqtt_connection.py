"""One connection to an MQTT broker, from CONNECT to its end.

1. One paho client serves one connection. A message keeps a reference to the connection that
   brought it, so a packet identifier can never be acknowledged on a later connection, where it
   may stand for another message.
2. All of paho runs in the thread that calls ``run``; other threads only leave acknowledgements in a
   queue and wake it. It reads many packets per wake-up, which costs half of paho's own loop.
3. The session outlives the connection (clean start off; version 5: SESSION_EXPIRY_S), unless the
   settings say otherwise. Messages that were not acknowledged come again on the next one.
4. Some brokers send a message again on the same connection when its acknowledgement takes long.
   Such a copy is dropped, and never acknowledged for itself: its identifier was acknowledged, or
   will be, for the first copy, and may soon stand for another message.
5. While the reader is told to hold, nothing is read: the broker's window fills and it keeps the
   rest. Acknowledgements and keep-alives still go out, and no answer to them is missed.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import ssl
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from mainstem_edge.collectors.ack_times import AckTimes
from mainstem_edge.collectors.deliveries import Deliveries
from mainstem_edge.collectors.interface import Message

log = logging.getLogger("mainstem.collector.mqtt")

SESSION_EXPIRY_S = 7 * 86_400
"""How long a version 5 broker keeps messages for an edge that is away: a week of repair."""

CONNECT_TIMEOUT_S = 5.0
"""For the TCP and TLS handshakes; a broker in the same plant answers in milliseconds."""

ANSWER_TIMEOUT_S = 10.0
"""For CONNACK and SUBACK: a broker that accepts and stays silent is not there."""

READS_PER_WAKE = 256
"""Packets read before acknowledgements and keep-alives get their turn: about 10 ms."""

PART_TIMEOUT_S = 1.0
"""A broker closes its side at once; one that does not is left alone."""

_POLL_S = 0.5
_DISCONNECT = b"\xe0\x00"
"""The whole packet, in every version of the protocol."""
_REFUSED = 0x80
_UNSUPPORTED_VERSION = 0x84


@dataclass(frozen=True, slots=True)
class Publication:
    """One message to publish."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False


@dataclass(frozen=True, slots=True)
class MqttSettings:
    """How to reach a broker. ``password`` stays out of every repr and message.

    ``topics``: filters with the QoS asked for. ``in_flight``: Receive Maximum of version 5.
    ``is_clean``: the session ends with the connection. ``will``: what the broker publishes when
    the connection is lost.
    """

    host: str
    port: int
    client_id: str
    topics: tuple[tuple[str, int], ...]
    keepalive_s: int
    in_flight: int
    username: str | None = None
    password: str | None = None
    tls: ssl.SSLContext | None = None
    is_clean: bool = False
    will: Publication | None = None

    def __repr__(self) -> str:
        return f"MqttSettings({self.host}:{self.port}, client_id={self.client_id!r})"


@dataclass(frozen=True, slots=True)
class ConnectionEnd:
    """Why a connection ended. ``refused_version``: the broker does not speak the version (or hung
    up before it answered CONNECT, as old brokers do). ``subscribed``: it had been in use."""

    problem: str
    refused_version: bool = False
    subscribed: bool = False


class MqttConnection:
    """One connection; ``run`` returns when it has ended.

    ``on_messages`` gets what one wake-up brought; ``hold`` says whether to read at all;
    ``on_subscribed`` is called once the broker has granted the subscriptions, with whether it had
    kept the session; ``on_copy`` for each message that was dropped as a copy. ``owed``: contents
    that earlier connections brought and could not acknowledge, with their counts; a message of such
    content is marked as repeated and taken off. ``on_turn`` is called about twice a second, and
    after whatever was read, once the subscriptions are granted. ``ack_times`` learns how long
    messages waited for their PUBACK.
    """

    def __init__(
        self,
        settings: MqttSettings,
        version: MQTTProtocolVersion,
        *,
        on_messages: Callable[[list[Message]], None],
        on_subscribed: Callable[[bool], None],
        on_copy: Callable[[], None],
        hold: Callable[[], bool],
        owed: Counter[int],
        clock_ns: Callable[[], int] = time.time_ns,
        on_turn: Callable[[], None] = lambda: None,
        ack_times: AckTimes | None = None,
    ) -> None:
        self._settings = settings
        self._version = version
        self._on_turn = on_turn
        self._on_messages = on_messages
        self._on_subscribed = on_subscribed
        self._on_copy = on_copy
        self._owed = owed
        self._hold = hold
        self._clock_ns = clock_ns
        self._arrived: list[Message] = []
        self._acks: deque[tuple[float, Sequence[int]]] = deque()
        """Since when they are durable, by the monotonic clock, and their packet identifiers."""
        self._arrivals: dict[int, float] = {}
        """By packet identifier, while it is not acknowledged."""
        self._ack_times = ack_times or AckTimes()
        self._publications: deque[Publication] = deque()
        self._deliveries = Deliveries()
        self._end: ConnectionEnd | None = None
        self._stopping = False
        self._opened = False
        self._connected = False
        self._subscribed = False
        self._session_present = False
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)
        self._client = self._make_client()

    def acknowledge(self, ids: Sequence[int]) -> None:
        """Queues PUBACKs. Without effect once the connection has ended."""
        if self._end is None:
            self._acks.append((time.monotonic(), ids))
            self.wake()

    def publish(self, publication: Publication) -> None:
        """Queues a message. Without effect once the connection has ended."""
        if self._end is None:
            self._publications.append(publication)
            self.wake()

    def stop(self) -> None:
        """Sends what is queued, then DISCONNECT. The session stays at the broker."""
        self._stopping = True
        self.wake()

    def wake(self) -> None:
        """Makes ``run`` look at its queues and at ``hold`` now."""
        with contextlib.suppress(OSError):  # full: it is awake already; closed: it has ended
            self._wake_writer.send(b"\0")

    def run(self) -> ConnectionEnd:
        """Connects, subscribes and reads until the connection ends. Never raises OSError."""
        try:
            self._client.connect(
                self._settings.host, self._settings.port, self._settings.keepalive_s,
                **self._connect_options(),
            )  # fmt: skip
            self._opened = True
            self._loop(time.monotonic() + ANSWER_TIMEOUT_S)
        except (OSError, ValueError) as error:
            self._ended(f"{type(error).__name__}: {error}")
        finally:
            self._flush_arrived()
            self._close()
        assert self._end is not None
        return self._end

    def _loop(self, answer_deadline: float) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake_reader, selectors.EVENT_READ)
            watched: tuple[Any, int] = (None, 0)
            while self._end is None and (sock := self._client.socket()) is not None:
                stopping = self._stopping  # first: what was acknowledged before it still goes out
                self._send_acks()
                if self._subscribed:
                    self._on_turn()
                    self._send_publications()
                if stopping and not self._client.want_write():
                    self._ended("stopped")
                    _part(sock)
                    break
                holding = stopping or (self._subscribed and self._hold())
                events = (0 if holding else selectors.EVENT_READ) | (
                    selectors.EVENT_WRITE if self._client.want_write() else 0
                )
                watched = _watch(selector, watched, sock, events)
                ready = self._wait(selector, sock, holding)
                if ready & selectors.EVENT_READ:
                    self._read()
                if self._client.want_write():
                    self._client.loop_write()
                self._keep_alive(is_there=holding or bool(ready & selectors.EVENT_READ))
                if not self._subscribed and time.monotonic() > answer_deadline:
                    self._ended("the broker does not answer")
            if self._end is None:
                self._ended("the connection was lost")

    def _wait(self, selector: selectors.BaseSelector, sock: Any, holding: bool) -> int:
        """The events of the broker's socket; also returns when woken."""
        # Bytes that TLS has decrypted already are not seen by the selector.
        pending = not holding and isinstance(sock, ssl.SSLSocket) and sock.pending() > 0
        ready = selectors.EVENT_READ if pending else 0
        for key, events in selector.select(0 if pending else _POLL_S):
            if key.fileobj is self._wake_reader:
                with contextlib.suppress(OSError):
                    self._wake_reader.recv(4096)
            else:
                ready |= events
        return ready

    def _read(self) -> None:
        for _ in range(READS_PER_WAKE):
            before = len(self._arrived)
            if self._client.loop_read() != MQTTErrorCode.MQTT_ERR_SUCCESS:
                break
            if len(self._arrived) == before:
                break  # nothing there, or something rare: the selector will say
        self._flush_arrived()

    def _keep_alive(self, *, is_there: bool) -> None:
        """Pings, and ends the connection to a broker that does not answer. An answer may lie unread
        behind messages: for as long as nothing is read on purpose, or something comes, the broker
        ``is_there`` as far as anybody knows, and paho does not count since when it has none."""
        if is_there:
            self._client._ping_t = 0.0  # noqa: SLF001 - there is no other way to say so
        self._client.loop_misc()

    def _flush_arrived(self) -> None:
        if self._arrived:
            messages, self._arrived = self._arrived, []
            self._on_messages(messages)

    def _send_acks(self) -> None:
        acknowledge, arrivals = self._client.ack, self._arrivals
        sent: list[tuple[float, list[float]]] = []
        while self._acks:
            durable_s, ids = self._acks.popleft()
            for packet_id in ids:
                self._deliveries.acknowledged(packet_id)
                acknowledge(packet_id, 1)
            sent.append((durable_s, [arrivals.pop(packet_id, durable_s) for packet_id in ids]))
        if self._client.want_write():
            self._client.loop_write()
        if sent:
            now_s = time.monotonic()
            for durable_s, arrived_s in sent:
                self._ack_times.note(arrived_s, durable_s, now_s)

    def _send_publications(self) -> None:
        while self._publications:
            each = self._publications.popleft()
            self._client.publish(each.topic, each.payload, each.qos, each.retain)
        if self._client.want_write():
            self._client.loop_write()

    def _ended(self, problem: str, *, refused_version: bool = False) -> None:
        if self._end is None:
            hung_up = self._opened and not self._connected and not self._stopping
            self._end = ConnectionEnd(problem, refused_version or hung_up, self._subscribed)

    def _close(self) -> None:
        """Lets go of everything. Acknowledgements from here on are dropped."""
        if self._end is None:
            self._ended("the connection was lost")
        self._acks.clear()
        self._publications.clear()
        sock = self._client.socket()
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.close()
        self._wake_writer.close()
        self._wake_reader.close()

    # paho's callbacks; they run inside loop_read, in the thread of run()

    def _make_client(self) -> paho.Client:
        is_v5 = self._version == MQTTProtocolVersion.MQTTv5
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._settings.client_id,
            clean_session=None if is_v5 else self._settings.is_clean,
            protocol=self._version,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        client.connect_timeout = CONNECT_TIMEOUT_S
        if self._settings.username is not None:
            client.username_pw_set(self._settings.username, self._settings.password)
        if self._settings.tls is not None:
            client.tls_set_context(self._settings.tls)
        will = self._settings.will
        if will is not None:
            client.will_set(will.topic, will.payload, will.qos, will.retain)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        # With this set, ack() from within run() only queues; loop_write sends many at once.
        client.on_socket_register_write = _nothing
        return client

    def _connect_options(self) -> dict[str, Any]:
        if self._version != MQTTProtocolVersion.MQTTv5:
            return {}
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        is_clean = self._settings.is_clean
        properties.SessionExpiryInterval = 0 if is_clean else SESSION_EXPIRY_S
        properties.ReceiveMaximum = self._settings.in_flight
        return {"clean_start": is_clean, "properties": properties}

    def _on_connect(
        self, client: paho.Client, _userdata: Any, flags: Any, reason: Any, _properties: Any
    ) -> None:
        self._connected = True
        if reason.is_failure:
            self._ended(
                f"the broker refuses the connection: {reason}",
                refused_version=int(reason.value) == _UNSUPPORTED_VERSION,
            )
            return
        self._session_present = bool(flags.session_present)
        if self._version == MQTTProtocolVersion.MQTTv5:
            # Retained messages once per subscription, not again at every reconnect.
            client.subscribe(
                [
                    (topic, SubscribeOptions(qos=qos, retainHandling=1))
                    for topic, qos in self._settings.topics
                ]
            )
        else:
            client.subscribe(list(self._settings.topics))

    def _on_subscribe(
        self, _client: Any, _userdata: Any, _mid: int, reasons: Sequence[Any], _properties: Any
    ) -> None:
        refused = [
            topic
            for (topic, _), reason in zip(self._settings.topics, reasons, strict=False)
            if int(reason.value) >= _REFUSED
        ]
        if refused:
            # All or nothing: an edge that collects half of its topics looks healthy and is not.
            self._ended(f"the broker refuses the subscription to {', '.join(refused)}")
            return
        self._subscribed = True
        self._on_subscribed(self._session_present)

    def _on_disconnect(
        self, _client: Any, _userdata: Any, _flags: Any, reason: Any, _properties: Any
    ) -> None:
        self._ended(f"the connection was lost: {reason}")

    def _on_message(self, _client: Any, _userdata: Any, message: paho.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = "\N{REPLACEMENT CHARACTER}"  # matches no subscription, so it is put aside
        packet_id = message.mid if message.qos else 0
        repeated = False
        if packet_id:
            content = hash((topic, message.payload))
            if self._deliveries.is_copy(packet_id, content, message.dup):
                self._on_copy()
                return
            self._arrivals[packet_id] = time.monotonic()
            repeated = bool(self._owed) and self._is_owed(content)
        self._arrived.append(
            Message(
                topic,
                bytes(message.payload),
                self._clock_ns(),
                message.dup,
                repeated,
                packet_id,
                self,
            )
        )

    def _is_owed(self, content: int) -> bool:
        """True for what an earlier connection brought already."""
        if not self._owed[content]:
            return False
        self._owed[content] -= 1
        if not self._owed[content]:
            del self._owed[content]
        return True

    def unacknowledged(self) -> list[int]:
        """After the end: contents that the broker will send again."""
        return self._deliveries.unacknowledged()


def _watch(
    selector: selectors.BaseSelector, watched: tuple[Any, int], sock: Any, events: int
) -> tuple[Any, int]:
    """Registers the broker's socket for ``events``; system calls only when something changed."""
    before, before_events = watched
    if before is sock and before_events == events:
        return watched
    if before is not None and before_events:
        selector.unregister(before)
    if events:
        selector.register(sock, events)
    return sock, events


def _part(sock: Any) -> None:
    """Says DISCONNECT and waits until the broker has hung up.

    Closing a socket that holds unread messages resets the connection, and a reset throws away what
    was sent just before it: the last acknowledgements. So what still comes is read and dropped; it
    was not acknowledged, and will come again.
    """
    deadline = time.monotonic() + PART_TIMEOUT_S
    with contextlib.suppress(OSError):
        sock.settimeout(PART_TIMEOUT_S)
        sock.sendall(_DISCONNECT)
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(1 << 16) and time.monotonic() < deadline:
            pass


def _nothing(*_arguments: Any) -> None:
    """A callback that paho needs to be there."""
