"""Listing what the files of a data directory hold, entry by entry, changing nothing.

Every entry is a flat map of plain values (numbers, text, lists, maps) with the key ``entry``, so
that it can be printed as JSON or read by a person. Bytes are hexadecimal, times are ns, and long
values are cut. Damage is an entry too: the listing goes on behind it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from mainstem_engine.catalog.catalog import Catalog
from mainstem_engine.catalog.sections import CatalogFiles
from mainstem_engine.catalog.templates import template_to_map
from mainstem_engine.check import LOCK_NAME, require_data_directory
from mainstem_engine.check_log import LOG_DIRECTORY, log_firsts
from mainstem_engine.checkpoint import inspect_checkpoint
from mainstem_engine.damage import damage_of
from mainstem_engine.errors import CorruptionError, EngineError
from mainstem_engine.filesystem import Filesystem
from mainstem_engine.flush import CATALOG_SECTION
from mainstem_engine.inventory import CHECKPOINT_DIRECTORY, PART_LIST_NAME, part_directory
from mainstem_engine.log.layout import (
    SEGMENT_HEADER_BYTES,
    SegmentHeader,
    record_salt,
    segment_name,
)
from mainstem_engine.log.reader import find_record, parse_record
from mainstem_engine.log.records import Record, RecordKind, decode_payload
from mainstem_engine.model import ColumnType
from mainstem_engine.part.layout import PART_SUFFIX, PartFooter, unpack_footer
from mainstem_engine.part.manifest import PartMeta
from mainstem_engine.part_list_records import part_list_records
from mainstem_engine.storage import column_name, compression_name, encoding_name

Entry = dict[str, Any]

TEXT_CHARACTERS_MAX = 200
"""A value of a header or a name is cut here: enough to recognise it."""
ITEMS_MAX = 8
"""Of a list in a header; the rest is counted."""
DEPTH_MAX = 6
"""Of maps and lists inside a header; a record may come from anywhere."""


def dump_directory(
    path: str | os.PathLike[str],
    *,
    what: Sequence[str] = (),
    table: str | None = None,
    limit: int | None = None,
    fs: Filesystem | None = None,
) -> Iterator[Entry]:
    """Entries of the kinds in ``what`` (DUMPS; empty: all), of ``table`` only where that applies,
    at most ``limit`` of each kind.

    Raises NotFoundError when the path is not a data directory, LockedError while it is owned.
    """
    root = Path(path)
    fs = fs or Filesystem()
    require_data_directory(root)
    lock = fs.lock_shared(root / LOCK_NAME)
    try:
        for name in what or DUMPS:
            entries = DUMPS[name](fs, root, None if table is None else table.casefold())
            yield from islice(_guarded(root, name, entries), limit)
    finally:
        if lock is not None:
            lock.close()


def _guarded(root: Path, name: str, entries: Iterator[Entry]) -> Iterator[Entry]:
    """The entries, and one that says what is wrong where they cannot go on."""
    try:
        yield from entries
    except (EngineError, OSError) as error:
        damage = damage_of(root, error, name)
        yield _damaged(damage.file, damage.offset, damage.problem)


def _damaged(file: str, offset: int, problem: str) -> Entry:
    return {"entry": "damage", "file": file, "offset": offset, "problem": problem}


def _part_list(fs: Filesystem, root: Path, table: str | None) -> Iterator[Entry]:
    """Every change, in order."""
    for record in part_list_records(fs.read(root / PART_LIST_NAME)):
        if record.problem is not None:
            yield _damaged(PART_LIST_NAME, record.offset, record.problem)
            continue
        added = [m.name for m in record.added if table in (None, m.table.casefold())]
        if table is not None and not added:
            continue
        yield {
            "entry": "change",
            "offset": record.offset,
            "bytes": record.bytes,
            "added": added,
            "removed": list(record.removed),
            "checkpoint": record.checkpoint,
            "facts": _plain_map(record.facts),
        }


def _parts_in_use(fs: Filesystem, root: Path) -> tuple[list[PartMeta], str | None]:
    """The parts that the list names, and the checkpoint, as far as the list can be read."""
    parts: dict[str, PartMeta] = {}
    checkpoint = None
    for record in part_list_records(fs.read(root / PART_LIST_NAME)):
        for name in record.removed:
            parts.pop(name, None)
        parts.update((meta.name, meta) for meta in record.added)
        checkpoint = record.checkpoint or checkpoint
    return list(parts.values()), checkpoint


def _checkpoint(fs: Filesystem, root: Path, table: str | None) -> Iterator[Entry]:
    """Its sections."""
    del table
    name = _parts_in_use(fs, root)[1]
    if name is None:
        return
    lsn, sections = inspect_checkpoint(fs, root / CHECKPOINT_DIRECTORY, name)
    for section in sections:
        yield {
            "entry": "section",
            "checkpoint": name,
            "lsn": lsn,
            "name": section.name,
            "offset": section.offset,
            "bytes": len(section.data),
            "whole": section.whole,
        }


def read_catalog(fs: Filesystem, root: Path) -> Catalog:
    """The catalog of the checkpoint. Raises CorruptionError, OSError."""
    name = _parts_in_use(fs, root)[1]
    if name is None:
        return Catalog()
    _, sections = inspect_checkpoint(fs, root / CHECKPOINT_DIRECTORY, name)
    for section in sections:
        if section.name == CATALOG_SECTION and section.whole:
            return Catalog.restore(section.data, CatalogFiles(fs, root))
    raise CorruptionError(root / CHECKPOINT_DIRECTORY / name, 0, "the catalog is damaged")


def _catalog(fs: Filesystem, root: Path, table: str | None) -> Iterator[Entry]:
    """Databases, templates and devices."""
    catalog = read_catalog(fs, root)
    if table is None:
        for database in catalog.databases:
            yield {"entry": "database", **_plain_map(database.to_map())}
    for each in catalog.templates.all():
        if table in (None, each.name.casefold()):
            entry = _plain_map(template_to_map(each.template), items=1 << 16)
            yield {"entry": "template", **entry, "set": list(each.set_paths)}
    devices = catalog.devices
    for device in range(len(devices)):
        family = devices.family_name(device)
        if table in (None, family.casefold()):
            yield {
                "entry": "device",
                "id": device,
                "path": devices.path(device),
                "family": family,
                "tags": _plain_map(devices.tags(device)),
            }


def _parts(fs: Filesystem, root: Path, table: str | None) -> Iterator[Entry]:
    """Every part, its blocks and the columns of each."""
    try:
        catalog = read_catalog(fs, root)
    except (EngineError, OSError):
        catalog = Catalog()
    for meta in _parts_in_use(fs, root)[0]:
        if table not in (None, meta.table.casefold()):
            continue
        path = part_directory(root, meta) / f"{meta.name}{PART_SUFFIX}"
        file = path.relative_to(root).as_posix()
        yield _part_entry(meta, file)
        try:
            mapped = fs.map(path)
            try:
                footer = unpack_footer(path, mapped.view)
            finally:
                mapped.close()
        except (CorruptionError, OSError) as error:
            damage = damage_of(root, error, file)
            yield _damaged(damage.file, damage.offset, damage.problem)
            continue
        found = catalog.templates.get(meta.table)
        names = {} if found is None else {m.id: m.name for m in found.template.measurements}
        yield from _blocks(footer, names)


def _part_entry(meta: PartMeta, file: str) -> Entry:
    return {
        "entry": "part",
        "file": file,
        "table": meta.table,
        "partition_ns": meta.partition_start_ns,
        "rows": meta.rows,
        "bytes": meta.bytes,
        "time_ns": [meta.time_min_ns, meta.time_max_ns],
        "devices": [meta.device_min, meta.device_max],
        "vnode": [meta.vnode, meta.vnodes],
        "applied": list(meta.applied),
        "erased_through": meta.erased_through,
        "lsn": {str(origin): list(span) for origin, span in meta.lsn.items()},
    }


def _blocks(footer: PartFooter, names: Mapping[int, str]) -> Iterator[Entry]:
    blocks = footer.blocks
    for number in range(len(blocks)):
        yield {
            "entry": "block",
            "block": number,
            "rows": int(blocks.rows[number]),
            "devices": [int(blocks.device_min[number]), int(blocks.device_max[number])],
            "time_ns": [int(blocks.time_min_ns[number]), int(blocks.time_max_ns[number])],
        }
        for key, index in footer.columns.items():
            entry: Entry = {
                "entry": "column",
                "block": number,
                "name": column_name(key, names),
                "type": footer.types[key].name,
                "encoding": encoding_name(int(index.encoding[number])),
                "compression": compression_name(int(index.compression[number])),
                "bytes": int(index.bytes[number]),
                "bitmap_bytes": int(index.valid_bytes[number]),
                "nulls": int(index.nulls[number]),
            }
            statistics = footer.statistics.get(key)
            if statistics is not None and statistics.flags[number]:
                entry["min"] = _plain(statistics.minimum[number])
                entry["max"] = _plain(statistics.maximum[number])
                entry["sum"] = _plain(statistics.total[number])
            yield entry


def _log(fs: Filesystem, root: Path, table: str | None) -> Iterator[Entry]:
    """Every record of every segment."""
    directory = root / LOG_DIRECTORY
    firsts = log_firsts(fs, directory)
    for position, first in enumerate(firsts):
        path = directory / segment_name(first)
        file = path.relative_to(root).as_posix()
        limit = firsts[position + 1] if position + 1 < len(firsts) else None
        mapped = fs.map(path)
        try:
            view = mapped.view
            header = SegmentHeader.unpack(bytes(view[:SEGMENT_HEADER_BYTES]))
            if header is None:
                yield _damaged(file, 0, "the segment's header is damaged")
                continue
            if table is None:
                yield {
                    "entry": "segment",
                    "file": file,
                    "bytes": view.nbytes,
                    "first_lsn": header.first_lsn,
                    "node_uuid": header.node_uuid.hex(),
                    "chain_before": header.chain_before.hex(),
                    "version": header.version,
                }
            salt = record_salt(header.node_uuid, first)
            yield from _records(view, file, first, limit, salt, table)
        finally:
            mapped.close()


def _records(
    view: memoryview, file: str, first: int, limit: int | None, salt: int, table: str | None
) -> Iterator[Entry]:
    data = np.frombuffer(view, np.uint8)
    expected, offset = first, SEGMENT_HEADER_BYTES
    while offset < view.nbytes and (limit is None or expected < limit):
        located = parse_record(view, data, offset, salt, expected)
        if located is None:
            located = find_record(view, data, offset, salt, expected)
            if located is None:
                yield _damaged(file, offset, f"{view.nbytes - offset} bytes that are no record")
                return
            yield _damaged(file, offset, f"{located.offset - offset} bytes that are no record")
        if limit is not None and located.lsn >= limit:
            return
        entry = _record_entry(located.record(view), located.offset, file)
        if table is None or str(entry["header"].get("t", "")).casefold() == table:
            yield entry
        expected, offset = located.lsn + 1, located.end


def _record_entry(record: Record, offset: int, file: str) -> Entry:
    payload = memoryview(record.payload)
    entry: Entry = {
        "entry": "record",
        "lsn": record.lsn,
        "kind": record.kind.name,
        "file": file,
        "offset": offset,
        "bytes": payload.nbytes,
        "chain": record.chain.hex(),
    }
    try:
        header, buffers = decode_payload(payload)
    except CorruptionError as error:
        return {**entry, "header": {}, "problem": error.problem}
    if record.kind == RecordKind.PTS:
        header["cols"] = [_column_of(column) for column in header.get("cols", [])]
    return {**entry, "header": _plain_map(header), "buffers": [view.nbytes for view in buffers]}


def _column_of(column: Any) -> Any:
    """``[id, type, ...]`` with the type's name."""
    try:
        key, code, *rest = column
        return [key, ColumnType(code).name, *rest]
    except (TypeError, ValueError):
        return column


def _plain_map(values: Mapping[Any, Any], *, items: int = ITEMS_MAX) -> Entry:
    return {str(key): _plain(value, items) for key, value in values.items()}


def _plain(value: Any, items: int = ITEMS_MAX, depth: int = 0) -> Any:
    """``value`` as JSON can say it: cut, without bytes, without numbers that are none."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bytes | bytearray | memoryview):
        shown = bytes(value[: TEXT_CHARACTERS_MAX // 2]).hex()
        more = len(value) - TEXT_CHARACTERS_MAX // 2
        return f"{shown}… {more} bytes more" if more > 0 else shown
    if isinstance(value, str):
        more = len(value) - TEXT_CHARACTERS_MAX
        cut = value[:TEXT_CHARACTERS_MAX]
        return f"{cut}… {more} characters more" if more > 0 else value
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    if isinstance(value, Mapping | list | tuple):
        if depth >= DEPTH_MAX:
            return "…"
        if isinstance(value, Mapping):
            return {str(k): _plain(v, items, depth + 1) for k, v in islice(value.items(), items)}
        shown_items = [_plain(item, items, depth + 1) for item in value[:items]]
        more = len(value) - items
        return [*shown_items, f"… {more} more"] if more > 0 else shown_items
    return value if isinstance(value, int | float | bool | None) else str(value)


DUMPS: dict[str, Callable[[Filesystem, Path, str | None], Iterator[Entry]]] = {
    "part-list": _part_list,
    "checkpoint": _checkpoint,
    "catalog": _catalog,
    "parts": _parts,
    "log": _log,
}
"""What can be listed, in the order in which it is."""
