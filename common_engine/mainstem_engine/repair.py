"""Repairing a damaged data directory: giving up what cannot be read, and nothing else.

1. *Plan*: a check says what is damaged; each damage becomes an action, in words, before anything
   is changed.
2. *Keep*: every file that an action replaces or removes is linked into ``DATA/repair-<n>/`` first.
3. *Write*: new files appear beside the old ones. Identity and headers of log segments are put back
   from each other; parts are written anew without what cannot be read (repair_part.py); a
   checkpoint with damaged sections is written anew with what can be rebuilt (rebuild.py), and a
   damaged base of the catalog with everything of it that is whole (repair_catalog.py).
4. *Commit*: one new part list, by atomic replacement, names the new parts and checkpoint and says
   what is lost: rows of parts by table, LSNs of the log. Before it the directory is as it was,
   behind it the losses are counted as ``lost_local``.
5. The directory is checked again.

A repair that a crash ended is begun anew; it finds what is left to do. Damaged stretches of the log
stay where they are: they are stepped over, and once declared they are no longer reported.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from mainstem_engine.backup_files import take
from mainstem_engine.catalog.base_file import CATALOG_DIRECTORY, base_files
from mainstem_engine.check import LOCK_NAME, CheckReport, check_locked, require_data_directory
from mainstem_engine.check_log import HEADER_DAMAGED, LOG_DIRECTORY, log_firsts, record_spans
from mainstem_engine.damage import Damage
from mainstem_engine.filesystem import Filesystem
from mainstem_engine.identity import IDENTITY_NAME, read_identity, write_identity
from mainstem_engine.inventory import (
    CHECKPOINT_DIRECTORY,
    PART_LIST_NAME,
)
from mainstem_engine.log.layout import (
    CHAIN_UNKNOWN,
    SEGMENT_HEADER_BYTES,
    SegmentHeader,
    record_salt,
    segment_name,
)
from mainstem_engine.log.reader import Segment, version_of
from mainstem_engine.losses import Losses
from mainstem_engine.lost_names import KEPT_PREFIX
from mainstem_engine.part.manifest import PartList
from mainstem_engine.repair_state import (
    DEFINITION_PROBLEMS,
    ListedState,
    read_list,
    rebuilt_checkpoint,
    repaired_parts,
)

NEW_LIST_NAME = "part-list.new"
"""The part list to be, until it is complete."""


@dataclass(frozen=True, slots=True)
class RepairPlan:
    """What a repair would do. ``actions``: in words. ``report``: the check it is based on."""

    report: CheckReport
    actions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RepairReport:
    """What a repair did. ``kept``: where the files are that it replaced, None when it replaced
    none. ``lost_rows`` by table. ``unknown``: what had to be made up or left out."""

    actions: tuple[str, ...]
    kept: Path | None
    lost_rows: dict[str, int]
    lost_lsns: tuple[tuple[int, int], ...]
    unknown: tuple[str, ...]
    after: CheckReport


def plan_repair(path: str | os.PathLike[str], *, fs: Filesystem | None = None) -> RepairPlan:
    """What ``repair_directory`` would do, changing nothing. Raises as it does."""
    root, fs = Path(path), fs or Filesystem()
    require_data_directory(root)
    lock = fs.lock_shared(root / LOCK_NAME)
    try:
        report = check_locked(fs, root)
    finally:
        if lock is not None:
            lock.close()
    return RepairPlan(report, tuple(_Work(report.damages).actions()))


def repair_directory(path: str | os.PathLike[str], *, fs: Filesystem | None = None) -> RepairReport:
    """Repairs what a check finds; see the module. A whole directory is left as it is.

    Raises NotFoundError when the path is not a data directory, LockedError while it is owned,
    OSError: the directory is then as it was, or repaired.
    """
    root, fs = Path(path), fs or Filesystem()
    require_data_directory(root)
    lock = fs.lock(root / LOCK_NAME)
    try:
        return _Repair(fs, root).run()
    finally:
        lock.close()


@dataclass(slots=True)
class _Work:
    """Damages by what has to be done about them."""

    damages: Iterable[Damage]
    identity: bool = False
    part_list: bool = False
    checkpoint: bool = False
    bases: list[str] = field(default_factory=list)
    parts: dict[str, list[Damage]] = field(default_factory=dict)
    headers: list[str] = field(default_factory=list)
    definitions: bool = False
    log_end: bool = False
    records: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        damages = list(self.damages)
        for damage in damages:
            top = damage.file.partition("/")[0]
            if damage.file == IDENTITY_NAME:
                self.identity = True
            elif damage.file == PART_LIST_NAME:
                self.part_list = True
            elif top in (CHECKPOINT_DIRECTORY, CATALOG_DIRECTORY):
                self.checkpoint = True
                if top == CATALOG_DIRECTORY:
                    self.bases.append(damage.file)
            elif damage.part is not None:
                self.parts.setdefault(damage.part, []).append(damage)
                if any(word in damage.problem for word in DEFINITION_PROBLEMS):
                    self.definitions = True
            elif damage.problem == HEADER_DAMAGED:
                self.headers.append(damage.file)
            elif damage.file == LOG_DIRECTORY and not damage.records:
                self.log_end = True
        self.records = record_spans(damages)

    def actions(self) -> Iterable[str]:
        """What will be done, in words."""
        if self.identity:
            yield f"write {IDENTITY_NAME} anew, from the headers of the log"
        if self.part_list:
            yield f"write {PART_LIST_NAME} anew, from what is left of it and the parts there are"
        for name, damages in self.parts.items():
            lost = sorted({damage.lost for damage in damages if damage.lost})
            yield f"write part {name} anew; {'; '.join(lost) or 'nothing of it is lost'}"
        for file in self.bases:
            yield f"write {file} anew, with every name and tag whose checksum is right"
        if self.checkpoint:
            yield "write the checkpoint anew: its damaged sections are rebuilt or left out"
        for file in self.headers:
            yield f"write the header of {file} anew"
        if self.log_end:
            yield "begin a new segment of the log behind the checkpoint"
        for first, last in self.records:
            yield f"declare the records {first} to {last} of the log lost"


class _Repair:
    """One run of the steps above, under the directory's lock."""

    def __init__(self, fs: Filesystem, root: Path) -> None:
        self._fs = fs
        self._root = root
        self._kept: Path | None = None
        self._unknown: list[str] = []

    def run(self) -> RepairReport:
        report = check_locked(self._fs, self._root)
        work = _Work(report.damages)
        actions = tuple(work.actions())
        if not actions:
            return RepairReport((), None, {}, (), (), report)
        if work.identity:
            self._identity()
        for file in work.headers:
            self._header(file)
        rows = self._parts_and_state(work)
        return RepairReport(
            actions,
            self._kept,
            rows,
            tuple(work.records),
            tuple(dict.fromkeys(self._unknown)),
            check_locked(self._fs, self._root),
        )

    def _keep(self, name: str) -> None:
        """Gives a file that will be replaced a second name in this repair's directory."""
        source = self._root / name
        if not source.is_file():
            return
        if self._kept is None:
            number = 1
            while (self._root / f"{KEPT_PREFIX}{number}").exists():
                number += 1
            self._kept = self._root / f"{KEPT_PREFIX}{number}"
        target = self._kept / name
        self._fs.make_directory(target.parent)
        if not target.exists():
            take(self._fs, source, target)
            self._fs.sync_directory(target.parent)

    def _identity(self) -> None:
        self._keep(IDENTITY_NAME)
        found = next((h.node_uuid.hex() for h in self._headers() if h is not None), None)
        if found is None:
            found = uuid.uuid4().hex
            self._unknown.append("who this node was: it has a new id")
        write_identity(self._fs, self._root, found)

    def _headers(self) -> list[SegmentHeader | None]:
        directory = self._root / LOG_DIRECTORY
        headers = []
        for first in log_firsts(self._fs, directory):
            with self._fs.open_read(directory / segment_name(first)) as file:
                headers.append(SegmentHeader.unpack(file.read_at(0, SEGMENT_HEADER_BYTES)))
        return headers

    def _node_uuid(self) -> bytes:
        return bytes.fromhex(read_identity(self._fs, self._root) or uuid.uuid4().hex)

    def _header(self, file: str) -> None:
        """A header that names the segment as its file name does. The chain before is not known."""
        self._keep(file)
        path = self._root / file
        first, node_uuid = int(path.stem), self._node_uuid()
        segment = Segment(path, first, first - 1, record_salt(node_uuid, first), CHAIN_UNKNOWN)
        with self._fs.open_read(path) as found:
            header = SegmentHeader(first, CHAIN_UNKNOWN, node_uuid, version_of(found, segment))
        mapped = self._fs.map(path)
        try:
            self._fs.replace(path, [header.pack(), mapped.view[SEGMENT_HEADER_BYTES:]])
        finally:
            mapped.close()

    def _parts_and_state(self, work: _Work) -> dict[str, int]:
        """New parts, a new checkpoint, and the part list that makes them count."""
        fs, root = self._fs, self._root
        state = read_list(fs, root, damaged=work.part_list, keep=self._keep, unknown=self._unknown)
        before = list(state.parts)
        rows = repaired_parts(fs, root, state, None if work.part_list else work.parts)
        if work.checkpoint or work.part_list or work.definitions:
            if state.checkpoint is not None:
                self._keep(f"{CHECKPOINT_DIRECTORY}/{state.checkpoint}")
            for name in base_files(fs, root / CATALOG_DIRECTORY):
                self._keep(f"{CATALOG_DIRECTORY}/{name}")
            rebuilt_checkpoint(fs, root, state, self._node_uuid().hex(), self._unknown)
        if work.log_end or not log_firsts(fs, root / LOG_DIRECTORY):
            self._begin_segment(state.checkpoint_lsn)
        gone = [name for name in before if name not in state.parts]
        for name in gone:
            self._keep(state.files[name])
        self._commit(state, rows, work.records)
        for name in gone:
            fs.unlink(root / state.files[name])
        return rows

    def _begin_segment(self, checkpoint_lsn: int) -> None:
        """An empty segment behind the checkpoint, so that no LSN is given out twice."""
        directory = self._root / LOG_DIRECTORY
        self._fs.make_directory(directory)
        header = SegmentHeader(checkpoint_lsn + 1, CHAIN_UNKNOWN, self._node_uuid())
        path = directory / segment_name(checkpoint_lsn + 1)
        if not path.exists():
            self._fs.replace(path, [header.pack()])

    def _commit(
        self, state: ListedState, rows: dict[str, int], spans: list[tuple[int, int]]
    ) -> None:
        fs, root = self._fs, self._root
        self._keep(PART_LIST_NAME)
        losses = Losses.of(state.facts).plus(rows, spans)
        new = root / NEW_LIST_NAME
        fs.unlink(new)
        part_list = PartList.open(fs, new)
        part_list.commit(
            add=state.parts.values(),
            checkpoint=state.checkpoint,
            facts={**state.facts, **losses.to_facts()},
        )
        part_list.close()
        fs.rename(new, root / PART_LIST_NAME)
        fs.sync_directory(root)
