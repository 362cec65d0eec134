"""A file system whose files cannot be synced while a gate is closed: the time between "written" and
"durable", for as long as a test needs it."""

from __future__ import annotations

import threading
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
        return _GatedFile.around(super().create(path, mode=mode), self)

    def open_append(self, path: Path) -> AppendFile:
        return _GatedFile.around(super().open_append(path), self)


class _GatedFile(AppendFile):
    fs: GatedFilesystem

    @classmethod
    def around(cls, file: AppendFile, fs: GatedFilesystem) -> AppendFile:
        file.__class__ = cls
        assert isinstance(file, cls)
        file.fs = fs
        return file

    def sync(self) -> None:
        if not self.fs.gate.is_set():
            self.fs.waiting.set()
            assert self.fs.gate.wait(GATE_TIMEOUT_S), "the gate stayed closed"
        super().sync()
