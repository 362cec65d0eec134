"""A thousand edges on one parent: how soon a row is acknowledged, how much memory, a stampede.

1. The parent is a real platform node. The edges are coroutines of this process that speak the
   protocol: HELLO, definitions, then a batch of the rows since the last one, as a light block,
   again until it is acknowledged, with the pauses of a real sender after a failure.
2. Steady: each edge measures ten sensors once a second, at moments of its own, and sends the row at
   once, as a sender does after a pause. A row's latency runs from its making to its
   acknowledgement, which means durable there.
3. Stampede: the parent is killed and started again; all edges come back. How many HELLOs came and
   were granted in the worst second, how long until all were heard, how soon those that are back are
   served meanwhile, and whether every row is there.

The edges' own work is on the same machine, so that the latency is an upper bound; how much it is
says how much of it is theirs.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
from report import Report
from tiers import NodeProcess, free_port, write_topology

from mainstem_engine.catalog.device_records import DeviceRecord
from mainstem_engine.catalog.templates import template_to_map
from mainstem_engine.filesystem import byte_view
from mainstem_engine.light_points import encode_light, rows_bytes
from mainstem_engine.log.records import RecordKind, encode_payload
from mainstem_engine.model import Column, ColumnType, Measurement, Rows, Template
from mainstem_engine.points import points_header
from mainstem_node.auth import require_link_token
from mainstem_node.config import load_topology
from mainstem_node.lifecycle import new_event_loop
from mainstem_sync.errors import BusyError
from mainstem_sync.lines.handshake import Hello, Welcome
from mainstem_sync.sending.session import jittered, pause_after
from mainstem_sync.wire.batch import (
    Acknowledgement,
    WireBlock,
    WireRecord,
    encode_batch,
    encode_request,
)
from mainstem_sync.wire.frames import FrameType, decode_frames, verify_signature
from mainstem_sync.wire.messages import (
    BATCHES_PATH,
    HELLO_PATH,
    AckCode,
    OriginKey,
    Queue,
    encode_status,
    single_frame,
)
from mainstem_sync.wire.packing import DENSE_BYTES_MAX
from mainstem_sync.wire.ranges import RangeSet

TABLE = "telemetry"
VALUES = 10
EVERY_S = 1.0
STATUS_EVERY = 2
"""Batches: a heartbeat every two seconds, as a sender has it."""

BACKLOG_ROWS_MAX = 300
"""Rows of one batch: five minutes of an outage."""

TIMEOUT_S = 30.0
SETTLE_TIMEOUT_S = 180.0
MEASUREMENTS = tuple(Measurement(i, f"m{i}", ColumnType.DOUBLE) for i in range(VALUES))
TYPES = {m.id: m.type for m in MEASUREMENTS}
DEFINITION = {"op": "template", "foreign": False, **template_to_map(Template(TABLE, MEASUREMENTS))}


def payload(header: Any, buffers: Any = ()) -> bytes:
    return b"".join(map(byte_view, encode_payload(header, list(buffers))))


@dataclass
class World:
    """What all edges share."""

    url: str
    session: aiohttp.ClientSession
    latencies: list[float] = field(default_factory=list)
    live: list[float] = field(default_factory=list)
    """Latencies of rows that were made while their edge was connected."""
    hellos: Counter[int] = field(default_factory=Counter)
    greeted: Counter[int] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    stopping: bool = False


class Edge:
    """One child with a log of its own, in memory."""

    def __init__(self, number: int, token: str, world: World) -> None:
        self.name = f"edge_{number:04}"
        self.origin = OriginKey(f"{number + 1:032x}", 0, self.name)
        self.lsn = 0
        self.acked = 0
        self.waiting: list[tuple[int, float, int, list[float]]] = []
        """(LSN, when it was made, time in ns, values) of rows that are not acknowledged."""
        self._powers: dict[tuple[str, int], int] = {}
        self._token = token
        self._world = world
        self._rng = random.Random(number)
        self._lease = ""
        self._back_at = 0.0
        self._attempts = 0
        self._sent = 0
        self._fresh = asyncio.Event()

    async def live(self) -> None:
        """Until the world stops and everything is acknowledged."""
        maker = asyncio.create_task(self._measure())
        try:
            while not (self._world.stopping and self.acked == self.lsn):
                try:
                    if not self._lease:
                        await self.greet()
                    await self._send()
                    self._attempts = 0
                except BusyError as error:
                    self._world.refusals[type(error).__name__] += 1
                    self._lease = ""
                    await asyncio.sleep(error.retry_after_s * self._rng.uniform(1.0, 2.0))
                    continue
                except (aiohttp.ClientError, TimeoutError, OSError, ConnectionError) as error:
                    self._world.refusals[type(error).__name__] += 1
                    self._lease = ""
                    await asyncio.sleep(self._pause())
                    continue
                if not self.waiting:
                    self._fresh.clear()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(EVERY_S * STATUS_EVERY):
                            await self._fresh.wait()
        finally:
            maker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await maker

    def _pause(self) -> float:
        """As session.py pauses."""
        self._attempts += 1
        return jittered(pause_after(self._attempts), self._rng)

    async def _measure(self) -> None:
        await asyncio.sleep(self._rng.uniform(0, EVERY_S))
        while not self._world.stopping:
            self.lsn += 1
            values = [round(self._rng.gauss(50, 10), 2) for _ in MEASUREMENTS]
            time_ns = time.time_ns() // 1_000_000 * 1_000_000
            self.waiting.append((self.lsn, time.perf_counter(), time_ns, values))
            self._fresh.set()
            await asyncio.sleep(EVERY_S)

    async def greet(self) -> str:
        """HELLO; the lease."""
        self._world.hellos[int(time.monotonic())] += 1
        hello = Hello(self.origin, f"i{self.name}", f"{self._rng.getrandbits(64):x}", 1, self.lsn)
        frame = single_frame(await self.post(HELLO_PATH, hello.encode()))
        welcome = Welcome.from_frame(frame)
        self._lease, self._back_at = welcome.lease, time.perf_counter()
        self._world.greeted[int(time.monotonic())] += 1
        held = dict(welcome.held).get(self.origin)
        self._acknowledge(0 if held is None else held.watermark)
        return self._lease

    async def _send(self) -> None:
        some = self.waiting[:BACKLOG_ROWS_MAX]
        records, raw, first = [], b"", self.acked + 1
        if not self.acked:
            # Its definitions are its first two records.
            device = DeviceRecord(
                TABLE, np.array([0], np.uint32), [f"root.bench.{self.name}"], {}, False
            )
            for kind, data in (
                (RecordKind.SCH, payload(DEFINITION)),
                (RecordKind.DEV, payload(device.to_header())),
            ):
                records.append(WireRecord(int(kind), int(kind), TABLE, 0, len(raw), len(data)))
                raw += data
            records = [
                WireRecord(n + 1, r.kind, r.table, r.rows, r.offset, r.length)
                for n, r in enumerate(records)
            ]
        blocks = []
        if some:
            data = self._block(some)
            taken = rows_bytes(len(some), TYPES)
            blocks.append(WireBlock(TABLE, len(some), len(raw), len(data), taken))
            raw += data
        parts = [encode_request(self._lease, self._sent + 1, time.time_ns())]
        if self._sent % STATUS_EVERY == 0:
            parts.append(encode_status({"node": self.name, "tier": "edge", "children": []}))
        last = max([self.acked, *(r.lsn for r in records), *(lsn for lsn, *_ in some)])
        digest = b""
        if raw:
            ranges = RangeSet([(first, last)])
            batch, digest = encode_batch(
                self.origin, Queue.LIVE, ranges, records, raw, None, blocks,
                dense=not records and len(raw) <= DENSE_BYTES_MAX, short=True,
            )  # fmt: skip
            parts.append(batch)
        self._sent += 1
        body = await self.post(BATCHES_PATH, b"".join(parts))
        if not verify_signature(body, self._lease.encode()):
            single_frame(body)
            raise ConnectionError("not signed")
        for frame in decode_frames(body):
            if frame.type is FrameType.ACK:
                ack = Acknowledgement.from_frame(frame)
                if ack.hash == digest and ack.code is AckCode.OK:
                    self._acknowledge(last)
                elif ack.hash == digest:
                    raise ConnectionError(f"{ack.code}: {ack.message}")

    def _block(self, some: list[tuple[int, float, int, list[float]]]) -> bytes:
        """The payload that a sender makes of such rows."""
        count = len(some)
        values = np.array([each for *_, each in some])
        rows = Rows(
            np.zeros(count, np.uint32),
            np.array([time_ns for _, _, time_ns, _ in some], np.int64),
            {m.id: Column(values[:, place]) for place, m in enumerate(MEASUREMENTS)},
        )
        lsns = np.array([lsn for lsn, *_ in some], np.uint64)
        header = points_header(TABLE, 1, count, accepted=count)
        return encode_light(header, rows, lsns, TYPES, self._powers)

    def _acknowledge(self, lsn: int) -> None:
        now = time.perf_counter()
        taken = [made for at, made, *_ in self.waiting if at <= lsn]
        self._world.latencies += [now - made for made in taken]
        self._world.live += [now - made for made in taken if made >= self._back_at]
        self.waiting = [item for item in self.waiting if item[0] > lsn]
        self.acked = max(self.acked, lsn)

    async def post(self, path: str, body: bytes) -> bytes:
        """The answer to a request, with its credentials."""
        headers = {
            "Authorization": f"Bearer {self._token}",
            "Content-Type": "application/octet-stream",
        }
        async with self._world.session.post(
            self._world.url + path, data=body, headers=headers
        ) as response:
            return await response.read()


def topology(port: int, edges: int) -> dict[str, Any]:
    """A platform and its children."""
    parent = {"node": "plant", "url": f"http://127.0.0.1:{port}"}
    return {
        "templates": {TABLE: {"measurements": {m.name: {"type": "DOUBLE"} for m in MEASUREMENTS}}},
        "nodes": [
            {"id": "plant", "tier": "platform", "listen": f"127.0.0.1:{port}",
             "data_dir": "data/plant", "auth": {"loopback": "open"}},
            *(
                {"id": f"edge_{n:04}", "tier": "edge", "listen": f"127.0.0.2:{n + 1}",
                 "data_dir": f"data/{n}", "paths": [f"root.bench.edge_{n:04}"],
                 "parent": {**parent, "token_file": f"secrets/edge_{n:04}"}}
                for n in range(edges)
            ),
        ],
    }  # fmt: skip


async def run(report: Report, place: Path, edges: int, seconds: float) -> None:
    port = free_port()
    path = write_topology(place, topology(port, edges))
    loaded = load_topology(path)
    plant = NodeProcess(path, "plant", port)
    plant.start()
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    try:
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            world = World(f"http://127.0.0.1:{port}", session)
            fleet = [
                Edge(n, require_link_token(loaded, f"edge_{n:04}"), world) for n in range(edges)
            ]
            for edge in fleet:
                edge.lsn = 2
            tasks = [asyncio.create_task(edge.live()) for edge in fleet]
            await _until(lambda: all(edge.acked >= 3 for edge in fleet), "all edges are connected")
            await _steady(report, world, plant, seconds)
            await _stampede(report, world, plant, fleet)
            world.stopping = True
            await asyncio.wait_for(asyncio.gather(*tasks), SETTLE_TIMEOUT_S)
        await asyncio.to_thread(_complete, report, plant, fleet)
    finally:
        plant.stop()


async def _steady(report: Report, world: World, plant: NodeProcess, seconds: float) -> None:
    world.latencies.clear()
    world.refusals.clear()
    cpu_s, own_s = plant.cpu_s(), time.process_time()
    await asyncio.sleep(seconds)
    cpu_s, own_s = plant.cpu_s() - cpu_s, time.process_time() - own_s
    taken = np.sort(np.array(world.latencies)) * 1000
    report.add("rows acknowledged", len(taken) / seconds, "rows/s", f"of {VALUES} values each")
    report.add("latency, median", float(np.percentile(taken, 50)), "ms", "made to acknowledged")
    report.add(
        "latency, 99th percentile", float(np.percentile(taken, 99)), "ms",
        "made to acknowledged", "1000 ms",
    )  # fmt: skip
    report.add(
        "parent, processor time", cpu_s / max(1, len(taken)) * 1e6, "us/row",
        f"of its process, a request for a row or a few; {cpu_s / seconds:.2f} cores were in use",
    )  # fmt: skip
    report.add(
        "edges, processor time", own_s / seconds, "cores",
        "of this process, on the same machine",
    )  # fmt: skip
    rss = plant.rss_bytes()
    report.add("parent, resident memory", rss["node"] / 2**20, "MiB", "VmRSS", "512 MiB")
    report.extra["refusals"] = dict(world.refusals)


async def _stampede(report: Report, world: World, plant: NodeProcess, fleet: list[Edge]) -> None:
    await asyncio.to_thread(plant.kill)
    await asyncio.sleep(2 * EVERY_S)
    world.hellos.clear()
    world.greeted.clear()
    world.live.clear()
    await asyncio.to_thread(plant.start)
    back, goal = time.monotonic(), [edge.lsn for edge in fleet]
    await _until(
        lambda: all(edge.acked >= lsn for edge, lsn in zip(fleet, goal, strict=True)),
        "all edges are back",
    )
    report.add(
        "stampede, until all are back", time.monotonic() - back, "s",
        "from ready to the last edge's backlog acknowledged; pauses double up to 30 s",
    )  # fmt: skip
    since = {second: n for second, n in world.hellos.items() if second >= int(back)}
    report.add(
        "stampede, HELLOs in the worst second", max(since.values()), "1/s",
        "with the jittered pauses of a sender",
    )  # fmt: skip
    report.add(
        "stampede, greeted in the worst second", max(world.greeted.values()), "1/s",
        "the others are told when to come again", "200 1/s",
    )  # fmt: skip
    report.add(
        "stampede, latency of edges that are back, 99th percentile",
        float(np.percentile(np.array(world.live) * 1000, 99)), "ms",
        "made after their own HELLO to acknowledged, until all are back", "1000 ms",
    )  # fmt: skip


def _complete(report: Report, plant: NodeProcess, fleet: list[Edge]) -> None:
    expected = sum(edge.lsn - 2 for edge in fleet)
    found = plant.sql(f"SELECT count(*), count(m0), count(m{VALUES - 1}) FROM {TABLE}")[0]
    if found != [expected] * 3:
        raise SystemExit(f"benchmark: the parent holds {found}, not {expected} rows")
    report.add("rows at the parent", expected, "rows", "every one that was made, none twice")


async def _until(condition: Any, what: str) -> None:
    deadline = time.monotonic() + SETTLE_TIMEOUT_S
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"benchmark: not within {SETTLE_TIMEOUT_S:g} s: {what}")
        await asyncio.sleep(0.05)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--devices", type=int, help="edges")
    options = parser.parse_args()
    edges = options.devices or (50 if options.quick else 1000)
    report = Report("edges", options.quick)
    seconds = 3.0 if options.quick else 30.0
    with (
        tempfile.TemporaryDirectory() as place,
        asyncio.Runner(loop_factory=new_event_loop) as runner,
    ):
        runner.run(run(report, Path(place), edges, seconds))
    report.print(options.json)


if __name__ == "__main__":
    main()
