"""The newest row of a device, as preconditions ask for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mainstem_engine.engine import Engine
from mainstem_node.commanding.runner import NewestValues

NS_PER_MS = 1_000_000


def newest_values(engine: Engine) -> NewestValues:
    """The function that looks into an engine."""

    def newest(device: str) -> tuple[int, Mapping[str, Any]] | None:
        found = engine.catalog.table_of_device(device)
        if found is None:
            return None
        table = found[0].name
        rows = engine.last_rows(table, [device])
        if not rows:
            return None
        return rows[0]["time"] * engine.precision_ns(table) // NS_PER_MS, rows[0]

    return newest
