"""Rows become Arrow batches. pyarrow is imported when the first is made.

Columns: ``time`` int64 in the table's precision, ``device`` and TEXT tags as dictionaries of
strings, measurements in their types. A TIMESTAMP measurement is int64 in the table's precision
too: integers are exact and free of zones; the SQL layer decides how they are shown.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mainstem_engine.arrow_arrays import number_array, text_array
from mainstem_engine.catalog.devices import Devices
from mainstem_engine.catalog.templates import Table
from mainstem_engine.errors import NotFoundError
from mainstem_engine.model import Column, ColumnType, DeviceIds, Measurement, Tag, VersionedRows

if TYPE_CHECKING:
    import pyarrow as pa

TIME = "time"
DEVICE = "device"

_Column = str | Tag | Measurement
"""TIME, DEVICE, or what the template declares."""


class ArrowLayout:
    """Which columns a scan yields and how they are made. Raises NotFoundError for unknown names.

    ``keys``: which of time and device come first, whether they are named or not.
    """

    def __init__(
        self,
        table: Table,
        devices: Devices,
        precision_ns: int,
        columns: Sequence[str] | None,
        *,
        keys: Sequence[str] = (TIME, DEVICE),
    ) -> None:
        self._table = table
        self._devices = devices
        self._precision_ns = precision_ns
        self._columns = self._chosen(columns, keys)

    @property
    def measurement_ids(self) -> tuple[int, ...]:
        """Ids of the measurements that must be read."""
        return tuple(c.id for c in self._columns if isinstance(c, Measurement))

    def _chosen(self, columns: Sequence[str] | None, keys: Sequence[str]) -> list[_Column]:
        if columns is None:
            return [TIME, DEVICE, *self._table.template.tags, *self._table.shown]
        chosen: dict[str, _Column] = {key: key for key in keys}
        for name in columns:
            found = self._resolve(name)
            chosen.setdefault(found if isinstance(found, str) else found.name, found)
        return list(chosen.values())

    def _resolve(self, name: str) -> str | Tag | Measurement:
        folded = name.casefold()
        if folded in (TIME, self._table.template.time_name.casefold()):
            return TIME
        if folded == DEVICE:
            return DEVICE
        found = self._table.measurement(name) or self._table.tag(name)
        if found is None:
            template = self._table.template
            known = [TIME, DEVICE, *(t.name for t in template.tags)]
            known += [m.name for m in self._table.shown]
            raise NotFoundError(
                f"table {template.name} has no column {name!r}",
                field=name,
                hint=f"it has {', '.join(known[:20])}",
            )
        return found

    def schema(self) -> pa.Schema:
        """Field names and types, in order."""
        import pyarrow as pa

        return pa.schema(
            [
                _field(column, None)
                if isinstance(column, str)
                else _field(column.name, column.type, is_tag=isinstance(column, Tag))
                for column in self._columns
            ]
        )

    def reader(self, steps: Iterable[VersionedRows]) -> pa.RecordBatchReader:
        """A reader that reads a step when it is asked for a batch."""
        import pyarrow as pa

        schema = self.schema()
        return pa.RecordBatchReader.from_batches(schema, self._batches(schema, steps))

    def _batches(self, schema: pa.Schema, steps: Iterable[VersionedRows]) -> Iterator[Any]:
        for rows in steps:
            yield self.batch(schema, rows)

    def batch(self, schema: pa.Schema, rows: VersionedRows) -> pa.RecordBatch:
        """One record batch of sorted rows."""
        import pyarrow as pa

        codes, present = _runs(rows.device)
        arrays: list[Any] = []
        for column in self._columns:
            if isinstance(column, Measurement):
                stored = rows.columns.get(column.id)
                arrays.append(self._value_array(column, arrow_type(column.type), stored, len(rows)))
            elif isinstance(column, Tag):
                arrays.append(self._tag_array(column, arrow_type(column.type), codes, present))
            elif column == TIME:
                arrays.append(number_array(rows.time // self._precision_ns, pa.int64()))
            else:
                arrays.append(device_array(self._devices, codes, present))
        return pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _tag_array(self, tag: Tag, value_type: Any, codes: Any, present: DeviceIds) -> Any:
        import pyarrow as pa

        tag_codes, values = self._devices.tag_codes(self._table.family, tag.name, present)
        used, dense = np.unique(tag_codes, return_inverse=True)
        present_values = [values[code] for code in used if code]
        if value_type == pa.string():
            dictionary = text_array([str(value) for value in present_values])
        else:
            dictionary = pa.array(present_values, value_type)
        # Code 0 is "absent": it is not in the dictionary, so the others move down by one.
        shift = 1 if len(used) and used[0] == 0 else 0
        indices = dense.astype(np.int32)[codes] - shift
        return pa.DictionaryArray.from_arrays(
            number_array(indices, pa.int32(), indices < 0), dictionary
        )

    def _value_array(
        self, measurement: Measurement, value_type: Any, column: Column | None, count: int
    ) -> Any:
        import pyarrow as pa

        if column is None:
            return pa.nulls(count, value_type)
        values = column.values
        if measurement.type == ColumnType.TIMESTAMP:
            values = values // self._precision_ns
        mask = None if column.valid is None else ~column.valid
        if values.dtype != object:
            return number_array(values, value_type, mask)
        return pa.array(values, value_type, mask=mask)


@functools.lru_cache(maxsize=4096)
def _field(name: str, kind: ColumnType | None, *, is_tag: bool = False) -> Any:
    """A field of a schema; ``kind`` None: TIME or DEVICE. Kept: small answers have many fields."""
    import pyarrow as pa

    if kind is not None:
        found = arrow_type(kind)
        return pa.field(name, pa.dictionary(pa.int32(), found) if is_tag else found)
    strings = pa.dictionary(pa.int32(), pa.string())
    return pa.field(name, pa.int64() if name == TIME else strings, False)


@functools.cache
def arrow_type(column_type: ColumnType) -> Any:
    """The Arrow type of a column; TIMESTAMP is int64 (see above)."""
    import pyarrow as pa

    if column_type == ColumnType.TEXT:
        return pa.string()
    if column_type == ColumnType.BLOB:
        return pa.binary()
    return pa.from_numpy_dtype(column_type.dtype)


def device_array(devices: Devices, codes: Any, present: DeviceIds) -> Any:
    """Paths of ``present`` as a dictionary, ``codes`` int32[n] into it."""
    import pyarrow as pa

    found = [devices.path(present.item())] if len(present) == 1 else devices.paths(present.tolist())
    numbers = number_array(codes, pa.int32())
    # Not looked through for numbers beyond the dictionary: they were made of it.
    return pa.DictionaryArray.from_arrays(numbers, text_array(found), safe=False)


def _runs(device: DeviceIds) -> tuple[Any, DeviceIds]:
    """(position in the list of present devices int32[n], present devices) of sorted devices."""
    if len(device) and device[0] == device[-1]:
        return np.zeros(len(device), np.int32), device[:1]
    starts = np.flatnonzero(device[1:] != device[:-1]) + 1
    starts = np.append(0, starts) if len(device) else starts
    rows = np.diff(starts, append=len(device))
    return np.repeat(np.arange(len(starts), dtype=np.int32), rows), device[starts]
