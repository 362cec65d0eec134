"""A file system that fails on demand and keeps a journal of every change.

FaultyFilesystem works on real files below one directory.

- ``fail(...)`` makes the n-th operation of a kind raise; a failing write may leave a part behind.
- ``journal`` lists what was changed, in order; ``crash_states`` says what a power cut may leave
  of it.

It does not wait for the disk, so a test that only needs speed may use it too.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mainstem_engine.filesystem import AppendFile, Buffer, Filesystem, byte_view


@dataclass(frozen=True, slots=True)
class Operation:
    """One change: create write truncate sync sync_failed rename unlink mkdir sync_directory.

    ``size``: to which a file was cut, or how long it was when a sync of it began.
    """

    kind: str
    path: str
    data: bytes = b""
    target: str = ""
    size: int = 0


@dataclass(slots=True)
class _Fault:
    kind: str
    path_part: str
    skip: int
    error: int
    partial_bytes: int
    times: int


class FaultyFilesystem(Filesystem):
    """See the module. Thread-safe."""

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.root = root
        self.journal: list[Operation] = []
        self.during_sync: Callable[[Path], object] = _nothing
        """Called with the file while it is synced; what is written meanwhile is not covered."""
        self._faults: list[_Fault] = []
        self._lock = threading.Lock()

    def fail(
        self,
        kind: str = "",
        *,
        path_part: str = "",
        skip: int = 0,
        error: int = errno.EIO,
        partial_bytes: int = 0,
        times: int = 1,
    ) -> None:
        """Let ``times`` operations fail, after ``skip`` more that match.

        ``kind`` and ``path_part`` (a piece of the path) empty: any. ``partial_bytes`` of a failing
        write reach the file.
        """
        with self._lock:
            self._faults.append(_Fault(kind, path_part, skip, error, partial_bytes, times))

    @property
    def pending_faults(self) -> int:
        """Faults that have not failed all their operations yet."""
        with self._lock:
            return sum(fault.times > 0 for fault in self._faults)

    def heal(self) -> None:
        """Forget every fault."""
        with self._lock:
            self._faults.clear()

    def create(self, path: Path, *, mode: int = 0o644) -> AppendFile:
        self.check("create", path)
        file = super().create(path, mode=mode)
        self.note("create", path)
        return _FaultyAppendFile(self, file)

    def open_append(self, path: Path) -> AppendFile:
        return _FaultyAppendFile(self, super().open_append(path))

    def rename(self, source: Path, target: Path) -> None:
        self.check("rename", target)
        super().rename(source, target)
        self.note("rename", source, target=target)

    def link(self, source: Path, target: Path) -> bool:
        self.check("link", target)
        linked = super().link(source, target)
        if linked:
            # Only files that nobody writes to get a second name: the same as a synced copy.
            self.note("create", target)
            content = target.read_bytes()
            self.note("write", target, content)
            self.note("sync", target, size=len(content))
        return linked

    def unlink(self, path: Path) -> None:
        if not path.exists():
            return
        self.check("unlink", path)
        super().unlink(path)
        self.note("unlink", path)

    def make_directory(self, path: Path) -> None:
        missing = [parent for parent in (path, *path.parents) if not parent.exists()]
        for directory in reversed(missing):
            self.check("mkdir", directory)
            directory.mkdir(exist_ok=True)
            self.note("mkdir", directory)
            self.sync_directory(directory.parent)

    def sync_directory(self, path: Path) -> None:
        self.check("sync_directory", path)
        self.note("sync_directory", path)

    def check(self, kind: str, path: Path) -> int:
        """Raise if this operation is to fail now, else return 0. For the files of this module."""
        with self._lock:
            for fault in self._faults:
                if fault.kind not in ("", kind) or fault.path_part not in str(path):
                    continue
                if fault.skip:
                    fault.skip -= 1
                elif fault.times:
                    fault.times -= 1
                    raise InjectedError(fault.error, f"injected into {kind}", fault.partial_bytes)
        return 0

    def note(
        self, kind: str, path: Path, data: bytes = b"", target: Path | None = None, size: int = 0
    ) -> None:
        """Add an operation to the journal. For the files of this module."""
        with self._lock:
            self.journal.append(
                Operation(kind, self._name(path), data, self._name(target) if target else "", size)
            )

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


def _nothing(_: Path) -> None:
    """A sync takes no time."""


class InjectedError(OSError):
    """A failure that a test asked for."""

    def __init__(self, number: int, message: str, partial_bytes: int) -> None:
        super().__init__(number, message)
        self.partial_bytes = partial_bytes


class _FaultyAppendFile(AppendFile):
    """An AppendFile whose operations are journalled and may fail."""

    __slots__ = ("_faults", "_inner")

    def __init__(self, faults: FaultyFilesystem, inner: AppendFile) -> None:
        self._faults = faults
        self._inner = inner
        self.path = inner.path

    def write(self, buffers: Sequence[Buffer]) -> int:
        data = b"".join(byte_view(buffer) for buffer in buffers)
        try:
            self._faults.check("write", self.path)
        except InjectedError as exc:
            data = data[: exc.partial_bytes]
            if data:
                self._inner.write([data])
                self._faults.note("write", self.path, data)
            raise
        written = self._inner.write([data])
        self._faults.note("write", self.path, data)
        return written

    def sync(self) -> None:
        covered = self._inner.size()
        self._faults.during_sync(self.path)
        try:
            self._faults.check("sync", self.path)
        except InjectedError:
            self._faults.note("sync_failed", self.path)
            raise
        # The disk of a test need not be waited for.
        self._faults.note("sync", self.path, size=covered)

    def truncate(self, size: int) -> None:
        self._faults.check("truncate", self.path)
        self._inner.truncate(size)
        self._faults.note("truncate", self.path, size=size)

    def size(self) -> int:
        return self._inner.size()

    def close(self) -> None:
        self._inner.close()
