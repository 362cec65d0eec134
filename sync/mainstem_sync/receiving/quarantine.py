"""What was refused, kept until somebody decides: durable, bounded, one entry for one fact.

1. ``add`` returns only when every item is on disk, so that the source may be acknowledged then.
2. An item's id is a hash of its content (not of when it was seen): a redelivered message or a batch
   that is received again finds its own entry among the newest 100,000 and adds nothing.
3. Files are append-only segments of ``length u32 | crc32c u32 | msgpack`` entries. A torn tail is
   dropped at open; a damaged entry in the middle is skipped and counted.
4. What was put aside of received rows keeps their exact times and versions: an image of their
   slice replaces it, a delete of their owner removes it (covering.py), and it can be merged later.
5. Above ``bytes_max`` the oldest segment goes, and what it held is counted per table (``evicted``).
   The counts stand in the next segment's first entry, so they survive a restart.

An entry holds one item, or the items of one column of a batch; ``items`` shows them one by one.
"""

from __future__ import annotations

import hashlib
import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import google_crc32c
import msgpack
import numpy as np
import numpy.typing as npt

from mainstem_engine.errors import ClosedError
from mainstem_engine.filesystem import AppendFile, Filesystem
from mainstem_engine.model import Lsns, TimesNs

ENTRY = struct.Struct("<II")
NS_PER_MS = 1_000_000
SUFFIX = ".quarantine"
SEGMENTS = 16
"""Eviction takes a sixteenth of the bound at a time: few files, and little is lost at once."""

SEGMENT_BYTES_MIN = 64 << 10
"""Smaller segments would make a file per handful of items."""

VALUE_CHARS_MAX = 4096
"""A value or payload longer than this is kept cut: it is for people to look at."""

KNOWN_MAX = 100_000
"""Ids held in memory to recognise what comes again: redeliveries are recent. About 10 MB."""

BLOCK_ITEMS_MAX = 65_536
"""Items of one entry; a larger block is cut, so that reading one entry stays small."""


@dataclass(frozen=True, slots=True)
class QuarantineItem:
    """One refused value, row or message. ``at_ms`` and ``time_ms`` are ms since the epoch.

    ``measurement`` is empty where a whole row or message was refused. ``value`` is plain data.
    """

    node: str
    table: str
    device: str
    time_ms: int | None
    measurement: str
    reason: str
    value: Any
    at_ms: int


@dataclass(frozen=True, slots=True)
class QuarantineBlock:
    """Refused values of one measurement (or whole rows) of one received record, by column.

    ``lsn``: of the record, of an image what it is as of. Where they are known, ``uuid`` and
    ``epoch`` say which origin it is, ``times_ns`` and ``lsns`` the exact time and the version of
    each item.
    """

    node: str
    table: str
    measurement: str
    reason: str
    at_ms: int
    devices: Sequence[str]
    times_ms: Sequence[int]
    values: Sequence[Any]
    lsn: int = 0
    uuid: str = ""
    epoch: int = 0
    times_ns: TimesNs | None = None
    lsns: Lsns | None = None

    @property
    def exact(self) -> TimesNs:
        """int64[n] ns: times of the items, to the ms where no more is known."""
        if self.times_ns is not None:
            return self.times_ns
        return np.array(self.times_ms, np.int64) * NS_PER_MS

    @property
    def versions(self) -> Lsns:
        """uint64[n]: the LSN of each item."""
        if self.lsns is not None:
            return self.lsns
        return np.full(len(self.times_ms), self.lsn, np.uint64)

    def plain_value(self, at: int) -> Any:
        """A value as it stands in a file."""
        return _plain(self.values[at])

    def take(self, some: npt.NDArray[np.intp]) -> QuarantineBlock:
        """The items at these places."""
        places = some.tolist()
        return replace(
            self,
            devices=[self.devices[at] for at in places],
            times_ms=[self.times_ms[at] for at in places],
            values=[self.values[at] for at in places],
            times_ns=None if self.times_ns is None else self.times_ns[some],
            lsns=None if self.lsns is None else self.lsns[some],
        )

    def to_content(self) -> list[Any]:
        """As it stands in a file."""
        content = [
            self.node, self.table, self.measurement, self.reason, self.lsn, list(self.devices),
            [int(t) for t in self.times_ms], [_plain(value) for value in self.values],
        ]  # fmt: skip
        if self.times_ns is not None:
            lsns = self.versions.astype("<u8").tobytes()
            content += [self.uuid, self.epoch, self.times_ns.astype("<i8").tobytes(), lsns]
        return content

    @classmethod
    def from_entry(cls, kind: str, content: Sequence[Any], at_ms: int) -> QuarantineBlock | None:
        """Of an entry; None of an item without a time."""
        if kind == "item":
            node, table, device, time_ms, measurement, reason, value = content
            if time_ms is None:
                return None
            return cls(node, table, measurement, reason, at_ms, [device], [time_ms], [value])
        node, table, measurement, reason, lsn, devices, times, values, *exact = content
        block = cls(node, table, measurement, reason, at_ms, devices, times, values, lsn)
        if not exact:
            return block
        uuid, epoch, times_ns, lsns = exact
        return replace(
            block, uuid=uuid, epoch=epoch,
            times_ns=np.frombuffer(times_ns, "<i8"), lsns=np.frombuffer(lsns, "<u8"),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class QuarantineStatistics:
    """What is on disk: ``entries``, ``items`` in them (dropped ones too, until their file goes),
    ``bytes``. ``evicted`` items went to stay within the bound; ``damaged`` entries were skipped."""

    entries: int
    items: int
    bytes: int
    evicted: int
    damaged: int


@dataclass(slots=True)
class _Segment:
    number: int
    path: Path
    bytes: int = 0
    entries: int = 0
    items: dict[str, int] = field(default_factory=dict)
    extents: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    """By node and table, the first and the last time in ms of what is in it."""

    def note_extent(self, kind: str, content: Sequence[Any]) -> None:
        """An entry was written."""
        times = [content[3]] if kind == "item" else content[6]
        known = [t for t in times if t is not None]
        if known:
            key = (content[0], content[1])
            low, high = self.extents.get(key, (known[0], known[0]))
            self.extents[key] = (min(low, *known), max(high, *known))

    def overlaps(self, node: str, table: str, start_ns: int, end_ns: int) -> bool:
        """True if something of a node's table may lie in [start, end)."""
        extent = self.extents.get((node, table))
        if extent is None:
            return False
        return extent[0] * NS_PER_MS < end_ns and (extent[1] + 1) * NS_PER_MS > start_ns


class QuarantineStore:
    """The quarantine of one node. Thread-safe."""

    def __init__(self, directory: Path, bytes_max: int, fs: Filesystem) -> None:
        self._directory = directory
        self._bytes_max = bytes_max
        self._segment_bytes = max(SEGMENT_BYTES_MIN, bytes_max // SEGMENTS)
        self._fs = fs
        self._lock = threading.Lock()
        self._segments: list[_Segment] = []
        self._known: dict[str, None] = {}
        self._evicted: dict[str, int] = {}
        self._dropped: set[str] = set()
        self._dropped_items: dict[str, set[int]] = {}
        self._damaged = 0
        self._revision = 0
        self._file: AppendFile | None = None
        self._closed = False

    @classmethod
    def open(
        cls, directory: Path, *, bytes_max: int = 200_000_000, fs: Filesystem | None = None
    ) -> QuarantineStore:
        """Open or create. ``bytes_max`` bounds the files; the oldest entries go first."""
        store = cls(directory, bytes_max, fs or Filesystem())
        store._fs.make_directory(directory)
        for name in store._fs.list(directory):
            if name.endswith(SUFFIX):
                store._load(directory / name)
        return store

    def add(self, items: Iterable[QuarantineItem]) -> list[str]:
        """Keep items durably; returns their ids. Known ones are not written again."""
        entries = []
        for item in items:
            content = _cut(
                [item.node, item.table, item.device, item.time_ms, item.measurement, item.reason,
                 _plain(item.value)]
            )  # fmt: skip
            entries.append((_identity("item", content), "item", item.table, 1, content, item.at_ms))
        return self._write(entries)

    def add_blocks(self, blocks: Iterable[QuarantineBlock]) -> list[str]:
        """Keep columns of refused values durably; returns one id per entry."""
        entries = []
        for block in blocks:
            count = len(block.times_ms)
            for start in range(0, count, BLOCK_ITEMS_MAX):
                some = np.arange(start, min(count, start + BLOCK_ITEMS_MAX))
                piece = block if len(some) == count else block.take(some)
                content = piece.to_content()
                identity = _identity("block", content)
                entries.append((identity, "block", block.table, len(some), content, block.at_ms))
        return self._write(entries)

    def items(
        self,
        *,
        limit: int = 1000,
        node: str | None = None,
        table: str | None = None,
        after: str | None = None,
    ) -> list[dict[str, Any]]:
        """The newest entries first, as the contract's objects (times in ms), at most ``limit``.
        ``after``: those that come behind the item of that id."""
        found: list[dict[str, Any]] = []
        for identity, kind, content, at_ms in self._entries_newest_first():
            if after is not None and identity != after.partition(":")[0]:
                continue
            for item in self._shown(identity, kind, content, at_ms):
                if after is not None:
                    after = None if item["id"] == after else after
                    continue
                if (node and item["node"] != node) or (table and item["table"] != table):
                    continue
                found.append(item)
                if len(found) >= limit:
                    return found
        return found

    def walk(self, node: str) -> Iterator[dict[str, Any]]:
        """All items of a node, the newest entries first; one file is in memory at a time."""
        for identity, kind, content, at_ms in self._entries_newest_first():
            if content[0] == node:
                yield from self._shown(identity, kind, content, at_ms)

    def get(self, identity: str) -> dict[str, Any] | None:
        """The item of that id, or None."""
        return self.find([identity]).get(identity)

    def find(self, identities: Iterable[str]) -> dict[str, dict[str, Any]]:
        """The items of these ids, by id, in one pass over the files."""
        wanted = set(identities)
        entries = {identity.partition(":")[0] for identity in wanted}
        found = {}
        for entry, kind, content, at_ms in self._entries_newest_first():
            if entry in entries:
                for item in self._shown(entry, kind, content, at_ms):
                    if item["id"] in wanted:
                        found[item["id"]] = item
                entries.discard(entry)
                if not entries:
                    break
        return found

    def find_blocks(self, identities: Iterable[str]) -> dict[str, QuarantineBlock]:
        """The items of these ids, each as a block of one."""
        wanted: dict[str, list[int]] = {}
        for identity in identities:
            entry, _, index = identity.partition(":")
            wanted.setdefault(entry, []).append(int(index or 0))
        found = {}
        for entry, kind, content, at_ms in self._entries_newest_first():
            places = wanted.pop(entry, ())
            block = QuarantineBlock.from_entry(kind, content, at_ms) if places else None
            if block is not None:
                for at in places:
                    one = block.take(np.array([at], np.intp))
                    found[f"{entry}:{at}" if kind == "block" else entry] = one
            if not wanted:
                break
        return found

    def drop(self, *identities: str) -> int:
        """Forget items for good; an id without an index stands for a whole entry. Returns how many
        of the ids there were."""
        whole = [identity for identity in identities if ":" not in identity]
        there = set(self.find(identity for identity in identities if ":" in identity))
        if whole:
            there |= {entry for entry, _, _, _ in self._entries_newest_first()} & set(whole)
        self._write([(f"-{one}", "drop", "", 0, [one], 0) for one in sorted(there)])
        return len(there)

    def blocks(
        self, node: str, table: str, start_ns: int, end_ns: int
    ) -> Iterator[tuple[str, QuarantineBlock, npt.NDArray[np.intp]]]:
        """What was put aside of a node's table in [start, end): the entry, all of it, and the
        places of the items that lie there and were not dropped."""
        for identity, kind, content, at_ms in self._entries_newest_first(
            lambda segment: segment.overlaps(node, table, start_ns, end_ns)
        ):
            if (content[0], content[1]) != (node, table):
                continue
            block = QuarantineBlock.from_entry(kind, content, at_ms)
            if block is None:
                continue
            times = block.exact
            inside = (times >= start_ns) & (times < end_ns)
            inside[list(self._dropped_items.get(identity, ()))] = False
            if inside.any():
                yield identity, block, np.flatnonzero(inside)

    def holds(self, node: str, table: str, start_ns: int, end_ns: int) -> bool:
        """False if nothing of a node's table was put aside in [start, end). Cheap."""
        with self._lock:
            return any(each.overlaps(node, table, start_ns, end_ns) for each in self._segments)

    def erase(self, found: Mapping[str, npt.NDArray[np.intp]], counts: Mapping[str, int]) -> int:
        """Forget items for good: by entry their places. ``counts``: items of each entry, to drop it
        whole when none is left. Returns how many."""
        entries: list[tuple[str, str, str, int, list[Any], int]] = []
        for entry, places in found.items():
            gone = self._dropped_items.get(entry, set()) | set(places.tolist())
            if len(gone) >= counts[entry]:
                entries.append((f"-{entry}", "drop", "", 0, [entry], 0))
            else:
                fields = [entry, places.tolist()]
                entries.append((f"-{entry}:{len(gone)}+", "drop", "", 0, fields, 0))
        self._write(entries)
        return sum(len(places) for places in found.values())

    @property
    def revision(self) -> int:
        """Another number after every change."""
        return self._revision

    def _shown(
        self, identity: str, kind: str, content: list[Any], at_ms: int
    ) -> Iterator[dict[str, Any]]:
        """The items of an entry that were not dropped."""
        for item in _expand(identity, kind, content, at_ms):
            index = item["id"].partition(":")[2]
            if not index or int(index) not in self._dropped_items.get(identity, ()):
                yield item

    def evicted(self) -> dict[str, int]:
        """Items that were dropped to stay within the bound, by table."""
        with self._lock:
            return dict(self._evicted)

    def statistics(self) -> QuarantineStatistics:
        """Sizes and counts now."""
        with self._lock:
            return QuarantineStatistics(
                entries=sum(s.entries for s in self._segments),
                items=sum(sum(s.items.values()) for s in self._segments),
                bytes=sum(s.bytes for s in self._segments),
                evicted=sum(self._evicted.values()),
                damaged=self._damaged,
            )

    def close(self) -> None:
        """Close the file. May be called twice."""
        with self._lock:
            self._closed = True
            if self._file is not None:
                self._file.close()
                self._file = None

    def _write(self, entries: Sequence[tuple[str, str, str, int, list[Any], int]]) -> list[str]:
        with self._lock:
            if self._closed:
                raise ClosedError("the quarantine is closed")
            fresh: dict[str, bytes] = {}
            kept: dict[str, list[Any]] = {}
            for entry in entries:
                identity = entry[0]
                if identity not in self._known and identity not in fresh:
                    fresh[identity] = _pack(list(entry))
                    kept[identity] = list(entry)
            if fresh:
                self._revision += 1
                file = self._writable(sum(len(data) for data in fresh.values()))
                file.write(list(fresh.values()))
                file.sync()
                segment = self._segments[-1]
                for identity, data in fresh.items():
                    self._note(segment, kept[identity])
                    segment.bytes += len(data)
            return [entry[0] for entry in entries]

    def _note(self, segment: _Segment, fields: Sequence[Any]) -> None:
        identity, kind, table, count, content, _ = fields
        if kind == "drop":
            entry, _, index = content[0].partition(":")
            if index or content[1:]:
                places = content[1] if content[1:] else [int(index)]
                self._dropped_items.setdefault(entry, set()).update(places)
            else:
                self._dropped.add(entry)
                self._known.pop(entry, None)
            return
        self._known[identity] = None
        if len(self._known) > KNOWN_MAX:
            del self._known[next(iter(self._known))]
        self._dropped.discard(identity)
        self._dropped_items.pop(identity, None)
        segment.entries += 1
        segment.items[table] = segment.items.get(table, 0) + count
        segment.note_extent(kind, content)

    def _writable(self, size: int) -> AppendFile:
        """The file to append to: a new segment when the open one is full."""
        if self._file is not None and self._segments[-1].bytes + size <= self._segment_bytes:
            return self._file
        while self._segments and self._total() + size > self._bytes_max:
            self._evict()
        number = self._segments[-1].number + 1 if self._segments else 1
        segment = _Segment(number, self._directory / f"{number:020d}{SUFFIX}")
        if self._file is not None:
            self._file.close()
        self._file = self._fs.create(segment.path)
        header = _pack(["", "evicted", "", 0, [self._evicted], 0])
        self._file.write([header])
        self._file.sync()
        self._fs.sync_directory(self._directory)
        segment.bytes = len(header)
        self._segments.append(segment)
        return self._file

    def _total(self) -> int:
        return sum(segment.bytes for segment in self._segments)

    def _evict(self) -> None:
        """Drop the oldest segment. A crash between unlink and the next header forgets the count
        of that one segment; writing the count first would count it twice instead."""
        segment = self._segments.pop(0)
        for table, count in segment.items.items():
            self._evicted[table] = self._evicted.get(table, 0) + count
        self._fs.unlink(segment.path)

    def _load(self, path: Path) -> None:
        stem = path.name.removesuffix(SUFFIX)
        if not stem.isdigit():
            return
        segment = _Segment(int(stem), path, self._fs.size(path))
        for entry in self._read(path):
            if entry is None:
                self._damaged += 1
                continue
            if entry[1] == "evicted":
                self._evicted = {str(k): int(v) for k, v in entry[4][0].items()}
            else:
                self._note(segment, entry)
        self._segments.append(segment)

    def _read(self, path: Path) -> Iterator[list[Any] | None]:
        """Entries of a file; None for a damaged one. A torn tail ends it."""
        data = memoryview(self._fs.read(path))
        position = 0
        while position + ENTRY.size <= len(data):
            length, crc = ENTRY.unpack_from(data, position)
            start = position + ENTRY.size
            if start + length > len(data):
                return  # torn: add() never returned for it
            body = bytes(data[start : start + length])
            position = start + length
            if google_crc32c.value(body) != crc:
                yield None
                continue
            yield msgpack.unpackb(body, strict_map_key=False)

    def _entries_newest_first(
        self, chosen: Callable[[_Segment], bool] = lambda segment: True
    ) -> Iterator[tuple[str, str, list[Any], int]]:
        with self._lock:
            paths = [segment.path for segment in reversed(self._segments) if chosen(segment)]
            dropped = set(self._dropped)
        seen: set[str] = set()
        for path in paths:
            try:
                entries = [entry for entry in self._read(path) if entry is not None]
            except FileNotFoundError:
                continue  # evicted since
            for identity, kind, _, _, content, at_ms in reversed(entries):
                # An entry that was dropped and came again stands on disk twice.
                if kind in ("item", "block") and identity not in dropped and identity not in seen:
                    seen.add(identity)
                    yield identity, kind, content, at_ms


def _pack(entry: list[Any]) -> bytes:
    body: bytes = msgpack.packb(entry)
    return ENTRY.pack(len(body), google_crc32c.value(body)) + body


def _identity(kind: str, content: list[Any]) -> str:
    return hashlib.blake2b(msgpack.packb([kind, content]), digest_size=12).hexdigest()


def _cut(content: list[Any]) -> list[Any]:
    return [part[:VALUE_CHARS_MAX] if isinstance(part, str | bytes) else part for part in content]


def _plain(value: Any) -> Any:
    """What msgpack and JSON can hold: numpy scalars become Python's, the rest its text."""
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, bool | float | str | bytes) or value is None:
        return value[:VALUE_CHARS_MAX] if isinstance(value, str | bytes) else value
    if isinstance(value, int) and -(1 << 63) <= value < (1 << 64):
        return value
    return str(value)[:VALUE_CHARS_MAX]


def _expand(identity: str, kind: str, content: list[Any], at_ms: int) -> Iterator[dict[str, Any]]:
    if kind == "item":
        node, table, device, time_ms, measurement, reason, value = content
        yield _item(identity, node, table, device, time_ms, measurement, reason, value, at_ms)
        return
    node, table, measurement, reason, _, devices, times, values, *_ = content
    for index, (device, time_ms, value) in enumerate(zip(devices, times, values, strict=True)):
        yield _item(
            f"{identity}:{index}", node, table, device, time_ms, measurement, reason, value, at_ms
        )


def _item(
    identity: str, node: str, table: str, device: str, time_ms: int | None, measurement: str,
    reason: str, value: Any, at_ms: int,
) -> dict[str, Any]:  # fmt: skip
    return {
        "id": identity,
        "node": node,
        "table": table,
        "device": device,
        "time": time_ms,
        "measurement": measurement,
        "reason": reason,
        "value": value.hex() if isinstance(value, bytes) else value,
        "at": at_ms,
    }
