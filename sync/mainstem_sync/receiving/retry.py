"""Trying again what was put aside, once somebody has removed the reason.

1. *Own* items (refused at the door of this node) are written as new rows, for what has no value at
   that time yet: what was written later stands. Of whole rows each measurement is judged by itself.
2. *Received* items (their owner has them, this node did not take them): the owner's tables are
   mapped anew, and its slices are asked for as images. They hold what the owner has now, so later
   writes and deletes stand here too. Only where the owner is gone, or has declared the slice lost,
   is what was put aside merged (merging.py).
3. An own item that was written leaves the quarantine at once, a received one when its slice has
   come and nothing of it is put aside any more. What is asked for is in memory only: after a
   restart it is tried again by whoever asked.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mainstem_engine.engine import Engine
from mainstem_engine.errors import MainstemError
from mainstem_engine.log.records import RecordKind
from mainstem_engine.model import ColumnType
from mainstem_sync.origins.origin_state import CONFLICT, OriginState, TableMap
from mainstem_sync.receiving.definitions import fits
from mainstem_sync.receiving.merging import ParkedMerge
from mainstem_sync.receiving.quarantine import QuarantineStore
from mainstem_sync.state.follower import Follower
from mainstem_sync.state.patience import ACK_TIMEOUT_S
from mainstem_sync.wire.messages import OriginKey, Queue

logger = logging.getLogger(__name__)

NS_PER_MS = 1_000_000

WAITING_MAX = 10_000
"""Received items whose slices are on their way: the most that one listing shows."""


Want = Callable[[OriginKey, str, Iterable[int]], int]
"""Asks the owner for slices (by index) of a table (its name here)."""

RETRIED, ASKED, KEPT = "retried", "asked", "kept"


class QuarantineRetry:
    """See the module. ``engine``: of the bound node. Thread-safe but for one retry at a time."""

    def __init__(
        self,
        node: str,
        engine: Callable[[], Engine],
        follower: Follower,
        quarantine: QuarantineStore,
        want: Want,
        is_gone: Callable[[OriginKey], bool],
    ) -> None:
        self._node = node
        self._engine = engine
        self._follower = follower
        self._quarantine = quarantine
        self._want = want
        self._is_gone = is_gone
        self._merging = ParkedMerge(follower)
        self._waiting: dict[str, tuple[OriginKey, str, int]] = {}

    def retry(self, identities: Sequence[str]) -> list[dict[str, Any]]:
        """``{"id","state","message"}`` of each: retried (stored now), asked (its owner sends it) or
        kept, with the reason."""
        items = self._quarantine.find(identities)
        results, done = [], []
        for identity in identities:
            state, message = KEPT, "there is no such item"
            if identity in items:
                state, message = self._retry(identity, items[identity])
            results.append({"id": identity, "state": state, "message": message})
            done += [identity] if state == RETRIED else []
        self._quarantine.drop(*done)
        return results

    def settle(self) -> int:
        """Drop the received items whose slices have come, and merge those that their owner says are
        lost; returns how many are done."""
        done, lost = [], []
        with self._follower.lock:
            for identity, (key, table, slice_key) in self._waiting.items():
                state = self._follower.origins.get(key)
                watch = None if state is None else state.watches.get(table)
                if state is None or watch is None or watch.is_whole(slice_key):
                    done.append(identity)
                elif watch.is_lost(slice_key):
                    lost.append((identity, state))
        blocks = self._quarantine.find_blocks(identity for identity, _ in lost) if lost else {}
        for identity, state in lost:
            block = blocks.get(identity)
            if block is None or self._merging.merge(self._engine(), state, block) is None:
                done.append(identity)
            self._waiting.pop(identity, None)
        for identity in done:
            self._waiting.pop(identity, None)
        if done:
            self._quarantine.drop(*done)
        return len(done)

    def _retry(self, identity: str, item: Mapping[str, Any]) -> tuple[str, str]:
        try:
            if item["node"] == self._node:
                return self._retry_own(item)
            return self._retry_received(identity, item)
        except (MainstemError, ValueError, TypeError, OverflowError) as exc:
            return KEPT, str(exc)

    def readmit(self, engine: Engine, state: OriginState, device: str) -> str | None:
        """From now on a node's device is taken that was refused; why it cannot be, or None."""
        number = engine.catalog.devices.id_of(device)
        if number is None:
            return "it is not known here"
        family = engine.catalog.devices.family_name(number)
        item = {"table": family, "node": state.key.name, "measurement": "", "device": device}
        return self._map_anew(engine, state, item)

    # Own items

    def _retry_own(self, item: Mapping[str, Any]) -> tuple[str, str]:
        values = _values(item)
        if item["time"] is None or not item["device"] or not values:
            return KEPT, "it does not say which device, time and values are meant: send it again"
        engine = self._engine()
        table = engine.catalog.table(item["table"])
        step_ns = engine.precision_ns(table.name)
        at = item["time"] * NS_PER_MS // step_ns
        known = [name for name in values if table.measurement(name) is not None]
        if not known:
            return KEPT, f"{table.name} has no measurement {', '.join(values)}"
        ids = engine.device_ids(table.name, [item["device"]], create=True)
        stored = engine.scan(table.name, devices=ids, start=at, end=at + 1, columns=known)
        row = stored.read_all().to_pydict()
        absent = [name for name in known if not row[name] or row[name][0] is None]
        if absent:
            whole = not item["measurement"]
            counts = {"received": 0 if whole else 1, "quarantined": -1 if whole else 0,
                      "values_quarantined": 0 if whole else -1}  # fmt: skip
            columns = {name: [values[name]] for name in absent}
            engine.write(table.name, ids, [at], columns, intake=counts).wait(ACK_TIMEOUT_S)
        return RETRIED, "" if absent else "what was written since stands"

    # Received items

    def _retry_received(self, identity: str, item: Mapping[str, Any]) -> tuple[str, str]:
        engine = self._engine()
        with self._follower.lock:
            states = [s for s in self._follower.origins if s.key.name == item["node"]]
            state = max(states, key=lambda s: s.key.epoch, default=None)
            watch = None if state is None else state.watches.get(item["table"])
        if state is None or watch is None or item["time"] is None:
            return KEPT, f"{item['node']} is not known here"
        problem = self._map_anew(engine, state, item)
        if problem is not None:
            return KEPT, problem
        slice_key = item["time"] * NS_PER_MS // watch.slice_ns
        with self._follower.lock:
            gone_here = len(watch.gone_here(slice_key, slice_key + 1)) > 0
            lost = watch.is_lost(slice_key)
        if gone_here:
            return KEPT, "rows of that time were deleted here"
        if lost or self._is_gone(state.key):
            block = self._quarantine.find_blocks([identity]).get(identity)
            problem = self._merging.merge(engine, state, block) if block else "it is gone"
            return (RETRIED, "") if problem is None else (KEPT, problem)
        self._want(state.key, item["table"], [slice_key])
        if len(self._waiting) < WAITING_MAX:
            self._waiting[identity] = (state.key, item["table"], slice_key)
        return ASKED, f"{item['node']} is asked for its minute"

    def _map_anew(self, engine: Engine, state: OriginState, item: Mapping[str, Any]) -> str | None:
        """Makes the origin's maps fit what is defined here now; why it cannot be, or None."""
        with state.intake:
            mapped = state.local_table(item["table"])
            if mapped is None:
                return f"{item['table']} of {item['node']} is not known here"
            tables = []
            if item["measurement"]:
                table = _remapped(engine, mapped, item["measurement"])
                if table is None:
                    return f"{item['measurement']} has another type here still: widen it first"
                tables = [table] if table != mapped else []
            denied = [d for d, path in state.maps.denied.items() if path == item["device"]]
            devices: list[int] = []
            local = np.empty(0, np.int64)
            if not item["measurement"] and denied:
                family = engine.catalog.table(item["table"]).family
                known = engine.catalog.devices.id_of(item["device"])
                if known is not None and not engine.catalog.devices.all_in_family(
                    np.array([known], np.uint32), family
                ):
                    return f"{item['device']} is of another template here"
                ids = engine.device_ids(family, [item["device"]], create=True, foreign=True)
                devices, local = denied, np.repeat(ids.astype(np.int64), len(denied))
            if tables or devices:
                self._log_maps(engine, state, tables, devices, local)
        return None

    def _log_maps(
        self,
        engine: Engine,
        state: OriginState,
        tables: list[TableMap],
        devices: list[int],
        local: np.ndarray[Any, np.dtype[np.int64]],
    ) -> None:
        """An RCV record that brings definitions and nothing else, as a batch would."""
        with self._follower.lock:
            maps = state.maps.copy()
            for table in tables:
                maps.put_table(table)
            maps.put_devices(devices, local)
            for device in devices:
                maps.denied.pop(device, None)
            state.maps = maps
        header = {
            "node": state.key.uuid, "name": state.key.name, "epoch": state.key.epoch,
            "via": state.via, "q": str(Queue.CONTROL), "ranges": [], "recs": [], "counts": {},
            "values": {}, "parked": [], "sch": [[0, table.to_plain()] for table in tables],
            "dev": [[0, devices, len(devices)]] if devices else [], "denied": [], "chain": None,
        }  # fmt: skip
        engine.append(RecordKind.RCV, header, [b"", local]).wait(ACK_TIMEOUT_S)


def _remapped(engine: Engine, mapped: TableMap, name: str) -> TableMap | None:
    """The map with the measurement of that name, if it fits now; the same map if it did before. One
    that its owner has renamed since is among those that conflict, or fits already."""
    table = engine.catalog.table(mapped.local)
    measurements = dict(mapped.measurements)
    wanted = [key for key, m in measurements.items() if m.name.casefold() == name.casefold()]
    for key in wanted or list(measurements):
        measurement = measurements[key]
        if measurement.local != CONFLICT:
            continue
        here = table.measurement(measurement.name)
        if here is None or not fits(ColumnType(measurement.type), here.type):
            return None
        measurements[key] = replace(measurement, local=here.id)
    return (
        mapped
        if measurements == mapped.measurements
        else replace(mapped, measurements=measurements)
    )


def _values(item: Mapping[str, Any]) -> dict[str, Any]:
    """What the item would have stored, by measurement."""
    if item["measurement"]:
        return {str(item["measurement"]): item["value"]}
    value = item["value"]
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return {}
    return {str(k): v for k, v in value.items()} if isinstance(value, dict) else {}
