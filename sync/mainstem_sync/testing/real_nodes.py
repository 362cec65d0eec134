"""The node of a simulation on a real engine, with threads and files: slower, and nothing is a twin.

It has the surface of MemoryNode. What happens inside it is not a function of the seed: threads meet
as they like. So it proves that the twin leaves nothing out, for a few seeds.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mainstem_engine.engine import Engine
from mainstem_engine.options import EngineOptions
from mainstem_engine.testing.faulty_filesystem import FaultyFilesystem
from mainstem_sync.federation import Federation
from mainstem_sync.receiving.receiver import Child, Reply
from mainstem_sync.sending.sender import Sender
from mainstem_sync.state.exports import Export
from mainstem_sync.testing.agenda import Agenda
from mainstem_sync.wire.messages import HELLO_PATH


@dataclass
class RealNode:
    """One tier below ``base``. A power cut here is a killed process: nothing written is lost."""

    name: str
    agenda: Agenda
    rng: random.Random
    base: Path
    exports: Sequence[Export] = ()
    parent: bool = False
    paths: Sequence[str] = ()
    lateness_ns: int = 0
    durability: str = "always"
    log_bytes_max: int | None = None
    wrong_ns: int = 0
    started: int = 0
    saved_lsn: int | None = None
    """The last LSN in the backup; None without one."""
    up: bool = False
    engine: Engine = field(init=False)
    federation: Federation = field(init=False)
    on_work: Callable[[], None] | None = None

    def start(self) -> None:
        """A process on what is on the disk."""
        self.started += 1
        directory = self._directory
        directory.mkdir(parents=True, exist_ok=True)
        self.federation = Federation(
            node=self.name,
            paths=self.paths,
            exports=self.exports,
            parent=self.parent,
            data_dir=directory,
            lateness_ns=self.lateness_ns,
            log_bytes_max=self.log_bytes_max,
            status=lambda: {"node": self.name, "completeness": []},
            clock_ns=self.wall_ns,
            monotonic=self.monotonic,
            rng=random.Random(self.rng.getrandbits(64)),
        )
        options = EngineOptions(
            durability=self.durability,
            background=False,
            clock=self.wall_ns,
            monotonic=lambda: int(self.monotonic() * 1e9),
            node_name=self.name,
        )
        self.engine = Engine.open(
            directory,
            options,
            consumers=self.federation.consumers,
            fs=FaultyFilesystem(directory),
        )
        self.federation.bind(self.engine)
        self.up = True

    def crash(self, *, power: bool = False) -> int:
        """What kill -9 leaves: a copy of the files as they are; the last LSN in them."""
        del power
        self.commit()
        last_lsn = self.engine.log.committed_lsn
        self.up = False
        left = self.base / f"{self.name}-{self.started + 1}"
        shutil.copytree(self._directory, left)
        self.engine.abandon()
        self.federation.close()
        return last_lsn

    def backup(self) -> None:
        """What is on the disk now is kept, in place of an earlier one."""
        self.commit()
        self.saved_lsn = self.engine.log.committed_lsn
        shutil.rmtree(self._backup, ignore_errors=True)
        shutil.copytree(self._directory, self._backup)

    def restore(self) -> int:
        """The disk is what it was at the backup; the last LSN in it. The process must be down."""
        assert self.saved_lsn is not None
        left = self.base / f"{self.name}-{self.started + 1}"
        shutil.rmtree(left)
        shutil.copytree(self._backup, left)
        return self.saved_lsn

    def stop(self) -> None:
        """The end of a run."""
        if self.up:
            self.up = False
            self.engine.abandon()
            self.federation.close()

    def commit(self) -> None:
        """Everything that was accepted becomes visible."""
        self.engine.log.barrier()

    @property
    def chain(self) -> bytes:
        """Of the last record that is on disk."""
        return self.engine.log.chain_at(self.engine.log.fsynced_lsn)

    def wall_ns(self) -> int:
        """What the node takes for the time."""
        return self.agenda.now_ns + self.wrong_ns

    def monotonic(self) -> float:
        return 1000.0 + self.agenda.now_s

    def sender(self) -> Sender | None:
        return self.federation.sender if self.up else None

    def serve(self, child: Child, path: str, body: bytes, answer: Callable[[Reply], None]) -> None:
        """A request of a child, answered at once."""
        receiver = self.federation.receiver
        answer((receiver.hello if path == HELLO_PATH else receiver.batches)(child, body))

    @property
    def _backup(self) -> Path:
        return self.base / f"{self.name}-backup"

    @property
    def _directory(self) -> Path:
        return self.base / f"{self.name}-{self.started}"
