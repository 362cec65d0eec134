"""A file system that fails on demand, and that knows what a power cut could leave behind.

FaultyFilesystem works on real files below one directory and keeps a journal of every change.

- ``fail(...)`` makes the n-th operation of a kind raise; a failing write may leave a part behind.
- ``crash_states(journal, start)`` lists the contents that a disk may have if the power goes after
  any operation of the journal.

What a crash may leave, after Linux file systems with a metadata journal:

1. Names (create, rename, unlink) become durable in order: some prefix of them survives, at least
   up to the last ``sync_directory``.
2. The content of a file is durable up to its last ``sync``. Writes since then may survive whole,
   not at all, up to any byte, or as a stretch of zeros that was never filled; files differ.
3. A truncation that was not synced may or may not have happened.
4. What was written when a ``sync`` failed is gone for good, whatever a later sync says; a running
   process still reads it from the page cache.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

from mainstem_engine.filesystem import SECTOR_BYTES, AppendFile, Buffer, Filesystem, byte_view

TEARS = 48
"""A write is torn at about this many places."""

MIXTURES = 3
"""Random choices of one variant per file, for each prefix of the names."""

Disk = dict[str, bytes]
"""Contents of all files, by path relative to the root."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One change: create write truncate sync sync_failed rename unlink sync_directory."""

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
    """See the module. Thread-safe. Directories are made at once and survive every crash."""

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.root = root
        self.journal: list[Operation] = []
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

    def unlink(self, path: Path) -> None:
        if not path.exists():
            return
        self.check("unlink", path)
        super().unlink(path)
        self.note("unlink", path)

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
        try:
            self._faults.check("sync", self.path)
        except InjectedError:
            self._faults.note("sync_failed", self.path)
            raise
        self._faults.note("sync", self.path)  # the disk of a test need not be waited for

    def truncate(self, size: int) -> None:
        self._faults.check("truncate", self.path)
        self._inner.truncate(size)
        self._faults.note("truncate", self.path, size=size)

    def size(self) -> int:
        return self._inner.size()

    def close(self) -> None:
        self._inner.close()


@dataclass(frozen=True, slots=True)
class CrashState:
    """What a disk may hold after ``operations`` operations and a power cut."""

    operations: int
    label: str
    disk: Disk

    def write(self, root: Path) -> None:
        """Put the files below ``root``."""
        for name, content in self.disk.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


@dataclass(slots=True)
class _Inode:
    """A file's content as written, and the part of its history that a crash may take back."""

    synced: bytes = b""
    pending: list[Operation] = field(default_factory=list)

    def whole(self) -> bytes:
        return self.after(len(self.pending))

    def after(self, count: int) -> bytes:
        content = self.synced
        for operation in self.pending[:count]:
            if operation.kind == "write":
                content += operation.data
            else:
                content = content[: operation.size]
        return content

    def variants(self) -> Iterator[tuple[str, bytes]]:
        """Contents that a crash may leave, most and least first."""
        yield "kept", self.whole()
        if not self.pending:
            return
        yield "lost", self.synced
        last = self.pending[-1]
        before = self.after(len(self.pending) - 1)
        if len(self.pending) > 1:
            yield "last lost", before
        if last.kind != "write" or not last.data:
            return
        for cut in sorted({1, len(last.data) - 1, *_cuts(len(before), len(last.data))}):
            if 0 < cut < len(last.data):
                yield f"torn at {cut}", before + last.data[:cut]
                if (len(before) + cut) % SECTOR_BYTES == 0:  # sectors are written whole
                    yield (
                        f"zeros from {cut}",
                        before + last.data[:cut] + bytes(len(last.data) - cut),
                    )
        yield "zeros", before + bytes(len(last.data))
        whole = before + last.data
        # The first sector of the last write is missing while later ones are there.
        end = len(before) + SECTOR_BYTES - len(before) % SECTOR_BYTES
        if end < len(whole):
            yield "hole", before + bytes(end - len(before)) + whole[end:]


@dataclass(slots=True)
class _Names:
    """Which inode each name means, now and at each step since the last directory sync."""

    history: list[dict[str, int]]

    def change(self, names: dict[str, int]) -> None:
        self.history.append(names)

    def settle(self) -> None:
        del self.history[:-1]


def _cuts(start: int, length: int) -> Iterator[int]:
    """Lengths to which a write of ``length`` bytes at ``start`` is cut: spread, and at sectors."""
    yield from range(0, length, max(1, length // TEARS))
    first = SECTOR_BYTES - start % SECTOR_BYTES
    yield from range(first, length, SECTOR_BYTES * max(1, length // TEARS // SECTOR_BYTES))


def crash_states(
    journal: Sequence[Operation], start: Mapping[str, bytes], *, seed: int = 0
) -> Iterator[CrashState]:
    """Every distinct disk that a crash during ``journal`` may leave.

    ``start``: the durable files before it. After each operation: every prefix of the names that
    are not durable, with the contents of all files kept, or all lost, or one file's last write
    torn, or a few mixtures drawn with ``seed``.
    """
    random = Random(seed)
    inodes = [_Inode(content) for content in start.values()]
    names = _Names([{name: number for number, name in enumerate(start)}])
    seen: set[frozenset[tuple[str, bytes]]] = set()
    for count in range(len(journal) + 1):
        if count:
            _apply(journal[count - 1], inodes, names)
        for label, disk in _disks(inodes, names, random):
            key = frozenset(disk.items())
            if key not in seen:
                seen.add(key)
                yield CrashState(count, label, disk)


def _apply(operation: Operation, inodes: list[_Inode], names: _Names) -> None:
    current = dict(names.history[-1])
    kind, path = operation.kind, operation.path
    if kind == "create":
        inodes.append(_Inode())
        current[path] = len(inodes) - 1
    elif kind == "rename":
        current[operation.target] = current.pop(path)
    elif kind == "unlink":
        del current[path]
    elif kind == "sync_directory":
        names.settle()
        return
    else:
        inode = inodes[current[path]]
        if kind == "sync":
            inode.synced, inode.pending = inode.whole(), []
        elif kind == "sync_failed":
            inode.pending = [replace(op, data=bytes(len(op.data))) for op in inode.pending]
        else:
            inode.pending.append(operation)
        return
    names.change(current)


def _disks(inodes: list[_Inode], names: _Names, random: Random) -> Iterator[tuple[str, Disk]]:
    for step, table in enumerate(names.history):
        prefix = f"names {step + 1} of {len(names.history)}"
        yield f"{prefix}, kept", {name: inodes[i].whole() for name, i in table.items()}
        yield f"{prefix}, lost", {name: inodes[i].synced for name, i in table.items()}
        for name, number in table.items():
            for label, content in inodes[number].variants():
                disk = {other: inodes[i].whole() for other, i in table.items()}
                disk[name] = content
                yield f"{prefix}, {name} {label}", disk
        for mixture in range(MIXTURES):
            chosen = {
                name: random.choice([content for _, content in inodes[number].variants()])
                for name, number in table.items()
            }
            yield f"{prefix}, mixture {mixture}", chosen
