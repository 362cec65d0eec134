"""What a power cut may leave of a journal of changes.

The rules are those of Linux file systems with a metadata journal:

1. Names (create, rename, unlink) become durable in order: some prefix of them survives, at least
   those of a directory up to its last ``sync_directory``. No rename crosses directories.
2. The content of a file is durable up to its last ``sync``. Writes since then may survive whole,
   not at all, up to any byte, or as a stretch of zeros that was never filled; files differ.
3. A truncation that was not synced may or may not have happened.
4. What was written when a ``sync`` failed is gone for good, whatever a later sync says; a running
   process still reads it from the page cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
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
    names = _Names({name: number for number, name in enumerate(start)})
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


class _Names:
    """Which inode each name means: now, and after each prefix of the changes that may be lost."""

    def __init__(self, durable: dict[str, int]) -> None:
        self._durable = durable
        self._pending: list[tuple[str, dict[str, int | None]]] = []

    def change(self, directory: str, names: dict[str, int | None]) -> None:
        """Names of one directory get another inode, or none, in one step."""
        self._pending.append((directory, names))

    def settle(self, directory: str) -> None:
        """What was changed in ``directory`` is durable; of the others nothing is known."""
        for changed, names in self._pending:
            if changed == directory:
                _update(self._durable, names)
        self._pending = [change for change in self._pending if change[0] != directory]

    def tables(self) -> list[dict[str, int]]:
        """The names after each prefix of the changes; the last is the present."""
        table = dict(self._durable)
        tables = [dict(table)]
        for _, names in self._pending:
            _update(table, names)
            tables.append(dict(table))
        return tables


def _update(table: dict[str, int], names: dict[str, int | None]) -> None:
    for name, inode in names.items():
        if inode is None:
            table.pop(name, None)
        else:
            table[name] = inode


def _cuts(start: int, length: int) -> Iterator[int]:
    """Lengths to which a write of ``length`` bytes at ``start`` is cut: spread, and at sectors."""
    yield from range(0, length, max(1, length // TEARS))
    first = SECTOR_BYTES - start % SECTOR_BYTES
    yield from range(first, length, SECTOR_BYTES * max(1, length // TEARS // SECTOR_BYTES))


def _apply(operation: Operation, inodes: list[_Inode], names: _Names) -> None:
    kind, path = operation.kind, operation.path
    if kind == "sync_directory":
        names.settle(path)
        return
    directory = PurePosixPath(path).parent.as_posix()
    if kind == "create":
        inodes.append(_Inode())
        names.change(directory, {path: len(inodes) - 1})
        return
    number = names.tables()[-1][path]
    if kind == "rename":
        names.change(directory, {path: None, operation.target: number})
    elif kind == "unlink":
        names.change(directory, {path: None})
    elif kind == "sync":
        inodes[number].synced, inodes[number].pending = inodes[number].whole(), []
    elif kind == "sync_failed":
        pending = inodes[number].pending
        inodes[number].pending = [replace(op, data=bytes(len(op.data))) for op in pending]
    else:
        inodes[number].pending.append(operation)


def _disks(inodes: list[_Inode], names: _Names, random: Random) -> Iterator[tuple[str, Disk]]:
    tables = names.tables()
    for step, table in enumerate(tables):
        prefix = f"names {step + 1} of {len(tables)}"
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
