"""Hostile statements: how soon each ends, and what ingest feels of three at once.

1. A node takes rows over HTTP, one request after the other at a fixed rate; a request is over when
   its rows are durable. The time from when it was due to its answer is the latency, so that a stall
   counts for every request that it held up.
2. Quiet and hostile phases alternate in one run. In a hostile phase three clients send the
   statements of the list one after the other, each with a time-out of 4.5 s.
3. The figure is the ratio of the medians of the phases' 99th percentiles: the machine and its disk
   are the same for both.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from report import Report
from tiers import NodeProcess, free_port, write_topology

REQUESTS_PER_S = 50
ROWS = 100
"""Of a request: 5,000 rows a second, as a small plant sends them."""
CLIENTS = 3
TIMEOUT_MS = 4500
"""With what it takes to end a process, the statement is over within five seconds."""
BASE_MS = 1_792_540_800_000
HTTP_TIMEOUT_S = 60.0
HOSTILE = (
    "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT count(*) FROM r",
    "SELECT count(*) FROM range(1000000000000)",
    "SELECT length(repeat('x', 1500000000))",
    "SELECT sum(a.range * b.range) FROM range(1000000) a, range(1000000) b",
    "SELECT range FROM range(10000000)",
    "SELECT length(list(r)) FROM range(1000000000) t(r)",
    "SELECT sum(a.v * b.v) FROM m a, m b, m c",
    "SELECT max(h) FROM (SELECT hash(r) AS h FROM range(1000000000) t(r) ORDER BY 1"
    " LIMIT 500000000)",
    "SELECT levenshtein(repeat('a', 500000), repeat('b', 500000))",
    "SELECT * FROM m a, m b ORDER BY a.v * b.v",
)


def topology(port: int) -> dict[str, Any]:
    """One edge without a parent or a broker."""
    return {
        "templates": {"m": {"measurements": {"v": {"type": "DOUBLE"}}}},
        "nodes": [
            {
                "id": "edge",
                "tier": "edge",
                "listen": f"127.0.0.1:{port}",
                "data_dir": "data/edge",
                "paths": ["root.bench"],
                "auth": {"loopback": "open"},
            }
        ],
    }


class Ingest:
    """Requests at a fixed rate; latencies of the phase at hand."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._numbers: Iterator[int] = itertools.count()

    def run(self, seconds: float) -> list[float]:
        """Latencies in ms, from when each request was due."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=HTTP_TIMEOUT_S)
        latencies: list[float] = []
        started = time.perf_counter()
        for step in range(int(seconds * REQUESTS_PER_S)):
            due = started + step / REQUESTS_PER_S
            time.sleep(max(0.0, due - time.perf_counter()))
            connection.request("POST", "/api/v1/write", self._body(next(self._numbers)),
                               {"Content-Type": "application/json"})  # fmt: skip
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                raise SystemExit(f"benchmark: a write was answered with {answer.status}")
            latencies.append((time.perf_counter() - due) * 1000)
        connection.close()
        return latencies

    def _body(self, number: int) -> bytes:
        first = BASE_MS + number * ROWS
        rows = [{"time": first + i, "v": number / 7} for i in range(ROWS)]
        return json.dumps([{"template": "m", "device": "root.bench.d", "rows": rows}]).encode()


class Attackers:
    """Three clients that send the list, each from another place in it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._stopped = threading.Event()
        self.ended: list[tuple[float, str, str]] = []
        """Seconds that a statement took, its outcome, and its text."""

    def start(self) -> None:
        self._stopped.clear()
        self._threads = [
            threading.Thread(target=self._run, args=(number,)) for number in range(CLIENTS)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Returns when the statements at hand have ended."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _run(self, first: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=HTTP_TIMEOUT_S)
        for number in itertools.count(first * 3):
            if self._stopped.is_set():
                return
            sql = HOSTILE[number % len(HOSTILE)]
            body = json.dumps({"sql": sql, "timeout_ms": TIMEOUT_MS})
            started = time.perf_counter()
            connection.request("POST", "/api/v1/sql", body, {"Content-Type": "application/json"})
            answer = json.loads(connection.getresponse().read())
            outcome = answer.get("error", {}).get("code", "answered")
            self.ended.append((time.perf_counter() - started, outcome, sql))


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    rounds, seconds = (1, 6.0) if asked.quick else (asked.rounds, 15.0)
    report = Report("sql_safety", asked.quick)
    with tempfile.TemporaryDirectory() as place:
        port = free_port()
        node = NodeProcess(write_topology(Path(place), topology(port)), "edge", port)
        node.start()
        try:
            measure(report, port, rounds, seconds)
        finally:
            node.stop()
    report.print(asked.json)


def measure(report: Report, port: int, rounds: int, seconds: float) -> None:
    """Alternates the phases and adds their figures."""
    ingest, attackers = Ingest(port), Attackers(port)
    ingest.run(seconds / 3)
    quiet: list[list[float]] = []
    hostile: list[list[float]] = []
    for _ in range(rounds):
        quiet.append(ingest.run(seconds))
        attackers.start()
        hostile.append(ingest.run(seconds))
        attackers.stop()
    how = f"{rounds} phases of {seconds:g} s each, {REQUESTS_PER_S} requests/s of {ROWS} rows"
    for share, name in ((0.5, "p50"), (0.99, "p99")):
        calm = statistics.median(percentile(phase, share) for phase in quiet)
        busy = statistics.median(percentile(phase, share) for phase in hostile)
        report.add(f"ingest {name}, quiet", calm, "ms", how)
        report.add(f"ingest {name}, three hostile statements", busy, "ms", how)
        goal = "at most 2" if name == "p99" else None
        report.add(f"ingest {name}, hostile to quiet", busy / calm, "x", how, goal)
    longest = max(attackers.ended)
    report.add("hostile statements ended", len(attackers.ended), "", "errors or answers")
    report.add("longest of them", longest[0], "s", longest[2], "at most 5")
    outcomes = [outcome for _, outcome, _ in attackers.ended]
    report.extra["outcomes"] = {name: outcomes.count(name) for name in sorted(set(outcomes))}


if __name__ == "__main__":
    main()
