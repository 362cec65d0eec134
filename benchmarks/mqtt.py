"""Broker to durable at the edge, beside a bare paho consumer in the same run.

1. A broker holds a persistent session for each of the two consumers. N messages are published while
   neither is connected, so that the publisher takes no processor time from what is measured.
2. Each consumer in turn drains its session: a paho client that only counts and acknowledges, and a
   real edge that decodes, checks, stores, syncs and only then acknowledges. The order alternates.
3. A rate is (N - n) / (t_N - t_n) from the first count seen to the last; the median counts.

Messages of one row, then of 100 rows. Last, the memory of an edge at rest.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from report import Report
from tiers import NodeProcess, free_port, wait_for, write_topology

from mainstem_node.broker import EmbeddedBroker
from mainstem_node.replay import BrokerAddress, Publisher

DEVICES = 100
BASE_MS = 1_792_540_800_000
TABLE = "bench"
DRAIN_TIMEOUT_S = 120.0
POLL_S = 0.05
"""How often the edge is asked for its count: often enough for a drain of seconds."""

IDLE_S = 5.0


def topology(port: int, mqtt_port: int) -> dict[str, Any]:
    """One edge, one subscription, no parent."""
    measurements = {name: {"type": "DOUBLE"} for name in ("a", "b", "c", "d")}
    subscription = {
        "topic": "bench/+",
        "template": TABLE,
        "device": "root.bench.{topic[1]}",
        "time": {"field": "ts", "unit": "ms"},
    }
    return {
        "templates": {TABLE: {"measurements": measurements}},
        "nodes": [
            {
                "id": "edge",
                "tier": "edge",
                "listen": f"127.0.0.1:{port}",
                "data_dir": "data/edge",
                "paths": ["root.bench"],
                "collectors": [
                    {
                        "type": "mqtt",
                        "url": f"mqtt://127.0.0.1:{mqtt_port}",
                        "protocol": "3.1.1",
                        "subscriptions": [subscription],
                    }
                ],
                "auth": {"loopback": "open"},
            }
        ],
    }


def messages(count: int, rows: int, first: int) -> Iterator[tuple[str, bytes]]:
    """(topic, payload): about 75 bytes a row; no (device, time) comes twice in a run."""
    for number in range(first, first + count):
        device, step = number % DEVICES, number // DEVICES
        start = BASE_MS + step * rows * 10
        values = [
            {"ts": start + i * 10, "a": number * 0.25, "b": i / 8, "c": 21.5, "d": device / 4}
            for i in range(rows)
        ]
        payload = values[0] if rows == 1 else values
        yield f"bench/d{device:03}", json.dumps(payload, separators=(",", ":")).encode()


class PahoConsumer:
    """The yardstick: a paho client with a persistent session that acknowledges and counts."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._done = threading.Event()
        self._count = self._wanted = 0
        self._first = self._last = 0.0

    def subscribe(self) -> None:
        """Opens the session and leaves."""
        subscribed = threading.Event()
        client = self._client()
        client.on_subscribe = lambda *_: subscribed.set()

        def connected(*_: Any) -> None:
            client.subscribe("bench/+", qos=1)

        client.on_connect = connected
        client.connect("127.0.0.1", self._port)
        client.loop_start()
        if not subscribed.wait(10):
            raise SystemExit("benchmark: the broker does not take a subscription")
        client.disconnect()
        client.loop_stop()

    def drain(self, count: int) -> float:
        """Takes ``count`` messages; returns messages a second."""
        self._count, self._wanted = 0, count
        self._done.clear()
        client = self._client()
        client.on_message = self._take
        client.connect("127.0.0.1", self._port)
        client.loop_start()
        if not self._done.wait(DRAIN_TIMEOUT_S):
            raise SystemExit(f"benchmark: paho received {self._count} of {count}")
        # Acknowledgements still in the buffer would be sent again to the next round.
        time.sleep(0.3)
        client.disconnect()
        client.loop_stop()
        return (count - 1) / (self._last - self._first)

    def _client(self) -> paho.Client:
        return paho.Client(
            CallbackAPIVersion.VERSION2, "bench-paho", clean_session=False, protocol=paho.MQTTv311
        )

    def _take(self, _client: paho.Client, _data: Any, _message: paho.MQTTMessage) -> None:
        self._last = time.perf_counter()
        if not self._count:
            self._first = self._last
        self._count += 1
        if self._count == self._wanted:
            self._done.set()


class EdgeConsumer:
    """A real edge on its own persistent session."""

    def __init__(self, edge: NodeProcess) -> None:
        self._edge = edge
        self._held = 0

    def subscribe(self) -> None:
        """Opens the session, and leaves once the edge says that it is subscribed."""
        self._edge.start()
        wait_for(self._is_connected, 30.0, "the edge is subscribed", POLL_S)
        self._edge.stop()

    def drain(self, rows: int) -> float:
        """Starts the edge; returns rows a second until ``rows`` more are durable.

        The clock starts at the last look that saw nothing new, which can only lower the rate.
        """
        self._edge.start()
        seen: list[tuple[float, int]] = []

        def is_done() -> bool:
            seen.append((time.perf_counter(), self._accepted() - self._held))
            return seen[-1][1] >= rows

        wait_for(is_done, DRAIN_TIMEOUT_S, f"{rows} rows are durable", POLL_S)
        self._edge.stop()
        self._held += rows
        started = max((at for at, count in seen if count == 0), default=seen[0][0])
        return rows / (seen[-1][0] - started)

    def idle_bytes(self) -> dict[str, int]:
        """Resident memory of the edge after a while without messages."""
        self._edge.start()
        time.sleep(IDLE_S)
        sizes = self._edge.rss_bytes()
        self._edge.stop()
        return sizes

    def _accepted(self) -> int:
        return int(self._edge.sums(TABLE).get("intake", {}).get("accepted", 0))

    def _is_connected(self) -> bool:
        collectors = self._edge.request("/api/v1/status").get("collectors", [])
        return bool(collectors) and all(each["state"] == "connected" for each in collectors)


def fill(port: int, count: int, rows: int, first: int) -> float:
    """Publishes, and returns messages a second."""
    started = time.perf_counter()
    with Publisher(BrokerAddress("127.0.0.1", port)) as publisher:
        for topic, payload in messages(count, rows, first):
            publisher.publish(topic, payload)
        publisher.drain()
        if publisher.statistics().refused:
            raise SystemExit("benchmark: the broker refused messages")
    return count / (time.perf_counter() - started)


def measure(
    report: Report, port: int, consumers: tuple[PahoConsumer, EdgeConsumer], rounds: int,
    count: int, rows: int, first: int,
) -> int:  # fmt: skip
    """Several rounds with messages of ``rows`` rows; returns the number after the last message."""
    bare, edge = consumers
    bare_rates, edge_rates = [], []
    for number in range(rounds):
        fill(port, count, rows, first)
        first += count
        # Who drains first may find the broker's pages warm or cold; the order alternates.
        if number % 2:
            edge_rates.append(edge.drain(count * rows) / rows)
            bare_rates.append(bare.drain(count))
        else:
            bare_rates.append(bare.drain(count))
            edge_rates.append(edge.drain(count * rows) / rows)
    label = "single-row messages" if rows == 1 else f"{rows}-row messages"
    goals = {1: ("8,000 msgs/s", "msgs/s"), 100: ("200,000 rows/s", "rows/s")}
    goal, unit = goals[rows]
    how = f"median of {rounds} drains of {count:,} messages from a persistent session"
    bare_rate, edge_rate = statistics.median(bare_rates), statistics.median(edge_rates)
    report.add(f"paho, {label}", bare_rate * rows, unit, f"{how}, counted and acknowledged")
    report.add(f"edge, {label}", edge_rate * rows, unit, f"{how}, until durable", goal)
    report.add(f"edge / paho, {label}", edge_rate / bare_rate, "of paho's rate", "ratio of medians")
    return first


def main() -> None:
    parser = argparse.ArgumentParser(description="Broker to durable at the edge.")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    report = Report("mqtt", arguments.quick)
    rounds, singles, batches = (1, 3_000, 300) if arguments.quick else (3, 30_000, 4_000)
    with tempfile.TemporaryDirectory(prefix="mainstem-bench-") as name:
        place = Path(name)
        # The broker's own fsync per message would hide what is measured here.
        with EmbeddedBroker(place / "broker", sync_always=False) as broker:
            port = free_port()
            path = write_topology(place, topology(port, broker.port))
            consumers = PahoConsumer(broker.port), EdgeConsumer(NodeProcess(path, "edge", port))
            for consumer in consumers:
                consumer.subscribe()
            idle = consumers[1].idle_bytes()
            first = measure(report, broker.port, consumers, rounds, singles, 1, 0)
            # Batched messages begin at a multiple of the devices, beyond every time used so far.
            first = (first // DEVICES + 1) * DEVICES
            measure(report, broker.port, consumers, rounds, batches, 100, first)
    how = f"VmRSS {IDLE_S:g} s after the start, subscribed, without messages"
    report.add("idle edge, memory", idle["node"] / 2**20, "MiB", how)
    if idle["workers"]:
        report.add("idle edge, SQL worker", idle["workers"] / 2**20, "MiB", how)
    report.print(arguments.json)


if __name__ == "__main__":
    main()
