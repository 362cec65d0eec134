"""Rollups: continuous aggregates, one row per device and window, kept true under late data.

1. Every row that enters the head marks its (device, window) *dirty* at the LSN that brought it.
2. ``run(frontier_ns)`` takes the dirty windows that are closed: end + lateness <= frontier. It
   notes the LSN applied so far (*asof*), scans their rows, and writes the aggregates as derived
   rows with asof in the record's header.
3. When such a record is applied, live or at replay, its windows are clean up to asof: a mark of a
   greater LSN stays. So a restart knows what is done, and late data makes a window dirty again;
   the new row replaces the old one whole.

A definition rolls up the rows of this node only, unless it says ``all``: what children export as
rollups is received from them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgpack
import numpy as np
import numpy.typing as npt

from mainstem_engine.aggregate import aggregate_windows, keys_of
from mainstem_engine.catalog.catalog import Catalog
from mainstem_engine.catalog.templates import Table
from mainstem_engine.consumers import Ack, AppliedRows, RowSink
from mainstem_engine.log.records import Record, RecordKind
from mainstem_engine.merge import key_order, match_keys, run_starts
from mainstem_engine.model import SELF_ORIGIN, DeviceIds, Lsns, Rows, Template, TimesNs
from mainstem_engine.points import Points

MARKS_MAX = 1 << 16
"""Marks that may pile up before equal ones are folded: sorting so many takes milliseconds."""
SCAN_ROWS = 1 << 18
"""Rows of one scan, aimed at: about 30 MB for ten columns."""
WINDOWS_FIRST = 64
"""Windows of the first scan, before it is known how many rows one has."""
WINDOWS_MAX = 8192
"""Windows of one derived record, so that what is shipped stays below a few MB."""
GAP_WINDOWS_MAX = 16
"""A scan spans a gap of so many clean windows rather than starting anew."""


@dataclass(frozen=True, slots=True)
class RollupDefinition:
    """``table`` every ``every_ns`` into ``<table>_<name>``; a window closes ``lateness_ns`` after
    its end. ``all``: rows of every origin, not only of this node."""

    table: str
    every_ns: int
    name: str
    lateness_ns: int = 0
    all: bool = False


class RollupEngine(Protocol):
    """What rollups need of an engine."""

    @property
    def catalog(self) -> Catalog: ...
    @property
    def applied_lsn(self) -> int: ...
    def create_rollup(self, table: str, name: str, every_ns: int) -> Template: ...
    def scan_rows(
        self,
        table: str,
        *,
        devices: DeviceIds | None = None,
        origin: int | None = None,
        start_ns: int = ...,
        end_ns: int = ...,
        measurement_ids: Sequence[int] | None = None,
    ) -> Rows: ...
    def write_rows(
        self,
        table: Table,
        rows: Rows,
        *,
        intake: Mapping[str, int] | None = None,
        derived: bool = False,
        header: Mapping[str, Any] | None = None,
    ) -> Ack: ...


class DirtyWindows:
    """(device, window) with the LSN of the newest row in it. Not thread-safe."""

    def __init__(self) -> None:
        self._device: list[DeviceIds] = []
        self._window: list[TimesNs] = []
        self._lsn: list[Lsns] = []
        self._marks = 0

    def mark(self, device: DeviceIds, window: TimesNs, lsn: int) -> None:
        """Rows of these windows were applied at ``lsn``."""
        self._device.append(device)
        self._window.append(window)
        self._lsn.append(np.full(len(device), lsn, np.uint64))
        self._marks += len(device)
        if self._marks > 2 * MARKS_MAX:
            self.fold()
            # Genuinely distinct marks may be many: then fold less often, not at every batch.
            self._marks = max(0, self._marks - len(self._device[0]))

    def clean(self, device: DeviceIds, window: TimesNs, asof: int) -> None:
        """These windows were computed from everything up to ``asof``."""
        known_device, known_window, lsn = self.fold()
        place = match_keys(known_device, known_window, device, window)
        keep = np.ones(len(known_device), np.bool_)
        place = place[place >= 0]
        keep[place[lsn[place] <= asof]] = False
        self._set(known_device[keep], known_window[keep], lsn[keep])

    def fold(self) -> tuple[DeviceIds, TimesNs, Lsns]:
        """The distinct dirty windows, sorted by device and window, each with its greatest LSN."""
        if not self._device:
            self._set(np.empty(0, np.uint32), np.empty(0, np.int64), np.empty(0, np.uint64))
        elif len(self._device) > 1:
            device = np.concatenate(self._device)
            window = np.concatenate(self._window)
            lsn = np.concatenate(self._lsn)
            order = key_order(device, window)
            device, window, lsn = device[order], window[order], lsn[order]
            starts = run_starts(device, window)
            self._set(device[starts], window[starts], np.maximum.reduceat(lsn, starts))
        return self._device[0], self._window[0], self._lsn[0]

    def _set(self, device: DeviceIds, window: TimesNs, lsn: Lsns) -> None:
        self._device, self._window, self._lsn = [device], [window], [lsn]
        self._marks = len(device)


class Rollups:
    """The consumer that keeps the rollups of one node."""

    name = "rollups"
    kinds = frozenset({RecordKind.PTS})

    def __init__(self, definitions: Sequence[RollupDefinition]) -> None:
        self.definitions = tuple(definitions)
        self._by_table: dict[str, list[RollupDefinition]] = {}
        self._by_target: dict[str, RollupDefinition] = {}
        for definition in self.definitions:
            self._by_table.setdefault(definition.table.casefold(), []).append(definition)
            self._by_target[f"{definition.table}_{definition.name}".casefold()] = definition
        self._dirty = {definition: DirtyWindows() for definition in self.definitions}
        self._rows_per_window = dict.fromkeys(self.definitions, 0.0)
        self._lock = threading.Lock()
        self._engine: RollupEngine | None = None

    def bind(self, engine: RollupEngine) -> None:
        """Gives the engine to read from and write to, before the first run()."""
        self._engine = engine

    # As a consumer

    def rows_applied(self, batch: AppliedRows) -> None:
        for definition in self._by_table.get(batch.table.casefold(), ()):
            if batch.origin == SELF_ORIGIN or definition.all:
                device, window = keys_of(Rows(batch.device, batch.time), definition.every_ns)
                with self._lock:
                    self._dirty[definition].mark(device, window, batch.local_lsn)

    def apply(self, record: Record, decoded: Any, sink: RowSink) -> None:
        assert isinstance(decoded, Points)
        definition = self._by_target.get(decoded.table.casefold())
        asof = decoded.header.get("asof")
        if definition is not None and decoded.derived and asof is not None:
            with self._lock:
                self._dirty[definition].clean(decoded.rows.device, decoded.rows.time, int(asof))

    def snapshot(self) -> bytes:
        with self._lock:
            fields = [
                [d.table, d.name, d.every_ns, *(a.tobytes() for a in self._dirty[d].fold())]
                for d in self.definitions
            ]
        packed: bytes = msgpack.packb(fields)
        return packed

    def restore(self, data: bytes) -> None:
        for table, name, every_ns, device, window, lsn in msgpack.unpackb(data):
            definition = self._by_target.get(f"{table}_{name}".casefold())
            if definition is not None and definition.every_ns == every_ns:
                lsns: npt.NDArray[np.uint64] = np.frombuffer(lsn, np.uint64)
                self._dirty[definition]._set(  # noqa: SLF001 - the same noun, restored
                    np.frombuffer(device, np.uint32), np.frombuffer(window, np.int64), lsns
                )

    # Computing

    def run(self, frontier_ns: int, now_ns: int = 0) -> int:
        """Computes every dirty window that is closed; returns the rows written, all durable.

        ``frontier_ns``: event time that every source has passed. Raises what Engine.write raises.
        """
        del now_ns  # windows close by event time alone
        written = 0
        last: Ack | None = None
        for definition in self.definitions:
            for ack, count in self._run(definition, frontier_ns):
                last, written = ack, written + count
        if last is not None:
            last.wait()
        return written

    def pending(self) -> int:
        """Dirty windows, closed or not."""
        with self._lock:
            return sum(len(dirty.fold()[0]) for dirty in self._dirty.values())

    def _run(self, definition: RollupDefinition, frontier_ns: int) -> Iterator[tuple[Ack, int]]:
        engine = self._engine
        if engine is None:
            raise RuntimeError("bind() the rollups to an engine first")
        source = engine.catalog.templates.get(definition.table)
        if source is None:
            return
        device, window = self._closed(definition, frontier_ns)
        if not len(device):
            return
        engine.create_rollup(definition.table, definition.name, definition.every_ns)
        target = engine.catalog.table(f"{source.name}_{definition.name}")
        for first, last in self._groups(definition, window):
            asof = engine.applied_lsn
            rows = engine.scan_rows(
                source.name,
                devices=np.unique(device[first:last]),
                origin=None if definition.all else SELF_ORIGIN,
                start_ns=int(window[first]),
                end_ns=int(window[last - 1]) + definition.every_ns,
            )
            self._rows_per_window[definition] = len(rows) / (last - first)
            if not len(rows):
                continue
            out = aggregate_windows(rows, definition.every_ns, source, target)
            order = key_order(device[first:last], window[first:last])
            wanted_device = device[first:last][order]
            wanted_window = window[first:last][order]
            keep = match_keys(wanted_device, wanted_window, out.device, out.time) >= 0
            out = out.take(keep)
            if len(out):
                ack = engine.write_rows(target, out, derived=True, header={"asof": asof})
                yield ack, len(out)

    def _closed(self, definition: RollupDefinition, frontier_ns: int) -> tuple[DeviceIds, TimesNs]:
        """The dirty windows that are closed, by window, then device."""
        with self._lock:
            device, window, _ = self._dirty[definition].fold()
        closed = window <= frontier_ns - definition.lateness_ns - definition.every_ns
        device, window = device[closed], window[closed]
        order = np.argsort(window, kind="stable")
        return device[order], window[order]

    def _groups(self, definition: RollupDefinition, window: TimesNs) -> Iterator[tuple[int, int]]:
        """[first, last) of windows to scan together: near each other, and not too many rows."""
        first = 0
        while first < len(window):
            per_window = self._rows_per_window[definition]
            limit = int(SCAN_ROWS / per_window) if per_window else WINDOWS_FIRST
            last = min(len(window), first + min(max(limit, 1), WINDOWS_MAX))
            gaps = np.diff(window[first:last]) > GAP_WINDOWS_MAX * definition.every_ns
            if gaps.any():
                last = first + int(np.argmax(gaps)) + 1
            yield first, last
            first = last
