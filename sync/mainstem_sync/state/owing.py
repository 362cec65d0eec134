"""What this node owes its parent as slices: the sender's side of COVER, EXP and LOSS records.

1. A record that says "owed as slices" takes records out of what is sent from the log. Their rows
   stay pending until the parent says that it has all of the slices (``done`` of a WANT frame), or
   until some are declared lost.
2. An own LSN that is owed as slices is not offered to the parent as covered before that.
3. Rows that came here as images of another node's owed slices are pending until the parent has
   these slices too; the parent names the same record.
4. A record that its writer has lost in a fork is named by nobody any more. Rows of its images are
   pending until the parent has the range up to the fork by whatever way.
5. No record says that something is done. After a backup here it is pending again, and the record
   that spoke for it last may be lost with the log; after one above the parent may not know any of
   them. So whatever stands for a range is not owed when the parent's R has that range, and what
   this node owes next speaks for what the parent does not know.

All of it follows from the log and from what the parent says. Guarded by the federation's lock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mainstem_sync.slices.loss import Loss
from mainstem_sync.slices.owed import Owed, lsns_of_wire
from mainstem_sync.slices.wants import DONE_MAX, Ref
from mainstem_sync.wire.messages import OriginKey
from mainstem_sync.wire.ranges import RangeSet

HANDED_MAX = 4096
"""Records of nodes below that are remembered until the parent has them whole."""


@dataclass(slots=True)
class Settled:
    """What became of owed slices: rows by table and bytes that are not pending any more, and LSNs
    of the own stream that the parent has."""

    rows: dict[str, int] = field(default_factory=dict)
    size: int = 0
    own: RangeSet = field(default_factory=RangeSet)
    others: list[tuple[OriginKey, RangeSet]] = field(default_factory=list)
    """What the parent has now of nodes below."""

    def add(self, rows: Mapping[str, int]) -> None:
        for table, count in rows.items():
            self.rows[table] = self.rows.get(table, 0) + count


class Owing:
    """See the module."""

    def __init__(self) -> None:
        self.records: dict[int, Owed] = {}
        """By the LSN of the record that says so."""
        self.images: dict[Ref, dict[str, int]] = {}
        """Rows of images of others' slices, by record of the other node and table."""
        self.images_of: dict[Ref, tuple[OriginKey, RangeSet]] = {}
        """Whose slices these are, and the range that they stand for. A checkpoint of an older
        version does not say."""
        self.handed: dict[Ref, tuple[OriginKey, RangeSet]] = {}
        self.voided: dict[Ref, tuple[OriginKey, RangeSet, dict[str, int]]] = {}
        """Rows of images, by the record that is void now: wait for this range of the line."""

    def hand_on(self, ref: Ref, target: OriginKey, ranges: RangeSet) -> None:
        """Another node's record of this kind came here and goes up: its range is known to the
        parent as owed, until it is done there."""
        self.handed[ref] = (target, ranges)
        while len(self.handed) > HANDED_MAX:
            del self.handed[next(iter(self.handed))]

    def handed_of(self, target: OriginKey, knows: Callable[[Ref], bool]) -> list[Ref]:
        """Records that say what is owed of a node below, and that others wrote. ``knows``: records
        that the parent has. Of one that was done there, and that it has lost, rows of images may be
        left: nobody but this node speaks of it any more."""
        handed = [ref for ref, (key, _) in self.handed.items() if key == target]
        left = [ref for ref, of in self.images_of.items() if of[0] == target and not knows(ref)]
        return list(dict.fromkeys([*handed, *left]))

    def owed_by_others(
        self, target: OriginKey, knows: Callable[[Ref], bool], gone: RangeSet
    ) -> RangeSet:
        """Ranges of a node below that the parent gets as slices. ``knows``: records it has;
        ``gone``: own LSNs that it has lost and gets no more."""
        found = RangeSet()
        for ref, (key, ranges) in self.handed.items():
            if key == target and knows(ref):
                found.update(ranges)
        for lsn, owed in self.records.items():
            if owed.target == target and lsn not in gone:
                found.update(owed.ranges)
        return found

    def said_in(self, gone: RangeSet, target: OriginKey | None) -> list[int]:
        """Own records that owe slices of ``target``, among these LSNs."""
        return [n for n, owed in self.records.items() if n in gone and owed.target == target]

    def spoken_for(self, lsns: Iterable[int]) -> list[int]:
        """These own records, and the newest of those that they speak for."""
        known = set(lsns)
        older = {at for lsn in known for at in self.records[lsn].old} - known
        return sorted({*known, *sorted(older)[-DONE_MAX:]})

    @property
    def ranges(self) -> RangeSet:
        """Own LSNs that are owed as slices."""
        found = RangeSet()
        for owed in self.records.values():
            if owed.target is None:
                found.update(owed.ranges)
        return found

    @property
    def rows(self) -> dict[str, int]:
        """Pending rows by table."""
        total = Settled()
        for owed in self.records.values():
            total.add(owed.rows)
        for rows in self.images.values():
            total.add(rows)
        for _, _, rows in self.voided.values():
            total.add(rows)
        return total.rows

    @property
    def size(self) -> int:
        """Bytes of the records that were pending."""
        return sum(owed.size for owed in self.records.values())

    def add(self, owed: Owed) -> None:
        """A COVER or EXP record was applied. It takes over what records before it say."""
        for lsn in owed.old:
            before = self.records.pop(lsn, None)
            if before is None:
                continue
            total = Settled(dict(owed.rows), owed.size)
            total.add(before.rows)
            owed.rows, owed.size = total.rows, owed.size + before.size
            owed.others += before.others
            for table, counts in before.counts.items():
                known = owed.counts.setdefault(table, {})
                for key, rows in counts.items():
                    known[key] = known.get(key, 0) + rows
        self.records[owed.lsn] = owed

    def imaged(self, ref: Ref, target: OriginKey, ranges: RangeSet, table: str, rows: int) -> None:
        """Rows of an image of a slice of ``target`` that answers another node's record were
        stored. ``ranges``: what enters R by that record."""
        self.images_of[ref] = target, ranges
        known = self.images.setdefault(ref, {})
        known[table] = known.get(table, 0) + rows

    def forked(self, line: OriginKey, fork: int) -> None:
        """A node below goes on after ``fork`` as ``line``: what it said beyond it is void."""
        for ref in [ref for ref in {**self.images, **self.handed} if ref[0] == line.uuid]:
            target, ranges = self.handed.get(ref, (line, RangeSet()))
            if ref[1] < line.epoch and ref[2] > fork and target.uuid == line.uuid:
                self.handed.pop(ref, None)
                rows = self._images(ref)
                if rows:
                    self.voided[ref] = line, RangeSet(ranges.within(1, fork)), rows
        for ref, (before, ranges, rows) in list(self.voided.items()):
            if before.uuid == line.uuid and before.epoch < line.epoch:
                self.voided[ref] = line, RangeSet(ranges.within(1, fork)), rows

    def arrived(self, parent_has: Callable[[OriginKey], RangeSet | None]) -> Settled:
        """What the parent has of lines whose records are void, or that records here or below owe:
        it may have got that by others, which are lost with the log after a backup."""
        settled = Settled()
        for lsn, owed in list(self.records.items()):
            known = None if owed.target is None else parent_has(owed.target)
            if known is not None and owed.ranges and known.contains_all(owed.ranges):
                self._finish(lsn, settled)
        for ref, (target, ranges) in list(self.images_of.items()):
            known = parent_has(target)
            if known is not None and ranges and known.contains_all(ranges):
                self._has(ref, settled)
        for ref, (line, ranges, rows) in list(self.voided.items()):
            # Up to the fork both epochs are the same records: the parent may know them by either.
            lines = (line, OriginKey(ref[0], ref[1], line.name))
            found = [has for has in map(parent_has, lines) if has is not None]
            if found and RangeSet(item for has in found for item in has).contains_all(ranges):
                settled.add(rows)
                del self.voided[ref]
        return settled

    def done(self, refs: Iterable[Ref], own: Callable[[Ref], bool]) -> Settled:
        """The parent has everything that these records speak of. ``own``: which are this node's."""
        settled = Settled()
        for ref in refs:
            self._has(ref, settled)
            if ref[2] in self.records and own(ref):
                self._finish(ref[2], settled)
        return settled

    def resumed(self, parent_has: RangeSet) -> Settled:
        """The parent's R of the own stream at HELLO: what it contains is no longer owed."""
        settled = Settled()
        for lsn, owed in list(self.records.items()):
            if owed.target is None and owed.ranges and parent_has.contains_all(owed.ranges):
                self._finish(lsn, settled)
        return settled

    def _has(self, ref: Ref, settled: Settled) -> None:
        """The parent has what a record of a node below speaks of."""
        settled.add(self._images(ref))
        if ref in self.handed:
            settled.others.append(self.handed.pop(ref))

    def _images(self, ref: Ref) -> dict[str, int]:
        """Rows of images that wait for this record; they do not any more."""
        self.images_of.pop(ref, None)
        return self.images.pop(ref, {})

    def _finish(self, lsn: int, settled: Settled) -> None:
        owed = self.records.pop(lsn)
        settled.add(owed.rows)
        settled.size += owed.size
        for ref in owed.others:
            self._has(ref, settled)
        if owed.target is None:
            settled.own.update(owed.ranges)
        else:
            settled.others.append((owed.target, owed.ranges))

    def lost(self, loss: Loss) -> dict[str, int]:
        """A LOSS record speaks of owed slices. Returns the rows by table that are lost by it."""
        total = Settled()
        for table in loss.tables:
            keys = table.keys.tolist()
            for owed in self.records.values():
                if owed.target != loss.target:
                    continue
                counts = owed.counts.get(table.name, {})
                rows = sum(counts.pop(key, 0) for key in keys)
                rows = min(rows, owed.rows.get(table.name, 0))
                if rows:
                    owed.rows[table.name] -= rows
                    total.add({table.name: rows})
        return total.rows

    def rows_of(self, table: str, key: int, target: OriginKey | None = None) -> int:
        """Rows of a slice, own or of a node below, that are pending as far as is known."""
        return sum(
            owed.counts.get(table, {}).get(key, 0)
            for owed in self.records.values()
            if owed.target == target
        )

    def snapshot(self) -> dict[str, Any]:
        return {
            "records": [[lsn, owed.to_header()] for lsn, owed in self.records.items()],
            "images": [[list(ref), rows] for ref, rows in self.images.items()],
            "images_of": [
                [list(ref), key.to_wire(), ranges.to_wire()]
                for ref, (key, ranges) in self.images_of.items()
            ],
            "handed": [
                [list(ref), key.to_wire(), ranges.to_wire()]
                for ref, (key, ranges) in self.handed.items()
            ],
            "voided": [
                [list(ref), key.to_wire(), ranges.to_wire(), rows]
                for ref, (key, ranges, rows) in self.voided.items()
            ],
        }

    def restore(self, data: Mapping[str, Any]) -> None:
        self.records = {lsn: Owed.from_header(header, lsn) for lsn, header in data["records"]}
        self.images = {(uuid, epoch, lsn): rows for (uuid, epoch, lsn), rows in data["images"]}
        self.images_of = {
            (uuid, epoch, lsn): (OriginKey.from_wire(key), lsns_of_wire(ranges))
            for (uuid, epoch, lsn), key, ranges in data.get("images_of", ())
        }
        self.handed = {
            (uuid, epoch, lsn): (OriginKey.from_wire(key), lsns_of_wire(ranges))
            for (uuid, epoch, lsn), key, ranges in data.get("handed", ())
        }
        self.voided = {
            (uuid, epoch, lsn): (OriginKey.from_wire(key), lsns_of_wire(ranges), rows)
            for (uuid, epoch, lsn), key, ranges, rows in data.get("voided", ())
        }
