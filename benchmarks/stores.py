"""The contestants: the same questions to Mainstem's engine and to DuckDB, each as its manual says.

Both are libraries in the process that asks, both make a commit durable before it returns, both hand
out Arrow. DuckDB gets integers for devices and times, which is its fastest way; batches reach it as
Arrow tables, one INSERT and so one transaction each, settings as they come.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from telemetry import COUNTERS, DEVICES, Batch, sensor_names

from mainstem_engine import Engine, EngineOptions

TABLE = "machines"
MINUTE_MS = 60_000
IN_FLIGHT = 4
"""Batches that a loader has written and not yet seen acknowledged; each is durable by itself."""


class Mainstem:
    """The engine on one directory."""

    suffix = "mainstem"

    def __init__(self, path: Path, memory_limit_bytes: int, devices: int = DEVICES) -> None:
        self.path = path
        self.engine = Engine.open(path, EngineOptions(memory_limit_bytes=memory_limit_bytes))
        if self.engine.catalog.templates.get(TABLE) is None:
            columns = ", ".join(
                f"{name} {'INT64' if name in COUNTERS else 'DOUBLE'}" for name in sensor_names()
            )
            self.engine.sql(f"CREATE SCHEMA TEMPLATE {TABLE} ({columns})")
        paths = [f"root.bench.d{number}" for number in range(devices)]
        self.ids = self.engine.device_ids(TABLE, paths, create=True)

    def load(self, batches: Iterable[Batch], in_flight: int = IN_FLIGHT) -> None:
        """Every batch is one or more records; returns when the last is durable."""
        waiting: list[Any] = []
        for batch in batches:
            if len(waiting) >= in_flight:
                waiting.pop(0).wait()
            waiting.append(
                self.engine.write(TABLE, self.ids[batch.device], batch.time, batch.columns)
            )
        for ack in waiting:
            ack.wait()

    def last(self, device: int) -> Any:
        return self.engine.last(TABLE, self.ids[device : device + 1])

    def range(self, device: int, start: int, end: int, sensor: str) -> Any:
        ids = self.ids[device : device + 1]
        return self.engine.scan(TABLE, ids, start=start, end=end, columns=[sensor]).read_all()

    def windows(self, device: int, sensor: str) -> Any:
        ids = self.ids[device : device + 1]
        return self.engine.aggregate(TABLE, {sensor: ["mean"]}, ids, every=MINUTE_MS)

    def all_windows(self) -> Any:
        return self.engine.aggregate(TABLE, {"m0": ["mean"]}, every=MINUTE_MS, by="device")

    def groups(self) -> Any:
        return self.engine.sql(
            f"SELECT device, count(*), avg(m0), max(m1) FROM {TABLE} GROUP BY device"
        ).arrow()

    def filtered_groups(self) -> Any:
        return self.engine.sql(
            f"SELECT device, avg(m0) FROM {TABLE} WHERE m1 > 50 GROUP BY device"
        ).arrow()

    def compact(self) -> None:
        self.engine.flush()
        self.engine.compact()

    def data_bytes(self) -> int:
        """The parts: what the rows take once no log holds them."""
        return sum(path.stat().st_size for path in (self.path / "parts").rglob("*.part"))

    def close(self) -> None:
        self.engine.close()


class DuckDb:
    """DuckDB on one file."""

    suffix = "duckdb"

    def __init__(self, path: Path) -> None:
        import duckdb

        self.path = path
        self.connection = duckdb.connect(str(path))
        columns = ", ".join(
            f"{name} {'BIGINT' if name in COUNTERS else 'DOUBLE'}" for name in sensor_names()
        )
        self.connection.execute(
            f"CREATE TABLE IF NOT EXISTS {TABLE} (device UINTEGER, time BIGINT, {columns})"
        )

    def load(self, batches: Iterable[Batch]) -> None:
        """One durable transaction for each batch."""
        import pyarrow as pa

        for batch in batches:
            rows = pa.table({"device": batch.device, "time": batch.time, **batch.columns})
            self.connection.register("batch", rows)
            self.connection.execute(f"INSERT INTO {TABLE} SELECT * FROM batch")
            self.connection.unregister("batch")

    def insert_row(self, row: tuple[Any, ...]) -> None:
        marks = ", ".join("?" * len(row))
        self.connection.execute(f"INSERT INTO {TABLE} VALUES ({marks})", row)

    def last(self, device: int) -> Any:
        return self._ask(
            f"SELECT * FROM {TABLE} WHERE device = ? ORDER BY time DESC LIMIT 1", device
        )

    def range(self, device: int, start: int, end: int, sensor: str) -> Any:
        return self._ask(
            f"SELECT time, {sensor} FROM {TABLE} WHERE device = ? AND time >= ? AND time < ?"
            " ORDER BY time", device, start, end
        )  # fmt: skip

    def windows(self, device: int, sensor: str) -> Any:
        return self._ask(
            f"SELECT time // {MINUTE_MS} * {MINUTE_MS} AS minute, avg({sensor}) FROM {TABLE}"
            " WHERE device = ? GROUP BY minute ORDER BY minute", device
        )  # fmt: skip

    def all_windows(self) -> Any:
        return self._ask(
            f"SELECT device, time // {MINUTE_MS} * {MINUTE_MS} AS minute, avg(m0) FROM {TABLE}"
            " GROUP BY device, minute"
        )

    def groups(self) -> Any:
        return self._ask(f"SELECT device, count(*), avg(m0), max(m1) FROM {TABLE} GROUP BY device")

    def filtered_groups(self) -> Any:
        return self._ask(f"SELECT device, avg(m0) FROM {TABLE} WHERE m1 > 50 GROUP BY device")

    def _ask(self, statement: str, *params: int) -> Any:
        return self.connection.sql(statement, params=params or None).to_arrow_table()

    def sorted_into(self, path: Path) -> None:
        """A second file with the same rows by device and time."""
        self.connection.execute(f"ATTACH '{path}' AS other")
        self.connection.execute(
            f"CREATE TABLE other.{TABLE} AS SELECT * FROM {TABLE} ORDER BY device, time"
        )
        self.connection.execute("CHECKPOINT other")
        self.connection.execute("DETACH other")

    def data_bytes(self) -> int:
        return self.path.stat().st_size

    def close(self) -> None:
        """Writes what is in its log into the file."""
        self.connection.execute("CHECKPOINT")
        self.connection.close()


def single_rows(batch: Batch) -> list[tuple[int, int, dict[str, list[Any]]]]:
    """(device, time, columns of one value) of each row, made before the clock runs."""
    columns = {name: values.tolist() for name, values in batch.columns.items()}
    return [
        (device, time, {name: [values[row]] for name, values in columns.items()})
        for row, (device, time) in enumerate(
            zip(batch.device.tolist(), batch.time.tolist(), strict=True)
        )
    ]


def answers_agree(ours: Any, theirs: Any) -> bool:
    """Both group-bys: the same devices, counts, means and maxima."""
    mine = sorted(zip(*(column.to_pylist() for column in ours.columns), strict=True), key=_number)
    other = sorted(zip(*(column.to_pylist() for column in theirs.columns), strict=True))
    if len(mine) != len(other):
        return False
    left = np.array([[_number(row), *row[1:]] for row in mine], np.float64)
    return bool(np.allclose(left, np.array(other, np.float64), rtol=1e-12, atol=0))


def _number(row: tuple[Any, ...]) -> int:
    return int(str(row[0]).rpartition(".d")[2])
