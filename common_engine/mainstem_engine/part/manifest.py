"""The part list: which parts exist, and which checkpoint goes with them.

1. One record is one atomic change: parts added, parts removed, perhaps a new checkpoint. It counts
   when it is synced; a crash leaves all of it or nothing.
2. At open the records are replayed. A record that is incomplete at the end of the file is a torn
   write and is cut off. Any other wrong byte raises: guessing which parts exist would lose or
   double data without a word.
3. A list that has grown to many times its live content is written anew, by atomic replacement.
4. So is one of which a record failed, before the next: what that record said did not happen.
5. A part file that the list does not name is what a crash left; ``remove_unlisted`` deletes it.

Bytes: head ``magic 8 | version u32 | crc32c u32 of the 12 bytes before``, then records
``length u32 | inverted length u32 | crc32c u32 | msgpack map``, where the map is
``{"add": [...], "remove": [...], "checkpoint": name or nil}``. The length is there twice so that a
damaged one is not taken for a record that a torn write left incomplete.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import google_crc32c
import msgpack

from mainstem_engine.errors import CorruptionError, LogFailedError
from mainstem_engine.filesystem import AppendFile, Filesystem, has_blank_sector
from mainstem_engine.part.layout import PART_SUFFIX

MAGIC = b"MSTMLST\n"
VERSION = 1

REWRITE_BYTES_MIN = 1 << 20
REWRITE_FACTOR = 8
"""Rewrite at open when the file is over 1 MiB and 8 times its live content: rare and cheap."""

_HEAD = struct.Struct("<8sI")
_HEAD_BYTES = _HEAD.size + 4
_RECORD = struct.Struct("<III")
_INVERT = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class PartMeta:
    """What is known of a part without opening it.

    Times in ns and devices include both ends. ``lsn``: per origin index, lowest and highest LSN.
    ``vnode`` of ``vnodes``: the shard that wrote it, and how many there were; of more than one, it
    holds only devices whose id modulo ``vnodes`` is ``vnode``. ``applied``: first and last local
    LSN of the log records whose rows it holds. ``erased_through``: local LSN of the newest
    tombstone that was applied when it was written, 0 for none.
    The file is ``<name>.part``.
    """

    name: str
    table: str
    partition_start_ns: int
    rows: int
    bytes: int
    time_min_ns: int
    time_max_ns: int
    device_min: int
    device_max: int
    lsn: dict[int, tuple[int, int]] = field(default_factory=dict)
    vnode: int = 0
    vnodes: int = 1
    applied: tuple[int, int] = (0, 0)
    erased_through: int = 0

    def pack(self) -> list[Any]:
        """As plain values, in the order of the fields."""
        lsn = [[origin, low, high] for origin, (low, high) in sorted(self.lsn.items())]
        return [
            self.name, self.table, self.partition_start_ns, self.rows, self.bytes,
            self.time_min_ns, self.time_max_ns, self.device_min, self.device_max, lsn,
            self.vnode, self.vnodes, list(self.applied), self.erased_through,
        ]  # fmt: skip

    @classmethod
    def unpack(cls, values: list[Any]) -> PartMeta:
        """The inverse of pack(). Values that an older version did not write have their defaults;
        those of a later version are ignored."""
        (name, table, start, rows, size, time_min, time_max, device_min, device_max) = values[:9]
        lsn = {origin: (low, high) for origin, low, high in values[9]}
        later = values[10:14]
        vnode, vnodes, applied, erased_through = (*later, *_DEFAULTS[len(later) :])
        return cls(
            name, table, start, rows, size, time_min, time_max, device_min, device_max, lsn,
            vnode, vnodes, (applied[0], applied[1]), erased_through,
        )  # fmt: skip


_DEFAULTS: tuple[Any, ...] = (0, 1, (0, 0), 0)
"""vnode, vnodes, applied and erased_through of parts that were written without them."""


class PartList:
    """See the module. One writer at a time (the caller's flush and compaction lock)."""

    def __init__(self, fs: Filesystem, path: Path) -> None:
        self._fs = fs
        self._path = path
        self._file: AppendFile | None = None
        self._failed = False
        """Whether the last record is on disk is not known."""
        self._lock = threading.Lock()
        self.parts: dict[str, PartMeta] = {}
        """Every part that exists, by name. Replaced, never changed, by commit()."""
        self.checkpoint: str | None = None
        """The checkpoint file that goes with them."""
        self.facts: dict[str, Any] = {}
        """What else is true of exactly these parts, by name; retention keeps its horizons here."""

    @classmethod
    def open(cls, fs: Filesystem, path: Path) -> PartList:
        """Read the list at ``path``, or make an empty one. CorruptionError if it is damaged."""
        self = cls(fs, path)
        temporary = path.with_name(path.name + ".tmp")
        fs.unlink(temporary)
        if path.name not in fs.list(path.parent):
            fs.make_directory(path.parent)
            fs.replace(path, [_head()])
            size = end = _HEAD_BYTES
        else:
            data = fs.read(path)
            size, end = len(data), self._replay(data)
        self._file = fs.open_append(path)
        if end < size:
            self._file.truncate(end)
            self._file.sync()
        self._rewrite_if_worth(end)
        return self

    @classmethod
    def read(cls, fs: Filesystem, path: Path) -> PartList:
        """The list as it lies on disk, changing nothing; commit() is refused. CorruptionError."""
        self = cls(fs, path)
        self._replay(fs.read(path))
        return self

    def commit(
        self,
        *,
        add: Iterable[PartMeta] = (),
        remove: Iterable[str] = (),
        checkpoint: str | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        """Make one change durable, all of it or nothing. ``checkpoint`` None keeps the present one;
        ``facts`` (plain values) replace those of the same name.

        Raises OSError: a crash may leave the change or not, so files of both must stay; what comes
        next, see ready(), is without it. KeyError if a part to remove is not there.
        """
        with self._lock:
            self._commit(self._writable(), add, remove, checkpoint, facts)

    def ready(self) -> None:
        """Writes the list anew, as it was before the change, after one that failed. From any
        thread; before files are written for a change that cannot be made. Raises OSError."""
        with self._lock:
            self._writable()

    def _writable(self) -> AppendFile:
        if self._file is None:
            raise LogFailedError(f"{self._path} is closed", hint="re-open the data directory")
        if self._failed:
            # What follows the failed record would be lost with it; a new file is either complete
            # and in place, or not there.
            file = self._rewrite(self._file)
            self._failed = False
            return file
        return self._file

    def _commit(
        self,
        file: AppendFile,
        add: Iterable[PartMeta],
        remove: Iterable[str],
        checkpoint: str | None,
        facts: Mapping[str, Any] | None,
    ) -> None:
        added, removed = list(add), list(remove)
        parts = dict(self.parts)
        for name in removed:
            del parts[name]
        parts.update((meta.name, meta) for meta in added)
        record = _record(added, removed, checkpoint, facts)
        try:
            file.write([record])
            file.sync()
        except OSError:
            self._failed = True
            raise
        self.parts = parts
        if checkpoint is not None:
            self.checkpoint = checkpoint
        self.facts.update(facts or {})

    def close(self) -> None:
        """Close the file. May be called twice."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _replay(self, data: bytes) -> int:
        """Apply every record of ``data``; returns where the last whole one ends."""
        if data[:_HEAD_BYTES] != _head():
            raise CorruptionError(self._path, 0, "this is not a part list of a known version")
        position = _HEAD_BYTES
        while position < len(data):
            body = position + _RECORD.size
            if body > len(data):
                return position
            length, inverted, crc = _RECORD.unpack_from(data, position)
            record = data[body : body + length]
            if length == inverted ^ _INVERT and google_crc32c.value(record) == crc:
                self._apply(record, position)
                position = body + length
            elif length == inverted ^ _INVERT and body + length > len(data):
                return position  # torn: it lacks its end
            elif has_blank_sector(memoryview(data), position, len(data)):
                return position  # torn: a sector of it was never written
            else:
                raise CorruptionError(self._path, position, "a record has a wrong checksum")
        return position

    def _apply(self, record: bytes, position: int) -> None:
        try:
            change = msgpack.unpackb(record)
            for name in change["remove"]:
                del self.parts[name]
            for values in change["add"]:
                meta = PartMeta.unpack(values)
                self.parts[meta.name] = meta
            if change["checkpoint"] is not None:
                self.checkpoint = change["checkpoint"]
            self.facts.update(change.get("facts") or {})
        except (KeyError, TypeError, ValueError, msgpack.UnpackException) as exc:
            raise CorruptionError(self._path, position, f"record not understood ({exc})") from exc

    def _rewrite_if_worth(self, size: int) -> None:
        if size < REWRITE_BYTES_MIN or self._file is None:
            return
        if size >= REWRITE_FACTOR * len(self._live()):
            self._rewrite(self._file)

    def _live(self) -> bytes:
        """One record that says what all of them say."""
        return _record(list(self.parts.values()), [], self.checkpoint, self.facts)

    def _rewrite(self, old: AppendFile) -> AppendFile:
        self._fs.replace(self._path, [_head(), self._live()])
        self._file = self._fs.open_append(self._path)
        old.close()
        return self._file


def remove_unlisted(fs: Filesystem, directory: Path, parts: Iterable[str]) -> int:
    """Delete part files in ``directory`` that are not among ``parts``, and temporary files.

    Returns how many. Call it only after the part list was read without an error.
    """
    removed = fs.remove_temporary(directory)
    listed = {f"{name}{PART_SUFFIX}" for name in parts}
    for name in fs.list(directory):
        if name.endswith(PART_SUFFIX) and name not in listed:
            fs.unlink(directory / name)
            removed += 1
    return removed


def _head() -> bytes:
    head = _HEAD.pack(MAGIC, VERSION)
    return head + struct.pack("<I", google_crc32c.value(head))


def _record(
    add: list[PartMeta],
    remove: list[str],
    checkpoint: str | None,
    facts: Mapping[str, Any] | None = None,
) -> bytes:
    change: dict[str, Any] = {
        "add": [meta.pack() for meta in add],
        "remove": remove,
        "checkpoint": checkpoint,
    }
    if facts:
        change["facts"] = dict(facts)
    body: bytes = msgpack.packb(change)
    return _RECORD.pack(len(body), len(body) ^ _INVERT, google_crc32c.value(body)) + body
