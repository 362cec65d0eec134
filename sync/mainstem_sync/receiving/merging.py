"""Merging what was put aside, when its owner has it no more.

1. A parked row or value is stored under its own version, by an RCV record that adds nothing to R:
   a late row like any other, below whatever a later version says.
2. A value that is present is never replaced, also where it is older.
3. Nothing is merged while records before it are still to come, or where an image stands above it:
   what they will say of it is not known yet.
4. The record takes the item out of the sums of its slice and out of the counts of what was put
   aside. It goes no further up: a tier above that lacks the row finds out by the slice.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from mainstem_engine.engine import Engine
from mainstem_engine.filesystem import byte_view
from mainstem_engine.log.records import RecordKind
from mainstem_engine.model import Column, ColumnType, Rows
from mainstem_engine.points import encode_points, points_header
from mainstem_sync.origins.origin_state import CONFLICT, OriginState, TableMap
from mainstem_sync.receiving.parking import Parking
from mainstem_sync.receiving.quarantine import QuarantineBlock
from mainstem_sync.state.content import RETRIED
from mainstem_sync.state.follower import Follower
from mainstem_sync.state.patience import ACK_TIMEOUT_S
from mainstem_sync.wire.messages import Queue


class ParkedMerge:
    """See the module. ``follower``: whose lock guards the state of the origins."""

    def __init__(self, follower: Follower) -> None:
        self._follower = follower

    def merge(self, engine: Engine, state: OriginState, block: QuarantineBlock) -> str | None:
        """Store one item (a block of one) whose reason is gone; why it cannot be, or None. Returns
        when it is durable and applied."""
        problem = self._problem(state, block)
        mapped = state.local_table(block.table)
        if problem is not None or mapped is None:
            return problem or f"{block.table} of {state.key.name} is not known here"
        here = engine.catalog.devices.id_of(block.devices[0])
        theirs = np.flatnonzero(state.maps.devices == (-1 if here is None else here))
        if here is None or not len(theirs):
            return f"{block.devices[0]} is not known here"
        values = _values(block, mapped)
        if not values:
            return "it does not say which values are meant"
        row = _Row(int(theirs[0]), int(block.exact[0]), mapped, values)
        stored = self._stored(engine, mapped, block)
        absent = {key: value for key, value in values.items() if key not in stored}
        self._log(engine, state, block, row, absent, is_row_there=stored is not _NOTHING)
        return None

    def _problem(self, state: OriginState, block: QuarantineBlock) -> str | None:
        if block.lsns is None or block.uuid != state.key.uuid:
            return "its version is not known: it was put aside by another release or another node"
        if block.epoch != state.key.epoch:
            return f"it is of epoch {block.epoch}, which has ended"
        lsn = int(block.lsns[0])
        with self._follower.lock:
            reached = state.received.watermark
            watch = state.watches.get(block.table)
            floor = 0
            if watch is not None:
                floor = watch.floor_of(int(block.exact[0]) // watch.slice_ns)
        if reached < lsn:
            return f"records of {state.key.name} before it are still to come"
        if floor > reached:
            return "an image of its slice says more than the records that are here"
        return None

    def _stored(
        self, engine: Engine, mapped: TableMap, block: QuarantineBlock
    ) -> Mapping[int, Any]:
        """What is stored of that device and time, by the owner's measurement ids."""
        step_ns = engine.precision_ns(mapped.local)
        at = int(block.exact[0]) // step_ns
        ids = engine.device_ids(mapped.local, [block.devices[0]])
        table = engine.catalog.table(mapped.local)
        names = {m.id: m.name for m in table.template.measurements}
        found = engine.scan(mapped.local, devices=ids, start=at, end=at + 1).read_all().to_pydict()
        if not found["time"]:
            return _NOTHING
        return {
            key: found[names[m.local]][0]
            for key, m in mapped.measurements.items()
            if m.local in names and found[names[m.local]][0] is not None
        }

    def _log(
        self,
        engine: Engine,
        state: OriginState,
        block: QuarantineBlock,
        row: _Row,
        absent: Mapping[int, Any],
        *,
        is_row_there: bool,
    ) -> None:
        lsn, mapped = int(block.versions[0]), row.table
        aside = Parking(state.key, block.at_ms)
        whole = not block.measurement or not is_row_there
        aside.sum_up(lsn, mapped, row.rows(row.values), block.devices[0], rows_too=whole)
        parked = [
            [*key, -rows, -d1 % (1 << 64), -d2 % (1 << 64), -values]
            for *key, rows, d1, d2, values in aside.slices()
        ]
        records, buffers = [], b""
        if absent:
            rows = row.rows(absent)
            types = {key: ColumnType(mapped.measurements[key].type) for key in absent}
            fields = points_header(mapped.name, mapped.revision, 1, accepted=1)
            buffers = b"".join(map(byte_view, encode_points(fields, rows, types)))
            records = [[lsn, int(RecordKind.PTS), mapped.name, 1, 0, len(buffers), 0]]
        put_back = [1, 0] if absent else [0, int(whole)]
        header = {
            "node": state.key.uuid, "name": state.key.name, "epoch": state.key.epoch,
            "via": state.via, "q": str(Queue.CONTROL), "ranges": [], "recs": records,
            "counts": {mapped.local: [*put_back, -int(whole)]},
            "values": {} if whole else {mapped.local: -len(row.values)}, "parked": parked,
            "sch": [], "dev": [], "denied": [], "chain": None, RETRIED: 1,
        }  # fmt: skip
        engine.append(RecordKind.RCV, header, [buffers, b""]).wait(ACK_TIMEOUT_S)


_NOTHING: Mapping[int, Any] = {}
"""No row is stored."""


class _Row:
    """One row under the owner's ids; ``values`` by measurement."""

    def __init__(
        self, device: int, time_ns: int, table: TableMap, values: Mapping[int, Any]
    ) -> None:
        self.table = table
        self.values = values
        self._device, self._time = np.array([device], np.uint32), np.array([time_ns], np.int64)

    def rows(self, values: Mapping[int, Any]) -> Rows:
        columns = {}
        for key, value in values.items():
            dtype = ColumnType(self.table.measurements[key].type).dtype
            columns[key] = Column(np.array([value], dtype), None)
        return Rows(self._device, self._time, columns)


def _values(block: QuarantineBlock, mapped: TableMap) -> dict[int, Any]:
    """What the item would have stored, by the owner's measurement ids."""
    value = block.values[0]
    named = {block.measurement: value}
    if not block.measurement:
        try:
            named = json.loads(value) if isinstance(value, str) else value
        except ValueError:
            return {}
    if not isinstance(named, dict):
        return {}
    ids = {m.name.casefold(): key for key, m in mapped.measurements.items() if m.local != CONFLICT}
    found = {ids[str(k).casefold()]: v for k, v in named.items() if str(k).casefold() in ids}
    return found if len(found) == len(named) else {}
