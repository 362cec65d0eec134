"""A platform with 100, 1,000 and 5,000 edges, and the group above it, in virtual time: what they
cost, and where one of them is full.

1. Platform and group are processes of their own with real engines and the real protocol code; their
   processor time and memory are metered alone. Edges run the real sender in memory; where there are
   more than 100, the others post what one of those posts, under a name of their own
   (simulated/relabel.py).
2. Time is virtual. A tier has one core; what it does takes as long as it took, and requests wait
   for it (simulated/queueing.py). So a tier may be busier than this machine could be, and a
   latency has the queue in it. Edges cost nothing.
3. HTTP is not simulated. What it spends on a request is measured first, at a real node
   (bare_requests.py), and so is what the kernel spends on a sync; disks take 2 ms, a way 5 ms.
4. Steady: each edge has so many devices that measure ten values once a second. A minute is metered,
   with the closing of a minute in it. Then all stops, and every row has to be at both tiers, once,
   and what was stated has to be proven.
5. Stampede: the platform is killed and started again. Outage: a day without a platform, drained.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bare_requests import bare, http_cost_s
from report import Report
from simulated.queueing import Server
from simulated.tier import Post
from simulated.world import FULL_MAX, Costs, Meter, World

from mainstem_sync.testing.agenda import START_NS
from mainstem_sync.wire.messages import BATCHES_PATH

STEADY: Sequence[tuple[int, int]] = ((100, 1), (1_000, 1), (5_000, 1), (100, 100))
"""Edges, and devices of each."""

FINISHED_MAX = 1_000
"""With more edges one platform is far beyond full, and what is left waiting is hours."""

START_S = 30.0
"""Edges say HELLO one after the other, for so long."""
BEFORE_S = 20.0
METERED_S = 60.0
"""From second 50 to 110: minutes close at second 90."""

PARTS = ("steady", "stampede", "outage")
STAMPEDE_EDGES = 1_000
DOWN_S = 10.0
OUTAGE_EDGES = FULL_MAX
OUTAGE_H = 24.0
OUTAGE_EVERY_S = 10.0
REQUESTS = 6_000
SYNCS = 200
MEMORY = Path("/dev/shm")
"""Where there is one the simulated disks are memory: what a sync costs is added."""

CLOSED_AFTER_S = 95.0
"""The first minute is closed and proven by then."""


def measured_costs(report: Report, place: Path, requests: int) -> Costs:
    """What is not simulated, measured on this machine."""
    whole_s = http_cost_s(place / "http", requests)
    with World(place / "bare", 1, 1, Costs(0.0, 0.0)) as world:
        world.start(1.0)
        world.run(1.0)
        edge = world.edges[0]
        posts = [Post(edge.name, BATCHES_PATH, bare(edge.lease, n + 1)) for n in range(100)]
        inside_s = min(
            world.platform.tier.serve(world.agenda.now_s, posts)[1] / len(posts) for _ in range(5)
        )
    request_s = max(0.0, whole_s - inside_s)
    sync_s = _sync_cost_s(place)
    report.add(
        "HTTP, a request", request_s * 1e6, "us",
        f"processor time of a real node for one of {requests:,} requests without content, less what"
        " the receiver spends on it",
    )  # fmt: skip
    report.add(
        "a sync of the log", sync_s * 1e6, "us", f"processor time of the kernel, of {SYNCS} syncs"
    )
    return Costs(request_s, sync_s)


def _sync_cost_s(place: Path) -> float:
    with (place / "sync").open("wb", buffering=0) as file:
        began = time.process_time()
        for _ in range(SYNCS):
            file.write(bytes(500))
            os.fsync(file.fileno())
        return (time.process_time() - began) / SYNCS


def steady(report: Report, world: World, seconds: float) -> None:
    """A time in which nothing happens but measuring."""
    world.mark()
    world.run(seconds)
    waiting = world.platform.waiting, world.group.waiting
    meters = world.meters()
    for server, meter, left in zip((world.platform, world.group), meters, waiting, strict=True):
        _tier(report, server, meter, left)
    edges = len(world.edges) + len(world.mirrors)
    report.add(
        "edge to platform, p50", world.reached.ms(50), "ms", "made to acknowledged by the platform"
    )
    report.add("edge to platform, p99", world.reached.ms(99), "ms", "as above", "1000 ms")
    report.add(
        "edge to group, p50", world.grouped.ms(50), "ms",
        "made to acknowledged by the group, rows of full edges",
    )  # fmt: skip
    report.add("edge to group, p99", world.grouped.ms(99), "ms", "as above")
    report.add(
        "an edge's link", meters[0].bytes / edges, "B/s", "bodies of requests, HTTP and TLS not"
    )


def _tier(report: Report, server: Server, meter: Meter, waiting: int) -> None:
    name = {"plant": "platform"}.get(server.tier.name, server.tier.name)
    parts = ", ".join(f"{kind} {cores:.3f}" for kind, cores in sorted(meter.cores.items()))
    report.add(f"{name}, cores", meter.total, "of 1", f"processor s a virtual s: {parts}")
    report.add(f"{name}, processor time a request", meter.request_us, "us", "HTTP and log included")
    report.add(f"{name}, requests", meter.requests, "1/s", f"{waiting} waited at the end")
    report.add(f"{name}, bytes in", meter.bytes / 1e3, "kB/s", "bodies of requests")
    report.add(
        f"{name}, memory", meter.rss_bytes / 2**20, "MiB",
        "VmRSS of its process: engine and protocol, without HTTP and SQL",
    )  # fmt: skip


def stampede(report: Report, world: World) -> None:
    """The platform dies, and all come back."""
    world.mark()
    start_s = world.restart_platform(DOWN_S)
    world.platform.hellos.clear()
    world.aim()
    back_s = world.run_until(world.is_at_platform, "all edges are back")
    meters = world.meters()
    report.add(
        "HELLOs in the worst second", max(world.platform.hellos.values()), "1/s",
        f"after {DOWN_S:g} s, with the jittered pauses of a sender", "200 1/s",
    )  # fmt: skip
    report.add(
        "until all are back", back_s, "s", "until the backlog of the last edge is acknowledged"
    )
    report.add(
        "platform, cores meanwhile", meters[0].total * (back_s + DOWN_S) / back_s, "of 1",
        f"and {start_s:.1f} s of processor time to start",
    )  # fmt: skip
    report.add("edge to platform, p99", world.reached.ms(99), "ms", "rows of the time without it")


def outage(report: Report, world: World, hours: float) -> None:
    """A long time without a platform, and what it takes to make up for it."""
    rows = world.rows
    world.outage(hours, OUTAGE_EVERY_S)
    points = (world.rows - rows) * 10
    world.mark()
    world.aim()
    platform_s = world.run_until(world.is_at_platform, "the platform has all of the outage")
    group_s = platform_s + world.run_until(world.is_at_group, "the group has all of the outage")
    meters = world.meters()
    how = f"{points:,} points of {len(world.edges)} edges, {hours:g} h, while live rows go on"
    report.add("until the platform has all", platform_s, "s", how)
    report.add("until the group has all", group_s, "s", how)
    report.add("rate to the platform", points / platform_s, "points/s", how)
    for name, meter in zip(("platform", "group"), meters, strict=True):
        report.add(
            f"{name}, processor time", meter.total * group_s, "s", "until then, proofs included"
        )
        report.add(
            f"{name}, bytes", meter.bytes * group_s / points, "B/point", "bodies of requests"
        )
    report.add("live rows to platform, p99", world.reached.ms(99), "ms", "made during the drain")


def finish(world: World) -> None:
    """Everything is there, once; what was stated is proven. Not where the backlog grew all the
    time: that would take as long as the backlog."""
    if len(world.edges) + len(world.mirrors) > FINISHED_MAX:
        return
    world.settle()
    world.check()
    nodes = len(world.edges) + len(world.mirrors)
    for server in (world.platform, world.group):
        found = world.figures(server)
        through_s = found["complete_through_ms"] / 1e3 - START_NS / 1e9
        is_late = world.agenda.now_s > CLOSED_AFTER_S + 60 and through_s < 60
        if found["nodes"] != nodes or found["holes"] or is_late:
            raise SystemExit(f"benchmark: {server.tier.name} is not complete: {found}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--devices", type=int, help="edges: only these, steady")
    parser.add_argument("--only", choices=PARTS, help="one part of it")
    options = parser.parse_args()
    report = Report("fleet", options.quick)
    memory = MEMORY if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory() as disk, tempfile.TemporaryDirectory(dir=memory) as place:
        report.section = "measured costs"
        costs = measured_costs(report, Path(disk), 500 if options.quick else REQUESTS)
        if options.quick:
            quick(report, Path(place), costs)
        else:
            whole(report, Path(place), costs, options.only, options.devices)
    if options.markdown:
        report.print_markdown()
    else:
        report.print(options.json)


def quick(report: Report, place: Path, costs: Costs, edges: int = 6) -> None:
    """All of it with a handful of edges, in one world."""
    with World(place, edges, 1, costs, full_max=edges // 2) as world:
        world.start(1.0)
        world.run(2.0)
        steady(report, world, 3.0)
        stampede(report, world)
        outage(report, world, 0.2)
        finish(world)


def whole(report: Report, place: Path, costs: Costs, only: str | None, edges: int | None) -> None:
    """Each in a world of its own."""
    if edges is not None:
        only = "steady"
    if only in (None, "steady"):
        for number, (count, devices) in enumerate(STEADY if edges is None else [(edges, 1)]):
            report.section = f"{count:,} edges" + (f" of {devices} devices" if devices > 1 else "")
            with World(place / str(number), count, devices, costs) as world:
                world.start(START_S)
                world.run(BEFORE_S)
                steady(report, world, METERED_S)
                finish(world)
    if only in (None, "stampede"):
        report.section = f"stampede of {STAMPEDE_EDGES:,} edges"
        with World(place / "stampede", STAMPEDE_EDGES, 1, costs) as world:
            world.start(START_S)
            world.run(BEFORE_S / 2)
            stampede(report, world)
            finish(world)
    if only in (None, "outage"):
        report.section = f"a day without a platform, {OUTAGE_EDGES} edges"
        with World(place / "outage", OUTAGE_EDGES, 1, costs) as world:
            world.start(BEFORE_S)
            outage(report, world, OUTAGE_H)
            finish(world)


if __name__ == "__main__":
    main()
