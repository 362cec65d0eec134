"""An edge under steady load: 10,000 devices of ten measurements, once a second, in messages of ten.

1. mosquitto (the embedded broker where it is not installed), a real edge that stores and syncs, and
   a publisher in a process of its own. A message is a JSON array with a row of each of ten devices.
2. After a time to get going, processor time and resident memory of the edge's process are read
   every second; what counts is the mean of the one and the peak of the other.
3. At the end everything that was published must be durable.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
from consumers import POLL_S, EdgeConsumer, one_edge
from report import Report
from tiers import NodeProcess, free_port, wait_for, write_topology

from mainstem_edge.testing.mosquitto import Mosquitto, mosquitto_binary
from mainstem_node.broker import EmbeddedBroker
from mainstem_node.replay import BrokerAddress, Publisher

DEVICES = 10_000
PER_MESSAGE = 10
MEASUREMENTS = tuple("abcdefghij")
TABLE = "load"
MEMORY_LIMIT = "96MiB"
"""Of the engine: what a small PC would give it."""
WARM_S, MEASURED_S = 20, 60
"""The first flush comes after a minute: some of it is measured, as it is part of the work."""
CATCH_UP_S = 60.0


def topology(port: int, mqtt_port: int, devices: int) -> dict[str, Any]:
    return one_edge(
        port, mqtt_port, TABLE, MEASUREMENTS,
        {"topic": "load/+", "device": "root.load.{payload.id}"},
        storage={"memory_limit": MEMORY_LIMIT},
        intake={"max_new_devices_per_minute": devices},
    )  # fmt: skip


def publish(port: int, devices: int, seconds: int) -> None:
    """A row of every device each second, the messages of a second spread over it."""
    rng = random.Random(1)
    values = [[round(rng.uniform(0, 100), 2) for _ in MEASUREMENTS] for _ in range(devices)]
    encode = msgspec.json.Encoder().encode
    messages = devices // PER_MESSAGE
    with Publisher(BrokerAddress("127.0.0.1", port)) as publisher:
        began = time.monotonic()
        for number in range(seconds * messages):
            second, place = divmod(number, messages)
            due = began + second + place / messages
            if place % 20 == 0:  # a pause for each message would be shorter than what sleep can do
                time.sleep(max(0.0, due - time.monotonic()))
            stamp = int(time.time() * 1000)
            rows = []
            for device in range(place * PER_MESSAGE, (place + 1) * PER_MESSAGE):
                own = values[device]
                changed = rng.randrange(len(MEASUREMENTS))
                own[changed] = round(own[changed] + rng.uniform(-0.5, 0.5), 2)
                row = {"id": f"d{device:05}", "ts": stamp}
                rows.append({**row, **dict(zip(MEASUREMENTS, own, strict=True))})
            publisher.publish(f"load/{place % 50}", encode(rows))
        late_s = time.monotonic() - began - seconds
        publisher.drain()
    if late_s > 2.0:
        raise SystemExit(f"benchmark: the publisher was {late_s:.1f} s late: the machine is full")


def measure(report: Report, place: Path, port: int, devices: int, warm: int, measured: int) -> None:
    own = free_port()
    node = NodeProcess(write_topology(place, topology(own, port, devices)), "edge", own)
    edge = EdgeConsumer(node, TABLE)
    node.start()
    wait_for(edge.is_connected, 30.0, "the edge is subscribed", POLL_S)
    command = [sys.executable, __file__, "--publish", str(port), "--devices", str(devices)]
    seconds = warm + measured
    with subprocess.Popen([*command, "--seconds", str(seconds)]) as publisher:
        time.sleep(warm)
        began, cpu_s, peak = time.monotonic(), node.cpu_s(), 0
        while publisher.poll() is None and time.monotonic() - began < measured:
            peak = max(peak, node.rss_bytes()["node"])
            time.sleep(1.0)
        share = (node.cpu_s() - cpu_s) / (time.monotonic() - began)
        if publisher.wait():
            raise SystemExit("benchmark: the publisher failed")
    wanted = devices * seconds
    ended = time.monotonic()
    wait_for(lambda: edge.accepted() >= wanted, CATCH_UP_S, f"{wanted} rows are durable", POLL_S)
    behind_s = time.monotonic() - ended
    sums = node.sums(TABLE)["intake"]
    node.stop()
    points = devices * len(MEASUREMENTS)
    load = f"{points:,} values a second in messages of {PER_MESSAGE} devices"
    report.add("processor of the edge", 100 * share, "% of a core", f"mean of {measured} s, {load}",
               "50 %")  # fmt: skip
    report.add("processor", share / (points / 1e6), "s/M points", "the same")
    how = f"peak of VmRSS, memory_limit {MEMORY_LIMIT}"
    report.add("memory of the edge", peak / 1e6, "MB", how, "256 MB")
    report.add("behind at the end", behind_s, "s", "until all that was published was durable")
    report.add("rows durable", 100 * sums["accepted"] / wanted, "%", f"of {wanted:,}", "100 %")


def main() -> None:
    parser = argparse.ArgumentParser(description="An edge under steady load.")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--devices", type=int)
    parser.add_argument("--publish", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=int, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    devices = arguments.devices or (1000 if arguments.quick else DEVICES)
    devices = max(PER_MESSAGE, devices // PER_MESSAGE * PER_MESSAGE)
    if arguments.publish:
        publish(arguments.publish, devices, arguments.seconds)
        return
    report = Report("edge", arguments.quick)
    warm, measured = (3, 5) if arguments.quick else (WARM_S, MEASURED_S)
    with tempfile.TemporaryDirectory(prefix="mainstem-bench-") as name, ExitStack() as running:
        place = Path(name)
        if mosquitto_binary() is None:
            print("mosquitto is not installed: the embedded broker stands in for it")
            port = running.enter_context(EmbeddedBroker(place / "broker", sync_always=False)).port
        else:
            broker = Mosquitto(place / "mosquitto", in_flight_max=1000, saves=False)
            port = running.enter_context(broker).port
        measure(report, place, port, devices, warm, measured)
    if arguments.markdown:
        report.print_markdown()
    else:
        report.print(arguments.json)


if __name__ == "__main__":
    main()
