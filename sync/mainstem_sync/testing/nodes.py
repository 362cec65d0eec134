"""Nodes for tests: a real engine on a directory, a federation, a clock that only moves by hand.

``crash`` is what kill -9 leaves: a copy of the files as they are on disk at that moment, opened
again; the old process's memory is gone. Since a killed process loses nothing that it has written,
the disk is not waited for unless a test asks for it (``real_disk``).
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mainstem_engine.consumers import LogConsumer
from mainstem_engine.engine import Engine
from mainstem_engine.options import EngineOptions
from mainstem_engine.testing.faulty_filesystem import FaultyFilesystem
from mainstem_sync.federation import Federation
from mainstem_sync.receiving.receiver import Child, Receiver
from mainstem_sync.sending.sender import Sender
from mainstem_sync.state.exports import Export
from mainstem_sync.testing import agenda
from mainstem_sync.testing.network import Faults, Link

START_NS = agenda.START_NS


@dataclass
class ManualClock:
    """Wall clock in ns and monotonic seconds, moved together."""

    now_ns: int = START_NS
    elapsed_s: float = 1000.0

    def advance(self, seconds: float) -> None:
        self.now_ns += int(seconds * 1e9)
        self.elapsed_s += seconds

    def wall(self) -> int:
        return self.now_ns

    def monotonic(self) -> float:
        return self.elapsed_s


@dataclass
class TestNode:
    """One tier. ``opened`` counts starts; each crash goes on in a directory of its own."""

    __test__ = False

    name: str
    base: Path
    clock: ManualClock
    exports: Sequence[Export] = ()
    parent: bool = False
    paths: Sequence[str] = ()
    seed: int = 0
    lateness_ns: int = 0
    durability: str = "always"
    real_disk: bool = False
    log_bytes_max: int | None = None
    log_segment_bytes: int = 64 << 20
    followers: Sequence[LogConsumer] = ()
    """Further followers of the log, such as rollups; of one start only."""
    opened: int = 0
    engine: Engine = field(init=False)
    federation: Federation = field(init=False)
    up: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.directory = self.base / f"{self.name}-0"
        self.start()

    def start(self) -> None:
        """Open the engine and bind the federation."""
        self.opened += 1
        self.directory.mkdir(parents=True, exist_ok=True)
        self.federation = Federation(
            node=self.name,
            paths=self.paths,
            exports=self.exports,
            parent=self.parent,
            data_dir=self.directory,
            lateness_ns=self.lateness_ns,
            log_bytes_max=self.log_bytes_max,
            status=self.status,
            clock_ns=self.clock.wall,
            monotonic=self.clock.monotonic,
            rng=random.Random(f"{self.name}/{self.seed}/{self.opened}"),
        )
        options = EngineOptions(
            durability=self.durability,
            background=False,
            log_segment_bytes=self.log_segment_bytes,
            clock=self.clock.wall,
            monotonic=lambda: int(self.clock.elapsed_s * 1e9),
            node_name=self.name,
        )
        self.engine = Engine.open(
            self.directory,
            options,
            consumers=(*self.federation.consumers, *self.followers),
            fs=None if self.real_disk else FaultyFilesystem(self.directory),
        )
        self.federation.bind(self.engine)
        self.up = True

    def status(self) -> dict[str, Any]:
        """The node's own status, as far as this package knows it."""
        return {
            "node": self.name,
            "delivery": self.federation.delivery(),
            "completeness": self.federation.completeness(),
            "accounting": self.federation.accounting(),
            "children": self.federation.children(),
            "link": self.federation.link(),
        }

    def sender(self) -> Sender | None:
        return self.federation.sender if self.up else None

    def receiver(self) -> Receiver | None:
        return self.federation.receiver if self.up else None

    def crash(self) -> None:
        """Stop dead; what is not in a file is gone."""
        self.up = False
        left = self.base / f"{self.name}-{self.opened}"
        shutil.copytree(self.directory, left)
        self.engine.close()
        self.federation.close()
        shutil.rmtree(self.directory)
        self.directory = left

    def stop(self) -> None:
        """Stop in order."""
        self.up = False
        self.engine.close()
        self.federation.close()

    def restart(self) -> None:
        self.crash()
        self.start()

    def link_to(
        self,
        parent: TestNode,
        *,
        rng: random.Random | None = None,
        faults: Faults | None = None,
        paths: Sequence[str] | None = None,
    ) -> Link:
        """A connection to the parent, which lets this node write below ``paths``."""
        return Link(self.sender, parent.receiver, Child(self.name, paths), rng=rng, faults=faults)
