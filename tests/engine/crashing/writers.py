"""Writers beside each other on a slow disk: records are written while others are being synced.

Each writer waits for a call when it has made the next one. What it was promised is known by the
length of the journal when the wait returned.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np

from mainstem_engine import Ack, Template
from mainstem_engine.check import check_directory
from mainstem_engine.testing.crash_states import CrashState
from mainstem_engine.testing.faulty_filesystem import FaultyFilesystem

from .life import DATA, NOW, Life, rows_of

WRITERS, CALLS, ROWS = 4, 10, 5
DISK_S_MIN, DISK_S_MAX = 0.002, 0.05
"""A sync takes until something was written beside it, within these limits."""


class Writers:
    """One engine, WRITERS threads, and what each was promised."""

    def __init__(self, root: Path, template: Template) -> None:
        self.lived = Life(root, template)
        self.fs = self.lived.fs
        self.done: list[tuple[int, int]] = []
        for writer in range(WRITERS):
            self.lived.write(f"root.a.d{writer}", NOW - 1, 1)
        self.begun = len(self.fs.journal)
        self.fs.during_sync = self._slow
        threads = [threading.Thread(target=self._write, args=(w,)) for w in range(WRITERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.fs.during_sync = lambda _: None
        self.lived.engine.abandon()
        assert len(self.done) == WRITERS * CALLS

    def _write(self, writer: int) -> None:
        waiting: list[Ack] = []
        for call in range(CALLS):
            times = NOW + call * ROWS + np.arange(ROWS)
            columns = {"voltage": (times - NOW) * 10 + writer}
            waiting.append(self.lived.engine.write("meters", f"root.a.d{writer}", times, columns))
            if call:
                self._wait(waiting.pop(0), writer)
        self._wait(waiting.pop(), writer)

    def _wait(self, ack: Ack, writer: int) -> None:
        ack.wait()
        self.done.append((len(self.fs.journal), writer))

    def _slow(self, path: Path) -> None:
        if path.suffix != ".log":
            return
        pause, before = threading.Event(), len(self.fs.journal)
        deadline = time.monotonic() + DISK_S_MAX
        pause.wait(DISK_S_MIN)
        while len(self.fs.journal) == before and time.monotonic() < deadline:
            pause.wait(DISK_S_MIN)

    def promised(self, operations: int) -> tuple[int, ...]:
        """Calls of each writer that had returned after so many operations."""
        calls = Counter(writer for count, writer in self.done if count <= operations)
        return tuple(calls[writer] for writer in range(WRITERS))

    def judge(self, state: CrashState, after: Path) -> None:
        """Of each writer: all that it was promised, whole calls, in order, nothing else."""
        if state.operations < self.begun:
            return
        shutil.rmtree(after, ignore_errors=True)
        after.mkdir()
        state.write(after)
        label = (state.operations, state.label)
        assert check_directory(after / DATA).whole, label
        engine = self.lived.open(FaultyFilesystem(after), after / DATA)
        found: dict[str, list[tuple[int, int]]] = {}
        for row in rows_of(engine):
            if row["time"] >= NOW:
                found.setdefault(row["device"], []).append((row["time"] - NOW, row["voltage"]))
        promised = self.promised(state.operations)
        for writer in range(WRITERS):
            rows = found.pop(f"root.a.d{writer}", [])
            assert rows == [(n, n * 10 + writer) for n in range(len(rows))], label
            assert len(rows) % ROWS == 0, label
            assert len(rows) >= promised[writer] * ROWS, label
        assert found == {}, label
        assert engine.log.recovery.damages == (), label
        engine.abandon()
