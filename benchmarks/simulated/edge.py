"""A full edge in virtual time: the real engine in memory, the real Federation, the real Sender.

It writes one record a second with a row of each of its devices, closes its slices once a second,
and says what a node says in its status. What it spends is nobody's concern.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mainstem_engine.model import ColumnType, DeviceIds, Measurement, Template
from mainstem_node.config.kinds import Listen
from mainstem_node.config.schema import NodeConfig
from mainstem_node.status import StatusReporter
from mainstem_sync import Export
from mainstem_sync.federation import LATENESS_NS
from mainstem_sync.sending.session import Request
from mainstem_sync.testing.agenda import Agenda
from mainstem_sync.testing.memory_nodes import MemoryNode
from simulated.due import due
from simulated.tier import Answered, Due
from simulated.tier_process import TABLE
from simulated.uplink import Door, Poll, Uplink

VALUES = 10
EVERY_S = 1.0
MEASUREMENTS = tuple(Measurement(0, f"m{n}", ColumnType.DOUBLE) for n in range(VALUES))


@dataclass
class Latencies:
    """Seconds from the making of a row to an answer that tells of it, of rows that were made
    between two moments."""

    from_s: float = float("inf")
    to_s: float = float("inf")
    found: list[float] = field(default_factory=list)

    def note(self, made_s: float, now_s: float) -> None:
        if self.from_s <= made_s < self.to_s:
            self.found.append(now_s - made_s)

    def ms(self, percent: float) -> float:
        """A percentile; NaN where nothing was noted."""
        return float(np.percentile(self.found, percent)) * 1000 if self.found else float("nan")


def edge_name(number: int) -> str:
    """All names have the same length: see mirror.py."""
    return f"edge_{number:05}"


class Edge:
    """See the module. ``latencies``: until its parent has acknowledged a row."""

    def __init__(
        self, number: int, devices: int, agenda: Agenda, server: Door, latencies: Latencies
    ) -> None:
        self._rng = random.Random(f"fleet/{number}")
        self._values = np.random.default_rng(number)
        self._agenda = agenda
        self._latencies = latencies
        self.name = edge_name(number)
        path = f"root.site.{self.name}"
        self.devices = [f"{path}.d{n:03}" for n in range(devices)]
        self.node = MemoryNode(
            self.name, agenda, self._rng, [Export(TABLE)], parent=True, paths=[path],
            lateness_ns=LATENESS_NS,
        )  # fmt: skip
        self.uplink = Uplink(agenda, self, server)
        self.node.on_work = self.uplink.wake
        self.poll = Poll(agenda, self.name, server, lambda: self.lease)
        self.times: dict[int, float] = {}
        """When a row of a record was made, by LSN."""
        self.rows = 0
        self.writes = True
        self.is_asleep = False
        """Its process does nothing by itself: of an outage only the end is of interest."""
        self._unheard: deque[int] = deque()
        self._ids: DeviceIds = np.empty(0, np.uint32)

    @property
    def lease(self) -> str:
        sender = self.node.sender()
        return "" if sender is None else sender.lease

    @property
    def acked(self) -> int:
        """The last LSN up to which the parent has everything."""
        delivery = self.node.federation.delivery()
        return 0 if delivery is None else int(delivery["acked_lsn"])

    def start(self) -> None:
        """The process begins, with devices that nobody above knows."""
        node = self.node
        node.start()
        config = NodeConfig(
            id=self.name, tier="edge", listen=Listen("127.0.0.1", 1), data_dir=Path("/memory"),
            paths=tuple(node.paths),
        )  # fmt: skip
        reporter = StatusReporter(
            config, node.engine, node.federation, more=dict, clock_ns=node.wall_ns
        )
        node.federation.status = reporter.build
        node.engine.create_template(Template(TABLE, MEASUREMENTS))
        self._ids = node.engine.device_ids(TABLE, self.devices, {}, create=True)
        node.commit()
        self._agenda.after(self._rng.uniform(0, EVERY_S), self.poll.ask)
        self.awake()

    def awake(self) -> None:
        """It measures, closes slices, and talks to its parent."""
        self.is_asleep = False
        self.node.on_work = self.uplink.wake
        sender = self.node.sender()
        if sender is not None:
            sender.on_work = self.uplink.wake
        self.uplink.wake()
        self._agenda.after(self._rng.uniform(0, EVERY_S), self._measure)
        self._agenda.after(self._rng.uniform(0, EVERY_S), self._maintain)

    def sleep(self) -> None:
        """Until ``awake``."""
        self.is_asleep = True
        sender = self.node.sender()
        if sender is not None:
            sender.on_work = None
        self.uplink.pause()

    def log_of(self, times_ms: npt.NDArray[np.int64]) -> None:
        """What it wrote while nobody looked: one record, and its slices closed."""
        self.write(times_ms, self._agenda.now_s)
        self.node.commit()
        self.node.federation.run_manifests(self._agenda.now_ns)

    def write(self, times_ms: npt.NDArray[np.int64], made_s: float) -> None:
        """One record with a row of each device at each of these times."""
        count = len(self.devices) * len(times_ms)
        columns = {m.name: np.round(self._values.normal(50, 10, count), 2) for m in MEASUREMENTS}
        ack = self.node.engine.write(
            TABLE,
            np.tile(self._ids, len(times_ms)),
            np.repeat(times_ms, len(self.devices)),
            columns,
        )
        self.rows += count
        self.times[ack.lsn] = made_s
        self._unheard.append(ack.lsn)

    def _measure(self) -> None:
        if self.writes and not self.is_asleep:
            now_ms = np.array([self._agenda.now_ns // 1_000_000])
            self.write(now_ms, self._agenda.now_s)
            self._agenda.after(EVERY_S, self._measure)

    def _maintain(self) -> None:
        if not self.is_asleep:
            self.node.federation.run_manifests(self._agenda.now_ns)
            self._agenda.after(EVERY_S, self._maintain)

    # Of Uplink

    def due(self) -> tuple[Due, float]:
        sender = self.node.sender()
        assert sender is not None
        return due(sender), 0.0

    def replied(self, request: Request, answer: Answered | None) -> None:
        sender = self.node.sender()
        assert sender is not None
        if answer is None:
            sender.on_failure(request, "no answer")
            return
        sender.on_reply(request, answer.status, answer.body)
        acked, now_s = self.acked, self._agenda.now_s
        while self._unheard and self._unheard[0] <= acked:
            self._latencies.note(self.times[self._unheard.popleft()], now_s)
