"""What a point costs a child and its parent: two nodes in one process, bytes and CPU time.

1. Both are real engines with real logs; requests go from sender to receiver by a call. No socket,
   no HTTP and no idle wait is part of a figure, and only one side works at a time, so that the CPU
   time of the process between two moments is that side's.
2. History: the child has logged one record a second with a row of every device, and then meets the
   parent. What the parent spends is given without and with the flush that makes parts of it.
3. Verification: closing the slices at the child, comparing them at the parent.
4. Live: rows of one second arrive in so many writes, and each goes up at once. Status included.
5. Relay: the parent has a parent of its own, and hands the live rows on as they come.
"""

from __future__ import annotations

import gzip
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from loading import TABLE, create_table, device_ids, device_path
from report import Report
from telemetry import LATE_S_MAX, SENSORS, START_MS, Batch, DataSet, sensor_names

from mainstem_engine import Engine, EngineOptions
from mainstem_sync import Child, Export, Federation
from mainstem_sync.wire.messages import HELLO_PATH

DEVICES = 100
LINES_BATCH = 5_000
"""Lines in one request of line protocol, as InfluxDB advises."""

GZIP_LEVEL = 6
"""The default of Telegraf and of the InfluxDB client libraries."""

STEP_S = 0.01


class Clock:
    """Time that only moves when nothing is left to do."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def wall(self) -> int:
        return START_MS * 10**6 + int(self.now_s * 1e9)

    def monotonic(self) -> float:
        return self.now_s


class Node:
    """An engine with its federation."""

    def __init__(self, name: str, place: Path, clock: Clock, *, parent: bool) -> None:
        place.mkdir(parents=True)
        self.federation = Federation(
            node=name,
            paths=["root.bench"],
            exports=[Export(TABLE)],
            parent=parent,
            data_dir=place,
            lateness_ns=0,
            clock_ns=clock.wall,
            monotonic=clock.monotonic,
        )
        options = EngineOptions(
            background=False,
            node_name=name,
            clock=clock.wall,
            monotonic=lambda: int(clock.monotonic() * 1e9),
        )
        self.engine = Engine.open(place, options, consumers=self.federation.consumers)
        self.federation.bind(self.engine)

    def close(self) -> None:
        self.engine.close()
        self.federation.close()


@dataclass
class Cost:
    """CPU seconds of both sides, bytes of the requests, and how many there were."""

    sender_s: float = 0.0
    receiver_s: float = 0.0
    wire_bytes: int = 0
    requests: int = 0

    def add(self, spent: Cost) -> None:
        self.sender_s += spent.sender_s
        self.receiver_s += spent.receiver_s
        self.wire_bytes += spent.wire_bytes
        self.requests += spent.requests


class Pair:
    """A child and its parent, and the parent's one if it is a relay. A context manager."""

    def __init__(self, place: Path, *, relay: bool = False) -> None:
        self.clock = Clock()
        self.child = Node("edge", place / "edge", self.clock, parent=True)
        self.parent = Node("plant", place / "plant", self.clock, parent=relay)
        self.group = Node("group", place / "group", self.clock, parent=False) if relay else None
        create_table(self.child.engine)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for node in (self.child, self.parent, self.group):
            if node is not None:
                node.close()

    def deliver(self, seconds: float = 0.0) -> Cost:
        """Until nothing is left to send and ``seconds`` have passed."""
        return self._carry(self.child, self.parent, seconds)

    def relay(self, seconds: float | None = None) -> Cost:
        """What the parent has to say to its own parent now, or until nothing is left."""
        assert self.group is not None
        return self._carry(self.parent, self.group, seconds)

    def _carry(self, below: Node, above: Node, seconds: float | None) -> Cost:
        sender, receiver = below.federation.sender, above.federation.receiver
        assert sender is not None
        peer, cost = Child(below.federation.node, ["root.bench"]), Cost()
        end = self.clock.now_s + (seconds or 0.0)
        while True:
            began = time.process_time()
            request = sender.next_request()
            made = time.process_time()
            cost.sender_s += made - began
            if request is None and seconds is None:
                return cost
            if request is None:
                if sender.is_drained() and self.clock.now_s >= end:
                    return cost
                # As the adapter does: no sooner than the sender says, or is woken by a write.
                left = end - self.clock.now_s
                wait_s = sender.wait_s() if left <= 0 else min(sender.wait_s(), left)
                self.clock.now_s += max(wait_s, STEP_S)
                continue
            take = receiver.hello if request.path == HELLO_PATH else receiver.batches
            reply = take(peer, request.body)
            taken = time.process_time()
            sender.on_reply(request, reply.status, reply.body)
            cost.receiver_s += taken - made
            cost.sender_s += time.process_time() - taken
            cost.wire_bytes += len(request.body)
            cost.requests += 1
            self.clock.now_s += STEP_S


def measure_history(report: Report, place: Path, data: DataSet) -> None:
    """A backlog of all rows, one record a second."""
    points = data.rows * SENSORS
    with Pair(place) as pair:
        ids = device_ids(pair.child.engine, data.devices)
        for batch in data.batches(data.devices):
            pair.child.engine.write(TABLE, ids[batch.device], batch.time, batch.columns)
        pair.child.engine.log.barrier()
        cost = pair.deliver()
        _same(pair.child, pair.parent)
        began = time.process_time()
        pair.parent.engine.flush()
        flush_s = time.process_time() - began
        how = f"{points:,} points of {data.devices} devices, a record a second"
        report.add(
            "history, bytes on the wire", cost.wire_bytes / points, "B/point",
            f"{how}; requests with all they hold", "2 B/point",
        )  # fmt: skip
        report.add(
            "history, the rows as gzipped line protocol", _line_bytes(data) / points, "B/point",
            f"{LINES_BATCH:,} lines a request, gzip level {GZIP_LEVEL}",
        )  # fmt: skip
        report.add(
            "history, sender", points / cost.sender_s, "points/s per core",
            "CPU time from the log to the request, and of its reply", "3,000,000 points/s",
        )  # fmt: skip
        report.add(
            "history, receiver", points / cost.receiver_s, "points/s per core",
            "CPU time from the request to rows that are durable and can be queried",
            "5,000,000 points/s",
        )  # fmt: skip
        report.add(
            "history, receiver with the flush", points / (cost.receiver_s + flush_s),
            "points/s per core", "and until they are in parts",
        )  # fmt: skip
        # Manifests close what is past by the clock of both.
        pair.clock.now_s += data.seconds + LATE_S_MAX
        _verification(report, pair, points, cost, flush_s)


def _verification(report: Report, pair: Pair, points: int, cost: Cost, flush_s: float) -> None:
    began = time.process_time()
    pair.child.federation.run_manifests(pair.clock.wall() + 10**15)
    stated = time.process_time()
    proof = pair.deliver()
    delivered = time.process_time()
    judged = pair.parent.federation.run_verification()
    scanned = time.process_time()
    if not judged or pair.parent.federation.holes:
        raise SystemExit(f"benchmark: {len(pair.parent.federation.holes)} slices differ")
    child_s = stated - began + proof.sender_s
    parent_s = scanned - delivered + proof.receiver_s
    report.add(
        "verification, share at the parent", 100 * parent_s / (cost.receiver_s + flush_s), "%",
        f"CPU time of {judged:,} slices read again and compared, of receiving and flushing them",
        "5 %",
    )  # fmt: skip
    report.add(
        "verification, at the parent", points / parent_s, "points/s per core",
        "the same, by itself; as a share of the 5,000,000 points/s that a receiver has to reach:"
        f" {100 * 5e6 * parent_s / points:.1f} %",
    )  # fmt: skip
    report.add(
        "verification, share at the child", 100 * child_s / cost.sender_s, "%",
        "CPU time of closing the same slices, of sending them",
    )  # fmt: skip


def measure_live(report: Report, place: Path, data: DataSet, writes: int) -> None:
    """Every second ``writes`` records with a share of the devices each, sent as they come."""
    with Pair(place) as pair:
        ids = device_ids(pair.child.engine, data.devices)
        pair.deliver(1.0)
        cost = Cost()
        for batch in data.batches(data.devices):
            for some in _shares(batch, writes):
                pair.child.engine.write(TABLE, ids[some.device], some.time, some.columns).wait()
                cost.add(pair.deliver(1.0 / writes))
        _same(pair.child, pair.parent)
        points = data.rows * SENSORS
        name = f"live, {_requests(data, writes)}"
        how = f"{points:,} points in {cost.requests:,} requests"
        report.add(
            f"{name}, bytes on the wire", cost.wire_bytes / points, "B/point", how, "8 B/point"
        )
        lines = -(-data.devices // writes)
        report.add(
            f"{name}, as gzipped line protocol", _line_bytes(data, lines) / points, "B/point",
            f"{lines} lines a request, gzip level {GZIP_LEVEL}; without the heads of requests",
        )  # fmt: skip
        report.add(f"{name}, sender", points / cost.sender_s, "points/s per core", how)
        report.add(
            f"{name}, receiver", points / cost.receiver_s, "points/s per core",
            f"{how}, decoded", "1,000,000 points/s" if writes == 1 else None,
        )  # fmt: skip


def measure_relay(report: Report, place: Path, data: DataSet, writes: int) -> None:
    """The same, handed on by the parent to its own."""
    with Pair(place, relay=True) as pair:
        ids = device_ids(pair.child.engine, data.devices)
        pair.deliver(1.0)
        cost = Cost()
        for batch in data.batches(data.devices):
            for some in _shares(batch, writes):
                pair.child.engine.write(TABLE, ids[some.device], some.time, some.columns).wait()
                pair.deliver(1.0 / writes)
                cost.add(pair.relay())
        assert pair.group is not None
        cost.add(pair.relay(5.0))
        _same(pair.parent, pair.group)
        points = data.rows * SENSORS
        name = f"relayed, {_requests(data, writes)}"
        how = f"{points:,} points in {cost.requests:,} requests"
        report.add(f"{name}, bytes on the wire", cost.wire_bytes / points, "B/point", how)
        report.add(f"{name}, relay", points / cost.sender_s, "points/s per core", how)
        report.add(
            f"{name}, receiver", points / cost.receiver_s, "points/s per core", f"{how}, decoded"
        )


def _requests(data: DataSet, writes: int) -> str:
    rows = -(-data.devices // writes)
    return f"{rows:,} rows a request" + (f", {writes} a second" if writes > 1 else "")


def _shares(batch: Batch, writes: int) -> Iterator[Batch]:
    for rows in np.array_split(np.arange(len(batch)), writes):
        columns = {name: values[rows] for name, values in batch.columns.items()}
        yield Batch(batch.device[rows], batch.time[rows], columns)


def _same(below: Node, above: Node) -> None:
    """Both hold the same number of rows, and of the values of each sensor."""
    counts = ", ".join(f"count({name})" for name in sensor_names())
    question = f"SELECT count(*), {counts} FROM {TABLE}"
    child, parent = (node.engine.sql(question).arrow().to_pylist() for node in (below, above))
    if child != parent or not child:
        raise SystemExit(f"benchmark: the child holds {child}, its parent {parent}")


def _line_bytes(data: DataSet, lines_batch: int = LINES_BATCH) -> int:
    names = sensor_names()
    total = 0
    for batch in data.batches(lines_batch):
        columns = [batch.columns[name].tolist() for name in names]
        kinds = ["i" if batch.columns[name].dtype.kind == "i" else "" for name in names]
        lines = []
        for device, moment, *values in zip(
            batch.device.tolist(), batch.time.tolist(), *columns, strict=True
        ):
            fields = ",".join(
                f"{name}={value}{kind}"
                for name, value, kind in zip(names, values, kinds, strict=True)
            )
            lines.append(f"{TABLE},device={device_path(device)} {fields} {moment}")
        total += len(gzip.compress("\n".join(lines).encode(), GZIP_LEVEL))
    return total
