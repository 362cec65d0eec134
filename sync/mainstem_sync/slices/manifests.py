"""What this node says about its own rows: closes slices and signs them with count and digest.

1. Every record of own rows touches slices: the greatest LSN that touched each is kept.
2. ``run`` closes each table up to frontier - lateness. Slices there that were touched after their
   last manifest are scanned, and a MAN record states what is stored. Nothing is kept from arriving
   rows: the digest is of what a query would read.
3. What happens in the log (a MAN record) changes the state when it is applied, live and at replay.
4. A closed slice that is touched again gets a new revision, at most once per second. One of long
   ago is stated with its whole hour, because tiers above know of such slices by the hour only; and
   so is what a tier above asks to be stated anew.

A row that arrives while its slice is scanned may or may not be in the digest; the slice stays due
and the next run states it again.

A slice that begins before what is whole here is not stated any more: what is left of it is not what
was accepted, and a parent that has all of it would take it for damage. It is declared lost instead.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mainstem_engine.consumers import AppliedRows
from mainstem_engine.engine import Engine
from mainstem_engine.log.records import RecordKind
from mainstem_engine.model import SELF_ORIGIN
from mainstem_sync.slices.closing_book import Book, ClosedTable
from mainstem_sync.slices.manifest import SLICE_NS, WHOLE_SLICES_MAX, Ints, Manifest, Sums
from mainstem_sync.slices.manifest_plan import Plan, since, whole_ns, windows, with_all_slices
from mainstem_sync.slices.rolled import HOUR_NS
from mainstem_sync.slices.slice_scan import SliceScan
from mainstem_sync.slices.slice_table import PENDING_TOUCHES_MAX, touched_by, touched_slices
from mainstem_sync.slices.unreadable import Unreadable
from mainstem_sync.slices.word import Word
from mainstem_sync.wire.ranges import RangeSet

DEBOUNCE_S = 1.0
"""A busy slice is stated again at most this often: a replay touches a slice many times."""

RESTATE_AFTER_NS = 12 * HOUR_NS
"""Tiers above keep at least a day of slices one by one."""

ASKED_MAX = 256
"""Stretches that wait to be stated anew; those that do not fit are asked for again."""

ACK_TIMEOUT_S = 60.0
"""A log that cannot commit for this long has failed or is about to say so."""


class Manifests:
    """The owner's side. ``lock`` is the federation's state lock; ``slice_ns`` gives a table's slice
    length, ``lateness_ns`` its lateness, ``totals`` its (late, quarantined) rows so far."""

    def __init__(
        self,
        lock: threading.RLock,
        *,
        lateness_ns: Callable[[str], int],
        slice_ns: Callable[[str], int],
        totals: Callable[[str], tuple[int, int]],
        monotonic: Callable[[], float],
    ) -> None:
        self._lock = lock
        self._lateness_ns = lateness_ns
        self._slice_ns = slice_ns
        self._totals = totals
        self._monotonic = monotonic
        self._books: dict[str, Book] = {}
        self._stated: dict[str, dict[int, float]] = {}
        self._asked: dict[str, RangeSet] = {}
        self._running = threading.Lock()
        self.unreadable = Unreadable()
        self.lose: Callable[[str, int, Ints], None] = lambda table, slice_ns, keys: None
        """Declares slices (ascending) of an own table lost: they are not whole here any more."""

    # Following the log

    def rows_applied(self, batch: AppliedRows) -> None:
        """Own rows entered the head."""
        with self._lock:
            book = self._book(batch.table)
            touched = touched_slices(batch.time, book.slice_ns)
            if isinstance(touched, int):
                book.slices.note_one(touched, batch.local_lsn)
            else:
                book.slices.note(touched, batch.local_lsn)
            if book.slices.touches > PENDING_TOUCHES_MAX:
                book.merge()

    def rows_deleted(self, table: str, spans: Ints, lsn: int) -> None:
        """Own rows in ``spans`` (int64[k, 2] ns) were deleted by the record ``lsn``."""
        with self._lock:
            book = self._book(table)
            book.merge()
            book.slices.note(touched_by(spans, book.slice_ns, book.slices.keys), lsn)

    def apply(self, manifest: Manifest) -> None:
        """An own MAN record is durable."""
        with self._lock:
            book = self._book(manifest.table)
            book.merge()
            at = book.slices.upsert(manifest.keys)
            said, rev = book.slices["said"], book.slices["rev"]
            said[at] = np.maximum(said[at], manifest.max_lsn)
            rev[at] = np.maximum(rev[at], manifest.rev)
            for name in ("count", "d1", "d2"):
                book.slices[name][at] = getattr(manifest, name)
            book.slices["known"][at] = 1
            if manifest.closed_from_ns < manifest.closed_through_ns:
                first = manifest.closed_from_ns // book.slice_ns
                end = manifest.closed_through_ns // book.slice_ns
                old = book.closed
                book.closed = (
                    (first, end) if old is None else (min(old[0], first), max(old[1], end))
                )
            if book.closed is not None:
                book.latest = ClosedTable(
                    book.closed[0] * book.slice_ns,
                    book.closed[1] * book.slice_ns,
                    book.slice_ns,
                    manifest.missing_sources,
                    manifest.collector_gaps,
                    manifest.quarantined,
                )

    def lost(self, table: str, slice_ns: int, keys: Ints) -> None:
        """An own record says that these slices (ascending) are not whole here any more: that is
        what there is to say of them, until they are touched again."""
        with self._lock:
            book = self._books.get(table)
            if book is None or book.slice_ns != slice_ns:
                return
            book.merge()
            at = np.isin(book.slices.keys, keys)
            book.slices["said"][at] = book.slices["lsn"][at]
            book.slices["known"][at] = 0

    def doubt(self, first_lsn: int, lsn: int) -> None:
        """The record ``lsn`` says that damage took records from ``first_lsn`` on: what was stated
        as of those or later may have had their rows, and is stated again."""
        with self._lock:
            for book in self._books.values():
                book.merge()
                at = book.slices["said"] >= first_lsn
                book.slices["lsn"][at] = np.maximum(book.slices["lsn"][at], np.uint64(lsn))

    def touched(self, table: str, keys: Sequence[int]) -> Ints:
        """The greatest LSN that touched each of these slices, as far as is remembered; else 0."""
        found = np.zeros(len(keys), np.int64)
        with self._lock:
            book = self._books.get(table)
            if book is not None and len(book.slices):
                book.merge()
                known = book.slices.keys
                at = np.minimum(np.searchsorted(known, keys), len(known) - 1)
                found = np.where(known[at] == keys, book.slices["lsn"][at], 0).astype(np.int64)
        return found

    # Stating

    def run(
        self,
        engine: Engine,
        frontier_ns: int,
        now_ns: int,
        missing: Mapping[str, Sequence[str]],
        gaps: Mapping[str, Sequence[tuple[int, int]]],
        frontiers: Mapping[str, int] | None = None,
        clock_err_ms: int | None = None,
    ) -> int:
        """Close what the frontier allows; returns how many slices were stated. Blocks until the
        records are durable and applied. One run at a time; a second caller gets 0.

        ``frontiers``: of tables that wait for a source of their own. ``clock_err_ms``: how far this
        node's clock may be off."""
        frontiers = frontiers or {}
        if not self._running.acquire(blocking=False):
            return 0
        try:
            with self._lock:
                plans = []
                for book in self._books.values():
                    waiting = frontiers.get(book.table, frontier_ns)
                    plan = self._plan(book, min(frontier_ns, waiting))
                    if plan is not None:
                        plan = self._by_hours(book, plan, now_ns)
                        if len(plan.keys) or plan.new != plan.old:
                            plans.append(plan)
                    plans += self._restatements(book)
            acks = []
            for plan in plans:
                scanned = self._scanned(engine, plan)
                if scanned is None:
                    continue
                plan, count, d1, d2 = scanned
                for manifest in self._state(plan, count, d1, d2, now_ns, missing, gaps):
                    manifest = dataclasses.replace(manifest, clock_err_ms=clock_err_ms)
                    header, buffers = manifest.encode()
                    acks.append(engine.append(RecordKind.MAN, header, buffers, decoded=manifest))
            if acks:
                acks[-1].wait(ACK_TIMEOUT_S)
            return sum(len(plan.keys) for plan in plans)
        finally:
            self._running.release()

    def _scanned(self, engine: Engine, plan: Plan) -> tuple[Plan, Ints, Sums, Sums] | None:
        """What can be stated of a plan, with counts and digests; None for nothing. What is not
        whole here any more is declared lost first."""
        while True:
            horizon_ns = engine.horizon_ns(plan.table)
            plan, gone = since(plan, horizon_ns)
            if len(gone):
                self.lose(plan.table, plan.slice_ns, gone)
            if not len(plan.keys) and plan.whole is None and plan.new == plan.old:
                return None
            full = plan if plan.whole is None else with_all_slices(engine, plan, self.unreadable)
            if full is None:
                return None
            found = _readable(engine, full, self.unreadable)
            # The horizon moves before rows go: what was scanned below it may be a rest.
            if engine.horizon_ns(plan.table) == horizon_ns:
                break
        plan = found[0]
        nothing = not len(plan.keys) and plan.whole is None and plan.new == plan.old
        return None if nothing else found

    def _plan(self, book: Book, frontier_ns: int) -> Plan | None:
        book.merge()
        book.prune()
        lateness_ns = self._lateness_ns(book.table)
        end = (frontier_ns - lateness_ns) // book.slice_ns
        slices = book.slices
        due = (slices["lsn"] > slices["said"]) & (slices.keys < end)
        due &= self._rested(book, due)
        keys: Ints = slices.keys[due]
        old = book.closed
        if old is None and not len(keys):
            return None
        first = int(keys[0]) if old is None else min(old[0], int(keys[0]) if len(keys) else old[0])
        new = (first, end if old is None else max(old[1], end))
        if not len(keys) and new == old:
            return None
        return Plan(
            book.table, book.slice_ns, lateness_ns, keys, slices["lsn"][due],
            slices["rev"][due] + np.uint32(1), old, new,
        )  # fmt: skip

    def restate(self, table: str, first: int, end: int) -> None:
        """A tier above asks for every slice of [first, end) of an own table anew. The next run
        states it."""
        with self._lock:
            asked = self._asked.setdefault(table, RangeSet())
            if table in self._books and len(asked) < ASKED_MAX:
                asked.add(first, end - 1)

    @property
    def asked(self) -> dict[str, list[int]]:
        """What waits to be stated anew, for the checkpoint: flat runs of slices by table."""
        return {table: asked.to_wire() for table, asked in self._asked.items()}

    def ask_again(self, asked: Mapping[str, list[int]]) -> None:
        """From a checkpoint."""
        self._asked = {
            table: RangeSet(zip(flat[0::2], flat[1::2], strict=True))
            for table, flat in asked.items()
        }

    def _by_hours(self, book: Book, plan: Plan, now_ns: int) -> Plan:
        """Without revisions of long ago, for whose hours it asks instead."""
        per_hour = max(1, HOUR_NS // plan.slice_ns)
        if plan.old is None or per_hour == 1:
            return plan
        old = (plan.keys >= plan.old[0]) & (plan.keys < plan.old[1])
        old &= plan.keys < (now_ns - RESTATE_AFTER_NS) // plan.slice_ns
        if not old.any():
            return plan
        asked = self._asked.setdefault(plan.table, RangeSet())
        for hour in np.unique(plan.keys[old] // per_hour).tolist():
            asked.add(hour * per_hour, (hour + 1) * per_hour - 1)
        return dataclasses.replace(
            plan, keys=plan.keys[~old], lsn=plan.lsn[~old], rev=plan.rev[~old]
        )

    def _restatements(self, book: Book) -> list[Plan]:
        """Plans of what is asked for, of the closed part of it."""
        asked = self._asked.pop(book.table, None)
        if asked is None or book.closed is None:
            return []
        plans = []
        first, end = book.closed
        for low, high in asked.within(first, end - 1):
            for at in range(low, high + 1, WHOLE_SLICES_MAX):
                until = min(at + WHOLE_SLICES_MAX, high + 1)
                inside = book.slices.range(at, until)
                newest = int(book.slices["lsn"][inside].max(initial=0))
                if at < book.forgotten[0]:
                    newest = max(newest, book.forgotten[1])
                plan = Plan(
                    book.table, book.slice_ns, self._lateness_ns(book.table),
                    book.slices.keys[inside].copy(), book.slices["lsn"][inside].copy(),
                    book.slices["rev"][inside] + np.uint32(1), book.closed, book.closed,
                    (at, until, newest),
                )  # fmt: skip
                plans.append(plan)
        return plans

    def _rested(self, book: Book, due: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """False for slices stated less than DEBOUNCE_S ago; remembers those stated now."""
        now = self._monotonic()
        stated = {
            key: at for key, at in self._stated.get(book.table, {}).items() if now - at < DEBOUNCE_S
        }
        rested = np.ones(len(due), np.bool_)
        if stated:
            recent = np.fromiter(stated, np.int64, count=len(stated))
            rested = ~np.isin(book.slices.keys, recent)
        stated.update(dict.fromkeys(book.slices.keys[due & rested].tolist(), now))
        self._stated[book.table] = stated
        return rested

    def _state(
        self,
        plan: Plan,
        count: Ints,
        d1: Sums,
        d2: Sums,
        now_ns: int,
        missing: Mapping[str, Sequence[str]],
        gaps: Mapping[str, Sequence[tuple[int, int]]],
    ) -> list[Manifest]:
        late, quarantined = self._totals(plan.table)
        manifests = []
        for first, end, begin, stop in windows(plan):
            piece = slice(begin, stop)
            manifests.append(
                Manifest(
                    plan.table,
                    plan.slice_ns,
                    first * plan.slice_ns,
                    end * plan.slice_ns,
                    plan.lateness_ns,
                    now_ns,
                    plan.keys[piece] * plan.slice_ns,
                    plan.rev[piece],
                    count[piece],
                    d1[piece],
                    d2[piece],
                    plan.lsn[piece],
                    tuple(missing.get(plan.table, ())),
                    tuple(gaps.get(plan.table, ())),
                    late,
                    quarantined,
                    None if plan.whole is None else whole_ns(plan.whole, plan.slice_ns),
                )
            )
        return manifests

    # Looking

    def newest_touch(self, table: str, start_ns: int, end_ns: int) -> int | None:
        """The greatest LSN that touched [start, end) of an own table; None when it has no rows
        there, as far as is remembered. The caller holds the lock."""
        book = self._books.get(table)
        if book is None:
            return None
        book.merge()
        inside = book.slices.range(start_ns // book.slice_ns, -(-end_ns // book.slice_ns))
        newest = book.slices["lsn"][inside].tolist()
        if start_ns // book.slice_ns < book.forgotten[0]:
            newest.append(book.forgotten[1])
        return max(newest, default=None)

    def touched_from(self, table: str, lsn: int) -> list[int]:
        """Slices (ascending) of an own table that the record ``lsn`` or a later one touched, as far
        as is remembered: also those of which nothing is left."""
        with self._lock:
            book = self._books.get(table)
            if book is None:
                return []
            book.merge()
            found: list[int] = book.slices.keys[book.slices["lsn"] >= lsn].tolist()
            return found

    def oldest_ns(self, table: str) -> int | None:
        """Where the first slice of an own table begins that ever had rows; None before it. The
        caller holds the lock."""
        book = self._books.get(table)
        if book is None:
            return None
        book.merge()
        first = [int(key) for key in book.slices.keys[:1]]
        first += [] if book.closed is None else [book.closed[0]]
        return min(first) * book.slice_ns if first else None

    def word(self, table: str, first: int, end: int) -> Word:
        """What was stated of the slices [first, end) of an own table, and nothing touched since."""
        with self._lock:
            book = self._book(table)
            book.merge()
            inside = book.slices.range(first, end)
            column = {name: values[inside] for name, values in book.slices.columns.items()}
            at = (column["lsn"] == column["said"]) & (column["known"] == 1)
            return Word(
                book.slices.keys[inside][at], column["count"][at], column["d1"][at],
                column["d2"][at], column["lsn"][at] + column["rev"][at],
            )  # fmt: skip

    def closed(self) -> dict[str, ClosedTable | None]:
        """Per own table that has, or had, rows: what is closed; None before the first manifest."""
        with self._lock:
            return {book.table: book.latest for book in self._books.values()}

    def snapshot(self) -> list[Any]:
        """For the checkpoint; the caller holds the lock."""
        for book in self._books.values():
            book.merge()
        return [
            [
                book.table,
                book.slice_ns,
                None if book.latest is None else dataclasses.astuple(book.latest),
                book.slices.snapshot(),
                list(book.forgotten),
            ]
            for book in self._books.values()
        ]

    def restore(self, data: list[Any]) -> None:
        """The inverse of snapshot."""
        for table, slice_ns, latest, slices, *more in data:
            book = Book(table, slice_ns)
            if more:
                book.forgotten = (more[0][0], more[0][1])
            if latest is not None:
                first, through, _, missing, gaps, quarantined = latest
                book.closed = (first // slice_ns, through // slice_ns)
                pairs = tuple((a, b) for a, b in gaps)
                book.latest = ClosedTable(
                    first, through, slice_ns, tuple(missing), pairs, quarantined
                )
            book.slices.restore(slices)
            self._books[table] = book

    def _book(self, table: str) -> Book:
        book = self._books.get(table)
        if book is None:
            book = Book(table, self._slice_ns(table))
            self._books[table] = book
        return book


def slice_length_ns(every_ns: int | None) -> int:
    """Slice length of a table; ``every_ns`` of a rollup, None of others."""
    return SLICE_NS if every_ns is None else max(SLICE_NS, every_ns)


def _readable(engine: Engine, plan: Plan, unreadable: Unreadable) -> tuple[Plan, Ints, Sums, Sums]:
    """The plan with count and digest of every slice, zeros where nothing is stored. What has
    expired and is held until a tier above has it is stated too; of what cannot be read nothing is
    said, and nothing is closed from there on."""
    scan = SliceScan(
        engine, plan.table, plan.slice_ns, SELF_ORIGIN, expired=True, unreadable=unreadable
    )
    count, d1, d2, broken = scan.of(plan.keys)
    if broken.any():
        first = int(plan.keys[broken][0])
        fine = ~broken
        if plan.whole is not None:
            fine[:] = False
            plan = dataclasses.replace(plan, whole=None)
        elif plan.old is None or first < plan.old[0]:
            fine &= plan.keys < first
            plan = dataclasses.replace(plan, new=(plan.new[0], min(plan.new[1], first)))
        elif first >= plan.old[1]:
            fine &= plan.keys < first
            plan = dataclasses.replace(plan, new=(plan.new[0], max(plan.old[1], first)))
        plan = dataclasses.replace(
            plan, keys=plan.keys[fine], lsn=plan.lsn[fine], rev=plan.rev[fine]
        )
        count, d1, d2 = count[fine], d1[fine], d2[fine]
    return plan, count, d1, d2
