"""Computing a rollup: the closed dirty windows of one definition, from one source.

1. Single windows are taken in groups that lie near each other in time. Larger groups, and spans,
   are taken in pieces, in an order in which few blocks are decoded twice (rollup_order.py). Both
   are so large that one scan reads about SCAN_ROWS rows.
2. Everything that is stored of these windows is read, also rows that are expired and have not been
   removed, and one row per window is written. A stored window that has no rows any more is deleted.
3. The records say up to which LSN that is true (``asof``), of which source (``of``), and, after the
   last of a piece, which piece it was (``span``).
"""

from __future__ import annotations

import dataclasses
import itertools
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from mainstem_engine.aggregate import aggregate_windows, merge_windows
from mainstem_engine.catalog.catalog import Catalog
from mainstem_engine.catalog.templates import Table
from mainstem_engine.consumers import Ack
from mainstem_engine.dirty_windows import DirtyWindows, Span
from mainstem_engine.expiry import PartHold
from mainstem_engine.merge import key_order, match_keys
from mainstem_engine.model import SELF_ORIGIN, BoolMask, DeviceIds, Rows, Template, TimesNs
from mainstem_engine.rollup_definition import RollupDefinition
from mainstem_engine.rollup_order import has_rows, pieces_of
from mainstem_engine.view import TableView

if TYPE_CHECKING:
    from mainstem_engine.rollup import Rollups

SCAN_ROWS = 1 << 18
"""Rows of one scan, aimed at: about 30 MB for ten columns."""
WINDOWS_FIRST = 64
"""Windows of the first scan, before it is known how many rows one has."""
WINDOWS_MAX = 8192
"""Windows of one derived record, so that what is shipped stays below a few MB."""
GAP_WINDOWS_MAX = 16
"""A scan spans a gap of so many clean windows rather than starting anew."""


class Deleted(Protocol):
    """What delete_rows returns."""

    @property
    def ack(self) -> Ack: ...


class RollupEngine(Protocol):
    """What rollups need of an engine."""

    @property
    def catalog(self) -> Catalog: ...
    @property
    def applied_lsn(self) -> int: ...
    def create_rollup(self, table: str, name: str, every_ns: int) -> Template: ...
    def set_keep(self, table: str, keep_ns: int | None) -> None: ...
    def attach_rollups(self, rollups: Rollups) -> None: ...
    def add_part_hold(self, name: str, hold: PartHold) -> None: ...
    def whole_rows(
        self,
        table: str,
        *,
        devices: DeviceIds | None = None,
        origin: int | None = None,
        start_ns: int = ...,
        end_ns: int = ...,
        measurement_ids: Sequence[int] | None = None,
    ) -> Rows: ...
    def whole_from(self, table: Table, devices: DeviceIds) -> TimesNs | None: ...
    def kept_from(self, table: Table, devices: DeviceIds) -> TimesNs | None: ...
    def visible_from_ns(self, table: str) -> int: ...
    def whole_view(self, table: str) -> TableView: ...
    def stored_range(self, table: str) -> tuple[int, int] | None: ...
    def write_rows(
        self,
        table: Table,
        rows: Rows,
        *,
        intake: Mapping[str, int] | None = None,
        derived: bool = False,
        header: Mapping[str, Any] | None = None,
    ) -> Ack: ...
    def delete_rows(
        self,
        table: Table,
        device: DeviceIds,
        time: TimesNs,
        *,
        header: Mapping[str, Any] | None = None,
    ) -> Deleted: ...


class RollupWork:
    """See the module. ``lock`` guards ``dirty``; ``density``: rows of a window, as last seen."""

    def __init__(
        self,
        definition: RollupDefinition,
        source: Table,
        target: Table,
        dirty: DirtyWindows,
        engine: RollupEngine,
        lock: threading.Lock,
        density: dict[RollupDefinition, float],
    ) -> None:
        self._definition = definition
        self._source = source
        self._target = target
        self._dirty = dirty
        self._engine = engine
        self._lock = lock
        self._density = density
        self._origin = None if definition.all else SELF_ORIGIN

    def run(self, frontier_ns: int) -> Iterator[tuple[Ack, int]]:
        """(acknowledgement, windows) of every record."""
        every_ns = self._definition.every_ns
        limit = frontier_ns - self._definition.lateness_ns - every_ns
        yield from self._run_marks(limit)
        yield from self._run_spans(limit - limit % every_ns + every_ns)

    # Marks

    def _run_marks(self, limit_ns: int) -> Iterator[tuple[Ack, int]]:
        with self._lock:
            device, window, _ = self._dirty.fold()
        closed = window <= limit_ns
        device, window = device[closed], window[closed]
        order = np.argsort(window, kind="stable")
        device, window = device[order], window[order]
        for first, last in self._groups(window):
            order = key_order(device[first:last], window[first:last])
            group = Rows(device[first:last][order], window[first:last][order])
            if len(group) <= min(self._cells(), WINDOWS_MAX):
                yield from self._compute_marks(group)
            else:
                yield from self._compute_many(group)

    def _groups(self, window: TimesNs) -> Iterator[tuple[int, int]]:
        """[first, last) of windows, ascending, that lie near each other."""
        gaps = np.diff(window) > GAP_WINDOWS_MAX * self._definition.every_ns
        starts = np.flatnonzero(np.append(True, gaps)) if len(window) else np.flatnonzero(gaps)
        yield from itertools.pairwise([*starts.tolist(), len(window)])

    def _compute_many(self, group: Rows) -> Iterator[tuple[Ack, int]]:
        """Marks that one scan may be too small for, piece after piece."""
        start_ns = int(group.time.min())
        end_ns = int(group.time.max()) + self._definition.every_ns
        low, high = int(group.device[0]), int(group.device[-1])
        for piece in self._pieces(Span(low, high, start_ns, end_ns, 0)):
            first, last = group.device.searchsorted([piece.low, piece.high + 1])
            some = group.take(slice(int(first), int(last)))
            some = some.take((some.time >= piece.start_ns) & (some.time < piece.end_ns))
            if len(some):
                yield from self._compute_marks(some)

    def _compute_marks(self, wanted: Rows) -> Iterator[tuple[Ack, int]]:
        """``wanted``: windows to compute with one scan, sorted, at least one."""
        asof = self._engine.applied_lsn
        devices = np.unique(wanted.device)
        start_ns = int(wanted.time.min())
        end_ns = int(wanted.time.max()) + self._definition.every_ns
        out, rows = self._aggregates(devices, start_ns, end_ns)
        self._density[self._definition] = rows / len(wanted)
        place = match_keys(wanted.device, wanted.time, out.device, out.time)
        out = out.take(place >= 0)
        empty = np.ones(len(wanted), np.bool_)
        empty[place[place >= 0]] = False
        gone = wanted.take(empty)
        if len(gone):
            gone = self._stored(gone, devices, start_ns, end_ns)
        yield from self._write(out, gone, {"asof": asof, "of": self._source.name})
        # A window that has, and had, no row is in no record.
        with self._lock:
            nothing = wanted.take(empty | ~self._changeable(wanted))
            self._dirty.clean(nothing.device, nothing.time, asof)

    def _cells(self) -> int:
        """Windows whose rows are about SCAN_ROWS."""
        density = self._density[self._definition]
        return max(1, int(SCAN_ROWS / density)) if density else WINDOWS_FIRST

    # Spans

    def _run_spans(self, limit_ns: int) -> Iterator[tuple[Ack, int]]:
        """Windows that begin before ``limit_ns``, a piece after the other, each with a record that
        says so: a restart goes on from the last. What changes meanwhile is for the next run."""
        with self._lock:
            waiting = [
                dataclasses.replace(span, end_ns=min(span.end_ns, limit_ns))
                for span in self._dirty.spans
                if span.start_ns < limit_ns
            ]
        for span in waiting:
            for piece in self._pieces(span):
                piece = dataclasses.replace(piece, lsn=self._engine.applied_lsn)
                devices = self._devices(piece)
                if has_rows(self._look(), devices, piece.start_ns, piece.end_ns):
                    yield from self._compute(piece, devices)
                else:
                    with self._lock:
                        self._dirty.clean_span(piece)

    def _pieces(self, span: Span) -> Iterator[Span]:
        every_ns = self._definition.every_ns
        return pieces_of(span, self._look, self._devices, every_ns, SCAN_ROWS)

    def _look(self) -> tuple[TableView, TableView]:
        """What is stored of the source and of the rollup."""
        names = self._source.name, self._target.name
        return self._engine.whole_view(names[0]), self._engine.whole_view(names[1])

    def _devices(self, span: Span) -> DeviceIds:
        ids = self._engine.catalog.devices.of_family(self._source.family)
        low, high = np.searchsorted(ids, [span.low, span.high + 1])
        return ids[low:high]

    def _compute(self, piece: Span, devices: DeviceIds) -> Iterator[tuple[Ack, int]]:
        out, _ = self._aggregates(devices, piece.start_ns, piece.end_ns)
        stored = self._stored(None, devices, piece.start_ns, piece.end_ns)
        gone = stored.take(match_keys(out.device, out.time, stored.device, stored.time) < 0)
        header = {"asof": piece.lsn, "of": self._source.name}
        acks = list(self._write(out, gone, header))
        yield from acks
        if acks:
            span = [piece.low, piece.high, piece.start_ns, piece.end_ns]
            nothing = out.take(slice(0, 0))
            ack = self._engine.write_rows(
                self._target, nothing, derived=True, header={**header, "span": span}
            )
            ack.wait()
            yield ack, 0
        else:
            with self._lock:
                self._dirty.clean_span(piece)

    # Both

    def _aggregates(self, devices: DeviceIds, start_ns: int, end_ns: int) -> tuple[Rows, int]:
        """(windows, rows that they were computed from)."""
        rows = self._engine.whole_rows(
            self._source.name,
            devices=devices,
            origin=self._origin,
            start_ns=start_ns,
            end_ns=end_ns,
        )
        compute = merge_windows if self._source.replaces_rows else aggregate_windows
        every_ns = self._definition.every_ns
        return compute(rows, every_ns, self._source, self._target), len(rows)

    def _stored(self, wanted: Rows | None, devices: DeviceIds, start_ns: int, end_ns: int) -> Rows:
        """The windows that are stored, of ``wanted`` or of all."""
        stored = self._engine.whole_rows(
            self._target.name,
            devices=devices,
            origin=SELF_ORIGIN,
            start_ns=start_ns,
            end_ns=end_ns,
            measurement_ids=(),
        )
        if wanted is None:
            return stored
        return stored.take(match_keys(wanted.device, wanted.time, stored.device, stored.time) >= 0)

    def _changeable(self, windows: Rows) -> BoolMask:
        """bool[n]: windows whose rows are whole, and that are kept."""
        found: BoolMask = np.ones(len(windows), np.bool_)
        whole = self._engine.whole_from(self._source, windows.device)
        if whole is not None:
            found &= windows.time >= whole
        kept = self._engine.kept_from(self._target, windows.device)
        if kept is not None:
            found &= windows.time >= kept
        return found

    def _write(self, out: Rows, gone: Rows, header: Mapping[str, Any]) -> Iterator[tuple[Ack, int]]:
        out = out.take(self._changeable(out))
        for first in range(0, len(out), WINDOWS_MAX):
            some = out.take(slice(first, first + WINDOWS_MAX))
            yield (
                self._engine.write_rows(self._target, some, derived=True, header=header),
                len(some),
            )
        gone = gone.take(self._changeable(gone))
        if len(gone):
            deleted = self._engine.delete_rows(self._target, gone.device, gone.time, header=header)
            yield deleted.ack, len(gone)
