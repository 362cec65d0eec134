"""What rollups and their planners ask of an engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mainstem_engine.catalog.templates import Table
from mainstem_engine.columns import TIME_MAX_NS, TIME_MIN_NS
from mainstem_engine.model import DeviceIds, Rows, TimesNs
from mainstem_engine.retention_control import RetentionControl
from mainstem_engine.rollup_definition import HeldRollup
from mainstem_engine.scan import Selection, read_rows
from mainstem_engine.view import TableView

if TYPE_CHECKING:
    from mainstem_engine.rollup import Rollups


class RollupControl(RetentionControl):
    """The part of an Engine that knows of rollups."""

    _rollups: Rollups | None = None

    def attach_rollups(self, rollups: Rollups) -> None:
        """Who computes the rollups of this engine."""
        self._rollups = rollups

    def rollups_of(self, table: str) -> list[HeldRollup]:
        """The rollups computed here from the rows of ``table``, finest first, each with what it can
        answer for. Raises NotFoundError."""
        found = self._store.catalog.table(table)
        return [] if self._rollups is None else self._rollups.held(found)

    def whole_rows(
        self,
        table: str,
        *,
        devices: DeviceIds | None = None,
        origin: int | None = None,
        start_ns: int = TIME_MIN_NS,
        end_ns: int = TIME_MAX_NS + 1,
        measurement_ids: Sequence[int] | None = None,
    ) -> Rows:
        """As scan_rows(), with rows that are expired and have not been removed. It takes its turn
        with scans when the memory for them is used up. Raises OverloadedError."""
        found = self._store.catalog.table(table)
        ids = None if measurement_ids is None else tuple(measurement_ids)
        wanted = None if devices is None else np.unique(np.asarray(devices, np.uint32))
        selection = Selection(wanted, start_ns, end_ns, ids, origin)
        rows = read_rows(self._store.whole_view(found), selection, counted=True)
        return Rows(rows.device, rows.time, rows.columns)

    def whole_from(self, table: Table, devices: DeviceIds) -> TimesNs | None:
        """int64[n] ns from which on the rows of each device are whole; None: all are."""
        whole = self._store.retention.whole(table)
        return None if whole is None else whole.of(devices)

    def kept_from(self, table: Table, devices: DeviceIds) -> TimesNs | None:
        """int64[n] ns from which on the rows of each device are visible; None: all are."""
        cutoff = self._store.retention.cutoff(table)
        return None if cutoff is None else cutoff.of(devices)

    def stored_range(self, table: str) -> tuple[int, int] | None:
        """(oldest, newest) time in ns of the rows in parts; None without any."""
        metas = [part.meta for part in self._store.inventory.of_table(table)]
        if not metas:
            return None
        return min(m.time_min_ns for m in metas), max(m.time_max_ns for m in metas)

    def whole_view(self, table: str) -> TableView:
        """The view that whole_rows() reads from."""
        return self._store.whole_view(self._store.catalog.table(table))
