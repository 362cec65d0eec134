"""What a repair makes of the part list, the parts and the checkpoint, before it commits.

1. The list is read as it is, or, when it is damaged, record by record past the damage. Then parts
   that it does not name may be those that a lost record added: whole ones are taken in. Rows that
   are in two of them have equal versions, and count once.
2. Damaged parts are written anew (repair_part.py), under new names.
3. A checkpoint is written anew with its whole sections and rebuilt ones (rebuild.py).

Nothing here changes a file that is in use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mainstem_engine.backup_files import take
from mainstem_engine.catalog.catalog import Catalog
from mainstem_engine.catalog.sections import CatalogFiles, check_catalog_files, encode_snapshot
from mainstem_engine.check import SECTION_DECODERS, UNDERSTANDING_ERRORS
from mainstem_engine.check_log import LOG_DIRECTORY, log_firsts
from mainstem_engine.check_part import PartCounts, check_part
from mainstem_engine.checkpoint import (
    CHECKPOINT_SUFFIX,
    inspect_checkpoint,
    write_checkpoint,
)
from mainstem_engine.damage import Damage
from mainstem_engine.errors import CorruptionError, EngineError
from mainstem_engine.filesystem import Filesystem
from mainstem_engine.flush import ACCOUNTS_SECTION, CATALOG_SECTION, ORIGINS_SECTION
from mainstem_engine.inventory import (
    CHECKPOINT_DIRECTORY,
    PART_LIST_NAME,
    PARTS_DIRECTORY,
    part_directory,
)
from mainstem_engine.log.layout import (
    CHAIN_UNKNOWN,
    SegmentHeader,
    record_salt,
    segment_name,
)
from mainstem_engine.log.reader import LogDamage, Segment, iterate_records
from mainstem_engine.log.records import Record, RecordKind
from mainstem_engine.model import Measurement
from mainstem_engine.part.layout import PART_SUFFIX, unpack_footer
from mainstem_engine.part.manifest import PartList, PartMeta
from mainstem_engine.part.reader import Part
from mainstem_engine.part_list_records import part_list_records
from mainstem_engine.rebuild import (
    complete_catalog,
    completed_catalog,
    contents,
    rebuilt_accounts,
    rebuilt_catalog,
    rebuilt_origins,
)
from mainstem_engine.repair_catalog import definitions_of
from mainstem_engine.repair_part import salvage_part

DEFINITION_PROBLEMS = ("the catalog has no", "its devices go to id", "its origins go to")
"""Of a part that is whole, and refers to what the checkpoint lacks."""


@dataclass(slots=True)
class ListedState:
    """The part list to be. ``files``: of parts by name, relative to the directory."""

    parts: dict[str, PartMeta] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    checkpoint: str | None = None
    checkpoint_lsn: int = 0
    facts: dict[str, Any] = field(default_factory=dict)
    number: int = 0

    def next_name(self) -> str:
        """A name that no part has or had."""
        self.number += 1
        return f"{self.number:012d}"

    def add(self, root: Path, meta: PartMeta) -> None:
        self.parts[meta.name] = meta
        path = part_directory(root, meta) / f"{meta.name}{PART_SUFFIX}"
        self.files[meta.name] = path.relative_to(root).as_posix()


def read_list(
    fs: Filesystem,
    root: Path,
    *,
    damaged: bool,
    keep: Callable[[str], None],
    unknown: list[str],
) -> ListedState:
    """The list as it is, or what is left of it. ``keep`` is told files that would go."""
    state = ListedState()
    if damaged:
        _read_past_damage(fs, root, state)
    else:
        found = PartList.read(fs, root / PART_LIST_NAME)
        state.checkpoint, state.facts = found.checkpoint, dict(found.facts)
        for meta in found.parts.values():
            state.add(root, meta)
    files = list((root / PARTS_DIRECTORY).rglob(f"*{PART_SUFFIX}"))
    numbers = [int(name) for name in (*state.parts, *(p.stem for p in files)) if name.isdigit()]
    state.number = max(numbers, default=0)
    if damaged:
        unknown.append(
            "changes of the part list in its damaged stretch, but for the parts there are"
        )
        _take_in(fs, root, state, files, keep)
    _find_checkpoint(fs, root, state)
    return state


def _read_past_damage(fs: Filesystem, root: Path, state: ListedState) -> None:
    path = root / PART_LIST_NAME
    for record in part_list_records(fs.read(path) if path.is_file() else b""):
        if record.problem is not None:
            continue
        for name in record.removed:
            state.parts.pop(name, None)
        for meta in record.added:
            state.add(root, meta)
        state.checkpoint = record.checkpoint or state.checkpoint
        state.facts.update(record.facts)


def _take_in(
    fs: Filesystem,
    root: Path,
    state: ListedState,
    files: Iterable[Path],
    keep: Callable[[str], None],
) -> None:
    """Adds whole parts that the list does not name; leaves out those that they replaced."""
    named = set(state.files.values())
    taken: list[PartMeta] = []
    for path in sorted(files):
        name = path.relative_to(root).as_posix()
        if name in named:
            continue
        try:
            meta = part_meta(fs, path)
        except (CorruptionError, OSError):
            keep(name)
            continue
        if path.parent != root / PARTS_DIRECTORY or meta.name in state.parts:
            # Which shards there were then is not known; a part may lie with those of an only one.
            keep(name)
            fresh = state.next_name()
            take(fs, path, root / PARTS_DIRECTORY / f"{fresh}{PART_SUFFIX}")
            fs.sync_directory(root / PARTS_DIRECTORY)
            meta = PartMeta(**{**_fields(meta), "name": fresh})
        taken.append(meta)
    for meta in taken:
        state.add(root, meta)
    for name, meta in list(state.parts.items()):
        missing = not (root / state.files[name]).is_file()
        if missing and any(_covers(other, meta) for other in taken):
            del state.parts[name]


def _fields(meta: PartMeta) -> dict[str, Any]:
    return {name: getattr(meta, name) for name in PartMeta.__dataclass_fields__}


def _covers(other: PartMeta, meta: PartMeta) -> bool:
    """True when ``other`` may be what a compaction made of ``meta``."""
    if other.table != meta.table:
        return False
    none = (1, 0)
    spans = [(*span, *other.lsn.get(origin, none)) for origin, span in meta.lsn.items()]
    return all(low >= first and high <= last for low, high, first, last in spans)


def part_meta(fs: Filesystem, path: Path) -> PartMeta:
    """What the part list would say of a part file, read from it. Raises CorruptionError."""
    mapped = fs.map(path)
    try:
        footer = unpack_footer(path, mapped.view)
        size = mapped.view.nbytes
    finally:
        mapped.close()
    blocks = footer.blocks
    meta = PartMeta(
        path.stem,
        footer.table,
        footer.partition_start_ns,
        int(blocks.rows.sum(dtype=np.int64)),
        size,
        int(blocks.time_min_ns.min()),
        int(blocks.time_max_ns.max()),
        int(blocks.device_min.min()),
        int(blocks.device_max.max()),
    )
    part = Part.open(fs, path.parent, meta)
    try:
        for number in range(len(blocks)):
            rows = part.read([number], ())
            for origin in np.unique(rows.origin).tolist():
                lsn = rows.lsn[rows.origin == origin]
                low, high = meta.lsn.get(origin, (int(lsn[0]), int(lsn[0])))
                meta.lsn[origin] = (min(low, int(lsn.min())), max(high, int(lsn.max())))
    finally:
        part.close()
    return meta


def _find_checkpoint(fs: Filesystem, root: Path, state: ListedState) -> None:
    """The listed checkpoint, or the newest that can be read; its LSN."""
    directory = root / CHECKPOINT_DIRECTORY
    names = [name for name in fs.list(directory) if name.endswith(CHECKPOINT_SUFFIX)]
    if state.checkpoint not in names:
        state.checkpoint = max(names, default=None)
    if state.checkpoint is not None:
        try:
            state.checkpoint_lsn = inspect_checkpoint(fs, directory, state.checkpoint)[0]
        except (EngineError, OSError):
            digits = state.checkpoint[:20]
            state.checkpoint_lsn = int(digits) if digits.isdigit() else 0
    if not state.checkpoint_lsn:
        applied = [max(m.applied[1], m.lsn.get(0, (0, 0))[1]) for m in state.parts.values()]
        state.checkpoint_lsn = max(applied, default=0)


def repaired_parts(
    fs: Filesystem, root: Path, state: ListedState, damages: Mapping[str, list[Damage]] | None
) -> dict[str, int]:
    """Writes the damaged parts anew and puts them into ``state``; returns lost rows by table.

    ``damages`` by part; None: not known, every part is checked here.
    """
    names = _damaged(fs, root, state) if damages is None else _to_rewrite(damages)
    measurements = _known_measurements(fs, root, state) if names else {}
    lost: dict[str, int] = {}
    for name in names:
        meta = state.parts.pop(name, None)
        if meta is None:
            continue
        salvage = salvage_part(
            fs,
            part_directory(root, meta),
            meta,
            root / PARTS_DIRECTORY,
            state.next_name(),
            measurements.get(meta.table, {}),
        )
        lost[meta.table] = lost.get(meta.table, 0) + salvage.lost_rows
        if salvage.meta is not None:
            state.add(root, salvage.meta)
    return lost


def _to_rewrite(damages: Mapping[str, list[Damage]]) -> list[str]:
    return [
        name
        for name, found in damages.items()
        if any(all(word not in d.problem for word in DEFINITION_PROBLEMS) for d in found)
    ]


def _damaged(fs: Filesystem, root: Path, state: ListedState) -> list[str]:
    return [
        meta.name
        for meta in state.parts.values()
        if any(
            True
            for _ in check_part(
                fs, root, part_directory(root, meta), meta,
                path_of=str, names={}, counts=PartCounts(),
            )
        )
    ]  # fmt: skip


def _known_measurements(
    fs: Filesystem, root: Path, state: ListedState
) -> dict[str, dict[int, Measurement]]:
    """Measurements by table and id, for the encodings that they name; empty without a catalog."""
    sections, catalog = _whole_sections(fs, root, state)
    section = sections.get(CATALOG_SECTION)
    if catalog is None and section is not None:
        catalog = definitions_of(section)
    if catalog is None:
        return {}
    return {t.name: {m.id: m for m in t.template.measurements} for t in catalog.templates.all()}


def _whole_sections(
    fs: Filesystem, root: Path, state: ListedState
) -> tuple[dict[str, bytes | None], Catalog | None]:
    """Sections of the checkpoint by name, None for damaged ones; and its catalog, None when that or
    its base is damaged."""
    sections: dict[str, bytes | None] = {}
    catalog: Catalog | None = None
    if state.checkpoint is None:
        return sections, None
    try:
        _, found = inspect_checkpoint(fs, root / CHECKPOINT_DIRECTORY, state.checkpoint)
    except (EngineError, OSError):
        return sections, None
    for section in found:
        sections[section.name] = None
        if not section.whole:
            continue
        try:
            if section.name == CATALOG_SECTION:
                definitions_of(section.data)
                catalog = _whole_catalog(fs, root, section.data)
            elif section.name in SECTION_DECODERS:
                SECTION_DECODERS[section.name](section.data)
        except (*UNDERSTANDING_ERRORS, OSError):
            continue
        sections[section.name] = section.data
    return sections, catalog


def _whole_catalog(fs: Filesystem, root: Path, section: bytes) -> Catalog | None:
    """None when the base that the section names is damaged."""
    try:
        check_catalog_files(fs, root, section)
        return Catalog.restore(section, CatalogFiles(fs, root))
    except (CorruptionError, OSError):
        return None


def rebuilt_checkpoint(
    fs: Filesystem, root: Path, state: ListedState, node_uuid: str, unknown: list[str]
) -> None:
    """Writes a checkpoint with the whole sections and rebuilt ones, and names it in ``state``."""
    if state.checkpoint is None and not state.parts:
        firsts = log_firsts(fs, root / LOG_DIRECTORY)
        if not firsts or firsts[0] == 1:
            return  # nothing was ever flushed
        state.checkpoint_lsn = firsts[0] - 1
    sections, catalog = _whole_sections(fs, root, state)
    tables, origin = contents(fs, root, state.parts.values())
    if catalog is None:
        definitions = [*_definitions(fs, root, state.checkpoint_lsn)]
        section = sections.get(CATALOG_SECTION)
        if section is None:
            catalog = rebuilt_catalog(fs, root, tables, definitions, unknown)
        else:
            catalog = completed_catalog(fs, root, section, tables, definitions, unknown)
    else:
        complete_catalog(catalog, tables, unknown)
    sections[CATALOG_SECTION] = encode_snapshot(catalog.snapshot())
    held = sections.get(ORIGINS_SECTION)
    if held is None or not _names_origin(held, origin):
        sections[ORIGINS_SECTION] = rebuilt_origins((node_uuid, "local"), origin, unknown)
    if sections.get(ACCOUNTS_SECTION) is None:
        sections[ACCOUNTS_SECTION] = rebuilt_accounts(tables, unknown)
    whole = {name: data for name, data in sections.items() if data is not None}
    if not sections.keys() - {CATALOG_SECTION, ORIGINS_SECTION, ACCOUNTS_SECTION}:
        unknown.append("deletes, floors, retention and what followers of the log knew")
    unknown.extend(f"section {name!r}" for name, data in sections.items() if data is None)
    directory = root / CHECKPOINT_DIRECTORY
    state.checkpoint = write_checkpoint(fs, directory, state.checkpoint_lsn, whole)


def _names_origin(data: bytes, origin: int) -> bool:
    origins: Any = SECTION_DECODERS[ORIGINS_SECTION](data)
    return origin < len(origins.all)


def _definitions(fs: Filesystem, root: Path, last_lsn: int) -> Iterator[Record]:
    """SCH and DEV records up to an LSN that the log still holds."""
    directory = root / LOG_DIRECTORY
    firsts = log_firsts(fs, directory)
    for position, first in enumerate(firsts):
        end = firsts[position + 1] - 1 if position + 1 < len(firsts) else last_lsn
        path = directory / segment_name(first)
        with fs.open_read(path) as file:
            header = SegmentHeader.unpack(file.read_at(0, 64))
            if header is None:
                continue
            salt = record_salt(header.node_uuid, first)
            segment = Segment(path, first, first - 1, salt, CHAIN_UNKNOWN)
            for record in iterate_records(file, segment, first, min(end, last_lsn), _stepped_over):
                if record.kind in (RecordKind.SCH, RecordKind.DEV):
                    yield record


def _stepped_over(_: LogDamage) -> None:
    """The check has reported it."""
