"""What the collectors at an MQTT broker have in common: one connection at a time, whose reading
stops behind a full queue and while the collector is paused."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from paho.mqtt.enums import MQTTProtocolVersion

from mainstem_edge.collectors.ack_times import AckTimes
from mainstem_edge.collectors.message_queue import MessageQueue
from mainstem_edge.collectors.mqtt_connection import MqttConnection, MqttSettings
from mainstem_edge.collectors.supervised import SupervisedCollector
from mainstem_edge.reader import Reader

AUTO, V5, V311 = "auto", "5", "3.1.1"
VERSIONS = {V5: MQTTProtocolVersion.MQTTv5, V311: MQTTProtocolVersion.MQTTv311}


class BrokerCollector(SupervisedCollector):
    """``protocol``: a version, or AUTO, which begins with 5. A subclass writes ``session``."""

    def __init__(
        self,
        name: str,
        readers: Sequence[Reader],
        queue: MessageQueue,
        *,
        settings: MqttSettings,
        protocol: str = AUTO,
        **options: Any,
    ) -> None:
        super().__init__(name, readers, queue, **options)
        self._settings = settings
        self._protocol = protocol
        self._version = V311 if protocol == V311 else V5
        self._connection: MqttConnection | None = None
        self._ack_times = AckTimes()
        self._lock = threading.Lock()

    def details(self) -> dict[str, Any]:
        return {
            "broker": f"{self._settings.host}:{self._settings.port}",
            "protocol": self._version if self.health.connects else None,
            "acknowledged": self._ack_times.to_status(),
        }

    def _use(self, connection: MqttConnection) -> bool:
        """From now on the collector's. False if it is to stop: the connection is told so."""
        with self._lock:
            self.origin = self._connection = connection
            stopping = self._stop.is_set()
        if stopping:
            connection.stop()
        return not stopping

    def _change_version(self) -> None:
        """What is tried next, where the broker does not speak the present one."""
        self._version = V311 if self._version == V5 else V5

    def _holds(self) -> bool:
        return self._paused or self.queue.is_full()

    def _leave(self, connection: MqttConnection) -> None:
        """The collector is to stop, and this is its connection."""
        connection.stop()

    def _has_room(self) -> None:
        super()._has_room()
        connection = self._connection
        if connection is not None:
            connection.wake()

    def _wake(self) -> None:
        super()._wake()
        with self._lock:
            connection = self._connection
        if connection is None:
            return
        if self._stop.is_set():
            self._leave(connection)
        connection.wake()
