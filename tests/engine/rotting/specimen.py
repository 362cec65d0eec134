"""A directory with every kind of file in it, its backup, and damages to any of them.

Every value says of which device and time it is, so that a row in the wrong place shows.
"""

from __future__ import annotations

import shutil
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import msgpack
import numpy as np

from mainstem_engine import Engine, EngineOptions, Template
from mainstem_engine.catalog.base_file import HEAD as BASE_HEAD
from mainstem_engine.filesystem import SECTOR_BYTES, Filesystem
from mainstem_engine.inventory import PART_LIST_NAME, part_directory
from mainstem_engine.log.layout import RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES, padded
from mainstem_engine.part.layout import HEAD, TRAILER
from mainstem_engine.part.manifest import PartList
from mainstem_engine.part.reader import Part
from mainstem_engine.testing.faulty_filesystem import FaultyFilesystem

T0 = 1_790_000_000_000
MS = 1_000_000
DEVICES = 6
BLOCK_BYTES = 4096
"""What a file system moves as one."""
BASE_ALIGNMENT = 64
"""Where sections of a catalog's base start."""
BLOCK_ROWS = 40
"""Small, so that a part has many blocks."""

Row = tuple[str, int, int]
"""Device, time in ms, value."""
Rows = frozenset[Row]


def write(engine: Engine, device: int, first: int, count: int) -> None:
    """Rows of which each is known by its value."""
    numbers = np.arange(first, first + count)
    columns = {"voltage": device * 10_000 + numbers}
    tags = {"location": [f"hall {device}"]}
    ids = engine.device_ids("meters", [f"root.a.d{device}"], tags, create=True)
    engine.write("meters", int(ids[0]), T0 + numbers, columns).wait()


def stored() -> Rows:
    """Everything that was ever written."""
    numbers = {*range(160), *range(200, 280)}
    return frozenset(
        (f"root.a.d{device}", T0 + n, device * 10_000 + n)
        for device in range(DEVICES)
        for n in numbers
    )


def options(**others: object) -> EngineOptions:
    chosen = {"background": False, "durability": "os", "vnodes": 2, "log_segment_bytes": 4096}
    return EngineOptions(**{**chosen, "block_rows": BLOCK_ROWS, **others})  # type: ignore[arg-type]


def specimen(place: Path, meters: Template) -> Path:
    """Vnodes, a catalog with a base, deletes, a compaction, records above the checkpoint and behind
    the backup: in ``place/data``, as a kill leaves it, and the backup in ``place/backup``."""
    fs = FaultyFilesystem(place / "live")
    engine = Engine.open(fs.root / "data", options(durability="always"), fs=fs)
    engine.create_template(meters)
    for number in range(3):
        for device in range(DEVICES):
            write(engine, device, number * 50, 60)
        engine._store.catalog_files.merge_next = number == 1
        engine.flush()
        if number == 1:
            engine.compact()
    engine.delete("meters", devices="root.a.d0", start=T0, end=T0 + 5).ack.wait()
    engine.flush()
    for first in range(200, 260, 20):
        for device in range(DEVICES):
            write(engine, device, first, 20)
    engine.backup(fs.root / "backup")
    for device in range(DEVICES):
        write(engine, device, 260, 20)
    for name in ("data", "backup"):
        shutil.copytree(fs.root / name, place / name)
    engine.abandon()
    return place / "data"


def rows_of(engine: Engine, **selection: object) -> Rows:
    """(device, time, value) of all rows that have a value."""
    table = engine.scan("meters", **selection).read_all()  # type: ignore[arg-type]
    name = "voltage" if "voltage" in table.column_names else "m1"
    if name not in table.column_names:
        return frozenset()
    columns = (
        table["device"].to_pylist(),
        table["time"].cast("int64").to_pylist(),
        table[name].to_pylist(),
    )
    return frozenset(row for row in zip(*columns, strict=True) if row[2] is not None)


def shown(data: Path) -> Rows:
    """What an engine that opens the directory shows. Raises MainstemError."""
    with Engine.open(data, options()) as engine:
        tables = [t.name for t in engine.catalog.templates.all()]
        assert all(counts.balanced for counts in engine.store_accounting().values())
        return rows_of(engine) if "meters" in tables else frozenset()


def files_of(root: Path) -> list[Path]:
    """Every file that may be damaged, relative to its directory."""
    return sorted(p.relative_to(root) for p in root.rglob("*") if p.is_file() and p.name != "LOCK")


def spoiled(content: bytes, random: Random) -> tuple[str, bytes]:
    """One damage that changes something: which, and the content after it."""
    while True:
        kind = random.choice(["bit", "byte", "zeros", "sectors", "blocks", "cut"])
        place = random.randrange(len(content))
        after = _spoiled(content, kind, place, random)
        if after != content:
            return f"{kind} at {place}", after


def spoiled_in_place(path: Path, random: Random) -> str:
    """As ``spoiled``, in the very file that others have mapped. Not cut: who reads what is not
    there any more gets a signal."""
    content = path.read_bytes()
    while True:
        kind, after = spoiled(content, random)
        if len(after) == len(content):
            with path.open("r+b") as file:
                file.write(after)
            return kind


def _spoiled(content: bytes, kind: str, place: int, random: Random) -> bytes:
    data = bytearray(content)
    if kind == "bit":
        data[place] ^= 1 << random.randrange(8)
    elif kind == "byte":
        data[place] ^= random.randrange(1, 256)
    elif kind == "cut":
        del data[place:]
    elif kind == "zeros":
        start = place - place % SECTOR_BYTES
        data[start : start + SECTOR_BYTES] = bytes(len(data[start : start + SECTOR_BYTES]))
    else:
        _swap(data, SECTOR_BYTES if kind == "sectors" else BLOCK_BYTES, place, random)
    return bytes(data)


def _swap(data: bytearray, size: int, place: int, random: Random) -> None:
    """Two sectors or blocks were written in each other's place; the last may be short."""
    start, other = place - place % size, random.randrange(len(data)) // size * size
    first, second = sorted((start, other))
    a, b = bytes(data[first : first + size]), bytes(data[second : second + size])
    data[second : second + size] = a[: len(b)]
    data[first : first + len(b)] = b


def matters(name: Path, before: bytes, after: bytes) -> bool:
    """True if the damage changed a byte that says something."""
    if len(before) != len(after) or name.suffix not in _LIVE:
        return True
    live = np.zeros(len(before), np.bool_)
    for start, end in _LIVE[name.suffix](before):
        live[start:end] = True
    changed = np.flatnonzero(np.frombuffer(before, np.uint8) != np.frombuffer(after, np.uint8))
    return bool(live[changed].any())


def _live_of_log(data: bytes) -> Iterator[tuple[int, int]]:
    """All but the zeros behind a record."""
    yield 0, SEGMENT_HEADER_BYTES
    position = SEGMENT_HEADER_BYTES
    while position < len(data):
        (length,) = struct.unpack_from("<I", data, position)
        yield position, position + RECORD_HEADER_BYTES + length
        position += padded(RECORD_HEADER_BYTES + length)


def _live_of_base(data: bytes) -> Iterator[tuple[int, int]]:
    """All but the zeros behind a section."""
    _, _, length, _, _ = BASE_HEAD.unpack_from(data)
    index = BASE_HEAD.size + length
    yield 0, index
    sections = msgpack.unpackb(data[BASE_HEAD.size : index])["sections"]
    start = index + -index % BASE_ALIGNMENT
    for _, _, _, offset, size, _ in sections:
        yield start + offset, start + offset + size


_LIVE = {".log": _live_of_log, ".base": _live_of_base}


def footer_of(part: bytes) -> range:
    """Where the footer of a part is."""
    (stored_bytes, *_) = TRAILER.unpack_from(part, len(part) - TRAILER.size)
    end = len(part) - TRAILER.size
    return range(end - stored_bytes, end)


@dataclass(frozen=True)
class Block:
    """A block of a part: where its bytes are, and which rows are in it."""

    start: int
    end: int
    devices: tuple[int, int]
    times: tuple[int, int]

    def may_hold(self, row: Row) -> bool:
        device, time, _ = row
        low, high = self.devices
        first, last = self.times
        return low <= int(device.removeprefix("root.a.d")) <= high and first <= time * MS <= last


def blocks_of(data: Path) -> dict[Path, list[Block]]:
    """The blocks of every part in use, by file; ids of devices are the numbers in their names."""
    fs, found = Filesystem(), {}
    for meta in PartList.read(fs, data / PART_LIST_NAME).parts.values():
        directory = part_directory(data, meta)
        part = Part.open(fs, directory, meta)
        index, position, blocks = part.blocks, HEAD.size, []
        for number in range(len(index)):
            end = position + len(part.block_bytes(number))
            devices = int(index.device_min[number]), int(index.device_max[number])
            times = int(index.time_min_ns[number]), int(index.time_max_ns[number])
            blocks.append(Block(position, end, devices, times))
            position = end
        part.close()
        assert position < meta.bytes - TRAILER.size
        found[(directory / f"{meta.name}.part").relative_to(data)] = blocks
    return found
