"""Apache TsFile 2.5, the file library of IoTDB: one file in the table model.

- A file is written once, by device and time; it has no log. Rows are sorted for it before the clock
  runs, and reach it as Arrow batches of 100,000 rows (``write_arrow_batch``, the quickest of its
  interfaces); fsync of the file and its directory at the end.
- TS_2DIFF for times and counters and LZ4 are its defaults. Doubles are CHIMP: smaller than its
  default GORILLA (1.35 for 2.31 bytes a point) and quicker to write. TS_2DIFF and SPRINTZ would be
  smaller still or as small, but do not give doubles back: of six decimals TS_2DIFF keeps two.
- Ranges and windows of one device go to ``TsFileDataFrame`` with its index file ("TsFileDataFrame"
  of its user guide), which was quicker than ``query_table`` with a tag filter. The last row and
  sums over whole devices come from the statistics that it keeps for each series, as IoTDB
  answers them. It has no SQL: what is left is read in batches and computed in numpy.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from telemetry import COUNTERS, Batch, sensor_names

from peers.store import DAY_MS, FILTER_ABOVE, MINUTE_MS, TABLE, Store

READ_ROWS = 65_536
"""Rows of a batch that is read; more was no quicker."""
COMPUTED = "computed in numpy from what its reader gives"


class TsFile(Store):
    """See the module."""

    name = "tsfile"
    title = "TsFile"
    packages: ClassVar[Mapping[str, str]] = {"tsfile": "tsfile", "pyarrow": "pyarrow"}
    forms = ("sorted",)
    sorted_input = True
    cannot: ClassVar[Mapping[str, str]] = {
        "commits": "no log: a file is written once", "calls": "no log: a file is written once",
        "acknowledged": "no log: nothing is durable before the end",
    }  # fmt: skip
    notes: ClassVar[Mapping[str, str]] = {
        "ingest 512": "sorted before, one file", "ingest 256": "sorted before, one file",
        "windows": COMPUTED, "groups": "from its statistics", "filtered groups": COMPUTED,
        "all windows": COMPUTED, "day windows": COMPUTED, "rollup windows": COMPUTED,
    }  # fmt: skip

    def __init__(self, place: Path, devices: int, form: str = "", *, new: bool = False) -> None:
        super().__init__(place, devices, form, new=new)
        self.path = place / "rows.tsfile"
        self._digits = len(str(devices - 1))
        self._writer: Any = None
        self._reader: Any = None
        self._frame: Any = None
        self._series: dict[int, Any] = {}
        if new:
            self._create()

    def _create(self) -> None:
        import pyarrow as pa
        import tsfile
        from tsfile import ColumnCategory, ColumnSchema, TableSchema, TSDataType, TSEncoding

        def schema() -> Any:
            doubles, integers = TSDataType.DOUBLE, TSDataType.INT64
            columns = [ColumnSchema("device", TSDataType.STRING, ColumnCategory.TAG)]
            columns += [
                ColumnSchema(name, integers if name in COUNTERS else doubles)
                for name in sensor_names()
            ]
            return TableSchema(TABLE, columns)

        # The first writer of a process sets the defaults anew: settings made before are lost.
        tsfile.TsFileTableWriter(str(self.place / "first.tsfile"), schema()).close()
        (self.place / "first.tsfile").unlink()
        tsfile.set_tsfile_config({"double_encoding_type_": TSEncoding.CHIMP})
        self._writer = tsfile.TsFileTableWriter(str(self.path), schema())
        self._names = pa.array([self._device_name(number) for number in range(self.devices)])

    def _device_name(self, number: int) -> str:
        """Of one width: devices stand in the order of their names."""
        return f"d{number:0{self._digits}}"

    @classmethod
    def import_modules(cls) -> None:
        import pyarrow  # noqa: F401
        import tsfile  # noqa: F401

    def load(self, batches: Iterable[Batch]) -> None:
        import pyarrow as pa

        for batch in batches:
            codes = pa.array(batch.device.astype(np.int32))
            device = pa.DictionaryArray.from_arrays(codes, self._names).cast(pa.string())
            rows = pa.table({"time": batch.time, "device": device, **batch.columns})
            self._writer.write_arrow_batch(rows)

    def settle(self) -> None:
        """The index file of its data frames."""
        from tsfile import TsFileDataFrame

        TsFileDataFrame(str(self.path), show_progress=False, use_index=True).close()

    def data_bytes(self) -> int:
        return self.path.stat().st_size

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            for path in (self.path, self.place):
                descriptor = os.open(path, os.O_RDONLY)
                os.fsync(descriptor)
                os.close(descriptor)
        for opened in (self._frame, self._reader):
            if opened is not None:
                opened.close()

    @property
    def reader(self) -> Any:
        if self._reader is None:
            from tsfile import TsFileReader

            self._reader = TsFileReader(str(self.path))
        return self._reader

    def last(self, device: int) -> Any:
        statistics = self._statistics(self._device_id(device))
        times = [each.end_time for each in statistics]
        return [(max(times), *(_last_value(each) for each in statistics))]

    def range(self, device: int, start: int, end: int, sensor: str) -> Any:
        return self._values(device, start, end, sensor)

    def windows(self, device: int, sensor: str) -> Any:
        times, values = self._values(device, 0, np.iinfo(np.int64).max, sensor)
        return _means(times // MINUTE_MS * MINUTE_MS, values)

    def groups(self) -> Any:
        found = self.reader.get_timeseries_metadata(None)
        rows = []
        for key, group in found.items():
            named = {each.measurement_name: each.statistic for each in group.timeseries}
            m0 = named["m0"]
            mean = m0.sum / m0.row_count
            rows.append((int(key[1][1:]), m0.row_count, mean, named["m1"].max_float64))
        return rows

    def filtered_groups(self) -> Any:
        rows = self._read(["device", "m0", "m1"])
        device, values, limits = rows["device"], rows["m0"].to_numpy(), rows["m1"].to_numpy()
        wanted = limits > FILTER_ABOVE
        return _means(_device_numbers(device)[wanted], values[wanted])

    def all_windows(self) -> Any:
        return self._windows_of_all(MINUTE_MS)

    def day_windows(self) -> Any:
        return self._windows_of_all(DAY_MS)

    def first_answer(self, device: int, start: int, end: int, sensor: str) -> Any:
        """By the reader: the data frame's index is more to open."""
        from tsfile import tag_eq

        found = self.reader.query_table(
            TABLE, [sensor], start, end - 1,
            tag_filter=tag_eq("device", self._device_name(device)), batch_size=READ_ROWS,
        )  # fmt: skip
        return self._batches(found)

    def _windows_of_all(self, width_ms: int) -> Any:
        rows = self._read(["device", "m0"])
        # Rows stand by device and time: a new window is where either changes.
        window = rows["time"].to_numpy() // width_ms
        device = _device_numbers(rows["device"])
        new = np.append(True, (np.diff(window) != 0) | (np.diff(device) != 0))
        starts = np.flatnonzero(new)
        sums = np.add.reduceat(rows["m0"].to_numpy(), starts)
        counts = np.diff(np.append(starts, len(window)))
        return device[starts], window[starts] * width_ms, sums / counts

    def _values(self, device: int, start: int, end: int, sensor: str) -> tuple[Any, Any]:
        if self._frame is None:
            from tsfile import TsFileDataFrame

            self._frame = TsFileDataFrame(str(self.path), show_progress=False, use_index=True)
        series = f"{TABLE}.{self._device_name(device)}.{sensor}"
        found = self._frame.loc[start : end - 1, [series]]
        return found.timestamps, found.values[:, 0]

    def _device_id(self, device: int) -> Any:
        if not self._series:
            found = self.reader.get_all_devices()
            self._series = {int(each.segments[1][1:]): each for each in found}
        return self._series[device]

    def _statistics(self, device_id: Any) -> list[Any]:
        (group,) = self.reader.get_timeseries_metadata([device_id]).values()
        named = {each.measurement_name: each.statistic for each in group.timeseries}
        return [named[name] for name in sensor_names()]

    def _read(self, columns: list[str]) -> Any:
        return self._batches(self.reader.query_table(TABLE, columns, batch_size=READ_ROWS))

    @staticmethod
    def _batches(found: Any) -> Any:
        import pyarrow as pa

        batches = []
        while (batch := found.read_arrow_record_batch()) is not None:
            batches.append(batch)
        found.close()
        return pa.Table.from_batches(batches)


def _last_value(statistic: Any) -> Any:
    if hasattr(statistic, "last_int64"):
        return statistic.last_int64
    return statistic.last_float64


def _device_numbers(names: Any) -> npt.NDArray[np.int64]:
    """Rows stand by device: each run of one name is read once."""
    import pyarrow as pa

    runs = pa.chunked_array(
        [chunk.dictionary_encode() for chunk in names.chunks]
    ).unify_dictionaries()
    numbers = np.array([int(name[1:]) for name in runs.chunk(0).dictionary.to_pylist()], np.int64)
    codes = np.concatenate([chunk.indices.to_numpy() for chunk in runs.chunks])
    found: npt.NDArray[np.int64] = numbers[codes]
    return found


def _means(keys: npt.NDArray[Any], values: npt.NDArray[Any]) -> tuple[Any, Any]:
    """(key, mean) of rows that stand by key."""
    starts = np.flatnonzero(np.append(True, np.diff(keys) != 0))
    counts = np.diff(np.append(starts, len(keys)))
    return keys[starts], np.add.reduceat(values, starts) / counts
