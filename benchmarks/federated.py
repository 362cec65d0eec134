"""Questions of a group to six edges below two platforms: how long, how many bytes, and beside what.

1. Nine real processes. Raw rows stay at the edges; only rollups of an hour go up. Each edge is
   filled over HTTP, and the same rows are kept in one engine of this process: the truth.
2. The group is asked for hourly count, minimum, maximum and mean of all raw rows; for the same of
   rows above a value, for which the edges have to read them; and for one hour of it, whose borders
   no block of rows has. Every answer is compared with the truth: counts and extremes bit by bit,
   means to 1e-12.
3. Each question is asked again with its answer kept at the tiers above (the same text), and anew (a
   bound that moves by a millisecond beyond the rows): both are given.
4. Meanwhile rows of another table go all the way up; how soon they can be queried at the group is
   measured without questions and beside them.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from report import Report
from sync import PROBE, VALUES, Load, Prober, judge
from tiers import NodeProcess, free_port, wait_for, write_topology

from mainstem_engine.engine import Engine
from mainstem_engine.model import ColumnType, Measurement, Template
from mainstem_engine.options import EngineOptions
from mainstem_node.broker import EmbeddedBroker

RAW = "pump"
COLUMNS = {"flow": "DOUBLE", "pressure": "DOUBLE", "speed": "DOUBLE", "starts": "INT64"}
PLANTS = ("plant_a", "plant_b")
EDGES = {f"edge_{plant[-1]}{n}": plant for plant in PLANTS for n in range(3)}
PROBED = "edge_a0"
"""The edge at which live rows arrive."""

DEVICES = 10
START_MS = 1_792_540_800_000
STEP_MS = 1000
ROWS_PER_WRITE = 100_000
SETTLE_S = 180.0
MEANS_DIFFER = 1e-12


def topology(ports: dict[str, int], mqtt: int) -> dict[str, Any]:
    """A group, two platforms and six edges; ``pump`` goes up as a rollup, ``probe`` as rows."""
    exports = [{"template": RAW, "mode": "rollup", "every": "1h"},
               {"template": PROBE, "mode": "raw"}]  # fmt: skip
    subscription = {
        "topic": "probe/+",
        "template": PROBE,
        "device": f"root.{EDGES[PROBED]}.{PROBED}." + "{topic[1]}",
        "time": {"field": "ts", "unit": "ms"},
    }
    collector = {"type": "mqtt", "url": f"mqtt://127.0.0.1:{mqtt}", "protocol": "3.1.1",
                 "subscriptions": [subscription]}  # fmt: skip

    def node(name: str, tier: str, parent: str = "") -> dict[str, Any]:
        found: dict[str, Any] = {
            "id": name, "tier": tier, "listen": f"127.0.0.1:{ports[name]}",
            "data_dir": f"data/{name}", "auth": {"loopback": "open"},
        }  # fmt: skip
        if parent:
            found |= {"export": exports, "parent": {"node": parent, "token_file": f"secrets/{name}",
                      "url": f"http://127.0.0.1:{ports[parent]}"}}  # fmt: skip
        if tier == "edge":
            found |= {"paths": [f"root.{parent}.{name}"],
                      "rollups": [{"template": RAW, "every": "1h"}]}  # fmt: skip
        if name == PROBED:
            found["collectors"] = [collector]
        return found

    probe = {"n": "INT64", **{f"v{i}": "DOUBLE" for i in range(1, VALUES)}}
    return {
        "templates": {
            name: {"measurements": {each: {"type": kind} for each, kind in columns.items()}}
            for name, columns in ((RAW, COLUMNS), (PROBE, probe))
        },
        "nodes": [
            node("group", "group"),
            *(node(plant, "platform", "group") for plant in PLANTS),
            *(node(edge, "edge", plant) for edge, plant in EDGES.items()),
        ],
    }


def columns_of(edge: str, first: int, count: int) -> tuple[Any, Any, dict[str, Any]]:
    """(device numbers, times in ms, values) of rows as pumps send them, some of them missing."""
    rng = np.random.default_rng([list(EDGES).index(edge), first])
    number = np.arange(first, first + count)
    device, step = number % DEVICES, number // DEVICES
    values: dict[str, Any] = {}
    for index, (name, kind) in enumerate(COLUMNS.items()):
        wave = 50 + 10 * np.sin(step / (200 + 30 * index) + device)
        if kind == "INT64":
            values[name] = step // 600 + device
        else:
            values[name] = np.round(wave + rng.normal(0, 0.5, count), 3)
    return device, START_MS + step * STEP_MS, values


def stream_of(edge: str, first: int, count: int) -> bytes:
    """The same as an Arrow stream."""
    device, time_ms, values = columns_of(edge, first, count)
    names = pa.array([path_of(edge, n) for n in range(DEVICES)])
    batch = pa.RecordBatch.from_pydict(
        {
            "device": pa.DictionaryArray.from_arrays(pa.array(device.astype(np.int32)), names),
            "time": pa.array(time_ms),
            **{name: pa.array(column) for name, column in values.items()},
        }
    )
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue()


def path_of(edge: str, device: int) -> str:
    return f"root.{EDGES[edge]}.{edge}.p{device}"


def central_engine(place: Path) -> Engine:
    """An empty store with the template of the raw rows."""
    engine = Engine.open(place, EngineOptions())
    measurements = tuple(
        Measurement(index, name, ColumnType[kind])
        for index, (name, kind) in enumerate(COLUMNS.items())
    )
    engine.create_template(Template(RAW, measurements))
    return engine


def fill(edges: dict[str, Callable[[bytes], Any]], central: Engine, rows: int) -> int:
    """Writes ``rows`` to each edge and all of them to one store; returns their bytes as arrays."""
    raw_bytes = 0
    for edge, write in edges.items():
        ids = central.device_ids(RAW, [path_of(edge, n) for n in range(DEVICES)], create=True)
        for first in range(0, rows, ROWS_PER_WRITE):
            count = min(ROWS_PER_WRITE, rows - first)
            write(stream_of(edge, first, count))
            device, time_ms, values = columns_of(edge, first, count)
            central.write(RAW, ids[device], time_ms, values).wait()
            raw_bytes += time_ms.nbytes + sum(column.nbytes for column in values.values())
    return raw_bytes


def statements(rows: int) -> dict[str, str]:
    """What is asked. ``{beyond}`` is a time behind all rows, which makes a text a new one."""
    hourly = (
        "SELECT time_bucket(INTERVAL 1 HOUR, time) AS hour, count(*), count(flow), min(flow), "
        "max(flow), avg(flow), min(starts), max(starts), avg(starts) FROM pump WHERE {where} "
        "GROUP BY 1 ORDER BY 1"
    )
    span_ms = rows // DEVICES * STEP_MS
    middle = START_MS + span_ms // 2 + 1_234
    return {
        "hours of all rows": hourly.format(where="time < {beyond}"),
        "rows above a value": hourly.format(where="flow > 55.5 AND time < {beyond}"),
        "one hour, by device": (
            "SELECT device, count(flow), min(flow), max(flow), avg(flow) FROM pump WHERE "
            f"time >= {middle} AND time < {middle} + {min(3_600_000, span_ms // 4)} "
            "AND time < {beyond} GROUP BY 1 ORDER BY 1"
        ),
    }


def beyond(rows: int, number: int) -> int:
    return START_MS + rows // DEVICES * STEP_MS + 1 + number


def require_equal(found: list[list[Any]], truth: list[list[Any]], what: str) -> None:
    """Means (the only floats that are sums) to 1e-12, everything else bit by bit."""
    if len(found) != len(truth):
        raise SystemExit(f"benchmark: {what}: {len(found)} groups, not {len(truth)}")
    for row, true in zip(found, truth, strict=True):
        for ours, theirs in zip(row, true, strict=True):
            if ours == theirs:
                continue
            close = isinstance(ours, float) and abs(ours - theirs) <= MEANS_DIFFER * abs(theirs)
            if not close:
                raise SystemExit(f"benchmark: {what}: {ours!r} is not {theirs!r}")


def travelled(lines: list[str]) -> int:
    """Bytes of answers, of every link, by the lines of EXPLAIN ANALYZE."""
    return sum(int(n) for line in lines for n in re.findall(r"(\d+) bytes travelled", line))


class Asker:
    """Asks the group, and compares with the truth."""

    def __init__(self, group: NodeProcess, central: Engine) -> None:
        self._group = group
        self._central = central
        self._truths: dict[str, list[list[Any]]] = {}

    def post(self, sql: str) -> dict[str, Any]:
        body = {"sql": sql, "on_incomplete": "fetch", "timeout_ms": 30_000}
        found: dict[str, Any] = self._group.request("/api/v1/sql", json.dumps(body).encode())
        return found

    def timed(self, name: str, sql: str) -> float:
        """Seconds of one question; its answer is right and whole, or the benchmark ends."""
        if name not in self._truths:
            self._truths[name] = self._central.sql(sql).rows()
        started = time.perf_counter()
        found = self.post(sql)
        seconds = time.perf_counter() - started
        if found["warnings"]:
            raise SystemExit(f"benchmark: {name}: {found['warnings']}")
        require_equal(found["rows"], self._truths[name], name)
        return seconds

    def series(self, name: str, text: str, bounds: Sequence[int]) -> list[float]:
        """As ``timed``, with one bound after the other in the text."""
        return [self.timed(name, text.format(beyond=bound)) for bound in bounds]

    def plan(self, sql: str) -> list[str]:
        return [row[0] for row in self.post("EXPLAIN ANALYZE " + sql)["rows"]]

    def settle(self) -> None:
        """Until every edge is known, answers, and has closed its rows."""

        def is_settled() -> bool:
            found = self.post(f"SELECT count(*) FROM {RAW}")
            closed = {c["node"] for c in found["completeness"] if c["complete_through"]}
            return not found["warnings"] and closed >= set(EDGES)

        wait_for(is_settled, SETTLE_S, "every edge answers", 0.25)


def measure_questions(
    report: Report, asker: Asker, nodes: dict[str, NodeProcess], rows: int, rounds: int
) -> None:
    """Latency of every statement, anew and again, and what it costs the processes."""
    number = 0

    def spent_in(name: str, text: str, bounds: Sequence[int]) -> tuple[list[float], float, float]:
        """(seconds of each, ms of processor of the busiest edge and of the group, a question)."""
        before = {each: node.cpu_s() for each, node in nodes.items()}
        taken = asker.series(name, text, bounds)
        spent = {each: (node.cpu_s() - before[each]) / rounds for each, node in nodes.items()}
        return taken, 1000 * max(spent[edge] for edge in EDGES), 1000 * spent["group"]

    for name, text in statements(rows).items():
        bounds = [beyond(rows, number + n) for n in range(rounds)]
        number += rounds
        anew, edge_ms, group_ms = spent_in(name, text, bounds)
        again, again_ms, _ = spent_in(name, text, bounds[-1:] * rounds)
        for share in (50, 99):
            report.add(
                f"{name}, p{share}", float(np.percentile(anew, share)) * 1000, "ms",
                f"{rounds} questions of a new text over {rows:,} rows an edge",
                "1000 ms" if share == 99 else None,
            )  # fmt: skip
        report.add(
            f"{name}, again, p99", float(np.percentile(again, 99)) * 1000, "ms",
            "the same text: edges say that their answer still holds",
        )  # fmt: skip
        how = "of a question, its process; the busiest edge"
        report.add(f"{name}, edge, processor time", edge_ms, "ms", how)
        report.add(f"{name}, again, edge, processor time", again_ms, "ms", how)
        report.add(
            f"{name}, group, processor time", group_ms, "ms",
            "of a question, the process of the node without its SQL workers",
        )  # fmt: skip


def measure_live(
    report: Report,
    asker: Asker,
    group: NodeProcess,
    mqtt: int,
    rows: int,
    seconds: float,
    rate: float,
) -> None:
    """How soon live rows can be queried at the group, without questions and beside them."""
    load, prober = Load(mqtt, rate, 0), Prober(group)
    load.start()
    wait_for(lambda: _has_probes(group), SETTLE_S, "live rows arrive", 0.1)
    prober.start()
    first = time.perf_counter() + 1.0
    time.sleep(seconds)
    until = time.perf_counter() - 1.0
    idle = judge(report, "live rows, no questions", load, prober, (first, until), "")
    first, taken, number = time.perf_counter(), list[float](), 1_000_000
    texts = list(statements(rows).items())
    while time.perf_counter() < first + seconds:
        name, text = texts[number % len(texts)]
        number += 1
        taken.append(asker.timed(name, text.format(beyond=beyond(rows, number))))
    until = time.perf_counter() - 1.0
    beside = judge(report, "live rows, beside questions", load, prober, (first, until), "")
    report.add(
        "questions beside live rows, p99", float(np.percentile(taken, 99)) * 1000, "ms",
        f"{len(taken)} of them, one after the other, of new texts", "1000 ms",
    )  # fmt: skip
    if idle:
        report.add(
            "live rows, p99 beside questions to p99 without", beside / idle, "x",
            "one run; all processes, questions and probes share the machine", "2 x",
        )  # fmt: skip
    for thread in (load, prober):
        thread.stopping.set()
        thread.join()


def _has_probes(group: NodeProcess) -> bool:
    try:
        return bool(group.sql(f"SELECT count(*) FROM {PROBE}")[0][0])
    except (RuntimeError, OSError):
        return False


def run(report: Report, place: Path, rows: int, rounds: int, seconds: float) -> None:
    with EmbeddedBroker(place / "broker", sync_always=False) as broker:
        names = ["group", *PLANTS, *EDGES]
        ports = {name: free_port() for name in names}
        path = write_topology(place, topology(ports, broker.port))
        nodes = {name: NodeProcess(path, name, ports[name]) for name in names}
        central = central_engine(place / "central")
        try:
            with ThreadPoolExecutor(len(nodes)) as starting:
                list(starting.map(NodeProcess.start, nodes.values()))

            def writer(node: NodeProcess) -> Callable[[bytes], Any]:
                kind = "application/vnd.apache.arrow.stream"
                return lambda body: node.request(f"/api/v1/write?template={RAW}", body, kind)

            raw_bytes = fill({edge: writer(nodes[edge]) for edge in EDGES}, central, rows)
            central.flush()
            asker = Asker(nodes["group"], central)
            asker.settle()
            report.section = f"questions to {len(EDGES)} edges of {rows:,} rows"
            for name, text in statements(rows).items():
                sql = text.format(beyond=beyond(rows, -1))
                asker.timed(name, sql)
                plan = asker.plan(text.format(beyond=beyond(rows, -2)))
                report.add(
                    f"{name}, bytes travelled", 100 * travelled(plan) / raw_bytes, "%",
                    f"{travelled(plan):,} bytes of answers on all links, of {raw_bytes:,} bytes of"
                    " raw rows as arrays", "1 %" if "device" not in name else None,
                )  # fmt: skip
            measure_questions(report, asker, nodes, rows, rounds)
            report.section = "live rows beside questions"
            measure_live(
                report, Asker(nodes["group"].client(), central), nodes["group"], broker.port, rows,
                seconds, 100.0,
            )  # fmt: skip
        finally:
            for name in reversed(names):
                nodes[name].stop()
            central.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="Questions from a group to its edges.")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--points", type=int, help="values of each edge; four a row")
    parser.add_argument("--rounds", type=int, help="questions of each statement")
    parser.add_argument("--markdown", action="store_true", help="the tables of the documentation")
    arguments = parser.parse_args()
    rows, rounds, seconds = (20_000, 3, 4.0) if arguments.quick else (1_000_000, 100, 20.0)
    if arguments.points:
        rows = max(1000, arguments.points // len(COLUMNS))
    report = Report("federated", arguments.quick)
    with tempfile.TemporaryDirectory(prefix="mainstem-bench-") as name:
        run(report, Path(name), rows, arguments.rounds or rounds, seconds)
    if arguments.markdown:
        report.print_markdown()
    else:
        report.print(arguments.json)


if __name__ == "__main__":
    main()
