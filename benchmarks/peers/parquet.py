"""Parquet, as pyarrow writes and reads it: one file, by device and time, zstd.

- Written in one go from rows that are sorted for it before the clock runs; fsync of the file and of
  its directory at the end. There is no log: until then nothing is durable, and a file takes no rows
  later.
- ``sorting_columns`` are declared, integers are DELTA_BINARY_PACKED, doubles dictionaries where
  that pays ("ParquetWriter"). Row groups of 100,000 rows: of 5,000, 20,000 and 100,000 these were
  the smallest and the quickest to ask. BYTE_STREAM_SPLIT was larger.
- Questions go to the dataset interface, which leaves out row groups by their statistics
  ("Tabular Datasets"), and to Arrow's own group_by.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from telemetry import COUNTERS, Batch, column_dtype, column_names, sensor_names

from peers.store import DAY_MS, FILTER_ABOVE, MINUTE_MS, Store, arrow_table

ROW_GROUP_ROWS = 100_000
INTEGERS = ("device", "time", *COUNTERS)


class Parquet(Store):
    """See the module."""

    name = "parquet"
    title = "Parquet"
    packages: ClassVar[Mapping[str, str]] = {"pyarrow": "pyarrow"}
    forms = ("sorted",)
    sorted_input = True
    batch_rows = ROW_GROUP_ROWS
    cannot: ClassVar[Mapping[str, str]] = {
        "commits": "no log: a file is written once", "calls": "no log: a file is written once",
        "acknowledged": "no log: nothing is durable before the end",
    }  # fmt: skip
    notes: ClassVar[Mapping[str, str]] = {
        "ingest 512": "sorted before, one file",
        "ingest 256": "sorted before, one file",
    }

    def __init__(self, place: Path, devices: int, form: str = "", *, new: bool = False) -> None:
        super().__init__(place, devices, form, new=new)
        import pyarrow as pa
        import pyarrow.dataset as ds
        import pyarrow.parquet as pq

        self.path = place / "rows.parquet"
        self._writer: Any = None
        if not new:
            self._rows = ds.dataset(self.path)
            return
        schema = pa.schema([(n, pa.from_numpy_dtype(column_dtype(n))) for n in column_names()])
        self._writer = pq.ParquetWriter(
            self.path, schema, compression="zstd",
            sorting_columns=[pq.SortingColumn(0), pq.SortingColumn(1)],
            use_dictionary=[name for name in sensor_names() if name not in COUNTERS],
            column_encoding=dict.fromkeys(INTEGERS, "DELTA_BINARY_PACKED"),
        )  # fmt: skip

    @classmethod
    def import_modules(cls) -> None:
        import pyarrow.compute
        import pyarrow.dataset
        import pyarrow.parquet  # noqa: F401

    def load(self, batches: Iterable[Batch]) -> None:
        for batch in batches:
            self._writer.write_table(arrow_table(batch), row_group_size=ROW_GROUP_ROWS)

    def settle(self) -> None:
        """It is as it was written."""

    def data_bytes(self) -> int:
        return self.path.stat().st_size

    def close(self) -> None:
        if self._writer is None:
            return
        self._writer.close()
        for path in (self.path, self.place):
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)

    def last(self, device: int) -> Any:
        rows = self._of_device(device, ["time", *sensor_names()])
        return rows.slice(len(rows) - 1)

    def range(self, device: int, start: int, end: int, sensor: str) -> Any:
        import pyarrow.compute as pc

        time = pc.field("time")
        wanted = (pc.field("device") == device) & (time >= start) & (time < end)
        return self._rows.to_table(columns=["time", sensor], filter=wanted)

    def windows(self, device: int, sensor: str) -> Any:
        import pyarrow as pa

        rows = self._of_device(device, ["time", sensor])
        minutes = pa.table({"minute": _floor(rows["time"], MINUTE_MS), sensor: rows[sensor]})
        return minutes.group_by("minute").aggregate([(sensor, "mean")])

    def groups(self) -> Any:
        rows = self._rows.to_table(columns=["device", "m0", "m1"])
        return rows.group_by("device").aggregate([([], "count_all"), ("m0", "mean"), ("m1", "max")])

    def filtered_groups(self) -> Any:
        import pyarrow.compute as pc

        wanted = pc.field("m1") > FILTER_ABOVE
        rows = self._rows.to_table(columns=["device", "m0"], filter=wanted)
        return rows.group_by("device").aggregate([("m0", "mean")])

    def all_windows(self) -> Any:
        return self._windows_of_all("minute", MINUTE_MS)

    def day_windows(self) -> Any:
        return self._windows_of_all("day", DAY_MS)

    def _windows_of_all(self, name: str, width_ms: int) -> Any:
        rows = self._rows.to_table(columns=["device", "time", "m0"])
        rows = rows.append_column(name, _floor(rows["time"], width_ms))
        return rows.group_by(["device", name]).aggregate([("m0", "mean")])

    def _of_device(self, device: int, columns: list[str]) -> Any:
        import pyarrow.compute as pc

        return self._rows.to_table(columns=columns, filter=pc.field("device") == device)


def _floor(times: Any, width_ms: int) -> Any:
    """Starts of the windows: integers are divided downwards here, for no time is negative."""
    import pyarrow.compute as pc

    return pc.multiply(pc.divide(times, width_ms), width_ms)
