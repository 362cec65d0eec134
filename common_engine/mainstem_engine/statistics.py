"""What an engine says about itself, and what a data directory says without one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from mainstem_engine.aggregates import AggregateStatistics
from mainstem_engine.catalog.catalog import Catalog
from mainstem_engine.catalog.sections import CatalogFiles
from mainstem_engine.checkpoint import read_checkpoint
from mainstem_engine.errors import EngineError, NotFoundError
from mainstem_engine.filesystem import Filesystem
from mainstem_engine.flush import CATALOG_SECTION
from mainstem_engine.housekeeping import HousekeepingStatistics
from mainstem_engine.identity import IDENTITY_NAME, read_identity
from mainstem_engine.inventory import (
    CHECKPOINT_DIRECTORY,
    PART_LIST_NAME,
    BrokenPart,
    part_directory,
)
from mainstem_engine.log.layout import (
    SegmentHeader,
    record_salt,
    segment_first_lsn,
    segment_name,
)
from mainstem_engine.log.log import LogStatistics
from mainstem_engine.log.reader import Segment, scan_segment
from mainstem_engine.memory import MemoryStatistics
from mainstem_engine.part.layout import PartFooter
from mainstem_engine.part.manifest import PartList, PartMeta
from mainstem_engine.part.reader import Part
from mainstem_engine.retention_clock import ClockStatistics
from mainstem_engine.storage import ColumnStorage, column_storage, stored_values
from mainstem_engine.store import Store

LOG_DIRECTORY = "log"
_HEADER_READ_BYTES = 256
"""More than a segment header of any version."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TableStatistics:
    """One table. ``part_rows`` counts fragments: rows not merged yet count each.

    ``columns`` only of a directory: how its parts store each column. ``part_values``: the values
    of measurements that are not null, None where ``columns`` is not known.
    """

    devices: int = 0
    head_rows: int = 0
    head_bytes: int = 0
    parts: int = 0
    part_rows: int = 0
    part_bytes: int = 0
    time_min_ns: int | None = None
    time_max_ns: int | None = None
    columns: tuple[ColumnStorage, ...] = ()
    part_values: int | None = None

    @property
    def bytes_per_point(self) -> float | None:
        """Bytes of part files for each value, everything included; None when not known."""
        return self.part_bytes / self.part_values if self.part_values else None


@dataclass(frozen=True, slots=True)
class EngineStatistics:
    """An engine at one moment. Sizes in bytes, times in ns.

    ``applied_lsn``: last log record whose rows are visible. ``checkpoint_lsn``: last one whose rows
    are in parts; a restart replays those between, ``replayed_records`` at the last start.
    ``throttled``: writes that had to wait for memory. ``head_rows``: rows in no part.
    ``metadata_bytes``: names, tags and templates in memory, at most ``metadata_bytes_max``.
    ``damages``: what is known to be damaged, in words; queries that need such rows fail, others do
    not. ``aggregates``: what answered Engine.aggregate and SQL. ``memory``: shares of the limit.
    """

    node_uuid: str
    durability: str
    applied_lsn: int
    checkpoint_lsn: int
    replayed_records: int
    throttled: int
    head_rows: int
    head_bytes: int
    part_bytes: int
    parts: int
    devices: int
    metadata_bytes: int
    metadata_bytes_max: int
    tables: dict[str, TableStatistics]
    log: LogStatistics
    housekeeping: HousekeepingStatistics
    damages: tuple[str, ...]
    retention_clock: ClockStatistics
    aggregates: AggregateStatistics
    memory: MemoryStatistics


@dataclass(frozen=True, slots=True)
class DirectoryStatistics:
    """A data directory as it lies on disk. ``devices`` and ``counts`` are those of the checkpoint:
    the log above ``checkpoint_lsn`` may hold more."""

    path: Path
    node_uuid: str | None
    databases: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()
    devices: int = 0
    rows: int = 0
    parts: int = 0
    part_bytes: int = 0
    checkpoint_lsn: int = 0
    log_segments: int = 0
    log_bytes: int = 0
    first_lsn: int = 0
    last_lsn: int = 0
    tables: dict[str, TableStatistics] = field(default_factory=dict)
    damages: tuple[str, ...] = ()


def engine_statistics(
    store: Store, housekeeping: HousekeepingStatistics, aggregates: AggregateStatistics
) -> EngineStatistics:
    """Gathers the figures of an open engine; cheap."""
    catalog = store.catalog
    parts = store.inventory.all()
    heads = store.head_sizes()
    memory = store.memory.statistics()
    tables = {
        table.name: _table_statistics(
            len(catalog.devices.of_family(table.family)),
            heads.get(table.name, (0, 0)),
            [part.meta for part in parts if part.meta.table == table.name],
        )
        for table in catalog.templates.all()
    }
    damages = [f"{d.path.name} at byte {d.offset}: {d.records} records" for d in store.log.damages]
    damages += [f"part {p.meta.name}: {p.error}" for p in parts if isinstance(p, BrokenPart)]
    return EngineStatistics(
        node_uuid=store.origins.all[0].node_uuid,
        durability=store.options.durability,
        applied_lsn=store.applied_lsn,
        checkpoint_lsn=store.checkpoint_lsn,
        replayed_records=store.replayed_records,
        throttled=memory.waits["head"],
        head_rows=store.head_rows(),
        head_bytes=store.head_bytes(),
        part_bytes=sum(part.meta.bytes for part in parts),
        parts=len(parts),
        devices=len(catalog.devices),
        metadata_bytes=store.metadata.used_bytes,
        metadata_bytes_max=store.metadata.limit_bytes,
        tables=tables,
        log=store.log.statistics(),
        housekeeping=housekeeping,
        damages=tuple(damages),
        retention_clock=store.retention.clock.statistics(),
        aggregates=aggregates,
        memory=memory,
    )


def _table_statistics(
    devices: int, head: tuple[int, int], metas: Sequence[PartMeta]
) -> TableStatistics:
    return TableStatistics(
        devices=devices,
        head_rows=head[0],
        head_bytes=head[1],
        parts=len(metas),
        part_rows=sum(meta.rows for meta in metas),
        part_bytes=sum(meta.bytes for meta in metas),
        time_min_ns=min((meta.time_min_ns for meta in metas), default=None),
        time_max_ns=max((meta.time_max_ns for meta in metas), default=None),
    )


def directory_statistics(path: str | os.PathLike[str]) -> DirectoryStatistics:
    """Reads a data directory without opening, locking or changing it.

    Every record of the log and the index of every part is checked. What is damaged is listed, and
    nothing of it raises. Raises NotFoundError when the path is not a data directory. While a
    process writes to the directory, the newest records may look torn.
    """
    root = Path(path)
    fs = Filesystem()
    if not (root / IDENTITY_NAME).is_file():
        raise NotFoundError(
            f"{root} is not a data directory", hint=f"it has no {IDENTITY_NAME}; give the data_dir"
        )
    damages: list[str] = []
    uuid = _guarded(lambda: read_identity(fs, root), damages)
    part_list = PartList(fs, root / PART_LIST_NAME)
    if (root / PART_LIST_NAME).is_file():
        part_list = _guarded(lambda: PartList.read(fs, root / PART_LIST_NAME), damages) or part_list
    metas = list(part_list.parts.values())
    catalog, checkpoint_lsn = Catalog(), 0
    if part_list.checkpoint is not None:
        name = part_list.checkpoint
        found = _guarded(lambda: read_checkpoint(fs, root / CHECKPOINT_DIRECTORY, name), damages)
        if found is not None:
            checkpoint_lsn = found[0]
            files = CatalogFiles(fs, root)
            section = found[1][CATALOG_SECTION]
            catalog = _guarded(lambda: Catalog.restore(section, files), damages) or catalog
    segments = _scan_log(fs, root / LOG_DIRECTORY, damages)
    tables = {
        name: replace(
            _table_statistics(len(catalog.devices.of_family(name)), (0, 0), some),
            **_storage(fs, root, catalog, some, damages),
        )
        for name, some in _by_table(metas).items()
    }
    return DirectoryStatistics(
        path=root,
        node_uuid=uuid,
        databases=tuple(database.name for database in catalog.databases),
        templates=tuple(table.name for table in catalog.templates.all()),
        devices=len(catalog.devices),
        rows=sum(meta.rows for meta in metas),
        parts=len(metas),
        part_bytes=sum(meta.bytes for meta in metas),
        checkpoint_lsn=checkpoint_lsn,
        log_segments=len(segments),
        log_bytes=sum(segment.bytes for segment in segments),
        first_lsn=segments[0].first_lsn if segments else 0,
        last_lsn=segments[-1].last_lsn if segments else 0,
        tables=tables,
        damages=tuple(damages),
    )


def _guarded(action: Callable[[], T], damages: list[str]) -> T | None:
    """The result, or None with the damage noted."""
    try:
        return action()
    except (EngineError, OSError) as error:
        damages.append(str(error))
        return None


def _by_table(metas: Sequence[PartMeta]) -> dict[str, list[PartMeta]]:
    tables: dict[str, list[PartMeta]] = {}
    for meta in metas:
        tables.setdefault(meta.table, []).append(meta)
    return tables


def _storage(
    fs: Filesystem, root: Path, catalog: Catalog, metas: Sequence[PartMeta], damages: list[str]
) -> dict[str, Any]:
    """The last fields of TableStatistics. Parts that cannot be opened are noted and left out."""
    found = catalog.templates.get(metas[0].table)
    names = {} if found is None else {m.id: m.name for m in found.template.measurements}
    columns = column_storage(_footers(fs, root, metas, damages), names)
    return {"columns": columns, "part_values": stored_values(columns)}


def _footers(
    fs: Filesystem, root: Path, metas: Sequence[PartMeta], damages: list[str]
) -> Iterator[PartFooter]:
    """One after the other: the footers of many parts together may be large."""
    for meta in metas:
        part = _guarded(partial(Part.open, fs, part_directory(root, meta), meta), damages)
        if part is not None:
            yield part.footer
            part.close()


def _scan_log(fs: Filesystem, directory: Path, damages: list[str]) -> list[Segment]:
    """Every segment, read to its end."""
    firsts = [lsn for name in fs.list(directory) if (lsn := segment_first_lsn(name)) is not None]
    segments: list[Segment] = []
    for position, first in enumerate(firsts):
        limit = firsts[position + 1] if position + 1 < len(firsts) else None
        segment = _guarded(partial(_scan, fs, directory, first, limit, damages), damages)
        if segment is not None:
            segments.append(segment)
    return segments


def _scan(
    fs: Filesystem, directory: Path, first: int, limit: int | None, damages: list[str]
) -> Segment | None:
    path = directory / segment_name(first)
    mapped = fs.map(path)
    try:
        header = SegmentHeader.unpack(bytes(mapped.view[:_HEADER_READ_BYTES]))
        if header is None:
            damages.append(f"{path.name}: the segment's header is damaged")
            return None
        segment = Segment(
            path, first, first - 1, record_salt(header.node_uuid, first), header.chain_before
        )
        scan = scan_segment(segment, mapped.view, limit)
        damages.extend(
            f"{path.name} at byte {d.offset}: records {d.first_lsn} to {d.last_lsn} are damaged"
            for d in scan.damages
        )
        if limit is not None and scan.last_lsn < limit - 1:
            damages.append(f"{path.name}: records {scan.last_lsn + 1} to {limit - 1} are missing")
        segment.bytes = mapped.view.nbytes
        return segment
    finally:
        mapped.close()
