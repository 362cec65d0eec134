"""The parts in use: open readers of everything that the part list names.

1. A change is durable in the part list before it is published, and published in one step under the
   store's state lock, so that a reader sees the parts before or after it, never between.
2. A reader keeps the parts it took. Their files may be unlinked meanwhile; the mapping goes with
   the last reader.
3. A part that cannot be opened stays listed and stands for its rows: a query that would need it
   raises CorruptionError. An answer without those rows would be wrong without saying so.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mainstem_engine.checkpoint import CHECKPOINT_SUFFIX, remove_checkpoints
from mainstem_engine.errors import CorruptionError
from mainstem_engine.filesystem import Filesystem
from mainstem_engine.log.layout import segment_first_lsn
from mainstem_engine.model import DeviceIds
from mainstem_engine.part.layout import PART_SUFFIX
from mainstem_engine.part.manifest import PartList, PartMeta, remove_unlisted
from mainstem_engine.part.reader import BlockNumbers, Part
from mainstem_engine.part_index import PartIndex

logger = logging.getLogger(__name__)

PART_LIST_NAME = "part-list"
PARTS_DIRECTORY = "parts"
VNODE_PREFIX = "v"
"""The parts of vnode 3 of several are in ``parts/v3``, those of an only vnode in ``parts``."""
CHECKPOINT_DIRECTORY = "checkpoint"
LOG_DIRECTORY = "log"
_SHORT_OF_SOMETHING = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""Of descriptors or memory: nothing is wrong with the file, and a repair would be wrong advice."""
FEW_DEVICES = 16
"""More devices than that are likely to lie in every vnode."""


def part_directory(root: Path, meta: PartMeta) -> Path:
    """Where a part of the data directory ``root`` lies: with the parts of its vnode."""
    return _vnode_directory(root / PARTS_DIRECTORY, meta.vnode, meta.vnodes)


def _vnode_directory(parts: Path, vnode: int, vnodes: int) -> Path:
    return parts if vnodes == 1 else parts / f"{VNODE_PREFIX}{vnode}"


def lost_end(fs: Filesystem, root: Path, part_list: PartList) -> str | None:
    """Why the list of a data directory must have lost its last changes, in words; None if not.

    A list that was cut looks like one that a crash left. But what a change names is removed only
    when a later change is durable: a list that names what is gone has lost that change. Everything
    that it no longer names would be deleted, so nobody may act on it.
    """
    checkpoints = fs.list(root / CHECKPOINT_DIRECTORY)
    if part_list.checkpoint is not None and part_list.checkpoint not in checkpoints:
        return f"it names checkpoint {part_list.checkpoint}, which is missing"
    firsts = [lsn for name in fs.list(root / LOG_DIRECTORY) if (lsn := segment_first_lsn(name))]
    if part_list.checkpoint is None and firsts and firsts[0] > 1:
        return f"it names no checkpoint, and the log begins at LSN {firsts[0]}"
    named = {part_directory(root, m) / f"{m.name}{PART_SUFFIX}" for m in part_list.parts.values()}
    found = set((root / PARTS_DIRECTORY).rglob(f"*{PART_SUFFIX}"))
    if named - found and found - named:
        return f"it names {min(named - found).name}, which is missing, and there are others"
    return None


class BrokenPart:
    """In place of a part that cannot be read."""

    def __init__(self, meta: PartMeta, error: Exception) -> None:
        self.meta = meta
        self.error = error

    def overlaps(self, devices: DeviceIds | None, start_ns: int, end_ns: int) -> bool:
        """True when it could hold a row of ``devices`` (sorted) in [start, end)."""
        meta = self.meta
        if meta.time_max_ns < start_ns or meta.time_min_ns >= end_ns:
            return False
        if devices is None:
            return True
        low, high = devices.searchsorted([meta.device_min, meta.device_max + 1])
        return bool(low < high)


AnyPart = Part | BrokenPart
_NO_PARTS: PartIndex[AnyPart] = PartIndex()


def blocks_of(
    part: AnyPart, devices: DeviceIds | None, start_ns: int, end_ns: int
) -> tuple[Part, BlockNumbers] | None:
    """The part and its blocks that may hold such rows, None when it holds none.

    Raises CorruptionError when that cannot be known because the part is broken.
    """
    if isinstance(part, BrokenPart):
        if part.overlaps(devices, start_ns, end_ns):
            name = f"{part.meta.name}{PART_SUFFIX}"
            raise CorruptionError(
                name, 0, f"rows of this query lie in a part that is damaged ({part.error})"
            ) from part.error
        return None
    meta = part.meta
    if meta.time_max_ns < start_ns or meta.time_min_ns >= end_ns:
        return None
    if devices is not None and not _of_vnode(devices, meta):
        return None
    blocks = part.prune(devices, start_ns, end_ns)
    return (part, blocks) if len(blocks) else None


def _of_vnode(devices: DeviceIds, meta: PartMeta) -> bool:
    """False when none of the devices belongs to the part's vnode."""
    if meta.vnodes == 1 or len(devices) > FEW_DEVICES:
        return True
    return bool((devices % np.uint32(meta.vnodes) == meta.vnode).any())


def lsn_ranges(metas: Iterable[PartMeta]) -> dict[int, list[tuple[int, int]]]:
    """LSN ranges of the rows of some parts, by origin."""
    found: dict[int, list[tuple[int, int]]] = {}
    for meta in metas:
        for origin, (low, high) in meta.lsn.items():
            found.setdefault(origin, []).append((low, high))
    return found


class Inventory:
    """The part list and a reader for each part. One writer at a time (the maintenance lock)."""

    def __init__(self, fs: Filesystem, root: Path, part_list: PartList) -> None:
        self._fs = fs
        self._root = root
        self._list = part_list
        self._parts: dict[str, PartIndex[AnyPart]] = {}
        self._number = 0
        self._number_lock = threading.Lock()

    @classmethod
    def open(cls, fs: Filesystem, root: Path) -> Inventory:
        """Reads the list of a data directory, removes what a crash left, opens every part.

        Raises CorruptionError, and then nothing was changed.
        """
        path = root / PART_LIST_NAME
        if PART_LIST_NAME in fs.list(root):
            problem = lost_end(fs, root, PartList.read(fs, path))
            if problem is not None:
                raise CorruptionError(path, fs.size(path), f"its end is lost: {problem}")
        elif fs.list(root / CHECKPOINT_DIRECTORY):
            raise CorruptionError(path, 0, "the part list is missing, and there is a checkpoint")
        elif any((root / PARTS_DIRECTORY).rglob(f"*{PART_SUFFIX}")):
            raise CorruptionError(path, 0, "the part list is missing, and there are parts")
        part_list = PartList.open(fs, path)
        self = cls(fs, root, part_list)
        fs.make_directory(self.directory)
        self._remove_unlisted()
        keep = [part_list.checkpoint] if part_list.checkpoint is not None else []
        remove_checkpoints(fs, self.checkpoints, keep)
        for name in part_list.parts:
            self._number = max(self._number, int(name))
        self.publish(self.open_parts(part_list.parts.values()), ())
        return self

    def _remove_unlisted(self) -> None:
        """Also where vnodes were that are no more."""
        metas = self._list.parts.values()
        found = [name for name in self._fs.list(self.directory) if name.startswith(VNODE_PREFIX)]
        for directory in (self.directory, *(self.directory / name for name in found)):
            mine = [m.name for m in metas if part_directory(self._root, m) == directory]
            remove_unlisted(self._fs, directory, mine)

    @property
    def directory(self) -> Path:
        """Where the part files of an only vnode are; those of several are in directories in it."""
        return self._root / PARTS_DIRECTORY

    def path_of(self, meta: PartMeta) -> Path:
        """The file of a part."""
        return part_directory(self._root, meta) / f"{meta.name}{PART_SUFFIX}"

    def directory_for(self, vnode: int, vnodes: int) -> Path:
        """Where vnode ``vnode`` of ``vnodes`` writes its parts; made if it is missing."""
        directory = _vnode_directory(self.directory, vnode, vnodes)
        self._fs.make_directory(directory)
        return directory

    @property
    def checkpoints(self) -> Path:
        """Where the checkpoint files are."""
        return self._root / CHECKPOINT_DIRECTORY

    @property
    def checkpoint(self) -> str | None:
        """The checkpoint that goes with the parts."""
        return self._list.checkpoint

    def of_table(self, table: str) -> PartIndex[AnyPart]:
        """The parts of a table, oldest first."""
        return self._parts.get(table, _NO_PARTS)

    def all(self) -> list[AnyPart]:
        return [part for parts in self._parts.values() for part in parts]

    def next_name(self) -> str:
        """A name that no part has. From any thread. Raises OSError while the list takes no change:
        then no part is written that would lie about until the next start."""
        self._list.ready()
        with self._number_lock:
            self._number += 1
            return f"{self._number:012d}"

    def open_parts(self, metas: Iterable[PartMeta]) -> list[AnyPart]:
        """Readers of these parts; a stand-in for one that is damaged. Raises OSError where the
        process may not open or map any more files."""
        opened: list[AnyPart] = []
        for meta in metas:
            try:
                opened.append(Part.open(self._fs, self.path_of(meta).parent, meta, lazy=True))
            except (CorruptionError, OSError) as error:
                if isinstance(error, OSError) and error.errno in _SHORT_OF_SOMETHING:
                    raise
                logger.error("part %s of table %s is damaged: %s", meta.name, meta.table, error)
                opened.append(BrokenPart(meta, error))
        return opened

    def open_written(self, metas: Sequence[PartMeta]) -> list[AnyPart]:
        """Readers of parts that are about to be listed. Raises OSError, CorruptionError: then their
        files are gone again, and the caller may try once more."""
        try:
            return [Part.open(self._fs, self.path_of(meta).parent, meta) for meta in metas]
        except BaseException:
            with contextlib.suppress(OSError):
                self.unlink(metas)
            raise

    def record(
        self,
        add: Iterable[PartMeta],
        remove: Iterable[str],
        checkpoint: str | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        """Makes a change durable: the commit point of a flush, compaction or expiry."""
        self._list.commit(add=add, remove=remove, checkpoint=checkpoint, facts=facts)

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the list says beside the parts, see PartList.facts."""
        return self._list.facts

    def publish(self, added: Iterable[AnyPart], removed: Iterable[str]) -> None:
        """Shows a durable change to readers. Call it under the store's state lock."""
        gone = set(removed)
        for table, parts in self._parts.items():
            if any(part.meta.name in gone for part in parts):
                self._parts[table] = PartIndex(p for p in parts if p.meta.name not in gone)
        fresh: dict[str, list[AnyPart]] = {}
        for part in added:
            fresh.setdefault(part.meta.table, []).append(part)
        for table, some in fresh.items():
            self._parts[table] = PartIndex((*self.of_table(table), *some))

    def unlink(self, removed: Iterable[PartMeta]) -> None:
        """Removes the files of parts that the list does not name, and older checkpoints."""
        for meta in removed:
            self._fs.unlink(self.path_of(meta))
        current = self._list.checkpoint
        for name in self._fs.list(self.checkpoints):
            if name.endswith(CHECKPOINT_SUFFIX) and name != current:
                self._fs.unlink(self.checkpoints / name)

    def close(self) -> None:
        """Closes the list; readers that hold a part keep it."""
        self._list.close()
