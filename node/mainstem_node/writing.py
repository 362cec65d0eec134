"""Rows that clients send, into the engine: check, put aside, write, wait until durable.

1. Everything is checked before anything is stored: templates, ownership, and with ``strict`` every
   value.
2. What cannot be stored is durable in the quarantine before the rows are.
3. One log record per template; the call returns when all of them are durable.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mainstem_engine.catalog.names import canonical_path
from mainstem_engine.catalog.templates import Table
from mainstem_engine.errors import EngineError, OverloadedError
from mainstem_engine.model import NO_DEVICE, Column, DeviceIds, Rows, TimesNs
from mainstem_node.errors import BadRequestError
from mainstem_node.ownership import Ownership
from mainstem_node.plain import plain_value
from mainstem_node.posted_rules import NoRules, PostedRules, rows_with_values
from mainstem_node.reasons import OUT_OF_RANGE
from mainstem_node.rows import Batch, Reject, RowGroup, make_batch
from mainstem_sync.receiving.parking import NOT_OWNER as REASON_NOT_OWNER
from mainstem_sync.receiving.quarantine import QuarantineItem

if TYPE_CHECKING:
    from mainstem_engine.consumers import Ack
    from mainstem_engine.engine import Engine
    from mainstem_sync import Federation

LISTED_MAX = 100
"""Put-aside values that the answer lists; all of them are in the quarantine."""
DURABLE_TIMEOUT_S = 30.0
"""A disk that needs longer for one fsync is not one that a client should wait for."""
KEEP_RETRY_S = 5.0
COMPUTING_MAX = 2
"""Requests that turn rows into columns at a time: it is Python's work, and more threads of it would
only take the interpreter from the event loop. Others wait for their fsync meanwhile."""
_NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class WriteResult:
    """``accepted`` rows, ``quarantined`` values and rows (all, and the first listed)."""

    accepted: int
    quarantined: int
    listed: list[dict[str, Any]]
    warnings: list[str]
    lsn: int

    def answer(self) -> dict[str, Any]:
        return {
            "accepted": self.accepted,
            "quarantined": self.quarantined,
            "rejected": self.listed,
            "warnings": self.warnings,
            "lsn": self.lsn,
        }


class NewDevices:
    """At most so many new devices a minute, so that a faulty client cannot fill the catalog."""

    def __init__(self, per_minute: int, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._minute_from = float("-inf")
        self._made = 0

    def take_some(self, count: int) -> int:
        """As many of ``count`` as there is room for."""
        with self._lock:
            self._begin_minute()
            taken = max(0, min(count, self._per_minute - self._made))
            self._made += taken
            return taken

    def give_back(self, count: int) -> None:
        """So many were not made after all."""
        with self._lock:
            self._made = max(0, self._made - count)

    def _begin_minute(self) -> float:
        now = self._monotonic()
        if now - self._minute_from >= 60:
            self._minute_from, self._made = now, 0
        return now

    def take(self, count: int) -> None:
        """Room for ``count`` more. OverloadedError says when there is room again."""
        with self._lock:
            now = self._begin_minute()
            if self._made + count > self._per_minute:
                raise OverloadedError(
                    f"more than {self._per_minute} new devices a minute"
                    " (intake.max_new_devices_per_minute)",
                    retry_after_s=60 - (now - self._minute_from),
                )
            self._made += count


class Writer:
    """Writes of one node. Its methods block; use them from a worker thread."""

    def __init__(
        self,
        engine: Engine,
        federation: Federation,
        ownership: Ownership,
        *,
        node: str,
        new_devices_per_minute: int,
        clock_ns: Callable[[], int] = time.time_ns,
        rules: PostedRules | None = None,
    ) -> None:
        self.rules: PostedRules = rules or NoRules(engine)
        self.engine = engine
        self.federation = federation
        self.ownership = ownership
        self.node = node
        self.new_devices = NewDevices(new_devices_per_minute)
        self.clock_ns = clock_ns
        self.computing = threading.BoundedSemaphore(COMPUTING_MAX)

    def write_groups(self, groups: Sequence[RowGroup], *, strict: bool) -> WriteResult:
        """Rows as mappings. Raises NotFoundError, ForbiddenError (NOT_OWNER), BadRequestError."""
        by_table: dict[tuple[str, int], list[RowGroup]] = {}
        for group in groups:
            table = self.engine.catalog.table(group.template)
            path = canonical_path(group.device)
            self.ownership.require_writer([path])
            by_table.setdefault((table.name, self.precision_ns([path])), []).append(
                RowGroup(table.name, path, group.tags, group.rows)
            )
        with self.computing:
            batches = [
                make_batch(self.engine.catalog.table(name), some, precision_ns)
                for (name, precision_ns), some in by_table.items()
            ]
        return self._write(batches, strict=strict)

    def precision_ns(self, devices: Iterable[str]) -> int:
        """Nanoseconds per unit of integer times: the finest of the devices' databases, which need
        not have been made yet."""
        databases = self.engine.catalog.databases
        indexes = {databases.index_of_path(path) for path in devices}
        found = [databases.at(index).precision_ns for index in indexes if index is not None]
        return min(found, default=_NS_PER_MS)

    def write_columns(
        self,
        table: Table,
        devices: list[str],
        time_ns: TimesNs,
        columns: dict[int, Column],
        tags: dict[str, Mapping[str, Any]],
        rejects: list[Reject],
        *,
        strict: bool,
    ) -> WriteResult:
        """Rows as typed columns by measurement id; ``devices`` [n] are canonical paths."""
        self.ownership.require_writer(dict.fromkeys(devices))
        batch = Batch(table, devices, time_ns, columns, tags, len(devices), rejects)
        return self._write([batch], strict=strict)

    def write_again(self, group: RowGroup, *, counted: bool) -> WriteResult:
        """Rows of one device that were put aside whole. ``counted``: as quarantined rows of their
        template; they move to accepted."""
        table = self.engine.catalog.table(group.template)
        batch = make_batch(table, [group], self.precision_ns([group.device]))
        if counted:
            batch.received -= len(group.rows)
        return self._write([batch], strict=False)

    def _write(self, batches: Sequence[Batch], *, strict: bool) -> WriteResult:
        for batch in batches:
            self._drop_misfits(batch)
        _require_none([reject for batch in batches for reject in batch.rejects], strict=strict)
        warnings: list[str] = []
        # Devices first: what can be refused here is refused before any row is stored.
        devices = [self._devices(batch, warnings) for batch in batches]
        for at, batch in enumerate(batches):
            devices[at] = self._without_others(batch, devices[at])
        rejects = [reject for batch in batches for reject in batch.rejects]
        _require_none(rejects, strict=strict)
        for batch, ids in zip(batches, devices, strict=True):
            self.engine.check_retention(batch.table, ids, batch.time_ns)
        for batch in batches:
            if batch.rejects:
                self.keep(self._items(batch))
        acks = [self._append(batch, ids) for batch, ids in zip(batches, devices, strict=True)]
        for ack in acks:
            ack.wait(DURABLE_TIMEOUT_S)
        return WriteResult(
            sum(len(batch.devices) for batch in batches),
            len(rejects),
            _listed(rejects),
            warnings,
            max((ack.lsn for ack in acks), default=0),
        )

    def keep(self, items: Sequence[QuarantineItem]) -> None:
        """Puts aside, durably. OverloadedError where the disk does not take it: nothing is stored
        then, and all of it may be sent again."""
        try:
            self.federation.quarantine.add(items)
        except OSError as error:
            raise OverloadedError(
                f"what cannot be stored cannot be put aside: {error}", retry_after_s=KEEP_RETRY_S
            ) from error

    def _append(self, batch: Batch, ids: DeviceIds) -> Ack:
        counts = intake_counts(batch.received, batch.rows_rejected, batch.rejects)
        return self.rules.append(
            batch.table, Rows(ids, batch.time_ns, batch.columns), intake=counts
        )

    def _drop_misfits(self, batch: Batch) -> None:
        """Values outside their range are put aside, one by one; a row without another is not
        stored."""
        batch.columns, misfits = self.rules.in_range(batch.table, batch.columns)
        if not misfits:
            return
        for each in misfits:
            device, time_ns = batch.devices[each.row], int(batch.time_ns[each.row])
            reject = Reject(device, time_ns, each.measurement, OUT_OF_RANGE, each.value)
            batch.rejects.append(reject)
        batch.keep(rows_with_values(batch.columns, len(batch.devices)))

    def _devices(self, batch: Batch, warnings: list[str]) -> DeviceIds:
        """uint32[n]; devices that do not exist are made, with the tags that were sent."""
        devices = self.engine.catalog.devices
        paths = list(dict.fromkeys(batch.devices))
        known = devices.lookup(paths) if paths else np.empty(0, np.uint32)
        new = [path for path, id_ in zip(paths, known, strict=True) if id_ == NO_DEVICE]
        if new:
            self.new_devices.take(len(new))
            names = dict.fromkeys(name for path in new for name in batch.tags.get(path, {}))
            tags = {name: [batch.tags.get(p, {}).get(name) for p in new] for name in names}
            try:
                self.engine.device_ids(batch.table.name, new, tags, create=True, durable=False)
            except EngineError:
                self.new_devices.give_back(len(new))
                raise
        for path, id_ in zip(paths, known, strict=True):
            if id_ != NO_DEVICE and path in batch.tags:
                warnings += self._changed_tags(path, int(id_), batch.tags[path])
        ids = self.engine.device_ids(batch.table.name, paths)
        index = {path: position for position, path in enumerate(paths)}
        found: DeviceIds = ids[[index[path] for path in batch.devices]]
        return found

    def _without_others(self, batch: Batch, ids: DeviceIds) -> DeviceIds:
        """Rows of another owner's time are put aside; the ids of the rest."""
        outside = self.ownership.outside(ids, batch.time_ns)
        if outside is None:
            return ids
        names = {m.id: m.name for m in batch.table.template.measurements}
        for row in np.flatnonzero(outside).tolist():
            values = {
                names[key]: plain_value(column.values[row])
                for key, column in batch.columns.items()
                if column.valid is None or column.valid[row]
            }
            device, time_ns = batch.devices[row], int(batch.time_ns[row])
            value = json.dumps(values, default=str)
            batch.rejects.append(Reject(device, time_ns, "", REASON_NOT_OWNER, value))
        batch.keep(~outside)
        return ids[~outside]

    def _changed_tags(self, path: str, device: int, sent: Mapping[str, Any]) -> list[str]:
        kept = {name.casefold(): v for name, v in self.engine.catalog.devices.tags(device).items()}
        return [
            f"{path}: tag {name} stays {kept[name.casefold()]!r}, not {value!r}"
            for name, value in sent.items()
            if value is not None and kept.get(name.casefold(), value) != value
        ]

    def _items(self, batch: Batch) -> list[QuarantineItem]:
        at_ms = self.clock_ns() // _NS_PER_MS
        return quarantine_items(batch.rejects, self.node, batch.table.name, at_ms)


def quarantine_items(
    rejects: Iterable[Reject], node: str, table: str, at_ms: int
) -> list[QuarantineItem]:
    """Rejects as the quarantine keeps them."""
    return [
        QuarantineItem(
            node=node,
            table=table,
            device=reject.device,
            time_ms=None if reject.time_ns is None else reject.time_ns // _NS_PER_MS,
            measurement=reject.measurement,
            reason=reject.reason,
            value=reject.value,
            at_ms=at_ms,
        )
        for reject in rejects
    ]


def intake_counts(received: int, put_aside: int, rejects: Sequence[Reject]) -> dict[str, int]:
    """The share of one record in the accounting: rows, and of ``rejects`` those that are values."""
    return {
        "received": received,
        "filtered": 0,
        "quarantined": put_aside,
        "refused": 0,
        "values_quarantined": sum(1 for reject in rejects if reject.measurement),
    }


def _require_none(rejects: Sequence[Reject], *, strict: bool) -> None:
    if strict and rejects:
        raise BadRequestError(
            f"{len(rejects)} values cannot be stored, and nothing was",
            code="BAD_VALUES",
            hint="correct them, or leave out strict=1 to put them aside",
            detail={"rejected": _listed(rejects)},
        )


def _listed(rejects: Sequence[Reject]) -> list[dict[str, Any]]:
    return [
        {
            "device": reject.device,
            "time": None if reject.time_ns is None else reject.time_ns // _NS_PER_MS,
            "measurement": reject.measurement or None,
            "reason": reject.reason,
            "value": plain_value(reject.value),
        }
        for reject in rejects[:LISTED_MAX]
    ]
