"""From readings to log records: the stateful half of the intake, one per template.

1. Devices of good rows are resolved, or made.
2. Rows are brought to the precision of their database. The device memory drops exact repeats and
   unchanged values, refuses values that cannot be, and counts late rows.
3. What was put aside is made durable in the quarantine *before* the record is appended, so the
   acknowledgement that follows the record covers both. An entry is the same entry when its
   message comes again. A quarantine that cannot be written (a full disk) is waited for.
4. One record carries the rows and their share of the accounting. Without rows it carries only the
   counts: nothing that was received goes uncounted. Values that a filter restores go into a record
   of their own, before it, as derived rows.
5. Alarm rules see the good rows once the log has them; changes of alarms follow their record.

Several collectors may feed one template, and programs post to it (``append``): all of it is
serialised, so that memory, log, alarms and counts have one order.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from mainstem_edge.alarms.book import AlarmBook
from mainstem_edge.device_book import UNRESOLVED, DeviceBook, DeviceMaker, Entry
from mainstem_edge.device_memory import DeviceMemory, Judgement
from mainstem_edge.preprocess import ValueReject
from mainstem_edge.reading import Reading
from mainstem_edge.rejects import Reject
from mainstem_edge.value_memory import Restored
from mainstem_engine.catalog.templates import Table
from mainstem_engine.consumers import Ack
from mainstem_engine.errors import (
    ClosedError,
    EngineError,
    LogFailedError,
    OutOfRetentionError,
    OverloadedError,
)
from mainstem_engine.model import AnyArray, BoolMask, Column, DeviceIds, Rows, TimesNs
from mainstem_engine.retention import OutOfRetention
from mainstem_node.inbox import InboxBook
from mainstem_node.reasons import EXPIRED, INBOX, NOT_OWNER, RATE_OF_CHANGE, REFUSED, TOO_LATE
from mainstem_sync.receiving.quarantine import QuarantineBlock, QuarantineItem

log = logging.getLogger("mainstem.intake")
T = TypeVar("T")

NS_PER_MS = 1_000_000
RELEASE_TIMEOUT_S = 5.0
"""A stop has ten seconds in all."""
ALARMS_TIMEOUT_S = 0.2
"""An intake that waits for the engine has devices that are not silent; there is a next look."""
POSTED_TIMEOUT_S = 2.0
"""A program that posts is told to come again, rather than to hang with a collector that waits."""
DISK_RETRY_S = 1.0
"""A full disk is not full for less than this."""
BLOCK_VALUES_MIN = 64
"""So many rejects of one measurement and reason in a batch are one entry: a device with a name too
many must not cost an entry per value."""
BLOCK_ROWS_MIN = 512
"""The same for rows and messages. Higher, because an entry of its own is recognised when its
message comes again, and a block is not."""


class Writer(DeviceMaker, Protocol):
    """What is needed of the engine to store."""

    def write_rows(
        self,
        table: Table,
        rows: Rows,
        *,
        intake: Mapping[str, int] | None = None,
        derived: bool = False,
    ) -> Ack: ...

    def out_of_retention(
        self, table: str, devices: DeviceIds, times_ns: TimesNs
    ) -> OutOfRetention | None: ...


Outside = Callable[[DeviceIds, TimesNs], BoolMask | None]
"""bool[n], True for rows of a device that was moved, which are another node's at their time; None
if there is none."""


class Quarantine(Protocol):
    """Where rejects are kept; both return when they are durable."""

    def add(self, items: Iterable[QuarantineItem]) -> list[str]: ...

    def add_blocks(self, blocks: Iterable[QuarantineBlock]) -> list[str]: ...


@dataclass(slots=True)
class IntakeCounts:
    """The share of one record in the accounting; rows but for ``values_quarantined``, and messages
    for ``redelivered``. Accepted rows are those of the record."""

    received: int = 0
    filtered: int = 0
    quarantined: int = 0
    values_quarantined: int = 0
    late: int = 0
    redelivered: int = 0

    def to_header(self) -> dict[str, int]:
        """As the record's header carries them. Nothing is ever refused: a message that cannot be
        stored now is not acknowledged, and comes again."""
        return {
            "received": self.received,
            "filtered": self.filtered,
            "quarantined": self.quarantined,
            "refused": 0,
            "values_quarantined": self.values_quarantined,
            "late": self.late,
            "redelivered": self.redelivered,
        }


class TableIntake:
    """Stores the readings of one template.

    ``stopping``: asked while the engine is overloaded; True gives up (OverloadedError).
    ``inbox``: says of which unknown devices rows are only counted, as filtered.
    """

    def __init__(
        self,
        engine: Writer,
        quarantine: Quarantine,
        memory: DeviceMemory,
        book: DeviceBook,
        *,
        node: str,
        template: str,
        clock_ns: Callable[[], int] = time.time_ns,
        stopping: Callable[[], bool] = lambda: False,
        outside: Outside | None = None,
        inbox: InboxBook | None = None,
        alarms: AlarmBook | None = None,
    ) -> None:
        self._inbox = inbox or InboxBook()
        self._outside = outside
        self._alarms = alarms
        self.template = template
        self._engine = engine
        self._quarantine = quarantine
        self._memory = memory
        self._book = book
        self._node = node
        self._clock_ns = clock_ns
        self._stopping = stopping
        self._lock = threading.Lock()

    def store(self, reading: Reading, counts: IntakeCounts) -> Ack | None:
        """Appends the good rows of a reading; returns the Ack of the record, None when there was
        nothing to say. ``counts`` comes with what is known already (rows that came again, or are
        in the accounts as quarantined).

        Raises LogFailedError, ClosedError, and OverloadedError while stopping.
        """
        with self._lock:
            self._resolve(reading)
            self._drop_unwelcome(reading)
            try:
                good, rows = self._judged(reading, counts)
                self._put_aside(self._rejects(reading, counts))
                counts.received += reading.received
                if not (counts.received or counts.redelivered or counts.quarantined):
                    return None
                self._write_restored()
                ack, stored = self._write(rows, counts)
                # Also values that filters dropped; but none of which the engine refused a row.
                return self._watched(good if stored is rows else stored) or ack
            except Exception:
                # Rows may be remembered that were not stored: they must not count as seen.
                self._memory.forget()
                raise

    @property
    def watches(self) -> bool:
        """True if somebody must know of rows that programs post: alarm rules, or filters."""
        return self._alarms is not None or bool(self._memory.values)

    def append(self, table: Table, rows: Rows, intake: Mapping[str, int] | None) -> Ack:
        """Rows that a program posted, as they are.

        Raises as ``Engine.write_rows``; OverloadedError while a collector waits for the engine.
        """
        if not self._lock.acquire(timeout=POSTED_TIMEOUT_S):
            raise OverloadedError(
                f"rows of {self.template} wait for the engine", retry_after_s=POSTED_TIMEOUT_S
            )
        try:
            ack = self._engine.write_rows(table, rows, intake=intake)
            self._memory.forget_devices(rows.device)
            return self._watched(rows) or ack
        finally:
            self._lock.release()

    def _watched(self, rows: Rows) -> Ack | None:
        """Shows rows to the alarm rules. The Ack of their changes, None if there was none."""
        if self._alarms is None:
            return None
        self._alarms.observe(rows.device, rows.time, rows.columns)
        return self._alarms.write()

    def release(self) -> None:
        """No more rows come: what filters hold, and changes of alarms that still wait, is stored,
        and durable when this returns."""
        with self._lock:
            self._memory.values.release()
            ack = self._write_restored()
            if self._alarms is not None:  # changes that an overloaded engine did not take
                ack = self._alarms.write() or ack
        if ack is not None:
            ack.wait(RELEASE_TIMEOUT_S)

    def check_alarms(self, behind_ns: int) -> None:
        """Looks for devices that have become silent. ``behind_ns``: so old is the oldest message
        that has arrived and was not read yet."""
        if self._alarms is None or not self._lock.acquire(timeout=ALARMS_TIMEOUT_S):
            return
        try:
            self._alarms.check(behind_ns)
            self._alarms.write()
        finally:
            self._lock.release()

    def _resolve(self, reading: Reading) -> None:
        """Finds or makes the devices of good rows; rows without one are put aside."""
        new = reading.rows_of(_is_unresolved) & reading.good
        if not new.any():
            return
        entries = [reading.devices[at] for at in np.unique(reading.device_of[new])]
        self._patiently(partial(self._book.resolve, entries, create=reading.create))
        for row in np.flatnonzero(reading.rows_of(_is_unresolved) & reading.good):
            reading.put_aside(int(row), reading.entry(int(row)).reason)

    def _drop_unwelcome(self, reading: Reading) -> None:
        """Rows that are too old, or another node's, are put aside before the device memory knows of
        them: it would take the same row for a repeat when more is kept later."""
        rows = np.flatnonzero(reading.good)
        known = np.array([max(entry.id, 0) for entry in reading.devices], np.uint32)
        ids: DeviceIds = known[reading.device_of[rows]]
        times = self._to_precision(ids, reading.time_ns[rows])
        others = None if self._outside is None else self._outside(ids, times)
        if others is not None:
            for row in rows[others].tolist():
                reading.put_aside(row, NOT_OWNER)
        found = self._engine.out_of_retention(self.template, ids, times)
        if found is None:
            return
        for reason, bad in ((EXPIRED, found.expired), (TOO_LATE, found.too_late)):
            for row in rows[bad].tolist():
                reading.put_aside(row, reason)

    def _judged(self, reading: Reading, counts: IntakeCounts) -> tuple[Rows, Rows]:
        """(the good rows, those of them to store with what filters left), in order of arrival."""
        rows = np.flatnonzero(reading.good)
        known = np.array([max(entry.id, 0) for entry in reading.devices], np.uint32)
        ids: DeviceIds = known[reading.device_of[rows]]
        whole = len(rows) == len(reading.good)
        columns = reading.prepared.columns
        if not whole:
            columns = {key: column.take(rows) for key, column in columns.items()}
        times = reading.time_ns if whole else reading.time_ns[rows]
        times = self._to_precision(ids, times)
        judgement = self._memory.judge(ids, times, columns)
        kept = int(np.count_nonzero(judgement.keep))
        emptied = self._refuse(reading, rows, times, columns, judgement)
        counts.filtered += len(rows) - kept - emptied
        counts.late += int(np.count_nonzero(judgement.late & judgement.keep))
        found = Rows(ids, times, {key: _tidy(c) for key, c in judgement.columns.items()})
        good = Rows(ids, times, dict(columns))
        return good, found if kept == len(rows) else found.take(judgement.keep)

    def _refuse(
        self,
        reading: Reading,
        rows: npt.NDArray[np.intp],
        times: TimesNs,
        columns: Mapping[int, Column],
        judgement: Judgement,
    ) -> int:
        """Puts the values aside that their rate refused. Returns how many rows have no other: they
        are put aside with them."""
        if not judgement.refused:
            return 0
        table = self._engine.catalog.table(self.template)
        names = {m.id: m.name for m in table.template.measurements}
        emptied: set[int] = set()
        for key, places in judgement.refused.items():
            for at in places.tolist():
                value = _item(columns[key].values, at)
                reading.prepared.rejects.append(
                    ValueReject(int(rows[at]), names[key], RATE_OF_CHANGE, value)
                )
                if not judgement.keep[at]:
                    emptied.add(at)
        reading.good[rows[list(emptied)]] = False
        return len(emptied)

    def _write_restored(self) -> Ack | None:
        """Cells that a filter dropped and that turned out to be needed, one row each."""
        restored = self._memory.values.restored
        if not restored:
            return None
        table = self._engine.catalog.table(self.template)
        ids = np.array(restored.device, np.uint32)
        times = np.array(restored.time_ns, np.int64)
        numbers = np.array(restored.measurement)
        values = np.array(restored.value, np.float64)
        columns = {}
        for key in sorted(set(restored.measurement)):
            kind = next(m.type for m in table.template.measurements if m.id == key)
            own = numbers == key
            columns[key] = Column(np.where(own, values, 0.0).astype(kind.dtype), own)
        found = self._engine.out_of_retention(self.template, ids, times)
        rows = Rows(ids, times, {key: _tidy(column) for key, column in columns.items()})
        if found is not None:
            rows = rows.take(~(found.expired | found.too_late))
        ack = self._patiently(lambda: self._engine.write_rows(table, rows, derived=True))
        self._memory.values.restored = Restored()
        return ack

    def _patiently(self, write: Callable[[], T]) -> T:
        """Waits while the engine is overloaded. Raises OverloadedError only while stopping."""
        while True:
            try:
                return write()
            except OverloadedError as error:
                if self._stopping():
                    raise
                time.sleep(min(error.retry_after_s, 0.05))

    def _to_precision(self, devices: DeviceIds, times: TimesNs) -> TimesNs:
        """Times cut to the precision of each device's database."""
        if not len(devices):
            return times
        catalog = self._engine.catalog
        units = np.array([database.precision_ns for database in catalog.databases], np.int64)
        unit = units[catalog.devices.database_indexes(devices)]
        cut: TimesNs = times - times % unit
        return cut

    def _rejects(self, reading: Reading, counts: IntakeCounts) -> list[Reject]:
        """Everything to put aside: messages, rows, and values of rows that are stored."""
        counts.quarantined += (
            len(reading.failures) + len(reading.decoded) - int(np.count_nonzero(reading.good))
        )
        found = [*reading.failures, *reading.row_rejects.values()]
        for value in reading.prepared.rejects:
            if value.row in reading.row_rejects:
                continue  # the row was put aside as a whole
            entry = reading.entry(value.row)
            time_ns = int(reading.time_ns[value.row])
            found.append(Reject(value.reason, value.value, entry.path, time_ns, value.measurement))
            counts.values_quarantined += 1
        return self._without_ignored(found, counts) if self._inbox.ignores_any else found

    def _without_ignored(self, found: Sequence[Reject], counts: IntakeCounts) -> list[Reject]:
        """Rows of devices that nobody wants are counted as filtered, and not kept."""
        kept = [
            each
            for each in found
            if each.is_value
            or each.reason not in INBOX
            or not self._inbox.pass_over(self.template, each.device)
        ]
        counts.quarantined -= len(found) - len(kept)
        counts.filtered += len(found) - len(kept)
        return kept

    def _put_aside(self, found: Sequence[Reject]) -> None:
        """Returns when all of it is durable. Raises OSError only while stopping."""
        if not found:
            return
        at_ms = self._clock_ns() // NS_PER_MS
        items, blocks = quarantine_entries(found, self._node, self.template, at_ms)
        while True:
            try:
                self._quarantine.add(items)
                self._quarantine.add_blocks(blocks)
            except OSError as error:
                if self._stopping():
                    raise
                log.error("the quarantine cannot be written, the intake waits: %s", error)
                time.sleep(DISK_RETRY_S)
            else:
                return

    def _write(self, rows: Rows, counts: IntakeCounts) -> tuple[Ack, Rows]:
        """(the Ack of the record, its rows: the same object unless the engine refused some)."""
        table = self._engine.catalog.table(self.template)
        while True:
            try:
                return self._patiently(partial(self._append, table, rows, counts)), rows
            except (LogFailedError, ClosedError, OverloadedError):
                raise
            except OutOfRetentionError:
                rows = self._without_expired(rows, table, counts)
            except EngineError as error:
                if not len(rows):
                    raise
                # Rows that were checked and still do not fit: a defect, which must neither stop
                # the source nor lose what it sent.
                log.exception("the engine refused rows of %s", self.template)
                self._put_aside(_refused_rows(rows, table, self._engine, str(error)))
                counts.quarantined += len(rows)
                rows = rows.take(slice(0, 0))

    def _append(self, table: Table, rows: Rows, counts: IntakeCounts) -> Ack:
        return self._engine.write_rows(table, rows, intake=counts.to_header())

    def _without_expired(self, rows: Rows, table: Table, counts: IntakeCounts) -> Rows:
        """The rows that are not too old; time has passed since they were looked at."""
        found = self._engine.out_of_retention(table.name, rows.device, rows.time)
        if found is None:
            return rows
        self._memory.forget()
        bad = found.expired | found.too_late
        refused = _refused_rows(rows.take(bad), table, self._engine, "too old to be kept")
        self._put_aside([dataclasses.replace(reject, reason=EXPIRED) for reject in refused])
        counts.quarantined += len(refused)
        return rows.take(~bad)


def _is_unresolved(entry: Entry) -> bool:
    return entry.id == UNRESOLVED


def quarantine_entries(
    found: Sequence[Reject], node: str, table: str, at_ms: int
) -> tuple[list[QuarantineItem], list[QuarantineBlock]]:
    """Rejects as the quarantine keeps them: one by one, or by column where there are many."""
    groups: dict[tuple[str, str], list[Reject]] = {}
    for reject in found:
        groups.setdefault((reject.measurement, reject.reason), []).append(reject)
    items: list[QuarantineItem] = []
    blocks: list[QuarantineBlock] = []
    for (measurement, reason), group in groups.items():
        times_ms = [r.time_ns // NS_PER_MS for r in group if r.time_ns is not None]
        enough = BLOCK_VALUES_MIN if measurement else BLOCK_ROWS_MIN
        if len(group) >= enough and len(times_ms) == len(group):
            blocks.append(
                QuarantineBlock(
                    node=node,
                    table=table,
                    measurement=measurement,
                    reason=reason,
                    at_ms=at_ms,
                    devices=[reject.device for reject in group],
                    times_ms=times_ms,
                    values=[_plain(reject.value) for reject in group],
                )
            )
        else:
            items += [quarantine_item(reject, node, table, at_ms) for reject in group]
    return items, blocks


def quarantine_item(reject: Reject, node: str, table: str, at_ms: int) -> QuarantineItem:
    """A reject as the quarantine keeps it."""
    return QuarantineItem(
        node=node,
        table=table,
        device=reject.device,
        time_ms=None if reject.time_ns is None else reject.time_ns // NS_PER_MS,
        measurement=reject.measurement,
        reason=reject.reason,
        value=_plain(reject.value),
        at_ms=at_ms,
    )


def _plain(value: Any) -> Any:
    """Maps and lists as JSON text; numbers that JSON does not have as text."""
    if isinstance(value, dict | list | tuple):
        return json.dumps(value, ensure_ascii=False, default=str)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _tidy(column: Column) -> Column:
    """Without a validity mask when every value is valid."""
    if column.valid is not None and column.valid.all():
        return Column(column.values)
    return column


def _refused_rows(rows: Rows, table: Table, engine: Writer, problem: str) -> list[Reject]:
    """One reject per row, with its values by name."""
    names = {m.id: m.name for m in table.template.measurements}
    found = []
    for row in range(len(rows)):
        values: dict[str, Any] = {"problem": problem}
        for key, column in rows.columns.items():
            if column.valid is None or column.valid[row]:
                values[names.get(key, str(key))] = _item(column.values, row)
        path = engine.catalog.devices.path(int(rows.device[row]))
        found.append(Reject(REFUSED, values, path, int(rows.time[row])))
    return found


def _item(values: AnyArray, row: int) -> Any:
    value = values[row]
    return value.item() if isinstance(value, np.generic) else value
