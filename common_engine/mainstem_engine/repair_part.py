"""Rewriting a part without what cannot be read.

1. Blocks are read one by one. One whose keys are damaged is left out; where only columns of values
   are, the rows stay, these values become null, and rows without any value go.
2. What is left is written as a new part, with an index and statistics made anew. The old file is
   not touched: whoever calls this decides, by the part list, which of the two counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from mainstem_engine.errors import CorruptionError
from mainstem_engine.filesystem import Filesystem
from mainstem_engine.merge import concat_rows, part_sorted
from mainstem_engine.model import Column, ColumnType, Measurement, VersionedRows
from mainstem_engine.part.layout import HEAD, MAGIC, PART_SUFFIX, VERSION
from mainstem_engine.part.manifest import PartMeta
from mainstem_engine.part.reader import Part
from mainstem_engine.part.writer import PartWriter

HEADLESS_SUFFIX = f"-head{PART_SUFFIX}"
"""A copy that lives as long as it is read. No list names it: a start removes what a crash left."""


@dataclass(slots=True)
class Salvage:
    """What could be kept of a part. ``meta`` None: nothing. ``values``: by measurement id, how many
    rows that were kept lost their value."""

    meta: PartMeta | None = None
    lost_rows: int = 0
    values: dict[int, int] = field(default_factory=dict)


def salvage_part(
    fs: Filesystem,
    source: Path,
    meta: PartMeta,
    target: Path,
    name: str,
    measurements: Mapping[int, Measurement],
) -> Salvage:
    """Writes ``target/<name>.part`` with all that can be read of ``source/<meta.name>.part``.

    ``measurements``: by id, as far as they are known. The new part is of the same vnode if it lies
    where the old one does, else of an only one. Memory: a few blocks; all rows of the part where
    they are out of order. Raises OSError.
    """
    salvage = Salvage()
    vnode = (meta.vnode, meta.vnodes) if source == target else (0, 1)
    beheaded = target / f"{name}{HEADLESS_SUFFIX}"
    try:
        part = _opened(fs, source, meta, beheaded)
    except (CorruptionError, FileNotFoundError):
        salvage.lost_rows = meta.rows
        fs.unlink(beheaded)
        return salvage
    try:
        known = {key: _measurement(key, kind, measurements) for key, kind in part.types.items()}
        try:
            _write(fs, target, name, part, known, salvage, _pieces(part, salvage), vnode)
        except ValueError:  # rows out of order: all of them are needed to sort them
            salvage = Salvage()
            whole = [part_sorted(concat_rows(list(_pieces(part, salvage))))]
            _write(fs, target, name, part, known, salvage, iter(whole), vnode)
    finally:
        part.close()
        fs.unlink(beheaded)
    return salvage


def _opened(fs: Filesystem, source: Path, meta: PartMeta, copy: Path) -> Part:
    """The part; where only its head is damaged, a copy of it with a right one."""
    path = source / f"{meta.name}{PART_SUFFIX}"
    try:
        return Part.open(fs, source, meta)
    except CorruptionError:
        mapped = fs.map(path)
        try:
            head = HEAD.pack(MAGIC, VERSION, 0)
            if bytes(mapped.view[: HEAD.size]) == head:
                raise
            fs.replace(copy, [head, mapped.view[HEAD.size :]])
        finally:
            mapped.close()
    return Part.open(fs, copy.parent, replace(meta, name=copy.name.removesuffix(PART_SUFFIX)))


def _measurement(key: int, kind: ColumnType, known: Mapping[int, Measurement]) -> Measurement:
    """The measurement with the type that the part has; the catalog's may be wider by now."""
    found = known.get(key)
    if found is None or found.type != kind:
        return Measurement(key, f"m{key}", kind)
    return found


def _write(
    fs: Filesystem,
    target: Path,
    name: str,
    part: Part,
    measurements: Mapping[int, Measurement],
    salvage: Salvage,
    pieces: Iterator[VersionedRows],
    vnode: tuple[int, int],
) -> None:
    meta = part.meta
    with PartWriter(
        fs,
        target,
        name,
        table=meta.table,
        partition_start_ns=meta.partition_start_ns,
        measurements=measurements,
        vnode=vnode[0],
        vnodes=vnode[1],
        applied=meta.applied,
        erased_through=meta.erased_through,
    ) as writer:
        before: VersionedRows | None = None
        for rows in pieces:
            if not _follows(before, rows):
                raise ValueError("out of order")
            writer.add(rows)
            before = rows
        if writer.rows:
            salvage.meta = writer.finish()


def _pieces(part: Part, salvage: Salvage) -> Iterator[VersionedRows]:
    """The rows of each block that can be read."""
    for number in range(len(part.blocks)):
        size = int(part.blocks.rows[number])
        try:
            yield part.read([number], part.types)
            continue
        except CorruptionError:
            pass
        try:
            rows = part.read([number], ())
        except CorruptionError:
            salvage.lost_rows += size
            continue
        kept = _with_columns(part, number, rows, salvage)
        if len(kept):
            yield kept


def _with_columns(part: Part, number: int, rows: VersionedRows, salvage: Salvage) -> VersionedRows:
    """``rows`` with the columns that can be read; those without any value are left out."""
    size, has_value = len(rows), np.zeros(len(rows), np.bool_)
    damaged = []
    for key, kind in part.types.items():
        try:
            column = part.read([number], (key,)).columns[key]
        except CorruptionError:
            damaged.append(key)
            column = Column(_nothing(kind, size), np.zeros(size, np.bool_))
        rows.columns[key] = column
        has_value |= True if column.valid is None else column.valid
    kept = rows.take(has_value)
    salvage.lost_rows += size - len(kept)
    for key in damaged:
        salvage.values[key] = salvage.values.get(key, 0) + len(kept)
    return kept


def _nothing(kind: ColumnType, size: int) -> np.ndarray:
    if kind.is_variable:
        return np.full(size, None, object)
    return np.zeros(size, kind.dtype)


def _follows(before: VersionedRows | None, rows: VersionedRows) -> bool:
    """True when the rows are in order, and after the last of ``before``."""
    later = np.zeros(len(rows) - 1, np.bool_)
    same = np.ones(len(rows) - 1, np.bool_)
    for name in ("device", "time", "origin", "lsn"):
        column = getattr(rows, name)
        later |= same & (column[1:] > column[:-1])
        same &= column[1:] == column[:-1]
    return bool((later | same).all()) and (before is None or _key(before, -1) <= _key(rows, 0))


def _key(rows: VersionedRows, row: int) -> tuple[int, int, int, int]:
    columns = (rows.device, rows.time, rows.origin, rows.lsn)
    device, time, origin, lsn = (int(column[row]) for column in columns)
    return device, time, origin, lsn
