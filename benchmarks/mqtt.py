"""Broker to durable at the edge, beside a bare paho consumer that parses, in the same run.

1. A broker holds a persistent session for each of the two consumers. N messages are published while
   neither is connected, so that the publisher takes no processor time from what is measured.
2. Each consumer in turn drains its session: a paho client that parses and acknowledges, and a real
   edge that decodes, checks, stores, syncs and only then acknowledges. The order alternates.
3. A rate is N over the time from the first message to the last; the median of the rounds counts.

Messages of one row of four measurements, then of 100 rows of ten; with the embedded broker, then
with mosquitto where it is installed. Last, the memory of an edge at rest.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consumers import Drained, EdgeConsumer, PahoConsumer, one_edge
from report import Report
from tiers import NodeProcess, free_port, write_topology

from mainstem_edge.testing.mosquitto import Mosquitto, mosquitto_binary
from mainstem_node.broker import EmbeddedBroker
from mainstem_node.replay import BrokerAddress, Publisher

DEVICES = 100
BASE_MS = 1_792_540_800_000
TABLE = "bench"
IDLE_S = 5.0


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of message. ``goals``: the rate in ``unit``, and how much of paho's rate."""

    name: str
    rows: int
    measurements: tuple[str, ...]
    goals: tuple[str, str]
    unit: str


SINGLE = Kind("single-row messages", 1, tuple("abcd"), ("12,000 msgs/s", "0.6"), "msgs/s")
BATCHED = Kind("100-row messages", 100, tuple("abcdefghij"), ("300,000 rows/s", "0.5"), "rows/s")


def topology(port: int, mqtt_port: int) -> dict[str, Any]:
    subscription = {"topic": "bench/+", "device": "root.bench.{topic[1]}"}
    return one_edge(port, mqtt_port, TABLE, BATCHED.measurements, subscription)


def messages(kind: Kind, count: int, first: int) -> Iterator[tuple[str, bytes]]:
    """(topic, payload): some 19 bytes a value; no (device, time) comes twice in a run."""
    for number in range(first, first + count):
        device, step = number % DEVICES, number // DEVICES
        start = BASE_MS + step * kind.rows * 10
        rows = []
        for i in range(kind.rows):
            row: dict[str, float] = {"ts": start + i * 10}
            for place, name in enumerate(kind.measurements):
                row[name] = round(20.0 + place + (number * 7 + i * (place + 1)) % 1000 / 100, 2)
            rows.append(row)
        payload: Any = rows if kind.rows > 1 else rows[0]
        yield f"bench/d{device:03}", json.dumps(payload, separators=(",", ":")).encode()


def fill(port: int, kind: Kind, count: int, first: int) -> None:
    """Publishes what both sessions are to hold."""
    with Publisher(BrokerAddress("127.0.0.1", port)) as publisher:
        for topic, payload in messages(kind, count, first):
            publisher.publish(topic, payload)
        publisher.drain()
        if publisher.statistics().refused:
            raise SystemExit("benchmark: the broker refused messages")


class Contest:
    """Both consumers at one broker."""

    def __init__(self, report: Report, place: Path, broker: str, port: int) -> None:
        self._report = report
        self._broker = broker
        self._port = port
        own = free_port()
        place.mkdir()
        self.node = NodeProcess(write_topology(place, topology(own, port)), "edge", own)
        self._paho = PahoConsumer(port, "bench/+")
        self._edge = EdgeConsumer(self.node, TABLE)
        self._first = 0
        for consumer in (self._paho, self._edge):
            consumer.subscribe()

    def measure(self, kind: Kind, rounds: int, count: int) -> None:
        """Several rounds; what comes out goes into the report."""
        # A whole number of steps of all devices: times go on where the kind before ended.
        self._first = -(-self._first // DEVICES) * DEVICES
        bare: list[Drained] = []
        edge: list[Drained] = []
        for number in range(rounds):
            fill(self._port, kind, count, self._first)
            self._first += count
            # Who drains first may find the broker's pages warm or cold; the order alternates.
            turns: list[tuple[PahoConsumer | EdgeConsumer, list[Drained]]]
            turns = [(self._paho, bare), (self._edge, edge)]
            for consumer, found in reversed(turns) if number % 2 else turns:
                found.append(consumer.drain(count, kind.rows))
        self._add(kind, rounds, count, bare, edge)

    def _add(
        self, kind: Kind, rounds: int, count: int, bare: list[Drained], edge: list[Drained]
    ) -> None:
        label = f"{kind.name}, {self._broker}"
        how = f"median of {rounds} drains of {count:,} messages from a persistent session"
        rates = [statistics.median(one.rate for one in found) for found in (bare, edge)]
        points = count * kind.rows * len(kind.measurements) / 1e6
        add = self._report.add
        add(f"paho, {label}", rates[0] * kind.rows, kind.unit, f"{how}, parsed and acknowledged")
        add(f"edge, {label}", rates[1] * kind.rows, kind.unit, f"{how}, until durable",
            kind.goals[0])  # fmt: skip
        add(f"edge / paho, {label}", rates[1] / rates[0], "of paho's rate", "ratio of medians",
            kind.goals[1])  # fmt: skip
        for who, found in (("paho", bare), ("edge", edge)):
            cpu_s = statistics.median(one.cpu_s for one in found) / points
            add(f"{who}, processor, {label}", cpu_s, "s/M points", "user and system, its process")

    def idle(self) -> None:
        """Resident memory of the edge after a while without messages."""
        self.node.start()
        time.sleep(IDLE_S)
        sizes = self.node.rss_bytes()
        self.node.stop()
        how = f"VmRSS {IDLE_S:g} s after the start, subscribed, without messages"
        self._report.add("idle edge, memory", sizes["node"] / 1e6, "MB", how, "80 MB")
        if sizes["workers"]:
            self._report.add("idle edge, SQL workers", sizes["workers"] / 1e6, "MB", how)


def main() -> None:
    parser = argparse.ArgumentParser(description="Broker to durable at the edge.")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--markdown", action="store_true")
    arguments = parser.parse_args()
    report = Report("mqtt", arguments.quick)
    rounds, singles, batches = (1, 3_000, 300) if arguments.quick else (3, 30_000, 3_000)
    with tempfile.TemporaryDirectory(prefix="mainstem-bench-") as name, ExitStack() as running:
        place = Path(name)
        # What brokers write per message would hide what is measured here.
        embedded = running.enter_context(EmbeddedBroker(place / "broker", sync_always=False))
        brokers = [("embedded", embedded.port)]
        if mosquitto_binary() is None:
            print("mosquitto is not installed: its part is left out")
        else:
            mosquitto = Mosquitto(place / "mosquitto", in_flight_max=1000, saves=False)
            running.enter_context(mosquitto)
            brokers.append(("mosquitto", mosquitto.port))
        for broker, port in brokers:
            report.section = broker
            contest = Contest(report, place / f"edge-{broker}", broker, port)
            contest.measure(SINGLE, rounds, singles)
            contest.measure(BATCHED, rounds, batches)
        contest.idle()
    if arguments.markdown:
        report.print_markdown()
    else:
        report.print(arguments.json)


if __name__ == "__main__":
    main()
