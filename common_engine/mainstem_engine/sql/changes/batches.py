"""The rows of one template that an INSERT has, before they are written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mainstem_engine.catalog.revisions import extended_template
from mainstem_engine.catalog.templates import Table
from mainstem_engine.columns import to_column, to_times_ns
from mainstem_engine.model import ColumnType, Measurement, Rows
from mainstem_engine.sql.statements import Now

_NEW_TYPES: dict[type, ColumnType] = {
    bool: ColumnType.BOOLEAN,
    int: ColumnType.DOUBLE,
    float: ColumnType.DOUBLE,
    str: ColumnType.TEXT,
    bytes: ColumnType.BLOB,
    Now: ColumnType.TIMESTAMP,
}
"""What a value makes a measurement of that did not exist. A number may have a fraction in the next
row, though the first has none."""
EXACT_DOUBLE = 1 << 53
"""A larger integer is kept as one: DOUBLE would round it."""
FLOAT_WORDS = {"nan", "infinity", "-infinity", "inf", "-inf"}
"""Text that stands for a float, as results render it."""


@dataclass(slots=True)
class Batch:
    """Columns by measurement name, values as Python objects; a column may be shorter than the
    others: what is missing at its end is null.

    ``table``: as it is to be; ``new_for``: the device that it is to be made for; ``added``: of its
    measurements, those that are not there yet.
    """

    table: Table
    new_for: str | None = None
    added: list[Measurement] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    times_ns: list[int] = field(default_factory=list)
    columns: dict[str, list[Any]] = field(default_factory=dict)
    new_tags: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Tags by path of a device that may have to be created."""

    def extend(self, added: Sequence[Measurement]) -> None:
        """The table is to have further measurements. Raises SchemaError."""
        self.added += added
        template = extended_template(self.table.template, added)
        self.table = Table(template, self.table.foreign, self.table.set_paths)

    def column(self, name: str, rows: int) -> list[Any]:
        """The values of a measurement, ``rows`` of them."""
        column = self.columns.setdefault(name, [])
        column.extend([None] * (rows - len(column)))
        return column

    def typed(self) -> Rows:
        """Columns of the declared types, times in ns. Raises SchemaError or OutOfRangeError."""
        count = len(self.times_ns)
        no_times = np.empty(0, np.int64)
        times = to_times_ns(np.array(self.times_ns, object), 1) if count else no_times
        rows = Rows(np.empty(count, np.uint32), times)
        for name in self.columns:
            measurement = self.table.measurement(name)
            assert measurement is not None
            values = self.column(name, count)
            rows.columns[measurement.id] = to_column(measurement, values, count, 1)
        return rows


def new_type(values: Sequence[Any]) -> ColumnType | None:
    """The type of a new measurement of these values, None when all are NULL."""
    present = [value for value in values if value is not None]
    numbers = [v for v in present if isinstance(v, int | float) and not isinstance(v, bool)]
    words = [v for v in present if isinstance(v, str) and v.strip().lower() in FLOAT_WORDS]
    if numbers and len(numbers) + len(words) == len(present):
        whole = all(isinstance(value, int) for value in present)
        large = whole and any(abs(value) > EXACT_DOUBLE for value in numbers)
        return ColumnType.INT64 if large else ColumnType.DOUBLE
    return _NEW_TYPES.get(type(present[0]), ColumnType.TIMESTAMP) if present else None
