"""A fleet, its platform and the group above it, in virtual time; and what they spent meanwhile.

1. ``FULL_MAX`` edges are full ones, each with a Sender of its own. Where there are more, the others
   follow one of those (mirror.py). Full ones and others are spread over the same second.
2. The platform relays everything to the group. Both are processes of their own (tier.py).
3. Meters are read at two moments. What lies between is divided by the virtual seconds.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mainstem_sync.sending.session import RETRY_MAX_S, Request
from mainstem_sync.testing.agenda import Agenda
from mainstem_sync.wire.batch import Acknowledgement, Batch
from mainstem_sync.wire.frames import FrameType, decode_frames
from mainstem_sync.wire.messages import BATCHES_PATH, AckCode
from simulated.edge import Edge, Latencies
from simulated.mirror import Leader, Mirror
from simulated.queueing import Server
from simulated.tier import Answered, Due, Tier
from simulated.tier_process import TABLE
from simulated.uplink import Poll, Uplink

FULL_MAX = 100
MAINTENANCE_S = 1.0
"""As a node has it."""

STRETCH_S = 600.0
"""Of an outage: what is written at once."""

LIVE_S = 2
"""Rows may be under way to the group for so long while edges measure."""

SETTLE_S_MAX = 600.0
LOOK_S = 1.0


@dataclass(frozen=True, slots=True)
class Costs:
    """Of what is not simulated. ``request_s``: HTTP, a request. ``sync_s``: kernel, a sync."""

    request_s: float
    sync_s: float


@dataclass(slots=True)
class Meter:
    """Of one tier between two moments. ``cores`` by kind of work, of one; ``bytes`` and
    ``requests`` a second are those that came in."""

    cores: dict[str, float]
    requests: float
    bytes: float
    rss_bytes: int
    request_us: float
    """Processor time of requests, HTTP included, each."""

    @property
    def total(self) -> float:
        return sum(self.cores.values())


class Relay:
    """The platform as a child of the group. Handing on is work of the platform's core."""

    def __init__(self, agenda: Agenda, below: Server, above: Server) -> None:
        self._agenda = agenda
        self._below = below
        self._process = 0
        self.uplink = Uplink(agenda, self, above)
        self.poll = Poll(agenda, self.name, above, lambda: self.lease)
        self.lease = ""

    @property
    def name(self) -> str:
        return self._below.tier.name

    def due(self) -> tuple[Due, float]:
        below = self._below
        if not below.is_up:
            return Due([], MAINTENANCE_S), 0.0
        found, seconds = below.tier.due(self._agenda.now_s)
        return found, below.core.work("relay", seconds)

    def replied(self, request: Request, answer: Answered | None) -> None:
        below = self._below
        if below.is_up:
            seconds = below.tier.replied(self._agenda.now_s, request.number, answer)
            below.core.work("relay", seconds)

    def nudge(self) -> None:
        """After a call of the tier: it may have got something to hand on."""
        if self._below.is_up and self._below.tier.has_work:
            self._below.tier.has_work = False
            self.uplink.wake()


class World:
    """See the module. ``devices``: of each edge."""

    def __init__(
        self, place: Path, edges: int, devices: int, costs: Costs, *, full_max: int = FULL_MAX
    ) -> None:
        self.agenda = Agenda(events_max=1 << 62)
        self.reached, self.grouped = Latencies(), Latencies()
        self.group = Server(
            self.agenda, Tier("group", place / "group", has_parent=False),
            costs.request_s, costs.sync_s,
        )  # fmt: skip
        self.platform = Server(
            self.agenda, Tier("plant", place / "plant", has_parent=True, paths=("root.site",)),
            costs.request_s, costs.sync_s,
        )  # fmt: skip
        self.relay = Relay(self.agenda, self.platform, self.group)
        self.edges = [
            Edge(n, devices, self.agenda, self.platform, self.reached)
            for n in range(min(edges, full_max))
        ]
        leaders = [Leader(edge) for edge in self.edges]
        self.mirrors = [
            Mirror(n, leaders[n % full_max], self.agenda, self.platform, self.reached)
            for n in range(full_max, edges)
        ]
        self._times = {edge.name: edge.times for edge in self.edges}
        self.relay.uplink.seen = self._grouped
        self._asleep = False
        self._goals: list[tuple[Edge, int]] = []
        self._aims: list[tuple[Mirror, int]] = []
        self._marks: list[tuple[float, list[dict[str, float]]]] = []

    def __enter__(self) -> World:
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.tier.stop()

    @property
    def _servers(self) -> tuple[Server, Server]:
        return self.platform, self.group

    @property
    def rows(self) -> int:
        """That every tier above has to have in the end."""
        return sum(edge.rows for edge in self.edges) + sum(m.rows for m in self.mirrors)

    # Running

    def start(self, over_s: float) -> None:
        """The tiers above, then the edges, spread over so many seconds."""
        for server in reversed(self._servers):
            server.start()
            self._maintain(server)
        self.agenda.after(0.0, self.relay.uplink.wake)
        rng = random.Random(len(self.mirrors))
        starts = [edge.start for edge in self.edges] + [mirror.start for mirror in self.mirrors]
        for start in starts:
            self.agenda.after(rng.uniform(0, over_s), start)
        self.run(over_s)

    def run(self, seconds: float) -> None:
        """So many virtual seconds."""
        end = self.agenda.now_s + seconds
        while self.agenda.now_s < end:
            self.agenda.run_until(min(end, self.agenda.now_s + LOOK_S))

    def run_until(self, condition: Callable[[], bool], what: str) -> float:
        """Until it holds; returns the virtual seconds that took."""
        began = self.agenda.now_s
        while not condition():
            if self.agenda.now_s - began > SETTLE_S_MAX:
                raise SystemExit(f"benchmark: not within {SETTLE_S_MAX:g} virtual seconds: {what}")
            self.run(LOOK_S)
        return self.agenda.now_s - began

    def outage(self, hours: float, every_s: float) -> None:
        """No edge reaches the platform. Each measures a row every ``every_s`` of all those hours;
        it logs and closes them in stretches of ten minutes, so that a day takes seconds."""
        self.platform.is_up = False
        self.run(RETRY_MAX_S)
        self._asleep = True
        self.relay.uplink.pause()
        for edge in self.edges:
            edge.sleep()
        end = self.agenda.now_s + hours * 3600
        while self.agenda.now_s < end:
            began_ms = self.agenda.now_ns // 1_000_000
            self.agenda.run_until(min(end, self.agenda.now_s + STRETCH_S))
            now_ms = self.agenda.now_ns // 1_000_000
            times = np.arange(began_ms, now_ms, int(every_s * 1000), dtype=np.int64)
            for edge in self.edges:
                edge.log_of(times)
        self._asleep = False
        self.platform.is_up = True
        for server in self._servers:
            self._maintain(server)
        for edge in self.edges:
            edge.awake()
        self.relay.uplink.wake()

    def _maintain(self, server: Server) -> None:
        process = server.process

        def now() -> None:
            if process != server.process or self._asleep:
                return
            tier = server.tier
            done_s = server.core.work("proof", tier.maintain(self.agenda.now_s))
            background_s, tier.background_s = tier.background_s, 0.0
            server.core.work("flush", background_s)
            self.relay.nudge()
            self.agenda.after(max(MAINTENANCE_S, done_s), now)

        self.agenda.after(MAINTENANCE_S, now)

    def restart_platform(self, down_s: float) -> float:
        """Killed now and started again later; returns the processor seconds of the start."""
        self.platform.kill()
        self.relay.uplink.reset()
        self.run(down_s)
        seconds = self.platform.start()
        self._maintain(self.platform)
        self.relay.uplink.wake()
        return seconds

    def settle(self) -> None:
        """Nobody measures any more; everything goes up."""
        for edge in self.edges:
            edge.writes = False
        self.run(LOOK_S)
        self.aim()
        self.run_until(
            lambda: self.is_at_platform() and self.is_at_group(), "everything is at the group"
        )

    def aim(self) -> None:
        """What is written by now is what ``is_at_platform`` is about."""
        self._goals = [(edge, edge.node.engine.log.committed_lsn) for edge in self.edges]
        self._aims = [(mirror, mirror.newest) for mirror in self.mirrors]

    def is_at_platform(self) -> bool:
        """True if the platform has acknowledged all that was written when ``aim`` was called."""
        return all(edge.acked >= lsn for edge, lsn in self._goals) and all(
            mirror.has_delivered(newest) for mirror, newest in self._aims
        )

    def is_at_group(self) -> bool:
        """True if the platform has nothing to hand on but what was measured in the last seconds."""
        writing = sum(edge.writes for edge in self.edges) and len(self.edges) + len(self.mirrors)
        live = writing * len(self.edges[0].devices) * LIVE_S
        return bool(self.figures(self.platform)["pending_rows"] <= live)

    def check(self) -> None:
        """Every row once, at both tiers. Raises SystemExit."""
        expected = {
            path: edge.rows // len(edge.devices) for edge in self.edges for path in edge.devices
        }
        for mirror in self.mirrors:
            expected |= {path: mirror.rows // len(mirror.devices) for path in mirror.devices}
        for server in self._servers:
            found = server.tier.stored(self.agenda.now_s, TABLE)
            if found != expected:
                wrong = [path for path in expected if found.get(path) != expected[path]]
                raise SystemExit(
                    f"benchmark: {server.tier.name} holds not what was made of {len(wrong)} "
                    f"devices, such as {wrong[:3]}"
                )

    # Metering

    def figures(self, server: Server) -> dict[str, Any]:
        return server.tier.figures(self.agenda.now_s)

    def mark(self) -> None:
        """From here on it is metered."""
        self._marks = [(self.agenda.now_s, [self._counts(server) for server in self._servers])]
        self.reached.from_s = self.grouped.from_s = self.agenda.now_s
        self.reached.to_s = self.grouped.to_s = float("inf")

    def meters(self) -> Sequence[Meter]:
        """Of the platform and the group since ``mark``; rows made from now on are not noted."""
        self.reached.to_s = self.grouped.to_s = self.agenda.now_s
        began, before = self._marks[0]
        return [
            self._meter(server, self.agenda.now_s - began, first)
            for server, first in zip(self._servers, before, strict=True)
        ]

    def _meter(self, server: Server, seconds: float, before: dict[str, float]) -> Meter:
        now = self._counts(server)
        spent = {name: value - before.get(name, 0.0) for name, value in now.items()}
        requests, size = spent.pop("posts"), spent.pop("bytes")
        return Meter(
            {name: value / seconds for name, value in spent.items()},
            requests / seconds,
            size / seconds,
            self.figures(server)["rss_bytes"],
            spent.get("requests", 0.0) / max(1.0, requests) * 1e6,
        )

    def _counts(self, server: Server) -> dict[str, float]:
        return {**server.core.used, "posts": server.requests, "bytes": server.bytes}

    def _grouped(self, request: Request, answer: Answered) -> None:
        """The group has answered: how old are the rows of full edges that it has now?"""
        if request.path != BATCHES_PATH or answer.status != 200:
            return
        held = set()
        for frame in decode_frames(answer.body):
            if frame.type is FrameType.ACK:
                ack = Acknowledgement.from_frame(frame)
                if ack.code is AckCode.OK:
                    held.add(ack.hash)
        for frame in decode_frames(request.body):
            if frame.type is FrameType.BATCH and frame.header["origin"][1] in self._times:
                batch = Batch.from_frame(frame)
                times = self._times[batch.origin.name]
                if batch.hash in held:
                    for first, last in batch.ranges:
                        for lsn in range(first, last + 1):
                            if lsn in times:
                                self.grouped.note(times[lsn], self.agenda.now_s)
