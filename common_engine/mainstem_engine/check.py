"""Checking a data directory, offline: everything on disk is read, nothing is changed.

1. Identity, part list, checkpoint with each of its sections, the catalog's files.
2. Every part (check_part.py) and every record of the log (check_log.py).
3. What must fit together: listed parts and their files, devices and tables of the parts and the
   catalog, origins, the checkpoint and the log.

While it runs, the directory is held with a shared lock, so that no engine opens it. Memory: the
catalog of the checkpoint, and one block of a part or one piece of the log at a time.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgpack

from mainstem_engine.accounting import StoreAccounting
from mainstem_engine.catalog.base_file import CATALOG_DIRECTORY
from mainstem_engine.catalog.catalog import Catalog
from mainstem_engine.catalog.sections import CatalogFiles, check_catalog_files
from mainstem_engine.check_log import LOG_DIRECTORY, LogCounts, check_log, log_firsts, log_node
from mainstem_engine.check_part import PartCounts, check_part
from mainstem_engine.checkpoint import CHECKPOINT_SUFFIX, Section, inspect_checkpoint
from mainstem_engine.damage import Damage, Findings, damage_of
from mainstem_engine.deletes import decode_tombstones
from mainstem_engine.errors import EngineError, NotFoundError
from mainstem_engine.filesystem import TEMPORARY_SUFFIX, Filesystem
from mainstem_engine.floors import decode_floors
from mainstem_engine.flush import ACCOUNTS_SECTION, CATALOG_SECTION, ORIGINS_SECTION
from mainstem_engine.identity import IDENTITY_NAME, read_identity
from mainstem_engine.inventory import (
    CHECKPOINT_DIRECTORY,
    PART_LIST_NAME,
    PARTS_DIRECTORY,
    lost_end,
    part_directory,
)
from mainstem_engine.losses import Losses
from mainstem_engine.model import Origin
from mainstem_engine.origins import Origins
from mainstem_engine.part.layout import PART_SUFFIX
from mainstem_engine.part.manifest import PartList, PartMeta
from mainstem_engine.retention import CLOCK_SECTION
from mainstem_engine.retention_clock import RetentionClock
from mainstem_engine.standing_deletes import FLOORS_SECTION, TOMBSTONES_SECTION

LOCK_NAME = "LOCK"

T = TypeVar("T")

SECTION_DECODERS: dict[str, Callable[[bytes], object]] = {
    CATALOG_SECTION: Catalog.restore,
    ORIGINS_SECTION: lambda data: Origins.restore(data, Origin("", "")),
    ACCOUNTS_SECTION: StoreAccounting.restore,
    TOMBSTONES_SECTION: decode_tombstones,
    FLOORS_SECTION: decode_floors,
    CLOCK_SECTION: lambda data: RetentionClock(time.time_ns, time.monotonic_ns).restore(data),
}
"""How each section is understood. Sections of consumers belong to higher layers: only their
checksums are judged."""

UNDERSTANDING_ERRORS = (
    EngineError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    msgpack.UnpackException,
)
"""What decoding raises on bytes that have the right checksum and the wrong content."""


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What a check read, and what is wrong. ``remarks`` are no damage: what a crash leaves and the
    next start removes. ``unlisted``: damages beyond the bound of the list."""

    path: Path
    node_uuid: str | None
    parts: int
    blocks: int
    rows: int
    part_bytes: int
    checkpoint_lsn: int
    log: LogCounts
    damages: tuple[Damage, ...]
    remarks: tuple[str, ...]
    unlisted: int = 0

    @property
    def whole(self) -> bool:
        """True when nothing is damaged."""
        return not self.damages


def check_directory(
    path: str | os.PathLike[str],
    *,
    fs: Filesystem | None = None,
    progress: Callable[[str], None] | None = None,
) -> CheckReport:
    """Reads and judges everything below a data directory; see the module.

    ``progress`` is told the file that is read next. Raises NotFoundError when the path is not a
    data directory, LockedError while a process owns it, OSError when it cannot be listed.
    """
    root = Path(path)
    fs = fs or Filesystem()
    require_data_directory(root)
    lock = fs.lock_shared(root / LOCK_NAME)
    try:
        return check_locked(fs, root, progress)
    finally:
        if lock is not None:
            lock.close()


def check_locked(
    fs: Filesystem, root: Path, progress: Callable[[str], None] | None = None
) -> CheckReport:
    """As ``check_directory``, for a caller that holds the directory's lock."""
    return _Check(fs, root, progress or _quiet).run()


def require_data_directory(root: Path) -> None:
    """Raises NotFoundError unless something that only an engine leaves is there."""
    if not any((root / name).is_file() for name in (IDENTITY_NAME, PART_LIST_NAME)):
        raise NotFoundError(
            f"{root} is not a data directory",
            hint=f"it has neither {IDENTITY_NAME} nor {PART_LIST_NAME}; give the data_dir",
        )


class _Check:
    """One run of the steps above."""

    def __init__(self, fs: Filesystem, root: Path, progress: Callable[[str], None]) -> None:
        self._fs = fs
        self._root = root
        self._progress = progress
        self._findings = Findings()
        self._catalog: Catalog | None = None
        self._origins: Origins | None = None
        self._checkpoint_lsn = 0

    def run(self) -> CheckReport:
        uuid = self._identity()
        part_list = self._part_list()
        if part_list.checkpoint is not None:
            self._checkpoint(part_list.checkpoint)
        counts = self._parts(part_list.parts)
        self._leftovers(part_list)
        self._progress(LOG_DIRECTORY)
        log = check_log(
            self._fs,
            self._root,
            uuid,
            self._checkpoint_lsn,
            Losses.of(part_list.facts),
            self._findings,
        )
        metas = part_list.parts.values()
        return CheckReport(
            path=self._root,
            node_uuid=uuid,
            parts=len(metas),
            blocks=counts.blocks,
            rows=counts.rows,
            part_bytes=sum(meta.bytes for meta in metas),
            checkpoint_lsn=self._checkpoint_lsn,
            log=log,
            damages=tuple(self._findings.damages),
            remarks=tuple(self._findings.remarks),
            unlisted=self._findings.unlisted,
        )

    def _guarded(self, action: Callable[[], T], file: str, lost: str) -> T | None:
        """The result, or None with the damage noted."""
        self._progress(file)
        try:
            return action()
        except (EngineError, OSError) as error:
            self._findings.add(damage_of(self._root, error, file, lost))
            return None

    def _identity(self) -> str | None:
        if not (self._root / IDENTITY_NAME).is_file():
            self._findings.add(Damage(IDENTITY_NAME, 0, "the file is missing"))
            return None
        lost = "the log's headers still say whose it is"
        found = self._guarded(lambda: read_identity(self._fs, self._root), IDENTITY_NAME, lost)
        # The file has no checksum; the headers of the log do, and there are several.
        named = log_node(self._fs, self._root / LOG_DIRECTORY)
        if found is not None and named is not None and found != named:
            problem = "it names another node than the log"
            self._findings.add(Damage(IDENTITY_NAME, 0, problem, lost))
            return named
        return found

    def _part_list(self) -> PartList:
        path = self._root / PART_LIST_NAME
        empty = PartList(self._fs, path)
        if not path.is_file():
            if _files(self._root / PARTS_DIRECTORY, PART_SUFFIX):
                problem = "the file is missing, and there are parts"
                self._findings.add(Damage(PART_LIST_NAME, 0, problem, "no part can be used"))
            return empty
        lost = "which parts exist is not known from here on"
        found = self._guarded(lambda: PartList.read(self._fs, path), PART_LIST_NAME, lost)
        if found is None:
            return empty
        reason = lost_end(self._fs, self._root, found)
        if reason is not None:
            size = self._fs.size(path)
            self._findings.add(Damage(PART_LIST_NAME, size, f"its end is lost: {reason}", lost))
        return found

    def _checkpoint(self, name: str) -> None:
        directory = self._root / CHECKPOINT_DIRECTORY
        file = f"{CHECKPOINT_DIRECTORY}/{name}"
        found = self._guarded(
            partial(inspect_checkpoint, self._fs, directory, name), file, "the state of the store"
        )
        if found is None:
            return
        self._checkpoint_lsn, sections = found
        for section in sections:
            decoded = self._section(file, section)
            if isinstance(decoded, Catalog):
                self._catalog = decoded
            elif isinstance(decoded, Origins):
                self._origins = decoded
        for wanted in (CATALOG_SECTION, ORIGINS_SECTION, ACCOUNTS_SECTION):
            if all(section.name != wanted for section in sections):
                self._findings.add(Damage(file, 0, f"section {wanted!r} is missing"))

    def _section(self, file: str, section: Section) -> object:
        name = section.name
        if not section.whole:
            problem = f"section {name!r} has a wrong checksum"
            self._findings.add(Damage(file, section.offset, problem, f"lost: {name}"))
            return None
        decode = SECTION_DECODERS.get(name)
        if name == CATALOG_SECTION:
            decode = self._catalog_section
        if decode is None:
            return None
        try:
            return decode(section.data)
        except UNDERSTANDING_ERRORS as error:
            problem = f"section {name!r} is not understood ({error!r})"
            self._findings.add(Damage(file, section.offset, problem, f"lost: {name}"))
            return None

    def _catalog_section(self, data: bytes) -> Catalog | None:
        """The catalog, every byte of its base read; None when the base is damaged."""
        found: list[Catalog] = []

        def check() -> None:
            check_catalog_files(self._fs, self._root, data)
            found.append(Catalog.restore(data, CatalogFiles(self._fs, self._root)))

        self._guarded(check, CATALOG_DIRECTORY, "names and tags of devices")
        return found[0] if found else None

    def _parts(self, metas: Mapping[str, PartMeta]) -> PartCounts:
        counts = PartCounts()
        for meta in metas.values():
            directory = part_directory(self._root, meta)
            self._progress(f"{meta.name}{PART_SUFFIX}")
            self._findings.extend(
                check_part(
                    self._fs,
                    self._root,
                    directory,
                    meta,
                    path_of=self._path_of,
                    names=self._measurements(meta.table),
                    counts=counts,
                )
            )
            self._against_catalog(directory, meta)
        return counts

    def _against_catalog(self, directory: Path, meta: PartMeta) -> None:
        """What a part refers to must be defined."""
        file = (directory / f"{meta.name}{PART_SUFFIX}").relative_to(self._root).as_posix()
        problems = []
        catalog = self._catalog
        if catalog is not None:
            if meta.device_max >= len(catalog.devices):
                problems.append(f"its devices go to id {meta.device_max}, the catalog's do not")
            if catalog.templates.get(meta.table) is None:
                problems.append(f"the catalog has no template {meta.table!r}")
        if self._origins is not None and max(meta.lsn, default=0) >= len(self._origins.all):
            problems.append(f"its origins go to {max(meta.lsn)}, the store's do not")
        for problem in problems:
            self._findings.add(Damage(file, 0, problem, part=meta.name, table=meta.table))

    def _path_of(self, device: int) -> str:
        if self._catalog is not None and device < len(self._catalog.devices):
            return self._catalog.devices.path(device)
        return f"device {device}"

    def _measurements(self, table: str) -> dict[int, str]:
        found = None if self._catalog is None else self._catalog.templates.get(table)
        return {} if found is None else {m.id: m.name for m in found.template.measurements}

    def _leftovers(self, part_list: PartList) -> None:
        """Files that nothing names: what a crash left between two steps."""
        parts = self._root / PARTS_DIRECTORY
        known = {
            part_directory(self._root, meta) / f"{meta.name}{PART_SUFFIX}"
            for meta in part_list.parts.values()
        }
        damaged = any(damage.file == PART_LIST_NAME for damage in self._findings.damages)
        if not damaged:
            self._remark_unnamed(_files(parts, PART_SUFFIX), known)
        checkpoints = self._root / CHECKPOINT_DIRECTORY
        self._remark_unnamed(
            _files(checkpoints, CHECKPOINT_SUFFIX), {checkpoints / (part_list.checkpoint or "")}
        )
        for left in sorted(
            {*_files(self._root, TEMPORARY_SUFFIX), *_files(parts, TEMPORARY_SUFFIX)}
        ):
            name = left.relative_to(self._root).as_posix()
            self._findings.remark(f"{name} is unfinished; the next start removes it")
        if not part_list.parts and not log_firsts(self._fs, self._root / LOG_DIRECTORY):
            self._findings.remark("nothing was ever stored here")

    def _remark_unnamed(self, files: Collection[Path], known: Collection[Path]) -> None:
        for path in files:
            if path not in known:
                name = path.relative_to(self._root).as_posix()
                self._findings.remark(f"{name} is not in use; the next start removes it")


def _files(directory: Path, suffix: str) -> list[Path]:
    """Files of that suffix in a directory and one level below it."""
    with contextlib.suppress(FileNotFoundError):
        return sorted({*directory.glob(f"*{suffix}"), *directory.glob(f"*/*{suffix}")})
    return []


def _quiet(_: str) -> None:
    """Nobody watches."""
