"""The Sparkplug B collector: a host application at one broker.

1. Its session is clean: what an edge node says has no worth once the connection is lost, for births
   are asked for again. It subscribes with QoS 1.
2. It says that it is there (STATE, retained, QoS 1) once it is subscribed, and that it is not
   before it leaves; the broker says so for it (Will) when the connection is lost. All of one
   connection have the same time. Where somebody else says that it is away, it says at once that it
   is not.
3. What the state machine makes of a message goes to the intake; a message that wants to be
   acknowledged is, once its rows are durable.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from mainstem_edge.collectors.at_broker import AUTO, VERSIONS, BrokerCollector
from mainstem_edge.collectors.interface import Message
from mainstem_edge.collectors.message_queue import MessageQueue
from mainstem_edge.collectors.mqtt_connection import MqttConnection, MqttSettings, Publication
from mainstem_edge.reader import Reader
from mainstem_edge.sparkplug import payload as payloads
from mainstem_edge.sparkplug.bundle import TOPIC, pack
from mainstem_edge.sparkplug.echo import Echo
from mainstem_edge.sparkplug.edge_node import EdgeNode, Known
from mainstem_edge.sparkplug.host import Host
from mainstem_edge.sparkplug.reader import SparkplugReader
from mainstem_edge.sparkplug.rows import Outcome, Unread
from mainstem_edge.sparkplug.topics import NAMESPACE, NodeKey, state_topic

NODES_SHOWN = 100
"""In status: those that lost most first."""
NS_PER_MS = 1_000_000


def topics(host_id: str, groups: Sequence[str]) -> tuple[tuple[str, int], ...]:
    """What a host subscribes to: not to commands, which it would only hear from itself."""
    found = [state_topic(host_id)]
    for group in groups or ("+",):
        for kind in ("BIRTH", "DATA", "DEATH"):
            found.append(f"{NAMESPACE}/{group}/N{kind}/+")
            found.append(f"{NAMESPACE}/{group}/D{kind}/+/+")
    return tuple((topic, 1) for topic in found)


class SparkplugCollector(BrokerCollector):
    """``settings`` without a will; a longer message than ``message_bytes_max`` is put aside."""

    kind: ClassVar[str] = "sparkplug"

    def __init__(
        self,
        name: str,
        readers: Sequence[Reader],
        queue: MessageQueue,
        *,
        settings: MqttSettings,
        host_id: str,
        message_bytes_max: int = 4 << 20,
        monotonic: Callable[[], float] = time.monotonic,
        **options: Any,
    ) -> None:
        settings = replace(settings, is_clean=True)
        super().__init__(name, readers, queue, settings=settings, **options)
        self.host = Host()
        self._host_id = host_id
        self._topic = state_topic(host_id)
        self._message_bytes_max = message_bytes_max
        self._monotonic = monotonic
        self._session_ms = 0
        self._echoes: dict[Echo, None] = {}

    # For commands, from any thread

    @property
    def host_id(self) -> str:
        return self._host_id

    def known(self, key: NodeKey, device: str, metric: str) -> Known | None:
        """The metric as its birth named it; None when it or its device is not there now."""
        node = self.host.nodes.get(key)
        member = None if node is None or not node.is_online else node.members.get(device)
        return member.metrics.get(metric) if member is not None and member.is_online else None

    def ask(self, topic: str, payload: bytes, echo: Echo) -> bool:
        """Publishes a command; False without a connection."""
        connection = self._connection
        if connection is None or self.health.connected_ns is None or self.stopping:
            return False
        self._echoes[echo] = None
        connection.publish(Publication(topic, payload))
        return True

    def forget(self, echo: Echo) -> None:
        """It is not waited for any more."""
        self._echoes.pop(echo, None)

    def session(self) -> None:
        self._session_ms = self.clock_ns() // NS_PER_MS
        connection = MqttConnection(
            replace(self._settings, will=self._state(False)),
            VERSIONS[self._version],
            on_messages=self._on_messages,
            on_subscribed=self._on_subscribed,
            on_copy=lambda: None,
            hold=self._holds,
            owed=Counter(),
            clock_ns=self.clock_ns,
            ack_times=self._ack_times,
            on_turn=self._on_turn,
        )
        if not self._use(connection):
            return
        end = connection.run()
        if end.refused_version and self._protocol == AUTO:
            self._change_version()
        if not self.stopping:
            raise ConnectionError(end.problem)

    def _leave(self, connection: MqttConnection) -> None:
        connection.publish(self._state(False))
        super()._leave(connection)

    # In the thread of the connection

    def _on_subscribed(self, session_present: bool) -> None:
        self.health.connected()
        assert self._connection is not None
        self._connection.publish(self._state(True))
        self.host.connected()

    def _on_messages(self, messages: list[Message]) -> None:
        self.health.arrived(messages)
        found: list[Message] = []
        for message in messages:
            octets = self._taken(message)
            if octets is None:
                if message.id:
                    message.origin.acknowledge([message.id])
            else:
                found.append(replace(message, topic=TOPIC, payload=octets))
        if found:
            self.queue.put(found)

    def _taken(self, message: Message) -> bytes | None:
        """What the intake is to get of a message."""
        if message.topic == self._topic:
            if payloads.says_offline(message.payload) and not self.stopping:
                assert self._connection is not None
                self._connection.publish(self._state(True))
            return None
        if len(message.payload) > self._message_bytes_max:
            problem = f"more than {self._message_bytes_max} bytes"
            return pack(Outcome(unread=[Unread(None, problem, message.topic)]))
        outcome = self.host.receive(
            message.topic, message.payload, message.arrived_ns, self._monotonic()
        )
        for echo in self._echoes.copy():
            for row in outcome.rows:
                echo.hear(row)
        return pack(outcome)

    def _on_turn(self) -> None:
        assert self._connection is not None
        if self.stopping:
            return
        for command in self.host.due(self._monotonic(), self.clock_ns() // NS_PER_MS):
            self._connection.publish(Publication(command.topic, command.payload))

    def _state(self, online: bool) -> Publication:
        payload = payloads.state(online, self._session_ms)
        return Publication(self._topic, payload, qos=1, retain=True)

    # For people

    def details(self) -> dict[str, Any]:
        nodes = sorted(self.host.nodes.copy().values(), key=lambda n: -n.sequence.lost)
        return {
            **super().details(),
            "host_id": self._host_id,
            **self.host.totals(),
            "valueless_rows": sum(
                each.valueless for each in self.readers if isinstance(each, SparkplugReader)
            ),
            "nodes": [_shown(node) for node in nodes[:NODES_SHOWN]],
        }


def _shown(node: EdgeNode) -> dict[str, Any]:
    members = node.members.copy()
    return {
        "name": str(node.key),
        "state": "online" if node.is_online else "stale",
        "devices": len(members) - 1,
        "devices_online": sum(member.is_online for name, member in members.items() if name),
        "births": node.births,
        "deaths": node.deaths,
        "lost_messages": node.sequence.lost,
        "rebirths_asked": node.rebirths_asked,
        "unread": node.unread,
    }
