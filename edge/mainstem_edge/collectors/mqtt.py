"""The MQTT collector: a persistent session at a broker, kept up for ever.

1. Protocol ``auto`` begins with MQTT 5. A broker that refuses the version (or hangs up on it) is
   asked again with 3.1.1 at once; what worked last is tried first.
2. QoS 1, a fixed client id and a persistent session: the broker keeps messages while this edge is
   away. QoS 2 is asked for as 1: rows are deduplicated here anyway, and the second handshake
   would only tell the broker twice.
3. Acknowledgements go out when the intake says that a message is durable. At most ``in_flight``
   messages are unacknowledged: version 5 tells the broker (Receive Maximum), with 3.1.1 the
   broker's own limit holds. Behind a full queue nothing is read.
4. After a lost connection it tries again with growing, jittered pauses, for ever. What the lost one
   had brought and could not acknowledge comes again: it is marked as repeated, by its content.
   (Brokers that were killed do not always say that they send again.)
"""

from __future__ import annotations

import logging
import random
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from paho.mqtt.enums import MQTTProtocolVersion

from mainstem_edge.collectors.health import Health
from mainstem_edge.collectors.interface import CollectorState, Message
from mainstem_edge.collectors.message_queue import MessageQueue
from mainstem_edge.collectors.mqtt_connection import ConnectionEnd, MqttConnection, MqttSettings
from mainstem_edge.collectors.supervised import next_pause_s
from mainstem_edge.reader import Reader

log = logging.getLogger("mainstem.collector.mqtt")

OWED_MAX = 2 * 65_535
"""What two connections can leave unacknowledged."""

AUTO, V5, V311 = "auto", "5", "3.1.1"
VERSIONS = {V5: MQTTProtocolVersion.MQTTv5, V311: MQTTProtocolVersion.MQTTv311}


class MqttCollector:
    """One broker. ``queue`` is where its messages wait for the intake.

    ``rng`` for the jitter, ``clock_ns`` stamps arrivals.
    """

    def __init__(
        self,
        name: str,
        settings: MqttSettings,
        readers: Sequence[Reader],
        queue: MessageQueue,
        *,
        protocol: str = AUTO,
        rng: random.Random | None = None,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.name = name
        self.queue = queue
        self.readers = tuple(readers)
        self._settings = settings
        self._protocol = protocol
        self._version = V311 if protocol == V311 else V5
        self._rng = rng or random.Random()
        self._clock_ns = clock_ns
        self._thread: threading.Thread | None = None
        self._connection: MqttConnection | None = None
        self._lock = threading.Lock()
        self._owed: Counter[int] = Counter()
        self._stop = threading.Event()
        self._paused = False
        self._health = Health(clock_ns)
        self._sessions_lost = self._copies = 0
        queue.on_room = self._wake

    def start(self) -> None:
        """Begins to connect, and goes on for ever until stopped."""
        self._thread = threading.Thread(target=self._run, name=f"mqtt-{self.name}", daemon=True)
        self._thread.start()

    def pause(self) -> None:
        """Reads nothing more from the broker; acknowledgements still go out."""
        self._paused = True
        self._wake()

    def stop(self, timeout_s: float) -> None:
        """Sends waiting acknowledgements and disconnects; the broker keeps the session."""
        self._stop.set()
        with self._lock:
            connection = self._connection
        if connection is not None:
            connection.stop()
        if self._thread is not None:
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                log.warning("collector %s did not end within %g s", self.name, timeout_s)

    def state(self) -> CollectorState:
        """For the frontier."""
        health = self._health
        return CollectorState(self._connection, health.connected_ns, health.last_arrival_ns)

    def status(self) -> dict[str, Any]:
        """Health for people: state, counts, the last error."""
        return {
            "name": self.name,
            "type": "mqtt",
            "broker": f"{self._settings.host}:{self._settings.port}",
            "protocol": self._version if self._health.connects else None,
            "subscriptions": [reader.filter for reader in self.readers],
            "copies": self._copies,
            "sessions_lost": self._sessions_lost,
            **self._health.status(self.queue),
        }

    def _run(self) -> None:
        grown = pause_s = 0.0
        while not self._stop.wait(pause_s):
            self._health.connecting()
            version = self._version
            connection = MqttConnection(
                self._settings,
                VERSIONS[version],
                on_messages=self._on_messages,
                on_subscribed=self._on_subscribed,
                on_copy=self._on_copy,
                hold=self._holds,
                owed=self._owed,
                clock_ns=self._clock_ns,
            )
            with self._lock:
                self._connection = connection
                if self._stop.is_set():
                    connection.stop()
            end = connection.run()
            self._owe(connection.unacknowledged())
            self._health.ended()
            if self._stop.is_set():
                break
            pause_s = 0.0
            if self._after(end):
                grown, pause_s = next_pause_s(grown, end.subscribed, self._rng)
        self._health.stopped()

    def _owe(self, contents: Sequence[int]) -> None:
        """The broker sends these again; they are known then by their content."""
        if len(self._owed) + len(contents) > OWED_MAX:
            self._owed.clear()  # several connections without what they owed: it is not coming
        self._owed.update(contents)

    def _after(self, end: ConnectionEnd) -> bool:
        """Takes note of a connection's end; True to wait before the next attempt."""
        other = V311 if self._version == V5 else V5
        if end.refused_version and self._protocol == AUTO:
            log.info(
                "collector %s: no MQTT %s at the broker, trying %s", self.name, self._version, other
            )
            self._version = other
            if other == V311:
                return False
        if end.problem != self._health.error or end.subscribed:
            log.warning("collector %s: %s", self.name, end.problem)
        self._health.failed(end.problem)
        return True

    def _on_subscribed(self, session_present: bool) -> None:
        if not session_present:
            self._owed.clear()
        if self._health.connects and not session_present:
            self._sessions_lost += 1
            log.warning(
                "collector %s: the broker no longer had the session; what was published meanwhile "
                "may be missing", self.name,
            )  # fmt: skip
        self._health.connected()
        log.info("collector %s: subscribed with MQTT %s", self.name, self._version)

    def _on_messages(self, messages: list[Message]) -> None:
        self._health.arrived(messages)
        self.queue.put(messages)

    def _on_copy(self) -> None:
        self._copies += 1

    def _holds(self) -> bool:
        return self._paused or self.queue.is_full()

    def _wake(self) -> None:
        connection = self._connection
        if connection is not None:
            connection.wake()


def tls_context(ca: Path | None, cert: Path | None, key: Path | None) -> ssl.SSLContext:
    """TLS towards a broker: its certificate is always verified. Raises OSError for a bad file."""
    context = ssl.create_default_context(cafile=None if ca is None else str(ca))
    if cert is not None:
        context.load_cert_chain(cert, key)
    return context
