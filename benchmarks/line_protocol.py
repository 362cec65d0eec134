"""Line protocol: parsed beside line-protocol-parser in one run, and stored by an edge over HTTP.

1. Texts of five kinds are parsed by ours and, line by line, by that library, which is written in C
   and makes a dictionary of each line. Rounds alternate; a rate is lines per second of processor
   time, the median counts.
2. An edge, a real process, takes the same lines in requests of LINES_A_REQUEST, each answered when
   it is durable. Its processor time is that of its process.
"""

from __future__ import annotations

import argparse
import http.client
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import line_protocol_parser  # type: ignore[import-untyped]
from report import Report
from tiers import NodeProcess, free_port, write_topology

from mainstem_node.line_protocol.parser import parse_lines

LINES, LINES_QUICK = 50_000, 5_000
STORED, STORED_QUICK = 500_000, 20_000
LINES_A_REQUEST = 5_000
"""What Telegraf is told to send at a time where there is much; its default is 1,000."""
DEVICES = 1_000
BASE_NS = 1_792_540_800_000_000_000
STEP_NS = 1_000_000


def one_field(n: int, rng: random.Random) -> str:
    return f"meter,host=h{n % DEVICES} value={rng.uniform(0, 100):.2f} {BASE_NS + n * STEP_NS}"


def three_fields(n: int, rng: random.Random) -> str:
    return (
        f"press,line=l{n % 20},machine=m{n % DEVICES} temperature={rng.uniform(10, 90):.3f},"
        f"pressure={rng.uniform(1, 9):.4f},count={n}i {BASE_NS + n * STEP_NS}"
    )


def ten_fields(n: int, rng: random.Random) -> str:
    fields = ",".join(f"value_{k}={rng.uniform(10, 90):.3f}" for k in range(10))
    return f"station,device=d{n % DEVICES} {fields} {BASE_NS + n * STEP_NS}"


def texts(n: int, rng: random.Random) -> str:
    return (
        f'log,host=host\\ {n % 100} level={n % 7}i,message="pump {n}, restarted",ok=true '
        f"{BASE_NS + n * STEP_NS}"
    )


def escaped_texts(n: int, rng: random.Random) -> str:
    return f'log,host=h{n % 100} level={n % 7}i,message="said \\"{n}\\"" {BASE_NS + n * STEP_NS}'


KINDS: dict[str, Callable[[int, random.Random], str]] = {
    "one field": one_field,
    "three fields": three_fields,
    "ten fields": ten_fields,
    "texts": texts,
    "texts with escapes": escaped_texts,
}


def written(kind: Callable[[int, random.Random], str], count: int, first: int = 0) -> bytes:
    rng = random.Random(7)
    return "\n".join(kind(n, rng) for n in range(first, first + count)).encode()


def theirs(data: bytes) -> None:
    for line in data.decode().split("\n"):
        line_protocol_parser.parse_line(line)


def cpu_s(work: Callable[[bytes], Any], data: bytes) -> float:
    started = time.process_time()
    work(data)
    return time.process_time() - started


def parsing(report: Report, count: int, rounds: int) -> None:
    for name, kind in KINDS.items():
        data = written(kind, count)
        mine, other = [], []
        for _ in range(rounds):
            mine.append(count / cpu_s(parse_lines, data))
            other.append(count / cpu_s(theirs, data))
        how = f"{count:,} lines of {len(data) // count} bytes, one core, median of {rounds}"
        report.add(f"parse, {name}", statistics.median(mine), "lines/s", how)
        report.add(f"line-protocol-parser, {name}", statistics.median(other), "lines/s", how)
        ratios = [a / b for a, b in zip(mine, other, strict=True)]
        report.add(f"ratio, {name}", statistics.median(ratios), "of its rate", "median of rounds")


def storing(report: Report, place: Path, count: int) -> None:
    port = free_port()
    node = {
        "id": "edge", "tier": "edge", "listen": f"127.0.0.1:{port}", "data_dir": "data/edge",
        "paths": ["root.bench"], "auth": {"loopback": "open"},
        "intake": {"max_new_devices_per_minute": 10 * DEVICES},
    }  # fmt: skip
    edge = NodeProcess(write_topology(place, {"nodes": [node]}), "edge", port)
    edge.start()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        for name in ("one field", "three fields", "ten fields"):
            bodies = [
                written(KINDS[name], LINES_A_REQUEST, first)
                for first in range(0, count, LINES_A_REQUEST)
            ]
            _send(connection, bodies.pop(0))  # makes the template and the devices
            before, started = edge.cpu_s(), time.perf_counter()
            for body in bodies:
                _send(connection, body)
            elapsed, used = time.perf_counter() - started, edge.cpu_s() - before
            lines = len(bodies) * LINES_A_REQUEST
            how = f"{lines:,} lines in requests of {LINES_A_REQUEST:,}, one after the other"
            report.add(f"stored, {name}", lines / elapsed, "lines/s", f"{how}, each durable")
            report.add(
                f"stored, {name}, CPU", used / lines * 1e6, "s per million lines",
                f"{how}: processor time of the edge",
            )  # fmt: skip
    finally:
        connection.close()
        edge.stop()


def _send(connection: http.client.HTTPConnection, body: bytes) -> None:
    connection.request("POST", "/write?db=bench", body)
    answer = connection.getresponse()
    content = answer.read()
    if answer.status != 204:
        raise SystemExit(f"benchmark: {answer.status} {content[:500]!r}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Line protocol, parsed and stored.")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    report = Report("line_protocol", arguments.quick)
    parsing(report, *((LINES_QUICK, 2) if arguments.quick else (LINES, 7)))
    with tempfile.TemporaryDirectory(prefix="mainstem-bench-") as name:
        storing(report, Path(name), STORED_QUICK if arguments.quick else STORED)
    report.print(arguments.json)


if __name__ == "__main__":
    main()
