"""Rows of sources that cannot be told what is wrong: what fits is stored, the rest is put aside.

1. A batch is rows of one template, by series: each series is one device.
2. Nothing is refused for what it is: rows of another node, of a device that cannot be made, too
   old, are put aside with the reason, durably and before the others are stored. The engine's
   overload alone is passed on: then the source shall send all of it again.
3. One log record per batch carries the rows and their counts. The call returns when all of them
   are durable.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mainstem_engine.catalog.templates import Table
from mainstem_engine.errors import (
    ClosedError,
    EngineError,
    LogFailedError,
    MetadataLimitError,
    OverloadedError,
    SchemaError,
)
from mainstem_engine.model import NO_DEVICE, BoolMask, Column, DeviceIds, Rows, TimesNs
from mainstem_node.plain import plain_value
from mainstem_node.posted_rules import rows_with_values
from mainstem_node.reasons import (
    DEVICE_LIMIT,
    EXPIRED,
    NOT_OWNER,
    OTHER_TEMPLATE,
    OUT_OF_RANGE,
    REFUSED,
    TAGS_DIFFER,
    TOO_LATE,
)
from mainstem_node.rows import Reject
from mainstem_node.writing import DURABLE_TIMEOUT_S, Writer, intake_counts, quarantine_items

if TYPE_CHECKING:
    from mainstem_engine.consumers import Ack
    from mainstem_sync.receiving.quarantine import QuarantineItem

log = logging.getLogger("mainstem.writing")

_NS_PER_MS = 1_000_000


@dataclass(slots=True)
class Series:
    """One device as data names it: its path and tags; ``reason``: why it can have none. ``device``:
    the one whose tags were found to be these; NO_DEVICE before that."""

    path: str
    tags: Mapping[str, Any]
    reason: str = ""
    device: int = int(NO_DEVICE)


@dataclass(slots=True)
class SeriesBatch:
    """n rows of a template: row i is of ``series[series_of[i]]``. ``received`` counts the rejects
    of whole rows, too."""

    table: Table
    series: list[Series]
    series_of: npt.NDArray[np.intp]
    time_ns: TimesNs
    columns: dict[int, Column]
    received: int
    rejects: list[Reject] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.time_ns)

    def take_out(self, rows: BoolMask, reason: str | Sequence[str]) -> None:
        """Puts rows aside. ``reason``: one for all, or one for each series."""
        if not rows.any():
            return
        names = {m.id: m.name for m in self.table.template.measurements}
        for row in np.flatnonzero(rows).tolist():
            values = {
                names[key]: plain_value(_item(column.values[row]))
                for key, column in self.columns.items()
                if column.valid is None or column.valid[row]
            }
            at = int(self.series_of[row])
            said = reason if isinstance(reason, str) else reason[at]
            value = json.dumps(values, ensure_ascii=False)
            path, time_ns = self.series[at].path, int(self.time_ns[row])
            self.rejects.append(Reject(path, time_ns, "", said, value))
        self.keep(~rows)

    def keep(self, rows: BoolMask) -> None:
        """Only these rows; whoever takes the others out says so in ``rejects``."""
        kept = np.flatnonzero(rows)
        self.series_of = self.series_of[kept]
        self.time_ns = self.time_ns[kept]
        self.columns = {key: column.take(kept) for key, column in self.columns.items()}


def _item(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


class TolerantWriter:
    """Stores batches of one node. Its methods block; use them from a worker thread."""

    def __init__(self, writer: Writer) -> None:
        """``writer``: the strict one of the node, whose bounds these writes share."""
        self.engine = writer.engine
        self.node = writer.node
        self.clock_ns = writer.clock_ns
        self._keep_durably = writer.keep
        self._ownership = writer.ownership
        self._new_devices = writer.new_devices
        self._rules = writer.rules

    def write(self, batches: Sequence[SeriesBatch], others: Sequence[Reject] = ()) -> int:
        """Returns the rows that are stored, and durable. ``others``: rejects of no template.

        Raises OverloadedError, LogFailedError, ClosedError; then some of it may be stored, and all
        of it may be sent again.
        """
        for batch in batches:
            self._drop_misfits(batch)
        devices = [self._in_time(batch, self._devices(batch)) for batch in batches]
        at_ms = self.clock_ns() // _NS_PER_MS
        self._keep(quarantine_items(others, self.node, "", at_ms))
        self._put_aside(batches)
        acks = [self._append(batch, ids) for batch, ids in zip(batches, devices, strict=True)]
        for ack in acks:
            ack.wait(DURABLE_TIMEOUT_S)
        return sum(map(len, batches))

    def _drop_misfits(self, batch: SeriesBatch) -> None:
        """Values outside their range are put aside, one by one; a row without another is not
        stored."""
        batch.columns, misfits = self._rules.in_range(batch.table, batch.columns)
        if not misfits:
            return
        for each in misfits:
            path = batch.series[int(batch.series_of[each.row])].path
            time_ns = int(batch.time_ns[each.row])
            reject = Reject(path, time_ns, each.measurement, OUT_OF_RANGE, each.value)
            batch.rejects.append(reject)
        batch.keep(rows_with_values(batch.columns, len(batch)))

    def _put_aside(self, batches: Sequence[SeriesBatch]) -> None:
        at_ms = self.clock_ns() // _NS_PER_MS
        self._keep(
            item
            for batch in batches
            for item in quarantine_items(batch.rejects, self.node, batch.table.name, at_ms)
        )

    def _keep(self, items: Iterable[QuarantineItem]) -> None:
        listed = list(items)
        if listed:
            self._keep_durably(listed)

    def _append(self, batch: SeriesBatch, ids: DeviceIds) -> Ack:
        try:
            return self._write_rows(batch, ids)
        except (OverloadedError, LogFailedError, ClosedError):
            raise
        except EngineError as error:
            # Rows that were checked and still do not fit: the template changed meanwhile, or time
            # has passed. Sent again they would not fit either.
            log.exception("the engine refused rows of %s: %s", batch.table.name, error)
            batch.take_out(np.ones(len(batch), np.bool_), REFUSED)
            batch.columns = {}
            self._put_aside([batch])
            return self._write_rows(batch, ids[:0])

    def _write_rows(self, batch: SeriesBatch, ids: DeviceIds) -> Ack:
        counts = intake_counts(batch.received, batch.received - len(batch), batch.rejects)
        return self._rules.append(
            batch.table, Rows(ids, batch.time_ns, batch.columns), intake=counts
        )

    # Devices

    def _devices(self, batch: SeriesBatch) -> DeviceIds:
        """uint32[n]; rows whose device cannot be are taken out."""
        known = np.full(len(batch.series), NO_DEVICE, np.uint32)
        reasons = [each.reason for each in batch.series]
        used = np.unique(batch.series_of).tolist()
        self._resolve(batch, [at for at in used if not reasons[at]], known, reasons)
        bad = np.array([reason != "" for reason in reasons], np.bool_)
        batch.take_out(bad[batch.series_of], reasons)
        ids: DeviceIds = known[batch.series_of]
        outside = self._ownership.outside(ids, batch.time_ns)
        if outside is not None:
            batch.take_out(outside, NOT_OWNER)
            ids = ids[~outside]
        return ids

    def _resolve(
        self, batch: SeriesBatch, wanted: Sequence[int], known: DeviceIds, reasons: list[str]
    ) -> None:
        """Sets ``known`` of the series, or their reason."""
        if not wanted:
            return
        devices = self.engine.catalog.devices
        found = devices.lookup([batch.series[at].path for at in wanted])
        new: dict[str, list[int]] = {}
        for at, device in zip(wanted, found.tolist(), strict=True):
            each = batch.series[at]
            if device == NO_DEVICE:
                owner = self._ownership.writer(each.path)
                if owner is not None and owner != self.node:
                    reasons[at] = NOT_OWNER
                else:
                    new.setdefault(each.path, []).append(at)
            elif device == each.device:
                known[at] = device
            elif devices.family_name(device).casefold() != batch.table.family.casefold():
                reasons[at] = OTHER_TEMPLATE
            elif self._tags_differ(each, devices.tags(device)):
                reasons[at] = TAGS_DIFFER
            else:
                known[at] = each.device = device
        room = self._new_devices.take_some(len(new)) if new else 0
        for path in list(new)[room:]:
            for at in new.pop(path):
                reasons[at] = DEVICE_LIMIT
        if not new:
            return
        try:
            self._make(batch, new, known, reasons)
        except EngineError:  # it takes none now; those that it refuses have their reason
            self._new_devices.give_back(len(new))
            raise

    def _make(
        self,
        batch: SeriesBatch,
        new: Mapping[str, list[int]],
        known: DeviceIds,
        reasons: list[str],
    ) -> None:
        try:
            self._make_all(batch, new, known, reasons)
        except (SchemaError, MetadataLimitError):
            # One path or tag that the catalog refuses must not stop the others.
            for path, places in new.items():
                try:
                    self._make_all(batch, {path: places}, known, reasons)
                except (SchemaError, MetadataLimitError):
                    for at in places:
                        reasons[at] = REFUSED

    def _make_all(
        self,
        batch: SeriesBatch,
        new: Mapping[str, list[int]],
        known: DeviceIds,
        reasons: list[str],
    ) -> None:
        firsts = [batch.series[places[0]] for places in new.values()]
        names = dict.fromkeys(name for each in firsts for name in each.tags)
        tags = {name: [each.tags.get(name) for each in firsts] for name in names}
        ids = self.engine.device_ids(batch.table.name, list(new), tags, create=True, durable=False)
        for places, device, first in zip(new.values(), ids.tolist(), firsts, strict=True):
            for at in places:
                if set(batch.series[at].tags) == set(first.tags):
                    known[at] = device
                else:
                    reasons[at] = TAGS_DIFFER

    @staticmethod
    def _tags_differ(series: Series, kept: Mapping[str, Any]) -> bool:
        """True when a tag that is sent is one that the device was made without: another series,
        whose tags have the same values under other keys. A tag that was changed since is not."""
        has = {name.casefold() for name, value in kept.items() if value is not None}
        return any(name.casefold() not in has for name in series.tags)

    def _in_time(self, batch: SeriesBatch, ids: DeviceIds) -> DeviceIds:
        """The devices of the rows that are young enough; the others are taken out."""
        found = self.engine.out_of_retention(batch.table.name, ids, batch.time_ns)
        if found is None:
            return ids
        old, late = found.expired, found.too_late & ~found.expired
        batch.take_out(old, EXPIRED)
        batch.take_out(late[~old], TOO_LATE)
        return ids[~(old | late)]
