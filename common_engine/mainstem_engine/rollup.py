"""Rollups: continuous aggregates of a table, one row per device and window.

The rollup of template T every 1m is the table ``T_1m``: per measurement m the columns ``m_count``,
``m_sum``, ``m_sumsq``, ``m_min``, ``m_max``, ``m_first``, ``m_first_time``, ``m_last`` and ``m_last_time``;
TEXT and BLOB have only count, first, last and their times. The time of a row is the start of its
window; windows are aligned to the epoch.
"""

from __future__ import annotations

from mainstem_engine.model import ColumnType, Measurement, Template


def rollup_template(source: Template, name: str, every_ns: int) -> Template:
    """The definition of the rollup table of ``source``."""
    measurements: list[Measurement] = []
    for measurement in source.measurements:
        for suffix, column_type in rollup_columns(measurement.type):
            unit = measurement.unit if suffix in _SAME_UNIT else None
            measurements.append(
                Measurement(
                    len(measurements), f"{measurement.name}_{suffix}", column_type, unit=unit
                )
            )
    return Template(
        f"{source.name}_{name}",
        tuple(measurements),
        source.tags,
        rollup_of=source.name,
        every_ns=every_ns,
    )


_SAME_UNIT = frozenset({"sum", "min", "max", "first", "last"})


def rollup_columns(column_type: ColumnType) -> list[tuple[str, ColumnType]]:
    """Suffixes and types of the columns that a measurement of this type gets."""
    value_type = ColumnType.INT8 if column_type == ColumnType.BOOLEAN else column_type
    columns = [("count", ColumnType.INT64)]
    if not column_type.is_variable:
        columns += [("sum", ColumnType.DOUBLE), ("sumsq", ColumnType.DOUBLE)]
        columns += [("min", value_type), ("max", value_type)]
    columns += [("first", value_type), ("first_time", ColumnType.TIMESTAMP)]
    columns += [("last", value_type), ("last_time", ColumnType.TIMESTAMP)]
    return columns
