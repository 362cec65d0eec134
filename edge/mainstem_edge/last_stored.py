"""The newest stored values of a counter, for increments that go on after a restart."""

from __future__ import annotations

import numpy as np

from mainstem_edge.value_memory import Floats
from mainstem_engine.engine import Engine
from mainstem_engine.model import DeviceIds, TimesNs


class LastStored:
    """Asks the engine about one table."""

    def __init__(self, engine: Engine, table: str) -> None:
        self._engine = engine
        self._table = table

    def __call__(self, devices: DeviceIds, measurement: int) -> tuple[Floats, TimesNs]:
        """(value, NaN where there is none; time of its device's newest row in ns) of ``devices``,
        ascending."""
        _, found = self._engine.newest_values(self._table, devices)
        values, times = np.full(len(devices), np.nan), np.zeros(len(devices), np.int64)
        places = np.searchsorted(devices, found.device)
        times[places] = found.time
        column = found.columns.get(measurement)
        if column is not None:
            numbers = column.values.astype(np.float64)
            values[places] = (
                numbers if column.valid is None else np.where(column.valid, numbers, np.nan)
            )
        return values, times
