"""What of this node's log the parent holds, and the forward sums of the accounting.

All sets are of local LSNs.

1. ``held``: the parent has everything that it should get of the record, or should get nothing.
2. ``acked``: the parent's R of this node's own stream. An LSN is offered to it only when it is
   held, so ``acked`` within ``held`` says everything that has to survive a restart, and its
   watermark is what ``acked_lsn`` and the release of the log go by.
3. Counters move only with these sets: a record that is applied adds its rows to ``pending`` (or
   ``not_exported``), one that becomes held moves them to ``delivered``.
4. At HELLO the parent's own R replaces ``acked``. What is held and not in it is counted again from
   the log: it is no longer held until a batch or the parent's R of its origin shows that it is.
   So a parent that lost data gets it again, and a crash here loses no count.
5. A batch that the parent refuses for good is parked by an EVT record in this log.
6. What is owed as slices (owing.py) is held, but neither acknowledged nor offered until the parent
   has these slices. Its log may be released: images are made from what is stored.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mainstem_engine.log.log import Log
from mainstem_sync.lines.moments import Moments
from mainstem_sync.slices.loss import Loss
from mainstem_sync.slices.owed import Owed
from mainstem_sync.slices.wants import Ref
from mainstem_sync.state.content import BULK_ROWS_MIN, Classifier, Content
from mainstem_sync.state.owing import Owing, Settled
from mainstem_sync.wire.messages import OriginKey
from mainstem_sync.wire.ranges import RangeSet

PARK = "park"
"""``op`` of the EVT record that parks records."""

AGES_MAX = 2048
"""Remembered moments of the log, to tell how old an LSN is; thinned to half when full."""

AGE_STEP_NS = 50_000_000
"""Moments closer than this are not worth remembering."""


@dataclass(slots=True)
class ForwardSums:
    """Rows of one table, as the contract's ``forward``."""

    not_exported: int = 0
    delivered: int = 0
    pending: int = 0
    parked: int = 0
    lost: int = 0


class Forward:
    """See the module. Guarded by ``lock``, the federation's; only ``resume``, which reads the log,
    takes it itself, record by record, and ``lose``, which is too rare to be kind."""

    def __init__(self, classifier: Classifier, lock: threading.RLock) -> None:
        self.classifier = classifier
        self._lock = lock
        self.held = RangeSet()
        self.acked = RangeSet()
        self.parked = RangeSet()
        self.control = RangeSet()
        self.statements = RangeSet()
        """Of control, what nothing else waits for."""
        self.bulk = RangeSet()
        """Owed records that are history, however young they are here."""
        self.kept = RangeSet()
        """Held under earlier export rules: never judged by the present ones."""
        self.applied_lsn = 0
        self.tables: dict[str, ForwardSums] = {}
        self.acks: dict[tuple[str, int], Moments] = {}
        """By (uuid, epoch) of an origin, when the parent acknowledged its records."""
        self.pending_bytes = 0
        self.owing = Owing()
        self.missing = RangeSet()
        """LSNs whose log is released and that the parent lost: to be owed as slices."""
        self.rules: list[list[str]] | None = None
        """The export rules that what is stored here was judged by; None: by the present ones."""
        self.passed = RangeSet()
        """Held, never acknowledged, and not to be looked into again: its log may be released."""
        self.frozen = RangeSet()
        """About to be owed as slices: neither sent nor delivered meanwhile."""
        self.withdrawn = False
        """Rows that counted as delivered are owed again, and no checkpoint says so yet."""
        self._saved_watermark = 0
        self._ages: list[tuple[int, int]] = []

    # Following the log

    def apply(self, content: Content, now_ns: int) -> None:
        """A record was applied."""
        self.applied_lsn = content.lsn
        for table, rows in content.kept.items():
            self.table(table).not_exported += rows
        if content.needed:
            self._owe(content)
            self._remember(content.lsn, now_ns)
        else:
            self.held.add(content.lsn)

    def points(self, lsn: int, table: str, rows: int, size: int, now_ns: int) -> None:
        """As ``apply`` for an own PTS record of a table whose rows go up all or not at all."""
        self.applied_lsn = lsn
        sums = self.tables.get(table) or self.table(table)
        if rows and self.classifier.policy.sends(table):
            sums.pending += rows
            self.pending_bytes += size
            if rows >= BULK_ROWS_MIN:
                self.bulk.add(lsn)
            elif self.classifier.policy.is_urgent(table):
                self.control.add(lsn)
            self._remember(lsn, now_ns)
        else:
            sums.not_exported += rows
            self.held.add(lsn)

    def park(self, header: Mapping[str, Any]) -> None:
        """An EVT record that parks others was applied."""
        lsns = RangeSet.from_wire(header["lsns"])
        if self.held.contains_all(lsns):
            return
        self.parked.update(lsns)
        self.held.update(lsns)
        for first, last in lsns:
            self.control.remove(first, last)
            self.statements.remove(first, last)
        for table, rows in header["rows"].items():
            sums = self.table(table)
            sums.pending -= rows
            sums.parked += rows
        self.pending_bytes -= header["bytes"]

    def owe_slices(self, owed: Owed) -> None:
        """A COVER or EXP record was applied."""
        for first, last in owed.local:
            self.control.remove(first, last)
            self.statements.remove(first, last)
            self.frozen.remove(first, last)
        self.held.update(owed.local)
        self.passed.update(owed.passed)
        if owed.target is not None:
            self.passed.update(owed.local)
        if owed.policy is not None:
            self.rules = owed.policy
            for table, rows in owed.rows.items():
                sums = self.table(table)
                sums.not_exported -= rows
                sums.pending += rows
        for first, last in owed.ranges:
            self.missing.remove(first, last)
        self.owing.add(owed)

    def lost(self, loss: Loss) -> None:
        """A LOSS record was applied."""
        fresh = loss.ranges.difference(self.held)
        self.held.update(fresh)
        for first, last in loss.ranges:
            self.control.remove(first, last)
            self.statements.remove(first, last)
            self.frozen.remove(first, last)
        rows = Settled(dict(loss.rows) if fresh else {})
        rows.add(self.owing.lost(loss))
        self.pending_bytes -= loss.size if fresh else 0
        for table, count in rows.rows.items():
            sums = self.table(table)
            sums.pending -= count
            sums.lost += count

    def imaged(
        self, entry: tuple[Ref, RangeSet] | None, target: OriginKey, table: str, rows: int
    ) -> None:
        """An image of a slice of ``target`` was applied here and counted as not exported.
        ``entry``: the record that the parent waits for as well, and what enters R by it; None: it
        has these rows already."""
        if not self.classifier.policy.sends(table):
            return
        sums = self.table(table)
        sums.not_exported -= rows
        if entry is None:
            sums.delivered += rows
        else:
            sums.pending += rows
            self.owing.imaged(entry[0], target, entry[1], table, rows)

    def _owe(self, content: Content) -> None:
        for table, rows in content.sent.items():
            self.table(table).pending += rows
        self.pending_bytes += content.bytes
        if content.control:
            self.control.add(content.lsn)
            if content.statement:
                self.statements.add(content.lsn)
        elif content.bulk:
            self.bulk.add(content.lsn)

    # What the parent says

    def deliver(self, contents: Iterable[Content]) -> None:
        """The parent holds these. Those known to be held are skipped."""
        for content in contents:
            if content.lsn in self.held or content.lsn in self.frozen:
                continue
            self.held.add(content.lsn)
            self.control.remove(content.lsn)
            self.statements.remove(content.lsn)
            self.bulk.remove(content.lsn)
            self.pending_bytes -= content.bytes
            for table, rows in content.sent.items():
                sums = self.table(table)
                sums.pending -= rows
                sums.delivered += rows

    def note_ack(self, origin: OriginKey, lsn: int, at_ms: int) -> None:
        """The parent acknowledged records of an origin up to ``lsn``."""
        self.acks.setdefault((origin.uuid, origin.epoch), Moments()).note(lsn, at_ms)

    def acked_at(self, origin: OriginKey, lsn: int) -> int | None:
        """When it did so for this one, in ms; None if it is not known to have."""
        moments = self.acks.get((origin.uuid, origin.epoch))
        return None if moments is None else moments.of(lsn)

    def acknowledge(self, own: RangeSet) -> None:
        """The parent's R of the own stream grew by these."""
        self.acked.update(own)

    def forked(self, fork: int) -> None:
        """The own log goes on after ``fork`` in a new epoch: nothing beyond it is acknowledged."""
        self.acked = RangeSet(self.acked.within(1, fork))

    def settle(self, settled: Settled) -> None:
        """The parent has slices that were owed."""
        for table, rows in settled.rows.items():
            sums = self.table(table)
            sums.pending -= rows
            sums.delivered += rows
        self.pending_bytes -= settled.size
        self.acked.update(settled.own)

    def resume(self, parent_has: RangeSet, log: Log) -> int:
        """At HELLO: the parent's R of the own stream. Returns how many LSNs it lost whose log is
        released: they are ``missing``, and have to be owed as slices."""
        with self._lock:
            applied = self.applied_lsn
            self.settle(self.owing.resumed(parent_has))
            self.acked = parent_has.intersection(RangeSet([(1, applied)]))
            doubtful = self.held.difference(self.acked)
            doubtful = doubtful.difference(self.parked).difference(self.kept)
            # What says that something is owed is needed for as long as it is, by whatever rules.
            doubtful.update(RangeSet((n, n) for n in sorted(self.owing.records) if n in self.held))
            doubtful = doubtful.difference(self.acked)
            doubtful = doubtful.difference(self.owing.ranges).difference(self.passed)
        first_lsn = log.first_lsn
        for first, last in doubtful.within(first_lsn, applied):
            for record in log.read(first, last):
                content = self.classifier.content(record)
                if content.needed:
                    with self._lock:
                        self._withdraw(content)
        with self._lock:
            self.missing = RangeSet(doubtful.within(1, first_lsn - 1))
            return self.missing.count()

    def _withdraw(self, content: Content) -> None:
        self.withdrawn = True
        self.held.remove(content.lsn)
        self._owe(content)
        for table, rows in content.sent.items():
            self.table(table).delivered -= rows

    def recount(self, log: Log, logged: Mapping[str, int]) -> None:
        """After the export rules changed: what is still owed is judged by the new ones. Rows that
        stayed here under the old rules stay. ``logged``: rows in the log by table. The caller holds
        the lock, or nothing is written yet."""
        for sums in self.tables.values():
            sums.pending = 0
        self.pending_bytes = 0
        self.control, self.statements = RangeSet(), RangeSet()
        self.kept = self.held.copy()
        owed = RangeSet(self.held.gaps(max(1, log.first_lsn), self.applied_lsn))
        for first, last in owed:
            for record in log.read(first, last):
                content = self.classifier.content(record)
                if content.needed:
                    self._owe(content)
                else:
                    self.held.add(content.lsn)
        self.pending_bytes += self.owing.size
        for table, rows in self.owing.rows.items():
            self.table(table).pending += rows
        for table, rows in logged.items():
            sums = self.table(table)
            sums.not_exported = rows - sums.delivered - sums.pending - sums.parked - sums.lost

    def loss_of(self, lsns: RangeSet, log: Log) -> tuple[dict[str, int], int]:
        """(rows by table, bytes) of records that are gone from the log before the parent had them:
        what is pending and cannot be found by reading all that is owed. The caller holds the lock,
        and logs a LOSS record before it lets go of it."""
        left = Settled(self.owing.rows, self.owing.size)
        for first, last in self.held.gaps(1, self.applied_lsn):
            for record in log.read(first, last):
                if record.lsn in lsns:
                    continue
                content = self.classifier.content(record)
                left.size += content.bytes
                left.add(content.sent)
        rows = {
            table: sums.pending - left.rows.get(table, 0)
            for table, sums in self.tables.items()
            if sums.pending > left.rows.get(table, 0)
        }
        # A record may be read as more than it was counted as: what is exported of it is told by
        # definitions, and damage takes those, too.
        return rows, max(0, self.pending_bytes - left.size)

    def unasked(self, first_lsn: int, limit_lsn: int) -> RangeSet:
        """LSNs of [first, limit] that need nothing, and that the parent has not acknowledged.
        ``first_lsn``: of the log. What is out of it already and not acknowledged was acknowledged
        once, and a restored parent has lost it: the next HELLO finds that, after a start too."""
        found = RangeSet(self.coverable(limit_lsn).within(first_lsn, limit_lsn))
        return found.difference(self.passed).difference(self.frozen)

    # What is owed

    def owed(self, limit_lsn: int) -> RangeSet:
        """Records up to ``limit_lsn`` that the parent does not hold."""
        limit = min(limit_lsn, self.applied_lsn)
        if self.held.watermark >= limit:
            return RangeSet()
        return RangeSet([(1, limit)]).difference(self.held).difference(self.frozen)

    def coverable(self, limit_lsn: int) -> RangeSet:
        """Held LSNs that the parent has not been told of."""
        offered = self.held.difference(self.acked)
        if not offered:
            return offered
        offered = offered.intersection(RangeSet([(1, min(limit_lsn, self.applied_lsn))]))
        return offered.difference(self.owing.ranges).difference(self.missing)

    @property
    def pending_rows(self) -> int:
        return sum(sums.pending for sums in self.tables.values())

    def oldest_pending_ms(self, now_ns: int) -> int:
        """How long the oldest record that the parent lacks has been here; 0 if there is none."""
        gap = next(self.held.gaps(1, self.applied_lsn), None)
        starts = [gap[0]] if gap is not None else []
        for owed in self.owing.records.values():
            starts += [first for first, _ in owed.local][:1] or [owed.lsn]
        if not starts or not self._ages:
            return 0
        first = min(starts)
        at = next((age for lsn, age in self._ages if lsn >= first), self._ages[-1][1])
        return max(0, (now_ns - at) // 1_000_000)

    @property
    def saved_watermark(self) -> int:
        """What the log may be released through: as it stands in the last checkpoint."""
        return self._saved_watermark

    def _releasable(self) -> int:
        """Below it nothing has to be read again: it is acknowledged, and counted as such, or owed
        as slices."""
        known = self.owing.ranges
        known.update(self.passed)
        known.update(self.acked)
        known.update(self.missing)
        return min(known.watermark, self.held.watermark)

    def table(self, name: str) -> ForwardSums:
        found = self.tables.get(name)
        if found is None:
            found = self.tables[name] = ForwardSums()
        return found

    def _remember(self, lsn: int, now_ns: int) -> None:
        if self._ages and now_ns - self._ages[-1][1] < AGE_STEP_NS:
            return
        self._ages.append((lsn, now_ns))
        if len(self._ages) > AGES_MAX:
            first = next(self.held.gaps(1, self.applied_lsn), (self.applied_lsn, 0))[0]
            recent = [age for age in self._ages if age[0] >= first]
            self._ages = recent if len(recent) <= AGES_MAX // 2 else recent[::2]

    # Checkpoint

    def snapshot(self) -> dict[str, Any]:
        self._saved_watermark = self._releasable()
        return {
            "held": self.held.to_wire(),
            "acked": self.acked.to_wire(),
            "parked": self.parked.to_wire(),
            "control": self.control.to_wire(),
            "statements": self.statements.intersection(self.control).to_wire(),
            "bulk": self.bulk.difference(self.held).to_wire(),
            "kept": self.kept.to_wire(),
            "applied": self.applied_lsn,
            "bytes": self.pending_bytes,
            "ages": [list(age) for age in self._ages],
            "tables": {
                name: [s.not_exported, s.delivered, s.pending, s.parked, s.lost]
                for name, s in self.tables.items()
            },
            "policy": self.classifier.policy.fingerprint,
            "acks": [[*key, moments.to_plain()] for key, moments in self.acks.items()],
            "owing": self.owing.snapshot(),
            "rules": self.rules,
            "passed": self.passed.to_wire(),
            "saved": self._saved_watermark,
        }

    def restore(self, data: Mapping[str, Any]) -> bool:
        """The inverse of snapshot. Returns True if the export rules are other ones now."""
        self.held, self.acked, self.parked, self.control, self.kept = (
            _ranges(data[name]) for name in ("held", "acked", "parked", "control", "kept")
        )
        self.bulk = _ranges(data.get("bulk", []))
        self.statements = _ranges(data.get("statements", []))
        self.applied_lsn = data["applied"]
        self.pending_bytes = data["bytes"]
        self._ages = [(lsn, at) for lsn, at in data["ages"]]
        self.tables = {name: ForwardSums(*values) for name, values in data["tables"].items()}
        if data.get("owing") is not None:
            self.owing.restore(data["owing"])
            self.passed = _ranges(data["passed"])
        self.acks = {
            (uuid, epoch): Moments.from_plain(pairs) for uuid, epoch, pairs in data.get("acks", ())
        }
        rules = data.get("rules")
        self.rules = data["policy"] if rules is None else rules
        # What was missing then is asked for again, and no part of the snapshot.
        self._saved_watermark = data.get("saved", self._releasable())
        return bool(data["policy"] != self.classifier.policy.fingerprint)

    def adopt(self, applied_lsn: int, logged: Mapping[str, int]) -> None:
        """A checkpoint of a node that had no parent: its rows were never owed to one."""
        self.applied_lsn = applied_lsn
        self.held = RangeSet([(1, applied_lsn)])
        self.kept = self.held.copy()
        self.rules = []
        for table, rows in logged.items():
            self.table(table).not_exported = rows


def _ranges(flat: list[int]) -> RangeSet:
    return RangeSet(zip(flat[0::2], flat[1::2], strict=True))
