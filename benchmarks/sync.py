"""Edge to platform to group: how fast a backlog drains, how soon a row can be queried.

Drain:
1. Three real processes; the edge's link to the platform is cut, and the edge is filled over HTTP.
2. The link is restored. The rate is points (values, without times) from the first row that the
   group counts to the last; the time from the restoration to the last row is given too.

Latency:
1. Devices publish single rows at a steady rate; each row carries its number.
2. A loop asks the group by SQL for the newest numbers, as fast as it answers. A row's latency runs
   from just before its publish() to the end of the first answer that contains it: the time of the
   query, and on average half of one more, is part of the figure.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from report import Report
from tiers import NodeProcess, free_port, wait_for, write_topology

from mainstem_node.broker import EmbeddedBroker
from mainstem_node.relay import LinkRelay
from mainstem_node.replay import BrokerAddress, Publisher

TIERS = ("group", "plant", "edge")
BACKLOG, PROBE = "backlog", "probe"
VALUES = 10
"""Measurements of a backlog row: a point is one of their values."""

DEVICES = 100
BASE_MS = 1_792_540_800_000
ROWS_PER_WRITE = 100_000
"""About 10 MB a request, below the limit of 32 MiB."""

DRAIN_TIMEOUT_S = 180.0
POLL_S = 0.05
PROBE_DEVICES = 50
PROBE_WINDOW_MS = 10_000
"""How far back a query looks: far beyond the goal of 1 s, little enough to stay cheap."""


def topology(ports: dict[str, int]) -> dict[str, Any]:
    """An edge, a platform and a group that hold both tables in full."""
    exports = [{"template": BACKLOG, "mode": "raw"}, {"template": PROBE, "mode": "raw"}]
    auth = {"loopback": "open"}

    def parent(node: str, port: int, child: str) -> dict[str, str]:
        return {"node": node, "url": f"http://127.0.0.1:{port}", "token_file": f"secrets/{child}"}

    subscription = {
        "topic": "probe/+",
        "template": PROBE,
        "device": "root.bench.{topic[1]}",
        "time": {"field": "ts", "unit": "ms"},
    }
    measurements = {f"m{i}": {"type": "DOUBLE"} for i in range(VALUES)}
    return {
        "templates": {
            BACKLOG: {"measurements": measurements},
            PROBE: {"measurements": {"n": {"type": "INT64"}}},
        },
        "nodes": [
            {"id": "group", "tier": "group", "listen": f"127.0.0.1:{ports['group']}",
             "data_dir": "data/group", "auth": auth},
            {"id": "plant", "tier": "platform", "listen": f"127.0.0.1:{ports['plant']}",
             "data_dir": "data/plant", "auth": auth, "export": exports,
             "parent": parent("group", ports["group"], "plant")},
            {"id": "edge", "tier": "edge", "listen": f"127.0.0.1:{ports['edge']}",
             "data_dir": "data/edge", "auth": auth, "export": exports,
             "parent": parent("plant", ports["link"], "edge"), "paths": ["root.bench"],
             "collectors": [{"type": "mqtt", "url": f"mqtt://127.0.0.1:{ports['mqtt']}",
                             "protocol": "3.1.1", "subscriptions": [subscription]}]},
        ],
    }  # fmt: skip


def backlog(first_row: int, rows: int) -> bytes:
    """An Arrow stream of rows as machines send them: slow waves with a little noise."""
    rng = np.random.default_rng(first_row)
    number = np.arange(first_row, first_row + rows)
    device, step = number % DEVICES, number // DEVICES
    names = pa.array([f"root.bench.machine_{i:03}" for i in range(DEVICES)])
    columns: dict[str, Any] = {
        "device": pa.DictionaryArray.from_arrays(pa.array(device.astype(np.int32)), names),
        "time": pa.array(BASE_MS + step * 1000),
    }
    for index in range(VALUES):
        wave = 50 + 10 * np.sin(step / (200 + 30 * index) + device)
        columns[f"m{index}"] = pa.array(np.round(wave + rng.normal(0, 0.2, rows), 2))
    batch = pa.RecordBatch.from_pydict(columns)
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue()


def measure_drain(
    report: Report, nodes: dict[str, NodeProcess], link: LinkRelay, rows: int
) -> None:
    """Fills the edge behind a cut link, restores it and times the rows' way to the group."""
    link.cut()
    started = time.perf_counter()
    for first in range(0, rows, ROWS_PER_WRITE):
        body = backlog(first, min(ROWS_PER_WRITE, rows - first))
        nodes["edge"].request(
            f"/api/v1/write?template={BACKLOG}", body, "application/vnd.apache.arrow.stream"
        )
    report.add(
        "edge, write over HTTP", rows * VALUES / (time.perf_counter() - started), "points/s",
        f"{rows:,} rows of {VALUES} values in Arrow streams of {ROWS_PER_WRITE:,} rows, until"
        " durable, making them included",
    )  # fmt: skip
    seen: list[tuple[float, int]] = []

    def is_done() -> bool:
        sums = nodes["group"].sums(BACKLOG)
        seen.append((time.perf_counter(), int(sums.get("log", {}).get("from_children", 0))))
        return seen[-1][1] >= rows

    restored = time.perf_counter()
    link.restore()
    wait_for(is_done, DRAIN_TIMEOUT_S, "the backlog is at the group", POLL_S)
    began = max((at for at, count in seen if count == 0), default=restored)
    done = seen[-1][0]
    held = nodes["group"].sql(f"SELECT count(*), count(m0), count(m{VALUES - 1}) FROM {BACKLOG}")[0]
    if held != [rows, rows, rows]:
        raise SystemExit(f"benchmark: the group holds {held}, not {rows} rows")
    report.add(
        "edge to group, drain", rows * VALUES / (done - began), "points/s",
        f"{rows:,} rows of {VALUES} values, from the last look that saw none to the first that saw"
        " all",
        "500,000 points/s",
    )  # fmt: skip
    report.add(
        "edge to group, restored to drained", done - restored, "s",
        "from the restoration of the link, reconnecting included",
    )  # fmt: skip


class Prober(threading.Thread):
    """Asks the group for the newest numbers; notes when each was first seen."""

    def __init__(self, group: NodeProcess) -> None:
        super().__init__(name="prober", daemon=True)
        self.seen: dict[int, float] = {}
        self.queries = 0
        self.stopping = threading.Event()
        self._group = group

    def run(self) -> None:
        while not self.stopping.is_set():
            since = time.time_ns() // 1_000_000 - PROBE_WINDOW_MS
            rows = self._group.sql(f"SELECT n FROM {PROBE} WHERE time >= {since}")
            now = time.perf_counter()
            self.queries += 1
            for (number,) in rows:
                self.seen.setdefault(number, now)


def measure_latency(
    report: Report, nodes: dict[str, NodeProcess], mqtt_port: int, rate: float, seconds: float
) -> None:
    """Publishes at a steady rate and times each row's way to an answer of the group."""
    count = int(rate * seconds)
    sent: list[float] = []
    stamps: dict[str, int] = {}
    prober: Prober | None = None
    with Publisher(BrokerAddress("127.0.0.1", mqtt_port)) as publisher:
        started = time.perf_counter()
        for number in range(count):
            wait_s = started + number / rate - time.perf_counter()
            if wait_s > 0:
                time.sleep(wait_s)
            device = f"probe_{number % PROBE_DEVICES:02}"
            # Two rows of one device in one millisecond would be one row.
            stamp = max(time.time_ns() // 1_000_000, stamps.get(device, 0) + 1)
            stamps[device] = stamp
            payload = json.dumps({"ts": stamp, "n": number}).encode()
            sent.append(time.perf_counter())
            publisher.publish(f"probe/{device}", payload)
            if prober is None and number >= count // 5:
                # The first rows make table and devices; the steady state is what is asked for.
                prober = Prober(nodes["group"])
                prober.start()
        publisher.drain()
    assert prober is not None
    judged = range(count // 4, count)
    wait_for(
        lambda: all(number in prober.seen for number in judged), PROBE_WINDOW_MS / 1000,
        "every probe is seen at the group", 0.1,
    )  # fmt: skip
    prober.stopping.set()
    prober.join()
    latencies = np.array([prober.seen[number] - sent[number] for number in judged]) * 1000
    how = (
        f"{len(latencies):,} single-row messages at {rate:g}/s, publish() to the first SQL answer"
        f" that has the row; {prober.queries:,} queries one after the other"
    )
    for share, goal in ((50, None), (99, "1,000 ms")):
        value = float(np.percentile(latencies, share))
        report.add(f"publish to queryable at the group, p{share}", value, "ms", how, goal)


def main() -> None:
    parser = argparse.ArgumentParser(description="Drain and latency from edge to group.")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    report = Report("sync", arguments.quick)
    rows, rate, seconds = (50_000, 100.0, 4.0) if arguments.quick else (1_000_000, 200.0, 20.0)
    with tempfile.TemporaryDirectory(prefix="mainstem-bench-") as name:
        place = Path(name)
        with EmbeddedBroker(place / "broker", sync_always=False) as broker:
            ports = {tier: free_port() for tier in TIERS}
            link = LinkRelay(0, ("127.0.0.1", ports["plant"]))
            ports |= {"link": link.port, "mqtt": broker.port}
            path = write_topology(place, topology(ports))
            nodes = {tier: NodeProcess(path, tier, ports[tier]) for tier in TIERS}
            link.start()
            try:
                for tier in TIERS:
                    nodes[tier].start()
                measure_latency(report, nodes, broker.port, rate, seconds)
                measure_drain(report, nodes, link, rows)
            finally:
                for tier in reversed(TIERS):
                    nodes[tier].stop()
                link.close()
    report.print(arguments.json)


if __name__ == "__main__":
    main()
