"""A file system whose files cannot be synced while a gate is closed: the time between "written" and
"durable", for as long as a test needs it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from mainstem_engine.filesystem import AppendFile, Filesystem

GATE_TIMEOUT_S = 30.0
"""A test that forgets the gate fails instead of hanging."""


class GatedFilesystem(Filesystem):
    """A file system whose log cannot sync while the gate is closed."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.waiting = threading.Event()

    def create(self, path: Path, *, mode: int = 0o644) -> AppendFile:
        return self._gated(super().create(path, mode=mode))

    def open_append(self, path: Path) -> AppendFile:
        return self._gated(super().open_append(path))

    def _gated(self, file: AppendFile) -> AppendFile:
        sync = file.sync

        def wait_and_sync() -> None:
            if not self.gate.is_set():
                self.waiting.set()
                assert self.gate.wait(GATE_TIMEOUT_S), "the gate stayed closed"
            sync()

        return _GatedFile(file, wait_and_sync)


class _GatedFile(AppendFile):
    """A file whose sync is another function."""

    def __init__(self, file: AppendFile, sync: Callable[[], None]) -> None:
        super().__init__(file.path, file._fd)  # noqa: SLF001 - the same open file, wrapped
        self._sync = sync

    def sync(self) -> None:
        self._sync()
