"""What a power cut may leave of a journal of changes.

The rules are those of Linux file systems with a metadata journal:

1. Names (create, rename, unlink) become durable in order: some prefix of them survives, at least
   up to the last ``sync_directory``.
2. The content of a file is durable up to its last ``sync``. Writes since then may survive whole,
   not at all, up to any byte, or as a stretch of zeros that was never filled; files differ.
3. A truncation that was not synced may or may not have happened.
4. What was written when a ``sync`` failed is gone for good, whatever a later sync says; a running
   process still reads it from the page cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

from mainstem_engine.filesystem import SECTOR_BYTES
from mainstem_engine.testing.faulty_filesystem import Operation

TEARS = 48
"""A write is torn at about this many places."""

MIXTURES = 3
"""Random choices of one variant per file, for each prefix of the names."""

Disk = dict[str, bytes]
"""Contents of all files, by path relative to the root."""


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


def crash_states(
    journal: Sequence[Operation],
    start: Mapping[str, bytes],
    *,
    promise: Callable[[int], object] = lambda operations: operations,
    seed: int = 0,
) -> Iterator[CrashState]:
    """Every disk that a crash during ``journal`` may leave.

    ``start``: the durable files before it. After each operation: every prefix of the names that
    are not durable, with the contents of all files kept, or all lost, or one file's last write
    torn, or a few mixtures drawn with ``seed``. ``promise(operations)``: what a test knows after so
    many operations; the same disk is given again only if the promise is another.
    """
    random = Random(seed)
    inodes = [_Inode(content) for content in start.values()]
    names = _Names([{name: number for number, name in enumerate(start)}])
    seen: set[tuple[object, frozenset[tuple[str, bytes]]]] = set()
    for count in range(len(journal) + 1):
        if count:
            _apply(journal[count - 1], inodes, names)
        for label, disk in _disks(inodes, names, random):
            key = (promise(count), frozenset(disk.items()))
            if key not in seen:
                seen.add(key)
                yield CrashState(count, label, disk)


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
