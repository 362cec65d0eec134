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
import ssl
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from mainstem_edge.collectors.at_broker import AUTO, V311, VERSIONS, BrokerCollector
from mainstem_edge.collectors.interface import Message
from mainstem_edge.collectors.message_queue import MessageQueue
from mainstem_edge.collectors.mqtt_connection import ConnectionEnd, MqttConnection, MqttSettings
from mainstem_edge.reader import Reader

log = logging.getLogger("mainstem.collector.mqtt")

OWED_MAX = 2 * 65_535
"""What two connections can leave unacknowledged."""


class MqttCollector(BrokerCollector):
    """One broker."""

    kind: ClassVar[str] = "mqtt"

    def __init__(
        self,
        name: str,
        settings: MqttSettings,
        readers: Sequence[Reader],
        queue: MessageQueue,
        **options: Any,
    ) -> None:
        super().__init__(name, readers, queue, settings=settings, **options)
        self._owed: Counter[int] = Counter()
        self._sessions_lost = self._copies = 0

    def details(self) -> dict[str, Any]:
        return {
            **super().details(),
            "subscriptions": [reader.filter for reader in self.readers],
            "copies": self._copies,
            "sessions_lost": self._sessions_lost,
        }

    def session(self) -> None:
        """One connection, or a second one at once where the first was of a version that the broker
        does not speak. It outlives a pause: what was taken is still acknowledged."""
        end = self._talk()
        if end.refused_version and self._protocol == AUTO:
            refused = self._version
            self._change_version()
            log.info(
                "collector %s: no MQTT %s at the broker, trying %s",
                self.name, refused, self._version,
            )  # fmt: skip
            if self._version == V311 and not self.stopping:
                end = self._talk()
        if not self.stopping:
            raise ConnectionError(end.problem)

    def _talk(self) -> ConnectionEnd:
        connection = MqttConnection(
            self._settings,
            VERSIONS[self._version],
            on_messages=self._on_messages,
            on_subscribed=self._on_subscribed,
            on_copy=self._on_copy,
            hold=self._holds,
            owed=self._owed,
            clock_ns=self.clock_ns,
            ack_times=self._ack_times,
        )
        self._use(connection)
        end = connection.run()
        self._owe(connection.unacknowledged())
        self.health.ended()
        return end

    def _owe(self, contents: Sequence[int]) -> None:
        """The broker sends these again; they are known then by their content."""
        if len(self._owed) + len(contents) > OWED_MAX:
            self._owed.clear()  # several connections without what they owed: it is not coming
        self._owed.update(contents)

    def _on_subscribed(self, session_present: bool) -> None:
        if not session_present:
            self._owed.clear()
        if self.health.connects and not session_present:
            self._sessions_lost += 1
            log.warning(
                "collector %s: the broker no longer had the session; what was published meanwhile "
                "may be missing", self.name,
            )  # fmt: skip
        self.health.connected()
        log.info("collector %s: subscribed with MQTT %s", self.name, self._version)

    def _on_messages(self, messages: list[Message]) -> None:
        self.health.arrived(messages)
        self.queue.put(messages)

    def _on_copy(self) -> None:
        self._copies += 1


def tls_context(ca: Path | None, cert: Path | None, key: Path | None) -> ssl.SSLContext:
    """TLS towards a broker: its certificate is always verified. Raises OSError for a bad file."""
    context = ssl.create_default_context(cafile=None if ca is None else str(ca))
    if cert is not None:
        context.load_cert_chain(cert, key)
    return context
