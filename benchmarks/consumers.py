"""Consumers of an MQTT session, for benchmarks: a bare paho client that parses, and a real edge.

Both drain what a broker holds for a persistent session of theirs. A rate begins with the first
message, and ends when the last one is acknowledged (paho) or durable (the edge).
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from tiers import NodeProcess, wait_for

DRAIN_TIMEOUT_S = 180.0
POLL_S = 0.05
"""How often the edge is asked for its count: often enough for a drain of seconds."""


@dataclass(frozen=True, slots=True)
class Drained:
    """Messages a second, and the processor time of the consumer in s."""

    rate: float
    cpu_s: float


def one_edge(
    port: int,
    mqtt_port: int,
    table: str,
    names: Sequence[str],
    subscription: dict[str, Any],
    **more: Any,
) -> dict[str, Any]:
    """A topology: one edge without a parent, one subscription to a template of numbers. The time of
    a row is ``ts``, in ms. ``more``: keys of the node."""
    collector = {
        "type": "mqtt",
        "url": f"mqtt://127.0.0.1:{mqtt_port}",
        "protocol": "3.1.1",
        "subscriptions": [
            {**subscription, "template": table, "time": {"field": "ts", "unit": "ms"}}
        ],
    }
    edge = {
        "id": "edge",
        "tier": "edge",
        "listen": f"127.0.0.1:{port}",
        "data_dir": "data/edge",
        "paths": [f"root.{table}"],
        "collectors": [collector],
        "auth": {"loopback": "open"},
        **more,
    }
    measurements = {name: {"type": "DOUBLE"} for name in names}
    return {"templates": {table: {"measurements": measurements}}, "nodes": [edge]}


class PahoConsumer:
    """The yardstick: a paho client that parses each payload as JSON, counts and acknowledges it."""

    def __init__(self, port: int, topic: str) -> None:
        self._port = port
        self._topic = topic
        self._done = threading.Event()
        self._count = self._wanted = 0
        self._rows = 0
        self._first = self._last = 0.0

    def subscribe(self) -> None:
        """Opens the session and leaves."""
        subscribed = threading.Event()
        client = self._client()
        client.on_subscribe = lambda *_: subscribed.set()

        def connected(*_: Any) -> None:
            client.subscribe(self._topic, qos=1)

        client.on_connect = connected
        client.connect("127.0.0.1", self._port)
        client.loop_start()
        if not subscribed.wait(10):
            raise SystemExit("benchmark: the broker does not take a subscription")
        client.disconnect()
        client.loop_stop()

    def drain(self, count: int, rows: int) -> Drained:
        """Takes ``count`` messages of ``rows`` rows."""
        self._count, self._wanted, self._rows = 0, count, 0
        self._done.clear()
        client = self._client()
        client.on_message = self._take
        began = time.process_time()
        client.connect("127.0.0.1", self._port)
        client.loop_start()
        if not self._done.wait(DRAIN_TIMEOUT_S):
            raise SystemExit(f"benchmark: paho received {self._count} of {count}")
        cpu_s = time.process_time() - began
        # Acknowledgements still in the buffer would be sent again to the next round.
        time.sleep(0.3)
        client.disconnect()
        client.loop_stop()
        if self._rows != count * rows:
            raise SystemExit(f"benchmark: paho parsed {self._rows} rows of {count * rows}")
        return Drained((count - 1) / (self._last - self._first), cpu_s)

    def _client(self) -> paho.Client:
        return paho.Client(
            CallbackAPIVersion.VERSION2, "bench-paho", clean_session=False, protocol=paho.MQTTv311
        )

    def _take(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        found = json.loads(message.payload)
        self._rows += len(found) if isinstance(found, list) else 1
        self._last = time.perf_counter()
        if not self._count:
            self._first = self._last
        self._count += 1
        if self._count == self._wanted:
            self._done.set()


class EdgeConsumer:
    """A real edge on its own persistent session. ``table``: what its rows are stored in."""

    def __init__(self, edge: NodeProcess, table: str) -> None:
        self._edge = edge
        self._table = table
        self._held = 0

    def subscribe(self) -> None:
        """Opens the session, and leaves once the edge says that it is subscribed."""
        self._edge.start()
        wait_for(self.is_connected, 30.0, "the edge is subscribed", POLL_S)
        self._edge.stop()

    def drain(self, count: int, rows: int) -> Drained:
        """Starts the edge; ends when ``count * rows`` more rows are durable.

        The clock starts at the last look that saw nothing new, which can only lower the rate; so
        does the processor time, which begins there too.
        """
        self._edge.start()
        seen: list[tuple[float, int, float]] = []

        def is_done() -> bool:
            new = self.accepted() - self._held
            seen.append((time.perf_counter(), new, self._edge.cpu_s()))
            return new >= count * rows

        wait_for(is_done, DRAIN_TIMEOUT_S, f"{count * rows} rows are durable", POLL_S)
        self._edge.stop()
        self._held += count * rows
        start_s, _, cpu_s = next((look for look in reversed(seen) if look[1] == 0), seen[0])
        return Drained(count / (seen[-1][0] - start_s), seen[-1][2] - cpu_s)

    def accepted(self) -> int:
        """Rows that are durable."""
        return int(self._edge.sums(self._table).get("intake", {}).get("accepted", 0))

    def is_connected(self) -> bool:
        """True once the collector is subscribed."""
        collectors = self._edge.request("/api/v1/status").get("collectors", [])
        return bool(collectors) and all(each["state"] == "connected" for each in collectors)
