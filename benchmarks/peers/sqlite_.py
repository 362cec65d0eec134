"""SQLite of the standard library.

- WAL with ``synchronous = FULL``: a transaction is synced before it returns (sqlite.org,
  "Write-Ahead Logging"; NORMAL may lose the last ones at a power cut).
- The primary key (device, time) is the table: WITHOUT ROWID, as "Clustered Indexes and the WITHOUT
  ROWID Optimization" advises for keys of several columns. One transaction a batch by executemany;
  making rows of Python's objects is part of it. 64 MiB of cache, reads through a mapping.
- It gets a tenth of the devices with all their rows, for loading all takes minutes. What goes over
  all devices is scaled by ten and marked. VACUUM before sizes and questions.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from telemetry import COUNTERS, Batch, column_names, sensor_names

from peers.store import DAY_MS, FILTER_ABOVE, MINUTE_MS, TABLE, Store

CACHE_KIB = 65_536
MAPPED_BYTES = 1 << 30
A_TENTH = "a tenth of the devices"
SCALED = "a tenth of the devices, time scaled by ten"


class Sqlite(Store):
    """See the module."""

    name = "sqlite"
    title = "SQLite"
    forms = ("vacuumed",)
    device_share = 0.1
    row_share = 0.1
    notes: ClassVar[Mapping[str, str]] = {
        "ingest 512": A_TENTH, "ingest 256": A_TENTH, "size": A_TENTH,
        "calls": "one connection, a tenth of the rows",
        "groups": SCALED, "filtered groups": SCALED, "all windows": SCALED,
        "day windows": SCALED, "rollup windows": SCALED, "open": A_TENTH,
    }  # fmt: skip

    def __init__(self, place: Path, devices: int, form: str = "", *, new: bool = False) -> None:
        super().__init__(place, devices, form, new=new)
        self.path = place / "rows.sqlite"
        self.connection = sqlite3.connect(self.path, isolation_level=None)
        self.connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        self.connection.execute(f"PRAGMA mmap_size = {MAPPED_BYTES}")
        if new:
            self.connection.execute("PRAGMA journal_mode = WAL")
            columns = ", ".join(
                f"{name} {'INTEGER' if name in COUNTERS else 'REAL'}" for name in sensor_names()
            )
            self.connection.execute(
                f"CREATE TABLE {TABLE} (device INTEGER, time INTEGER, {columns},"
                " PRIMARY KEY (device, time)) WITHOUT ROWID"
            )
        self.connection.execute("PRAGMA synchronous = FULL")
        self._insert = f"INSERT INTO {TABLE} VALUES ({', '.join('?' * len(column_names()))})"

    @classmethod
    def import_modules(cls) -> None:
        """The standard library's are loaded."""

    def load(self, batches: Iterable[Batch]) -> None:
        for batch in batches:
            self.connection.execute("BEGIN")
            self.connection.executemany(self._insert, self.rows_of(batch))
            self.connection.execute("COMMIT")

    def insert_rows(self, rows: Sequence[Any]) -> None:
        for row in rows:
            self.connection.execute(self._insert, row)

    def settle(self) -> None:
        self.connection.execute("VACUUM")
        self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def data_bytes(self) -> int:
        return self.path.stat().st_size

    def close(self) -> None:
        self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self.connection.close()

    def last(self, device: int) -> Any:
        sensors = ", ".join(sensor_names())
        return self._ask(
            f"SELECT time, {sensors} FROM {TABLE} WHERE device = ? ORDER BY time DESC LIMIT 1",
            device,
        )

    def range(self, device: int, start: int, end: int, sensor: str) -> Any:
        return self._ask(
            f"SELECT time, {sensor} FROM {TABLE} WHERE device = ? AND time >= ? AND time < ?"
            " ORDER BY time", device, start, end
        )  # fmt: skip

    def windows(self, device: int, sensor: str) -> Any:
        return self._ask(
            f"SELECT time / {MINUTE_MS} * {MINUTE_MS} AS minute, avg({sensor}) FROM {TABLE}"
            " WHERE device = ? GROUP BY minute ORDER BY minute", device
        )  # fmt: skip

    def groups(self) -> Any:
        return self._ask(f"SELECT device, count(*), avg(m0), max(m1) FROM {TABLE} GROUP BY device")

    def filtered_groups(self) -> Any:
        return self._ask(
            f"SELECT device, avg(m0) FROM {TABLE} WHERE m1 > {FILTER_ABOVE} GROUP BY device"
        )

    def all_windows(self) -> Any:
        return self._windows_of_all(MINUTE_MS)

    def day_windows(self) -> Any:
        return self._windows_of_all(DAY_MS)

    def _windows_of_all(self, width_ms: int) -> Any:
        return self._ask(
            f"SELECT device, time / {width_ms} * {width_ms} AS start, avg(m0) FROM {TABLE}"
            " GROUP BY device, start"
        )

    def _ask(self, statement: str, *params: int) -> list[tuple[Any, ...]]:
        return self.connection.execute(statement, params).fetchall()
