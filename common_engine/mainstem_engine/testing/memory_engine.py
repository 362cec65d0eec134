"""An engine in memory: the real catalog, head, parts, merging and deletes, a twin of log and disk.

1. One thread, no waiting: an Ack that is waited for commits the log. So a run with a seeded clock
   and seeded randomness is the same every time, and takes a fraction of the time of a real one.
2. A MemoryDisk is what a process leaves: ``copy`` is a backup or a clone, ``power_cut`` takes what
   was not synced.
3. Nothing here decides anything about rows: whatever is found wrong is wrong in the engine.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mainstem_engine.consumers import Ack, Completion, LogConsumer
from mainstem_engine.engine import Engine
from mainstem_engine.identity import ensure_identity, read_identity, write_identity
from mainstem_engine.log.log import Log
from mainstem_engine.log.records import RecordKind
from mainstem_engine.model import Origin
from mainstem_engine.options import Durability, EngineOptions
from mainstem_engine.store import Store
from mainstem_engine.testing.memory_filesystem import MemoryFilesystem
from mainstem_engine.testing.memory_log import LogDisk, MemoryLog

ROOT = Path("/memory")
"""A name that no real directory has."""


@dataclass(slots=True)
class MemoryDisk:
    """What is stored of one node: its files, and its log apart."""

    files: MemoryFilesystem = field(default_factory=MemoryFilesystem)
    log: LogDisk = field(default_factory=LogDisk)

    def copy(self) -> MemoryDisk:
        """Everything as it is now."""
        return MemoryDisk(self.files.copy(), self.log.copy())

    def power_cut(self) -> None:
        """What was written and not synced is gone."""
        self.files.power_cut()
        self.log.power_cut()


class MemoryEngine(Engine):
    """Use ``open_memory``. ``memory_log`` is its log, to be committed by whoever runs it."""

    memory_log: MemoryLog

    @classmethod
    def open_memory(
        cls,
        disk: MemoryDisk,
        options: EngineOptions,
        *,
        consumers: Sequence[LogConsumer] = (),
        rng: random.Random,
    ) -> MemoryEngine:
        """As Engine.open. ``rng``: for what is random there."""
        if read_identity(disk.files, ROOT) is None:
            write_identity(disk.files, ROOT, uuid.UUID(int=rng.getrandbits(128), version=4).hex)
        own = Origin(ensure_identity(disk.files, ROOT), options.node_name)
        store = MemoryStore(disk, options, own, consumers)
        store.start()
        engine = cls(store, disk.files.lock(ROOT / "LOCK"))
        engine.memory_log = store.memory_log
        engine.append(RecordKind.BOOT, {"id": rng.randbytes(16), "at": options.clock()})
        engine.memory_log.commit()
        return engine

    def stop(self) -> None:
        """The process is gone, at once."""
        self.memory_log.stop()


class MemoryStore(Store):
    """The real store over a MemoryDisk."""

    memory_log: MemoryLog

    def __init__(
        self,
        disk: MemoryDisk,
        options: EngineOptions,
        own: Origin,
        consumers: Sequence[LogConsumer],
    ) -> None:
        def open_log(*_: object, durability: Durability, **__: object) -> Log:
            self.memory_log = MemoryLog(disk.log, durability)
            return self.memory_log

        super().__init__(ROOT, options, disk.files, own, consumers, open_log)
        self._completion = _Committing(self.memory_log.commit)


class _Committing(Completion):
    """Acks that commit when they are waited for: nobody else would."""

    def __init__(self, commit: Callable[[], int]) -> None:
        super().__init__()
        self._commit = commit

    def ack(self, decoded: object = None) -> Ack:
        return _EagerAck(self._lock, self._commit, decoded)


class _EagerAck(Ack):
    __slots__ = ("_commit",)

    def __init__(self, lock: object, commit: Callable[[], int], decoded: object = None) -> None:
        super().__init__(lock, decoded)  # type: ignore[arg-type]
        self._commit = commit

    def wait(self, timeout_s: float | None = None) -> None:
        if not self.done():
            self._commit()
        super().wait(timeout_s)
