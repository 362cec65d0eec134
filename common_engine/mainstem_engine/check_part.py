"""Checking one part: every checksum, every value, and the index against what it indexes.

1. Head, footer and every declared length, as any reader does.
2. Block by block: all columns are decoded. Where one fails, each is tried for itself, so that the
   report names the measurements that are lost and not the block as a whole.
3. The rows of a block lie in the order of (device, time, origin, LSN), also from block to block,
   and have the devices, times and counts that the index says.
4. The statistics of a block are those of its values; what the part list says of a part is so.

One block is in memory at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mainstem_engine.damage import Damage, PathOf, damage_of
from mainstem_engine.errors import CorruptionError
from mainstem_engine.filesystem import Filesystem
from mainstem_engine.model import AnyArray, Column, VersionedRows
from mainstem_engine.part.layout import (
    EXTREMES_USABLE,
    PART_SUFFIX,
    SUM_USABLE,
    ColumnStatistics,
)
from mainstem_engine.part.manifest import PartMeta
from mainstem_engine.part.reader import Part

SUM_ERROR_MAX = 1e-9
"""Relative to the sum of magnitudes: adding in another order than the writer's differs by less."""

Key = tuple[int, int, int, int]
"""Device, time, origin, LSN of a row."""


@dataclass(slots=True)
class PartCounts:
    """What was read of one part."""

    blocks: int = 0
    rows: int = 0


def part_directory(parts: Path, meta: PartMeta) -> Path:
    """Where the file of a part is: a shard of several has a directory of its own."""
    return parts / f"v{meta.vnode}" if meta.vnodes > 1 else parts


def check_part(
    fs: Filesystem,
    root: Path,
    directory: Path,
    meta: PartMeta,
    *,
    path_of: PathOf,
    names: Mapping[int, str],
    counts: PartCounts,
) -> Iterator[Damage]:
    """Every damage of the part ``directory/<name>.part``.

    ``names`` of measurements by id, ``path_of`` devices; both only for the report.
    """
    file = (directory / f"{meta.name}{PART_SUFFIX}").relative_to(root).as_posix()
    try:
        part = Part.open(fs, directory, meta)
    except (CorruptionError, OSError) as error:
        found = damage_of(root, error, file)
        span = (meta.device_min, meta.device_max, meta.time_min_ns, meta.time_max_ns)
        yield lost_rows(found, meta, path_of, span, meta.rows)
        return
    try:
        checker = _PartCheck(part, root, file, path_of, names)
        for number in range(len(part.blocks)):
            counts.blocks += 1
            counts.rows += int(part.blocks.rows[number])
            yield from checker.block(number)
        yield from checker.whole()
    finally:
        part.close()


class _PartCheck:
    """The blocks of one part, in order."""

    def __init__(
        self, part: Part, root: Path, file: str, path_of: PathOf, names: Mapping[int, str]
    ) -> None:
        self._part = part
        self._root = root
        self._file = file
        self._path_of = path_of
        self._names = names
        self._before: Key | None = None
        self._lsn: dict[int, tuple[int, int]] = {}
        self._unread = 0

    def block(self, number: int) -> list[Damage]:
        """Damages of one block: at most a few for each column."""
        rows, damages = self._read(number)
        if rows is None:
            self._unread += 1
            self._before = None
            return damages
        problems = self._problems(number, rows)
        for key, column in rows.columns.items():
            statistics = self._part.statistics(key)
            if statistics is not None:
                found = statistics_problems(statistics, number, column)
                problems += [f"statistics of {self._name(key)}: {problem}" for problem in found]
        damages += [self._damage(number, Damage(self._file, 0, text), 0) for text in problems]
        return damages

    def whole(self) -> list[Damage]:
        """What the part list says of the part, against all of its blocks."""
        part, meta = self._part, self._part.meta
        blocks = part.blocks
        found: dict[str, Any] = {
            "first device": (meta.device_min, int(blocks.device_min.min(initial=meta.device_min))),
            "last device": (meta.device_max, int(blocks.device_max.max(initial=0))),
            "first time": (meta.time_min_ns, int(blocks.time_min_ns.min(initial=2**63 - 1))),
            "last time": (meta.time_max_ns, int(blocks.time_max_ns.max(initial=-(2**63)))),
        }
        if not self._unread:
            found["LSNs"] = (meta.lsn, self._lsn)
        return [
            Damage(
                self._file, 0, f"the part list says {said!r} for its {what}, it has {has!r}",
                part=meta.name, table=meta.table,
            )
            for what, (said, has) in found.items()
            if said != has
        ]  # fmt: skip

    def _read(self, number: int) -> tuple[VersionedRows | None, list[Damage]]:
        """The columns that can be read, and a damage for each of the others."""
        part, size = self._part, int(self._part.blocks.rows[number])
        try:
            return part.read([number], part.types), []
        except CorruptionError:
            damages: list[Damage] = []
        try:
            rows = part.read([number], ())
        except CorruptionError as error:
            return None, [self._damage(number, damage_of(self._root, error, self._file), size)]
        for key in part.types:
            try:
                rows.columns.update(part.read([number], (key,)).columns)
            except CorruptionError as error:
                found = damage_of(self._root, error, self._file)
                damages.append(self._damage(number, found, size, (self._name(key),)))
        return rows, damages

    def _problems(self, number: int, rows: VersionedRows) -> list[str]:
        """Where the index and the rows of a block disagree."""
        blocks, meta = self._part.blocks, self._part.meta
        pairs = (
            ("devices", rows.device, blocks.device_min[number], blocks.device_max[number]),
            ("times", rows.time, blocks.time_min_ns[number], blocks.time_max_ns[number]),
        )
        problems = [
            f"the index says {what} {low} to {high}, they are {values.min()} to {values.max()}"
            for what, values, low, high in pairs
            if values.min() != low or values.max() != high
        ]
        after = _key(rows, 0)
        if (self._before is not None and after < self._before) or not _is_sorted(rows):
            problems.append("its rows are out of order")
        self._before = _key(rows, -1)
        same = (rows.device[1:] == rows.device[:-1]) & (rows.time[1:] == rows.time[:-1])
        if blocks.distinct[number] and same.any():
            problems.append("the index calls its rows distinct, and two share device and time")
        if meta.vnodes > 1 and bool((rows.device % meta.vnodes != meta.vnode).any()):
            problems.append(f"it holds devices that are not of shard {meta.vnode}")
        for origin in np.unique(rows.origin).tolist():
            lsn = rows.lsn[rows.origin == origin]
            low, high = self._lsn.get(origin, (int(lsn[0]), int(lsn[0])))
            self._lsn[origin] = (min(low, int(lsn.min())), max(high, int(lsn.max())))
        return problems

    def _name(self, key: int) -> str:
        return self._names.get(key, f"measurement {key}")

    def _damage(
        self, number: int, found: Damage, rows: int, columns: tuple[str, ...] = ()
    ) -> Damage:
        blocks = self._part.blocks
        span = (
            int(blocks.device_min[number]),
            int(blocks.device_max[number]),
            int(blocks.time_min_ns[number]),
            int(blocks.time_max_ns[number]),
        )
        meta = self._part.meta
        return lost_rows(found, meta, self._path_of, span, rows, block=number, columns=columns)


def lost_rows(
    found: Damage,
    meta: PartMeta,
    path_of: PathOf,
    span: tuple[int, int, int, int],
    rows: int,
    *,
    block: int | None = None,
    columns: tuple[str, ...] = (),
) -> Damage:
    """``found`` with the rows that it takes: devices, times and number."""
    first, last, start_ns, end_ns = span
    devices = (path_of(first), path_of(last))
    lost = ""
    if rows:
        what = f"{', '.join(columns)} of {rows} rows" if columns else f"{rows} rows"
        who = devices[0] if first == last else f"{devices[0]} to {devices[1]}"
        lost = f"lost: {what} of {meta.table}, {who}"
    return replace(
        found, lost=lost, part=meta.name, block=block, table=meta.table, columns=columns,
        devices=devices, start_ns=start_ns, end_ns=end_ns, rows=rows,
    )  # fmt: skip


def statistics_problems(statistics: ColumnStatistics, number: int, column: Column) -> list[str]:
    """Where the statistics of block ``number`` are not those of its values."""
    values = column.values if column.valid is None else column.values[column.valid]
    flags = int(statistics.flags[number])
    if not len(values):
        return ["given for a block without a value"] if flags else []
    problems = []
    for what, stored, value in (
        ("first", statistics.first[number], values[0]),
        ("last", statistics.last[number], values[-1]),
    ):
        if stored.tobytes() != value.tobytes():
            problems.append(f"{what} is {stored}, not {value}")
    if flags & EXTREMES_USABLE:
        low, high = statistics.minimum[number], statistics.maximum[number]
        if not (values.min() == low and values.max() == high):
            problems.append(f"extremes are {low} and {high}, not {values.min()}, {values.max()}")
    if flags & SUM_USABLE and not _is_sum(statistics.total[number], values):
        problems.append(f"the sum is {statistics.total[number]}")
    return problems


def _is_sum(stored: Any, values: AnyArray) -> bool:
    total = values.sum(dtype=stored.dtype)
    if stored.dtype.kind != "f":
        return bool(total == stored)
    magnitude = float(np.abs(values, dtype=np.float64).sum())
    return abs(float(total) - float(stored)) <= SUM_ERROR_MAX * magnitude


def _key(rows: VersionedRows, row: int) -> Key:
    columns = (rows.device, rows.time, rows.origin, rows.lsn)
    device, time, origin, lsn = (int(column[row]) for column in columns)
    return device, time, origin, lsn


def _is_sorted(rows: VersionedRows) -> bool:
    """True when no row comes before its predecessor in the order of its key."""
    later = np.zeros(len(rows) - 1, np.bool_)
    same = np.ones(len(rows) - 1, np.bool_)
    for column in (rows.device, rows.time, rows.origin, rows.lsn):
        later |= same & (column[1:] > column[:-1])
        same &= column[1:] == column[:-1]
    return bool((later | same).all())
