"""How long rows are kept: the rules, the clock, what may not go, and the removal itself."""

from __future__ import annotations

import numpy as np

from mainstem_engine.catalog.templates import Table
from mainstem_engine.catalog.ttl import KEEP_OP, TTL_OP, checked_keep
from mainstem_engine.definitions import Definitions
from mainstem_engine.expiry import ExpiryResult, PartHold, StoredSpan
from mainstem_engine.housekeeping import Housekeeping
from mainstem_engine.model import DeviceIds, TimesNs
from mainstem_engine.retention import NOTHING_NS, OutOfRetention


class RetentionControl(Definitions):
    """The part of an Engine that forgets."""

    _housekeeping: Housekeeping

    def set_keep(self, table: str, keep_ns: int | None) -> None:
        """Rows of a template or rollup table are kept for ``keep_ns``; None: as its template or
        database says, a rollup for ever. At once, also for rows that are stored.

        Raises NotFoundError, SchemaError.
        """
        keep = checked_keep(keep_ns, "keep")
        rules = self._store.catalog.rules
        with self._store.append_lock:
            found = self._store.catalog.table(table)
            if rules.keep_of(found.name, None) == keep:
                return
            ack = self._define_schema(KEEP_OP, table=found.name, keep=keep)
        ack.wait()

    def set_ttl(self, path: str, ttl_ns: int | None) -> None:
        """Rows of devices at or below ``path`` are kept for ``ttl_ns``, whatever template and
        database say; None: no longer. The longest path with a TTL decides. Raises SchemaError."""
        ttl = checked_keep(ttl_ns, "ttl")
        rules = self._store.catalog.rules
        where = rules.checked_path(path)
        with self._store.append_lock:
            if rules.ttls().get(where) == ttl:
                return
            ack = self._define_schema(TTL_OP, path=where, ttl=ttl)
        ack.wait()

    def horizon_ns(self, table: str) -> int:
        """The oldest time in ns from which on the rows of the table are whole here;
        retention.NOTHING_NS when none was ever removed."""
        return self._store.retention.horizon_ns(self._store.catalog.table(table))

    def visible_from_ns(self, table: str) -> int:
        """The time in ns from which on rows of every device are visible, as far as retention goes;
        retention.NOTHING_NS when all are."""
        cutoff = self._store.retention.cutoff(self._store.catalog.table(table))
        return NOTHING_NS if cutoff is None else cutoff.greatest_ns

    def out_of_retention(
        self, table: str, devices: DeviceIds, times_ns: TimesNs
    ) -> OutOfRetention | None:
        """Which of n rows may not be stored, and why; None when all may. Does not raise for them:
        for collectors, which put such rows aside."""
        found = self._store.catalog.table(table)
        return self._store.retention.judge(found, np.asarray(devices, np.uint32), times_ns)

    def check_retention(self, table: Table, devices: DeviceIds, times_ns: TimesNs) -> None:
        """Raises OutOfRetentionError if one of n rows may not be stored, as write() would."""
        self._store.retention.check(table, devices, times_ns)

    def trusted_now_ns(self) -> int:
        """The smaller of the wall clock and the last confirmed time carried on: a clock that jumped
        ahead does not move it."""
        return self._store.retention.clock.trusted_ns()

    def confirm_clock(self, now_ns: int | None = None) -> None:
        """Somebody who knows the time vouches for ``now_ns``, by default for the wall clock:
        retention, paused by a jump, goes on."""
        self._store.retention.clock.confirm(now_ns)
        with self._store.append_lock:
            self._store.definitions += 1  # whoever looked up what is kept looks again

    def add_part_hold(self, name: str, hold: PartHold) -> None:
        """``hold(table, start_ns, end_ns)`` is True while rows of that time are still needed; they
        are invisible when expired, but not removed. Called during expire()."""
        self._housekeeping.expiry.add_hold(name, hold)

    def expire(self) -> ExpiryResult:
        """Removes what is expired, as far as whole parts, or most of a part, go. Housekeeping does
        so by itself once a minute. Raises OSError, CorruptionError."""
        return self._housekeeping.expire()

    def stored_spans(self, table: str) -> list[StoredSpan]:
        """The parts of a table, by the end of their time: what ``give_way`` may remove."""
        name = self._store.catalog.table(table).name
        metas = [part.meta for part in self._store.inventory.of_table(name)]
        spans = [StoredSpan(m.time_min_ns, m.time_max_ns + 1, m.bytes) for m in metas]
        return sorted(spans, key=lambda span: (span.end_ns, span.start_ns))

    def give_way(self, table: str, before_ns: int, *, held: bool = False) -> ExpiryResult:
        """Makes room: removes the parts of a table that end at or before ``before_ns``, whatever is
        kept. Rows of that time are out of retention from then on, as after ``expire``.

        ``held``: what a hold protects goes, too; its owner has to say first what is lost. Raises
        NotFoundError, OSError, CorruptionError.
        """
        found = self._store.catalog.table(table)
        return self._housekeeping.give_way(found, before_ns, held=held)
