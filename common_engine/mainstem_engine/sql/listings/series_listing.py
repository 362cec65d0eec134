"""SHOW TIMESERIES: every measurement of every device, as IoTDB counts them.

``LATEST`` puts those first that have the newest value, and leaves out those without one. It reads
the newest values of the devices, no rows, and holds some 24 bytes per series while it sorts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mainstem_engine.sql.definitions.device_templates import shown_template
from mainstem_engine.sql.listings.device_filter import DeviceFilter
from mainstem_engine.sql.select.relations import matching_series
from mainstem_engine.sql.statements import Show

if TYPE_CHECKING:
    from mainstem_engine.catalog.templates import Table
    from mainstem_engine.model import Measurement
    from mainstem_engine.sql.listings.row_conditions import RowConditions
    from mainstem_engine.sql.storage import Storage

COLUMNS = (
    ("timeseries", "TEXT"),
    ("template", "TEXT"),
    ("database", "TEXT"),
    ("type", "TEXT"),
    ("encoding", "TEXT"),
    ("compression", "TEXT"),
    ("unit", "TEXT"),
)
Listing = tuple[Sequence[tuple[str, str]], Iterable[Sequence[Any]]]


class SeriesListing:
    """The rows of these statements."""

    def __init__(self, engine: Storage, conditions: RowConditions) -> None:
        self._engine = engine
        self._catalog = engine.catalog
        self._conditions = conditions

    def rows(self, show: Show) -> Listing:
        """Raises NotFoundError, SqlError and its kinds."""
        database = self._conditions.request.database
        ids, accepts = matching_series(self._catalog, show.of, database)
        shown = {
            table.name: [m for m in table.shown if accepts(m.name)]
            for table in self._catalog.templates.shown()
        }
        if show.where is not None:
            filtering = DeviceFilter(self._catalog, show.where, self._conditions)
            ids = list(ids)
            if filtering.is_of_series(ids):
                return COLUMNS, self._series(show, filtering.series(ids, shown), ids, accepts)
            ids = filtering.devices(ids)
        if show.latest:
            return COLUMNS, self._latest(ids, accepts)
        families = ((device, self._catalog.devices.family_name(device)) for device in ids)
        return COLUMNS, (
            self._row(device, family, m)
            for device, family in families
            for m in shown.get(family, ())
        )

    def _series(
        self,
        show: Show,
        found: Sequence[tuple[int, Measurement]],
        ids: Iterable[int],
        accepts: Callable[[str], bool],
    ) -> Iterable[Sequence[Any]]:
        families = self._catalog.devices.family_name
        rows = (self._row(device, families(device), m) for device, m in found)
        if not show.latest:
            return rows
        wanted = {row[0] for row in rows}
        return (row for row in self._latest(ids, accepts) if row[0] in wanted)

    def _row(self, device: int, family: str, m: Measurement) -> Sequence[Any]:
        return (
            f"{self._catalog.devices.path(device)}.{m.name}",
            shown_template(family),
            self._catalog.database_of(device).name,
            m.type.name,
            m.encoding,
            m.compression,
            m.unit,
        )

    def _latest(
        self, ids: Iterable[int], accepts: Callable[[str], bool]
    ) -> Iterator[Sequence[Any]]:
        wanted = np.fromiter(ids, np.uint32)
        series: list[tuple[Table, Measurement]] = []
        times, devices, numbers = [], [], []
        for table in self._catalog.templates.shown():
            of_table = np.intersect1d(wanted, self._catalog.devices.of_family(table.family))
            if table.template.rollup_of is not None or not len(of_table):
                continue
            table, newest = self._engine.newest_values(table.name, of_table)
            for measurement in table.shown:
                column = newest.columns.get(measurement.id)
                if column is None or not accepts(measurement.name):
                    continue
                has_value = slice(None) if column.valid is None else column.valid
                found = newest.column_times[measurement.id][has_value]
                times.append(found)
                devices.append(newest.device[has_value])
                numbers.append(np.full(len(found), len(series), np.uint32))
                series.append((table, measurement))
        if not series:
            return
        order = np.argsort(-np.concatenate(times), kind="stable")
        device, number = np.concatenate(devices), np.concatenate(numbers)
        for place in order:
            table, measurement = series[number[place]]
            yield self._row(int(device[place]), table.family, measurement)
