"""How a fleet is written to an engine: what the benchmarks of memory and scale have in common."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from telemetry import COUNTERS, SENSORS, Batch, sensor_names

from mainstem_engine import Engine

TABLE = "machines"
MIB = 1 << 20
BATCH_ROWS = 100_000
NAMES_BATCH = 50_000
IN_FLIGHT = 4
"""Batches that a loader has written and not yet seen acknowledged; each is durable by itself."""


def create_table(engine: Engine, text: bool = False) -> None:
    """The ten sensors; ``text``: and two columns of TEXT."""
    columns = [f"{name} {'INT64' if name in COUNTERS else 'DOUBLE'}" for name in sensor_names()]
    columns += ["t0 TEXT", "t1 TEXT"] if text else []
    engine.sql(f"CREATE SCHEMA TEMPLATE {TABLE} ({', '.join(columns)})")


def device_path(number: int) -> str:
    return f"root.bench.d{number}"


def device_ids(engine: Engine, devices: int) -> npt.NDArray[np.uint32]:
    """Ids by number; devices that are missing are created, some at a time."""
    found = []
    for first in range(0, devices, NAMES_BATCH):
        paths = [device_path(number) for number in range(first, min(first + NAMES_BATCH, devices))]
        found.append(engine.device_ids(TABLE, paths, create=True))
    return np.concatenate(found)


def write(
    engine: Engine,
    ids: npt.NDArray[np.uint32],
    batches: Iterable[Batch],
    columns_of: Callable[[Batch], dict[str, Any]] = lambda batch: batch.columns,
) -> int:
    """Returns how many values of the ten sensors were written, when all are durable."""
    waiting: deque[Any] = deque()
    rows = 0
    for batch in batches:
        if len(waiting) >= IN_FLIGHT:
            waiting.popleft().wait()
        waiting.append(engine.write(TABLE, ids[batch.device], batch.time, columns_of(batch)))
        rows += len(batch)
    for ack in waiting:
        ack.wait()
    return rows * SENSORS


def parts_of(engine: Engine) -> int:
    return sum(table.parts for table in engine.statistics().tables.values())


def stored_bytes(place: Path) -> int:
    """The parts: what the rows take once no log holds them."""
    return sum(path.stat().st_size for path in (place / "parts").rglob("*.part"))
