"""A node on an engine in memory, in virtual time: started, crashed, cut from power, restored.

Its disk outlives its processes. What a process appends is committed a little later (``always``), or
committed and some time later synced (``interval``): in between it may die.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from mainstem_engine.identity import ensure_identity
from mainstem_engine.model import Origin
from mainstem_engine.options import EngineOptions
from mainstem_engine.rollup import RollupDefinition, Rollups
from mainstem_engine.testing.memory_engine import ROOT, MemoryDisk, MemoryEngine, MemoryStore
from mainstem_engine.testing.memory_log import MemoryLog
from mainstem_sync.federation import Federation
from mainstem_sync.receiving.receiver import Child, Reply
from mainstem_sync.sending.sender import Sender
from mainstem_sync.state.exports import Export
from mainstem_sync.testing.agenda import Agenda
from mainstem_sync.testing.small_requests import SmallRequests
from mainstem_sync.wire.messages import HELLO_PATH

COMMIT_S = (0.0005, 0.03)
"""A disk between good and poor."""
SYNC_S = (0.05, 1.5)
"""With ``interval`` durability; far slower than the option asks for: cuts shall find something."""

COMMITS_A_PART = 3
"""Of a hasty node: between two flushes."""

PARTS_A_MERGE = 6
"""Of a hasty node: parts of a shard that become one, as they do where a store is looked after."""


@dataclass
class MemoryNode:
    """One tier. ``wrong_ns``: by how much its wall clock is off."""

    name: str
    agenda: Agenda
    rng: random.Random
    exports: Sequence[Export] = ()
    parent: bool = False
    paths: Sequence[str] = ()
    lateness_ns: int = 0
    durability: str = "always"
    log_bytes_max: int | None = None
    wrong_ns: int = 0
    hasty: bool = False
    """Requests of a few records, parts of a few rows."""
    disk: MemoryDisk = field(default_factory=MemoryDisk)
    saved: MemoryDisk | None = None
    started: int = 0
    up: bool = False
    engine: MemoryEngine = field(init=False)
    federation: Federation = field(init=False)
    on_work: Callable[[], None] | None = None
    rollups: Sequence[RollupDefinition] = ()
    rolling: Rollups | None = None
    """What computes them, of this start."""
    _commits: int = 0

    def start(self) -> None:
        """A process on what is on the disk."""
        self.started += 1
        self.federation = self._federation(self.disk, random.Random(self.rng.getrandbits(64)))
        self.rolling = Rollups(self.rollups) if self.rollups else None
        rolling = () if self.rolling is None else (self.rolling,)
        self.engine = MemoryEngine.open_memory(
            self.disk,
            self._options(),
            consumers=(*self.federation.consumers, *rolling),
            rng=self.rng,
        )
        self.engine.memory_log.on_append = self._appended
        self.federation.bind(self.engine)
        if self.rolling is not None:
            self.rolling.bind(self.engine)
        if self.federation.sender is not None:
            self.federation.sender.on_work = self.on_work
            if self.hasty:
                self.federation.sender._lanes.scheduler = SmallRequests()  # noqa: SLF001
        self.up = True

    def _federation(self, disk: MemoryDisk, rng: random.Random) -> Federation:
        return Federation(
            node=self.name,
            paths=self.paths,
            exports=self.exports,
            parent=self.parent,
            data_dir=ROOT,
            lateness_ns=self.lateness_ns,
            log_bytes_max=self.log_bytes_max,
            status=lambda: {"node": self.name, "completeness": []},
            clock_ns=self.wall_ns,
            monotonic=self.monotonic,
            rng=rng,
            fs=disk.files,
        )

    def _options(self) -> EngineOptions:
        return EngineOptions(
            durability=self.durability,
            background=False,
            clock=self.wall_ns,
            monotonic=lambda: int(self.monotonic() * 1e9),
            node_name=self.name,
        )

    def rebuilt(self) -> tuple[Federation, MemoryStore]:
        """What another process would find out from a copy of the disk, before it writes."""
        disk = self.disk.copy()
        federation = self._federation(disk, random.Random(0))
        rolling = (Rollups(self.rollups),) if self.rollups else ()
        own = Origin(ensure_identity(disk.files, ROOT), self.name)
        store = MemoryStore(disk, self._options(), own, (*federation.consumers, *rolling))
        store.start()
        return federation, store

    def crash(self, *, power: bool = False) -> int:
        """The process is gone; with ``power``, what was not synced as well. Returns the last LSN
        that is left."""
        self.up = False
        self.engine.stop()
        self.federation.close()
        if power:
            self.disk.power_cut()
        return self.disk.log.last_lsn

    @property
    def saved_lsn(self) -> int | None:
        """The last LSN in the backup; None without one."""
        return None if self.saved is None else self.saved.log.last_lsn

    def backup(self) -> None:
        """What is on the disk now is kept, in place of an earlier one."""
        self.saved = self.disk.copy()

    def restore(self) -> int:
        """The disk is what it was at the backup; the last LSN in it. The process must be down."""
        assert self.saved is not None
        self.disk = self.saved.copy()
        return self.disk.log.last_lsn

    def stop(self) -> None:
        """The end of a run."""

    def commit(self) -> None:
        """Everything that was accepted becomes visible."""
        self.engine.memory_log.commit()

    @property
    def chain(self) -> bytes:
        """Of the last record that is on disk."""
        return self.disk.log.chain

    def wall_ns(self) -> int:
        """What the node takes for the time."""
        return self.agenda.now_ns + self.wrong_ns

    def monotonic(self) -> float:
        return 1000.0 + self.agenda.now_s

    def sender(self) -> Sender | None:
        return self.federation.sender if self.up else None

    def serve(self, child: Child, path: str, body: bytes, answer: Callable[[Reply], None]) -> None:
        """A request of a child; ``answer`` is called when there is one, and never if the process
        dies before."""
        receiver = self.federation.receiver
        if path == HELLO_PATH:
            answer(receiver.hello(child, body))
            return
        submission = receiver.submit(child, body)
        process = self.started

        def durable() -> None:
            # Off the committer's back, as the server's loop is.
            self.agenda.after(0.0, reply)

        def reply() -> None:
            if self.up and self.started == process:
                answer(receiver.reply(submission))

        submission.add_done_callback(durable)

    def _appended(self) -> None:
        log = self.engine.memory_log
        if log.queued == 1:
            self.agenda.after(self.rng.uniform(*COMMIT_S), lambda: self._commit(log))
            if self.durability != "always":
                self.agenda.after(self.rng.uniform(*SYNC_S), log.sync)

    def _commit(self, log: MemoryLog) -> None:
        log.commit()
        if self.hasty and self.up and log is self.engine.memory_log:
            self._commits += 1
            if self._commits % COMMITS_A_PART == 0:
                self.engine.flush()
            if self._commits % (COMMITS_A_PART * PARTS_A_MERGE) == 0:
                self.engine.compact()
