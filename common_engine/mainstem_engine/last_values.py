"""The newest values of devices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mainstem_engine.model import Column, DeviceIds, TimesNs
from mainstem_engine.scan import Selection, iterate_rows
from mainstem_engine.store import TableView


@dataclass(frozen=True, slots=True)
class LastRows:
    """One row per device that has rows, ascending: the time of its newest row (ns), and per
    measurement the newest value that is not null with its own time (unspecified where null)."""

    device: DeviceIds
    time: TimesNs
    columns: dict[int, Column]
    column_times: dict[int, TimesNs]


def last_rows(view: TableView, devices: DeviceIds, measurement_ids: tuple[int, ...]) -> LastRows:
    found: list[int] = []
    times: list[int] = []
    cells: dict[int, list[tuple[object, int] | None]] = {m: [] for m in measurement_ids}
    dtypes: dict[int, np.dtype[np.generic]] = {}
    for rows in iterate_rows(view, Selection(devices, measurement_ids=measurement_ids)):
        firsts = np.flatnonzero(np.append(True, rows.device[1:] != rows.device[:-1]))
        for first, end in zip(firsts, np.append(firsts[1:], len(rows)), strict=True):
            device = int(rows.device[first])
            if not found or found[-1] != device:
                found.append(device)
                times.append(0)
                for cell in cells.values():
                    cell.append(None)
            times[-1] = int(rows.time[end - 1])
            for m in measurement_ids:
                column = rows.columns.get(m)
                if column is None:
                    continue
                dtypes[m] = column.values.dtype
                index = np.arange(first, end)
                if column.valid is not None:
                    index = index[column.valid[first:end]]
                if len(index):
                    cells[m][-1] = (column.values[index[-1]], int(rows.time[index[-1]]))
    columns: dict[int, Column] = {}
    column_times: dict[int, TimesNs] = {}
    for m, cell in cells.items():
        if m in dtypes:
            values = np.zeros(len(cell), dtypes[m])
            stamp = np.zeros(len(cell), np.int64)
            valid = np.array([c is not None for c in cell], np.bool_)
            for row, c in enumerate(cell):
                if c is not None:
                    values[row], stamp[row] = c
            columns[m] = Column(values, valid)
            column_times[m] = stamp
    return LastRows(np.array(found, np.uint32), np.array(times, np.int64), columns, column_times)
