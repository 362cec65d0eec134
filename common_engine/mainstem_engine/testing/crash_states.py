"""What a power cut may leave of a journal of changes.

A disk is allowed more than Linux file systems with a metadata journal do, and no less:

1. Names (create, rename, unlink, mkdir) are durable once their directory was synced. Of later
   changes any prefix survives, all but one, one alone, those of some directories, or a random
   choice. A directory that is not there takes everything below it along. A rename is one change,
   of a directory too; none leads into another directory.
2. What was written to a file before a ``sync`` began is durable. Later writes survive as any prefix
   of them, the last of these torn at any byte or sector, or with sectors that were never filled
   (zeros), while later ones are there. Files differ: one may be whole and the other empty, although
   it was written first. A name says nothing of the content: *names only* is a state too.
3. A truncation that was not synced may or may not have happened.
4. What was written when a ``sync`` failed is gone for good, whatever a later sync says; a running
   process still reads it from the page cache.
"""

from __future__ import annotations

import itertools
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

PENDING_MAX = 12
"""Of more unsynced writes of one file so many prefixes are tried, spread over all of them."""

Disk = dict[str, bytes]
"""Contents of all files, by path relative to the root. A path that ends in a slash is a directory
that is there, empty or not."""

DIRECTORY = -1
"""In place of an inode's number."""


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
            if name.endswith("/"):
                path.mkdir(parents=True, exist_ok=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def crash_states(
    journal: Sequence[Operation],
    start: Mapping[str, bytes],
    *,
    promise: Callable[[int], object] = lambda operations: operations,
    seed: int = 0,
    tears: int = TEARS,
) -> Iterator[CrashState]:
    """Every disk that a crash during ``journal`` may leave.

    ``start``: the durable files before it. After each operation: every choice of the names that
    are not durable, with the contents of all files kept, or all lost, or one file's last writes
    torn, or a few mixtures drawn with ``seed``. ``promise(operations)``: what a test knows after so
    many operations; the same disk is given again only if the promise is another. ``tears``: at how
    many places a write is torn.
    """
    random = Random(seed)
    inodes = [_Inode(content, tears=tears) for content in start.values()]
    names = _Names({name: number for number, name in enumerate(start)})
    seen: set[tuple[object, frozenset[tuple[str, bytes]]]] = set()
    for count in range(len(journal) + 1):
        if count:
            _apply(journal[count - 1], inodes, names, tears)
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
    tears: int = TEARS
    _variants: list[tuple[str, bytes]] | None = None

    def add(self, operation: Operation) -> None:
        """A write or a truncation that is not durable yet."""
        self.pending.append(operation)
        self._variants = None

    def settle(self, size: int) -> None:
        """What was written when the file had ``size`` bytes is durable."""
        while self.pending:
            content = _after(self.synced, self.pending[0])
            if len(content) > size:
                break
            self.synced = content
            del self.pending[0]
        self._variants = None

    def spoil(self) -> None:
        """A sync failed: what was not durable will never be."""
        self.pending = [replace(op, data=bytes(len(op.data))) for op in self.pending]
        self._variants = None

    def whole(self) -> bytes:
        return self.variants()[0][1]

    def variants(self) -> list[tuple[str, bytes]]:
        """Contents that a crash may leave, the whole one first."""
        if self._variants is None:
            self._variants = list(self._made())
        return self._variants

    def _made(self) -> Iterator[tuple[str, bytes]]:
        contents = [self.synced]
        for operation in self.pending:
            contents.append(_after(contents[-1], operation))
        yield "kept", contents[-1]
        count = len(self.pending)
        if not count:
            return
        yield "lost", self.synced
        for kept in sorted({*range(1, count, -(-count // PENDING_MAX)), count - 1} - {0}):
            yield f"{kept} of {count} writes", contents[kept]
            yield from _torn(contents[kept - 1], self.pending[kept - 1], 2)
        yield from _torn(contents[-2], self.pending[-1], self.tears)
        if all(operation.kind == "write" for operation in self.pending):
            yield from self._holes(contents)

    def _holes(self, contents: list[bytes]) -> Iterator[tuple[str, bytes]]:
        """An earlier write is missing, or its first sector, while later ones are there."""
        whole = contents[-1]
        for number, (before, after) in enumerate(itertools.pairwise(contents)):
            start, end = len(before), len(after)
            if end < len(whole):
                yield f"zeros for write {number}", before + bytes(end - start) + whole[end:]
            sector = start + SECTOR_BYTES - start % SECTOR_BYTES
            if sector < end:
                yield f"hole in write {number}", before + bytes(sector - start) + whole[sector:]


def _after(content: bytes, operation: Operation) -> bytes:
    if operation.kind == "write":
        return content + operation.data
    return content[: operation.size]


def _torn(before: bytes, last: Operation, tears: int) -> Iterator[tuple[str, bytes]]:
    """``last`` reached the disk in part."""
    if last.kind != "write" or not last.data:
        return
    for cut in sorted({1, len(last.data) - 1, *_cuts(len(before), len(last.data), tears)}):
        if 0 < cut < len(last.data):
            kept = before + last.data[:cut]
            yield f"torn at {cut}", kept
            if (len(before) + cut) % SECTOR_BYTES == 0:  # sectors are written whole
                yield f"zeros from {cut}", kept + bytes(len(last.data) - cut)
    yield "zeros", before + bytes(len(last.data))


def _cuts(start: int, length: int, tears: int) -> Iterator[int]:
    """Lengths to which a write of ``length`` bytes at ``start`` is cut: spread, and at sectors."""
    yield from range(0, length, max(1, length // tears))
    first = SECTOR_BYTES - start % SECTOR_BYTES
    yield from range(first, length, SECTOR_BYTES * max(1, length // tears // SECTOR_BYTES))


@dataclass(frozen=True, slots=True)
class _Change:
    """Names of one directory get another inode, or none, in one step."""

    directory: str
    names: dict[str, int | None]

    def __str__(self) -> str:
        return ", ".join(self.names)


class _Names:
    """Which inode each name means: now, and after each choice of the changes that may be lost."""

    def __init__(self, durable: dict[str, int]) -> None:
        self._durable = durable
        self._pending: list[_Change] = []
        self._made: set[str] = set()
        self._present = dict(durable)

    def change(self, directory: str, names: dict[str, int | None]) -> None:
        """See _Change."""
        change = _Change(directory, names)
        self._pending.append(change)
        self._made.update(name for name, number in names.items() if number == DIRECTORY)
        _update(self._present, [change])

    def settle(self, directory: str) -> None:
        """What was changed in ``directory`` is durable; of the others nothing is known."""
        settled = [change for change in self._pending if change.directory == directory]
        _update(self._durable, settled)
        self._pending = [change for change in self._pending if change.directory != directory]

    def number(self, path: str) -> int:
        """The inode that a process sees."""
        return self._present[path]

    def moved(self, source: str, target: str) -> dict[str, int | None]:
        """What a rename changes: a file's name, or those of a directory and all that is in it."""
        found = [
            (name, number)
            for name, number in self._present.items()
            if name == source or name.startswith(f"{source}/")
        ]
        gone: dict[str, int | None] = {name: None for name, _ in found}
        return gone | {target + name.removeprefix(source): number for name, number in found}

    def prefixes(self) -> list[tuple[str, dict[str, int]]]:
        """The names after each prefix of the changes; the last is the present."""
        count = len(self._pending)
        return [
            (f"names {kept} of {count}", self._table(self._pending[:kept]))
            for kept in range(count + 1)
        ]

    def choices(self, random: Random) -> Iterator[tuple[str, dict[str, int]]]:
        """The names after changes that became durable in another order than they were made."""
        pending = self._pending
        if len(pending) < 2:
            return
        for number, change in enumerate(pending):
            if number < len(pending) - 1:
                rest = [*pending[:number], *pending[number + 1 :]]
                yield f"without {change}", self._table(rest)
            if number:
                yield f"only {change}", self._table([change])
        for directory in sorted({change.directory for change in pending}):
            rest = [change for change in pending if change.directory != directory]
            yield f"without {directory}/", self._table(rest)
        for mixture in range(MIXTURES):
            some = [change for change in pending if random.random() < 0.5]
            yield f"names {mixture} at random", self._table(some)

    def _table(self, changes: Sequence[_Change]) -> dict[str, int]:
        table = dict(self._durable)
        _update(table, changes)
        missing = self._made - table.keys()
        if not missing:
            return table
        return {
            name: number
            for name, number in table.items()
            if not any(name.startswith(directory) for directory in missing)
        }


def _update(table: dict[str, int], changes: Sequence[_Change]) -> None:
    for change in changes:
        for name, inode in change.names.items():
            if inode is None:
                table.pop(name, None)
            else:
                table[name] = inode


def _apply(operation: Operation, inodes: list[_Inode], names: _Names, tears: int) -> None:
    kind, path = operation.kind, operation.path
    if kind == "sync_directory":
        names.settle(path)
        return
    directory = PurePosixPath(path).parent.as_posix()
    if kind == "mkdir":
        names.change(directory, {f"{path}/": DIRECTORY})
        return
    if kind == "create":
        inodes.append(_Inode(tears=tears))
        names.change(directory, {path: len(inodes) - 1})
        return
    if kind == "rename":
        names.change(directory, names.moved(path, operation.target))
        return
    number = names.number(path)
    if kind == "unlink":
        names.change(directory, {path: None})
    elif kind == "sync":
        inodes[number].settle(operation.size)
    elif kind == "sync_failed":
        inodes[number].spoil()
    else:
        inodes[number].add(operation)


def _disks(inodes: list[_Inode], names: _Names, random: Random) -> Iterator[tuple[str, Disk]]:
    def whole(number: int) -> bytes:
        return b"" if number == DIRECTORY else inodes[number].whole()

    def synced(number: int) -> bytes:
        return b"" if number == DIRECTORY else inodes[number].synced

    def drawn(number: int) -> bytes:
        return b"" if number == DIRECTORY else random.choice(inodes[number].variants())[1]

    for prefix, table in names.prefixes():
        kept = {name: whole(number) for name, number in table.items()}
        yield f"{prefix}, kept", kept
        yield f"{prefix}, names only", {name: synced(n) for name, n in table.items()}
        for name, number in table.items():
            if number != DIRECTORY:
                for label, content in inodes[number].variants()[1:]:
                    yield f"{prefix}, {name} {label}", kept | {name: content}
        for mixture in range(MIXTURES):
            disk = {name: drawn(number) for name, number in table.items()}
            yield f"{prefix}, mixture {mixture}", disk
    for choice, table in names.choices(random):
        yield f"{choice}, kept", {name: whole(number) for name, number in table.items()}
        yield f"{choice}, names only", {name: synced(n) for name, n in table.items()}
        yield f"{choice}, mixture", {name: drawn(number) for name, number in table.items()}
