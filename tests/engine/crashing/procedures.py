"""What is done while the power is cut: one life for each way in which files come, change and go."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from mainstem_engine import ColumnType, LogFailedError, Measurement
from mainstem_engine.images import SliceImage

from .life import BACKUP, CHILD, DAY, MS, NOW, Life, rows_at

LIVES: dict[str, Callable[[Life], None]] = {}
"""The procedures, by name."""

SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "vnodes": {"vnodes": 3},
    "partition_drop": {"duration_ns": DAY * MS},
    "log_cap": {"log_bytes_max": 4096, "log_segment_bytes": 1024},
    "rotations": {"log_segment_bytes": 1024},
}
"""Options of lives that need other ones than the rest."""


def life(function: Callable[[Life], None]) -> None:
    LIVES[function.__name__] = function


@life
def appends(life: Life) -> None:
    """Records of one sector and of many."""
    for number, count in enumerate((1, 40, 300, 2, 1200, 7, 700, 1)):
        life.write(f"root.a.d{number % 2}", NOW + number * 2000, count)


@life
def rotations(life: Life) -> None:
    """A new segment after nearly every record."""
    for number in range(8):
        life.write("root.a.d1", NOW + number * 200, 90 + number)


@life
def flushes(life: Life) -> None:
    """A head of several partitions becomes parts, and the log before it goes."""
    for number in range(3):
        for day in (0, 1, 12):
            life.write("root.a.d1", NOW - day * DAY + number * 100, 60)
        life.write("root.a.d2", NOW, 30)
        life.flush()


@life
def compaction(life: Life) -> None:
    for number in range(3):
        life.write("root.a.d1", NOW + number * 10, 15)
        life.flush()
    life.engine.compact()
    life.note()
    life.write("root.a.d2", NOW, 3)


@life
def expiry(life: Life) -> None:
    """A part goes, and one that holds both kinds of rows is written anew."""
    life.write("root.a.d1", NOW - 20 * DAY, 5)
    life.flush()
    life.write("root.a.d1", NOW, 5)
    life.flush()
    life.advance(15)
    assert life.engine.expire().parts == 1
    life.note()


@life
def partition_drop(life: Life) -> None:
    """Whole partitions of a day go at once."""
    for day in (27, 26, 25, 1):
        for device in (1, 2):
            life.write(f"root.a.d{device}", NOW - day * DAY, 4)
    life.flush()
    life.advance(10)
    assert life.engine.expire().parts == 3
    life.note()
    life.write("root.a.d1", NOW, 2)


@life
def rules(life: Life) -> None:
    """Rules of retention change, and what they mean is carried out."""
    life.write("root.a.d1", NOW - 5 * DAY, 3)
    life.write("root.a.d2", NOW - 5 * DAY, 3)
    life.engine.flush()
    life.engine.set_ttl("root.a.d1", DAY * MS)
    life.note()
    life.engine.expire()
    life.note()
    life.engine.alter_database("root.a", keep_ns=DAY * MS)
    life.note()
    life.engine.expire()
    life.note()


@life
def alterations(life: Life) -> None:
    """The template changes: a measurement more, another name, a wider type."""
    life.write("root.a.d1", NOW, 5)
    life.engine.flush()
    life.engine.alter_template("meters", add=[Measurement(0, "power", ColumnType.DOUBLE)])
    life.note()
    life.write("root.a.d1", NOW + 5, 5, power=np.arange(5.0))
    life.engine.alter_template("meters", rename={"voltage": "volts"})
    life.note()
    life.engine.alter_template("meters", widen={"volts": ColumnType.INT64})
    life.note()
    life.write("root.a.d1", NOW + 10, 2, volts=[1 << 40, 2])
    life.flush()


@life
def devices(life: Life) -> None:
    """Devices with tags are created, many and one by one."""
    for number in range(4):
        paths = [f"root.a.n{number}_{i}" for i in range(20)]
        tags = {"location": [f"hall {i % 3}" for i in range(20)]}
        life.engine.device_ids("meters", paths, tags, create=True)
        life.note()
        life.engine.write("meters", paths, [NOW] * 20, {"voltage": list(range(20))}).wait()
        life.note()
    life.write("root.a.another", NOW, 1)
    life.flush()


@life
def catalog_merge(life: Life) -> None:
    """The catalog's base is written anew, with what came since."""
    for number in range(3):
        paths = [f"root.a.m{number}_{i}" for i in range(8)]
        tags = {"location": [f"hall {i % 3}" for i in range(8)]}
        life.engine.device_ids("meters", paths, tags, create=True)
        life.write(paths[0], NOW, 2)
        life.merge()


@life
def deletes(life: Life) -> None:
    life.write("root.a.d1", NOW, 10)
    life.write("root.a.d2", NOW, 10)
    life.engine.flush()
    life.engine.delete("meters", devices="root.a.d1", start=NOW + 3, end=NOW + 6).ack.wait()
    life.note()
    life.write("root.a.d1", NOW + 4, 1)
    life.engine.delete("meters", devices="root.a.d2", measurements=["voltage"]).ack.wait()
    life.note()
    life.flush()
    life.engine.compact()
    life.note()


@life
def backups(life: Life) -> None:
    life.write("root.a.d1", NOW, 10)
    life.engine.flush()
    life.write("root.a.d1", NOW + 10, 5)
    life.engine.backup(life.fs.root / BACKUP)
    life.note()
    life.flush()


@life
def images(life: Life) -> None:
    """A slice of a child's rows is replaced by its image."""
    device = life.engine.device_ids("meters", ["root.a.c1"], create=True)
    life.note()
    life.receive(rows_at(device, range(10), 1))
    life.flush()
    life.receive(rows_at(device, range(10, 14), 2))
    kept = rows_at(device, range(4, 12, 2), 3)
    as_of = life.engine.applied_lsn
    lsn = np.full(len(kept), as_of, np.uint64)
    start, end = kept.time[0], kept.time[-1] + 1
    life.receive(SliceImage("meters", CHILD, int(start), int(end), as_of, kept, lsn))
    life.flush()
    life.engine.compact()
    life.note()


@life
def log_cap(life: Life) -> None:
    """The log is larger than allowed: segments go although somebody asks for them."""
    life.engine.add_hold("nobody", lambda: 0)
    for number in range(4):
        for device in (1, 2):
            life.write(f"root.a.d{device}", NOW + number * 300, 200)
        life.flush()
    assert life.engine.log.first_lsn > 1


@life
def failed_syncs(life: Life) -> None:
    """The disk fails once, while each kind of file is written; at last while the log is."""
    for number, place in enumerate(("parts", "checkpoint", "catalog", "part-list")):
        life.write(f"root.a.d{number}", NOW, 20)
        life.engine._store.catalog_files.merge_next = True
        life.fs.fail("sync", path_part=f"/{place}")
        with pytest.raises(OSError, match="injected"):
            life.engine.flush()
        life.note()
        life.write("root.a.d0", NOW + 100 * number, 5)
        life.flush()
    life.fs.fail("sync", path_part=".log")
    with pytest.raises(LogFailedError):
        life.write("root.a.d1", NOW + 500, 30)
    life.note_tried("root.a.d1", NOW + 500, 30)
    life.note()


@life
def vnodes(life: Life) -> None:
    """One record commits the parts of several shards."""
    for number in range(2):
        for device in range(4):
            life.write(f"root.a.d{device}", NOW + number * 10, 5)
        life.flush()
    life.engine.compact()
    life.note()
