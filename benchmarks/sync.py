"""Edge to platform to group: what a point costs on the link, how fast a backlog drains, how soon a
row can be queried.

Costs (pair.py): one link in one process; bytes on the wire and CPU time of either side, and a relay
that hands live rows on.

Drain:
1. Three real processes; the edge's link to the platform is cut, and the edge is filled over HTTP.
2. The link is restored, and live rows go on. The rate is points (values, without times) from the
   first row that the group counts to the last; the time from the restoration to the last row is
   given too, and how soon live rows could be queried meanwhile.

Thin link: the same over 1 Mbit/s and 300 ms (thin_link.py): the share of its rate that is used.

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
from pair import DEVICES, measure_history, measure_live, measure_relay
from report import Report
from telemetry import make_dataset
from thin_link import CHUNK_BYTES, ThinLink
from tiers import NodeProcess, free_port, wait_for, write_topology

from mainstem_node.broker import EmbeddedBroker
from mainstem_node.relay import LinkRelay
from mainstem_node.replay import BrokerAddress, Publisher

TIERS = ("group", "plant", "edge")
BACKLOG, PROBE = "backlog", "probe"
VALUES = 10
"""Measurements of a backlog row: a point is one of their values."""

MACHINES = 100
BASE_MS = 1_792_540_800_000
ROWS_PER_WRITE = 100_000
"""About 10 MB a request, below the limit of 32 MiB."""

DRAIN_TIMEOUT_S = 180.0
THIN_BYTES_PER_S = 125_000.0
THIN_RATE = 200.0
"""Live rows a second over the thin link: 2,000 points."""
THIN_WAY_S = 0.15
FRAME_MS = 250
"""Link time of what may be before a live row."""
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
            PROBE: {
                "measurements": {
                    "n": {"type": "INT64"},
                    **{f"v{i}": {"type": "DOUBLE"} for i in range(1, VALUES)},
                }
            },
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
    device, step = number % MACHINES, number // MACHINES
    names = pa.array([f"root.bench.machine_{i:03}" for i in range(MACHINES)])
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


class Load(threading.Thread):
    """Publishes rows with a number at a steady rate, until it is stopped; notes when."""

    def __init__(self, mqtt_port: int, rate: float, first: int) -> None:
        super().__init__(name="load", daemon=True)
        self.sent: dict[int, float] = {}
        self.next_number = first
        self.stopping = threading.Event()
        self._port = mqtt_port
        self._rate = rate

    def run(self) -> None:
        first, stamps = self.next_number, dict[str, int]()
        with Publisher(BrokerAddress("127.0.0.1", self._port)) as publisher:
            started = time.perf_counter()
            while not self.stopping.is_set():
                number = self.next_number
                wait_s = started + (number - first) / self._rate - time.perf_counter()
                if wait_s > 0:
                    time.sleep(wait_s)
                device = f"probe_{number % PROBE_DEVICES:02}"
                # Two rows of one device in one millisecond would be one row.
                stamp = max(time.time_ns() // 1_000_000, stamps.get(device, 0) + 1)
                stamps[device] = stamp
                values = {f"v{index}": (number * index) % 97 for index in range(1, VALUES)}
                payload = json.dumps({"ts": stamp, "n": number, **values}).encode()
                self.sent[number] = time.perf_counter()
                publisher.publish(f"probe/{device}", payload)
                self.next_number = number + 1
            publisher.drain()


class Prober(threading.Thread):
    """Asks the group for the newest numbers; notes when each was first seen."""

    def __init__(self, group: NodeProcess) -> None:
        super().__init__(name="prober", daemon=True)
        self.seen: dict[int, float] = {}
        self.queries = 0
        self.stopping = threading.Event()
        # A connection of its own: another thread asks the node too.
        self._group = group.client()

    def run(self) -> None:
        while not self.stopping.is_set():
            since = time.time_ns() // 1_000_000 - PROBE_WINDOW_MS
            rows = self._group.sql(f"SELECT n FROM {PROBE} WHERE time >= {since}")
            now = time.perf_counter()
            self.queries += 1
            for (number,) in rows:
                self.seen.setdefault(number, now)


def judge(
    report: Report, name: str, load: Load, prober: Prober, between: tuple[float, float], goal: str
) -> float:
    """Percentiles of the rows published in ``between``; all of them must have been seen. Returns
    the 99th in ms."""
    chosen = [n for n, at in sorted(load.sent.items()) if between[0] <= at < between[1]]
    if not chosen and report.quick:
        return 0.0  # a short backlog is gone before anything is published beside it
    if not chosen:
        raise SystemExit(f"benchmark: nothing was published for {name}")
    wait_for(
        lambda: all(number in prober.seen for number in chosen), PROBE_WINDOW_MS / 1000,
        "every probe is seen at the group", 0.1,
    )  # fmt: skip
    latencies = np.array([prober.seen[n] - load.sent[n] for n in chosen]) * 1000
    how = (
        f"{len(latencies):,} single-row messages of {VALUES} values, publish() to the first SQL"
        " answer that has the row"
    )
    last = 0.0
    for share in (50, 99):
        last = float(np.percentile(latencies, share))
        report.add(f"{name}, p{share}", last, "ms", how, goal if goal and share == 99 else None)
    return last


def measure_latency(
    report: Report,
    nodes: dict[str, NodeProcess],
    mqtt_port: int,
    rate: float,
    seconds: float,
    where: str = "",
) -> tuple[int, float]:
    """Live rows with nothing else to do. Returns the next number, and the 99th percentile in ms."""
    load = Load(mqtt_port, rate, 0)
    prober = Prober(nodes["group"])
    load.start()
    # The first rows make table and devices; the steady state is what is asked for.
    wait_for(lambda: _asked(nodes["group"]), PROBE_WINDOW_MS / 1000, "the table is there", 0.1)
    prober.start()
    began = time.perf_counter() + 1.0
    time.sleep(seconds)
    ended = time.perf_counter() - 1.0
    worst = judge(
        report, f"publish to queryable at the group{where}", load, prober, (began, ended),
        "" if where else "400 ms",
    )  # fmt: skip
    _end(load, prober)
    return load.next_number, worst


def _asked(group: NodeProcess) -> bool:
    try:
        return bool(group.sql(f"SELECT count(*) FROM {PROBE}")[0][0])
    except (RuntimeError, OSError):
        return False


def _end(*threads: Load | Prober) -> None:
    for thread in threads:
        thread.stopping.set()
        thread.join()


def measure_drain(
    report: Report,
    nodes: dict[str, NodeProcess],
    link: LinkRelay,
    rows: int,
    live: tuple[int, int, float, float],
) -> None:
    """Fills the edge behind a cut link, restores it and times the rows' way to the group, while
    live rows go on. ``live``: port, first number, rate, and p99 in ms without a backlog."""
    mqtt_port, first_number, rate, idle_ms = live
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

    load, prober = Load(mqtt_port, rate, first_number), Prober(nodes["group"])
    load.start()
    prober.start()
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
        f" all, while {rate * VALUES:,.0f} live points/s go on",
        "1,000,000 points/s",
    )  # fmt: skip
    report.add(
        "edge to group, restored to drained", done - restored, "s",
        "from the restoration of the link, reconnecting included",
    )  # fmt: skip
    goal = f"{2 * idle_ms + FRAME_MS:,.0f} ms"
    judge(report, "publish to queryable during the drain", load, prober, (began, done), goal)
    _end(load, prober)


def measure_thin_link(report: Report, quick: bool) -> None:
    """A backlog over 1 Mbit/s and 300 ms there and back, live rows beside it."""
    rows = 20_000 if quick else 300_000
    report.section = "1 Mbit/s, 300 ms there and back"
    with tempfile.TemporaryDirectory(prefix="mainstem-bench-") as name:
        place = Path(name)
        with EmbeddedBroker(place / "broker", sync_always=False) as broker:
            ports = {tier: free_port() for tier in TIERS}
            link = ThinLink(ports["plant"], THIN_BYTES_PER_S, THIN_WAY_S)
            path = write_topology(place, topology(ports | {"link": link.port, "mqtt": broker.port}))
            nodes = {tier: NodeProcess(path, tier, ports[tier]) for tier in TIERS}
            try:
                for tier in TIERS:
                    nodes[tier].start()
                number, idle_ms = measure_latency(
                    report,
                    nodes,
                    broker.port,
                    THIN_RATE,
                    4.0 if quick else 10.0,
                    " over a thin link",
                )
                _drain_thin(report, nodes, link, rows, (broker.port, number, idle_ms))
            finally:
                for tier in reversed(TIERS):
                    nodes[tier].stop()
                link.close()


def _drain_thin(
    report: Report,
    nodes: dict[str, NodeProcess],
    link: ThinLink,
    rows: int,
    live: tuple[int, int, float],
) -> None:
    """``live``: port, first number, and p99 in ms without a backlog."""
    link.cut()
    body = backlog(0, rows)
    nodes["edge"].request(
        f"/api/v1/write?template={BACKLOG}", body, "application/vnd.apache.arrow.stream"
    )
    load, prober = Load(live[0], THIN_RATE, live[1]), Prober(nodes["group"])
    load.start()
    prober.start()
    link.restore()
    looks: list[tuple[float, int]] = []

    def is_done() -> bool:
        sums = nodes["plant"].sums(BACKLOG)
        looks.append((time.perf_counter(), link.bytes_up))
        return int(sums.get("log", {}).get("from_children", 0)) >= rows

    wait_for(is_done, DRAIN_TIMEOUT_S, "the backlog is at the plant", POLL_S)
    # From the first bytes of the backlog: what was before is HELLO and its pause.
    first = next(at for at, sent in looks if sent > looks[0][1] + CHUNK_BYTES)
    carried = looks[-1][1] - looks[0][1]
    share = carried / (looks[-1][0] - first) / THIN_BYTES_PER_S
    report.add(
        "thin link, share of its rate", 100 * share, "%",
        f"{carried:,} bytes of requests for {rows:,} rows of {VALUES} values, and live ones, over"
        " 1 Mbit/s and 300 ms there and back, from the first of them until all rows are held",
        "80 %",
    )  # fmt: skip
    report.add(
        "thin link, drain", rows * VALUES / (looks[-1][0] - first), "points/s",
        f"of the backlog, while {THIN_RATE * VALUES:,.0f} live points/s go on",
    )  # fmt: skip
    goal = f"{2 * live[2] + FRAME_MS:,.0f} ms"
    judge(
        report, "publish to queryable during a drain over a thin link", load, prober,
        (first, looks[-1][0]), goal,
    )  # fmt: skip
    _end(load, prober)


def measure_costs(report: Report, place: Path, quick: bool) -> None:
    """Bytes and CPU time of one link, in this process; see pair.py."""
    report.section = "what a point costs, by the way it goes"
    points = 200_000 if quick else 10_000_000
    measure_history(report, place / "history", make_dataset(place / "rows", points, DEVICES))
    live = make_dataset(place / "live", 10_000 if quick else 100_000, DEVICES)
    for writes in (1, 10):
        measure_live(report, place / f"live-{writes}", live, writes)
    measure_relay(report, place / "relayed", live, 10)
    if not quick:
        fleet = make_dataset(place / "fleet", 1_000_000, 10 * DEVICES)
        measure_live(report, place / "live-fleet", fleet, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description="Drain and latency from edge to group.")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--markdown", action="store_true", help="the tables of the documentation")
    arguments = parser.parse_args()
    report = Report("sync", arguments.quick)
    rows, rate, seconds = (200_000, 200.0, 4.0) if arguments.quick else (1_000_000, 200.0, 20.0)
    with tempfile.TemporaryDirectory(prefix="mainstem-bench-") as name:
        measure_costs(report, Path(name), arguments.quick)
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
                report.section = "three processes, a backlog and live rows"
                number, idle_ms = measure_latency(report, nodes, broker.port, rate, seconds)
                live = (broker.port, number, rate, idle_ms)
                measure_drain(report, nodes, link, rows, live)
            finally:
                for tier in reversed(TIERS):
                    nodes[tier].stop()
                link.close()
    measure_thin_link(report, arguments.quick)
    if arguments.markdown:
        report.print_markdown()
    else:
        report.print(arguments.json)


if __name__ == "__main__":
    main()
