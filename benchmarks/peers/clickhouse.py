"""ClickHouse, embedded as chdb: a MergeTree in a session on a directory.

- Ordered by (device, time), the key that one selects by ("Choosing a primary key"). Batches of
  100,000 rows, one INSERT each, within the 10,000 to 100,000 and more that "Bulk inserts" asks for,
  as Arrow tables through the Python table function.
- Durable: ``fsync_after_insert`` and ``fsync_part_directory`` ("MergeTree settings": off as they
  come; then an insert may be lost at a power cut). There is no log: an insert is a part.
- Codecs as "Compression in ClickHouse" and "Column compression codecs" say: DoubleDelta for times;
  deltas before ZSTD(1) for all else. Gorilla, T64 and FPC were tried on this data: with them a
  point takes 1.6 to 2.1 bytes, with Delta about 1.0. ALP is in beta and must be enabled: not used.
- One form: after OPTIMIZE FINAL, a single part. A process can hold one session.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from telemetry import COUNTERS, Batch, sensor_names

from peers.store import DAY_MS, FILTER_ABOVE, MINUTE_MS, TABLE, Store, arrow_table

DATABASE = "bench"
NAME = f"{DATABASE}.{TABLE}"


class ClickHouse(Store):
    """See the module."""

    name = "clickhouse"
    title = "ClickHouse"
    packages: ClassVar[Mapping[str, str]] = {
        "chdb": "chdb",
        "chdb-core": "chdb",
        "pyarrow": "pyarrow",
    }
    forms = ("optimised",)
    cannot: ClassVar[Mapping[str, str]] = {"calls": "its manual asks for batches"}

    def __init__(self, place: Path, devices: int, form: str = "", *, new: bool = False) -> None:
        super().__init__(place, devices, form, new=new)
        from chdb.session import Session

        self.session = Session(str(place / "chdb"))
        if new:
            columns = ", ".join(
                f"{name} {'Int64' if name in COUNTERS else 'Float64'} CODEC(Delta, ZSTD(1))"
                for name in sensor_names()
            )
            self.session.query(f"CREATE DATABASE {DATABASE} ENGINE = Atomic")
            self.session.query(
                f"CREATE TABLE {NAME} (device UInt32 CODEC(Delta, ZSTD(1)),"
                f" time Int64 CODEC(DoubleDelta, ZSTD(1)), {columns})"
                " ENGINE = MergeTree ORDER BY (device, time)"
                " SETTINGS fsync_after_insert = 1, fsync_part_directory = 1"
            )

    @classmethod
    def import_modules(cls) -> None:
        import pyarrow  # noqa: F401
        from chdb import session  # noqa: F401

    def load(self, batches: Iterable[Batch]) -> None:
        for batch in batches:
            rows = arrow_table(batch)  # the table function finds it by its name in this frame
            self.session.query(f"INSERT INTO {NAME} SELECT * FROM Python(rows)")
            del rows

    def settle(self) -> None:
        self.session.query(f"OPTIMIZE TABLE {NAME} FINAL")

    def data_bytes(self) -> int:
        """Active parts; merged ones are removed some minutes later."""
        found = self.session.query(
            "SELECT sum(bytes_on_disk) FROM system.parts"
            f" WHERE active AND database = '{DATABASE}' AND table = '{TABLE}'"
        )
        return int(str(found))

    def close(self) -> None:
        self.session.close()

    def last(self, device: int) -> Any:
        return self._ask(f"SELECT * FROM {NAME} WHERE device = {device} ORDER BY time DESC LIMIT 1")

    def range(self, device: int, start: int, end: int, sensor: str) -> Any:
        return self._ask(
            f"SELECT time, {sensor} FROM {NAME} WHERE device = {device}"
            f" AND time >= {start} AND time < {end} ORDER BY time"
        )

    def windows(self, device: int, sensor: str) -> Any:
        return self._ask(
            f"SELECT intDiv(time, {MINUTE_MS}) * {MINUTE_MS} AS minute, avg({sensor}) FROM {NAME}"
            f" WHERE device = {device} GROUP BY minute ORDER BY minute"
        )

    def groups(self) -> Any:
        return self._ask(f"SELECT device, count(), avg(m0), max(m1) FROM {NAME} GROUP BY device")

    def filtered_groups(self) -> Any:
        return self._ask(
            f"SELECT device, avg(m0) FROM {NAME} WHERE m1 > {FILTER_ABOVE} GROUP BY device"
        )

    def all_windows(self) -> Any:
        return self._windows_of_all("minute", MINUTE_MS)

    def day_windows(self) -> Any:
        return self._windows_of_all("day", DAY_MS)

    def _windows_of_all(self, name: str, width_ms: int) -> Any:
        return self._ask(
            f"SELECT device, intDiv(time, {width_ms}) * {width_ms} AS {name}, avg(m0) FROM {NAME}"
            f" GROUP BY device, {name}"
        )

    def _ask(self, statement: str) -> Any:
        return self.session.query(statement, "ArrowTable")
