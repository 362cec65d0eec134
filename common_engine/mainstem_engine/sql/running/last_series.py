"""``SELECT LAST a, b FROM path`` from the newest values: a row for each series that has a value.

Values are text, as the executing database writes it. Floats that it writes with an exponent are
left to it, and so are types that hardly anybody asks for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mainstem_engine.sql.running.short_groups import LeftError
from mainstem_engine.sql.select.relations import DEVICE, TIME
from mainstem_engine.sql.short_query import LastValues

if TYPE_CHECKING:
    import pyarrow as pa

FLOATS_MAX = 20_000
"""They are written one by one."""
_PLAIN_MIN, _PLAIN_MAX = 1e-4, 1e15
"""Floats between them have no exponent."""


def last_series(query: LastValues, table: pa.Table) -> pa.Table:
    """Columns time, series, value and type, in order of the series. Raises LeftError."""
    import pyarrow as pa
    import pyarrow.compute as pc

    devices = table.column(DEVICE).cast(pa.string())
    parts: list[pa.Table] = []
    for name, kind in query.measurements:
        values = table.column(f"#last:{name}")
        there = values.is_valid()
        texts = _texts(values.filter(there).combine_chunks())
        series = pc.binary_join_element_wise(devices.filter(there), f".{name}", "")
        times = table.column(f"#last_at:{name}").filter(there)
        kinds = pa.array([kind] * len(texts), pa.string())
        parts.append(pa.table([times, series, texts, kinds], [TIME, "series", "value", "type"]))
    whole = pa.concat_tables(parts)
    return whole.take(pc.sort_indices(whole.column("series")))


def _texts(values: Any) -> Any:
    import pyarrow as pa

    kind = values.type
    if pa.types.is_dictionary(kind) or pa.types.is_string(kind):
        return values.cast(pa.string())
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return values.cast(pa.string())
    if not pa.types.is_floating(kind) or len(values) > FLOATS_MAX:
        raise LeftError
    numbers = values.to_numpy(zero_copy_only=False)
    size = np.abs(numbers)
    if not (~np.isfinite(size) | (size == 0) | ((size >= _PLAIN_MIN) & (size < _PLAIN_MAX))).all():
        raise LeftError
    return pa.array([np.format_float_positional(v, trim="0") for v in numbers], pa.string())
