"""DuckDB 2 on one file.

- Durable as it comes: an INSERT is a transaction, and a transaction is in the synced write-ahead
  log before it returns (duckdb.org/docs, "Transaction Management", "Checkpointing").
- Batches reach it as Arrow tables, which it reads in place ("Import from Apache Arrow"); devices
  and times are integers, its fastest way. Settings as they come: both cores, no index: zone maps
  serve ("Indexing": an ART index helps only where very few rows are found).
- Two forms: the table as it was loaded, and a copy sorted by device and time, which its performance
  guide asks for where one selects by them ("Ordering", "Zonemaps").
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from telemetry import COUNTERS, Batch, sensor_names

from peers.store import DAY_MS, FILTER_ABOVE, MINUTE_MS, TABLE, Store, arrow_table

SORTED = "sorted"


class DuckDb(Store):
    """See the module."""

    name = "duckdb"
    title = "DuckDB"
    packages: ClassVar[Mapping[str, str]] = {"duckdb": "duckdb", "pyarrow": "pyarrow"}
    forms = ("as loaded", SORTED)
    row_share = 0.01
    notes: ClassVar[Mapping[str, str]] = {"calls": "one connection, a hundredth of the rows"}

    def __init__(self, place: Path, devices: int, form: str = "", *, new: bool = False) -> None:
        super().__init__(place, devices, form, new=new)
        import duckdb

        self.path = place / ("sorted.duckdb" if form == SORTED else "loaded.duckdb")
        self.connection = duckdb.connect(str(self.path), read_only=not new)
        if new:
            columns = ", ".join(
                f"{name} {'BIGINT' if name in COUNTERS else 'DOUBLE'}" for name in sensor_names()
            )
            self.connection.execute(
                f"CREATE TABLE {TABLE} (device UINTEGER, time BIGINT, {columns})"
            )
        self._writes = new

    @classmethod
    def import_modules(cls) -> None:
        import duckdb  # noqa: F401
        import pyarrow  # noqa: F401

    def load(self, batches: Iterable[Batch]) -> None:
        for batch in batches:
            self.connection.register("batch", arrow_table(batch))
            self.connection.execute(f"INSERT INTO {TABLE} SELECT * FROM batch")
            self.connection.unregister("batch")

    def insert_rows(self, rows: Sequence[Any]) -> None:
        for row in rows:
            marks = ", ".join("?" * len(row))
            self.connection.execute(f"INSERT INTO {TABLE} VALUES ({marks})", row)

    def settle(self) -> None:
        """A second file with the same rows by device and time."""
        import duckdb

        self.connection.close()  # a file is open once in a process
        with duckdb.connect(str(self.place / "sorted.duckdb")) as other:
            other.execute(f"ATTACH '{self.path}' AS loaded (READ_ONLY)")
            other.execute(
                f"CREATE TABLE {TABLE} AS SELECT * FROM loaded.{TABLE} ORDER BY device, time"
            )
            other.execute("CHECKPOINT")

    def data_bytes(self) -> int:
        return self.path.stat().st_size

    def close(self) -> None:
        """Writes what is in its log into the file."""
        if self._writes:
            self.connection.execute("CHECKPOINT")
        self.connection.close()

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

    def groups(self) -> Any:
        return self._ask(f"SELECT device, count(*), avg(m0), max(m1) FROM {TABLE} GROUP BY device")

    def filtered_groups(self) -> Any:
        return self._ask(
            f"SELECT device, avg(m0) FROM {TABLE} WHERE m1 > {FILTER_ABOVE} GROUP BY device"
        )

    def all_windows(self) -> Any:
        return self._windows_of_all("minute", MINUTE_MS)

    def day_windows(self) -> Any:
        return self._windows_of_all("day", DAY_MS)

    def _windows_of_all(self, name: str, width_ms: int) -> Any:
        return self._ask(
            f"SELECT device, time // {width_ms} * {width_ms} AS {name}, avg(m0) FROM {TABLE}"
            f" GROUP BY device, {name}"
        )

    def _ask(self, statement: str, *params: int) -> Any:
        return self.connection.sql(statement, params=params or None).to_arrow_table()
