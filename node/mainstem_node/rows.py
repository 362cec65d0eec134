"""What a client sends becomes typed columns; what cannot be stored is put aside, value by value.

1. A request is a list of groups: one template, one device each, its tags, and rows as mappings.
   Nested mappings in a row are joined with a dot.
2. Groups of one template become one batch, hence one log record.
3. Each column is converted as a whole. Only when that fails is it halved until the values at fault
   are found: those become null and are listed with the reason; the rest of their rows stays.
4. A row without a usable time, or without any value that can be stored, is put aside as a whole.
"""

from __future__ import annotations

import base64
import binascii
import datetime
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mainstem_engine.catalog.templates import Table
from mainstem_engine.columns import TIME_MAX_NS, TIME_MIN_NS, to_column
from mainstem_engine.errors import OutOfRangeError, SchemaError
from mainstem_engine.model import AnyArray, BoolMask, Column, ColumnType, Measurement, TimesNs
from mainstem_node.errors import BadRequestError
from mainstem_node.posted_rules import rows_with_values
from mainstem_node.reasons import (
    BAD_TIME,
    NO_TIME,
    NO_VALUES,
    OUT_OF_RANGE,
    TIME_WITHOUT_ZONE,
    UNKNOWN_MEASUREMENT,
    WRONG_TYPE,
)

GROUP_KEYS = frozenset({"template", "device", "tags", "rows"})
NESTING_MAX = 16
"""Mappings inside mappings of a row; deeper ones are no measurements."""
_FLOAT_NAMES = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
"""JSON has no such numbers; answers spell them so, and a client may send them back."""


@dataclass(frozen=True, slots=True)
class Reject:
    """One value (``measurement`` set) or row that was put aside. ``time_ns`` None: unusable."""

    device: str
    time_ns: int | None
    measurement: str
    reason: str
    value: Any


@dataclass(frozen=True, slots=True)
class RowGroup:
    """Rows of one device: ``rows`` are mappings of names to values, one of them the time."""

    template: str
    device: str
    tags: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]


@dataclass(slots=True)
class Batch:
    """What can be stored of one template: n rows, and what was put aside of ``received``.

    ``devices`` [n] paths, ``time_ns`` int64[n], columns by measurement id.
    """

    table: Table
    devices: list[str]
    time_ns: TimesNs
    columns: dict[int, Column]
    tags: dict[str, Mapping[str, Any]]
    received: int
    rejects: list[Reject] = field(default_factory=list)

    @property
    def rows_rejected(self) -> int:
        """Whole rows that were put aside."""
        return self.received - len(self.devices)

    def keep(self, rows: BoolMask) -> None:
        """Only these rows; whoever takes the others out says so in ``rejects``."""
        places = np.flatnonzero(rows)
        self.devices = [self.devices[row] for row in places.tolist()]
        self.time_ns = self.time_ns[places]
        self.columns = {key: column.take(places) for key, column in self.columns.items()}


def parse_groups(data: Any) -> list[RowGroup]:
    """The groups of a decoded body. BadRequestError names the key at fault."""
    groups = data if isinstance(data, list) else [data]
    found = []
    for number, group in enumerate(groups):
        where = f"[{number}]" if isinstance(data, list) else ""
        if not isinstance(group, dict):
            raise BadRequestError(
                "expected an object with template, device and rows", field=where or None
            )
        unknown = set(group) - GROUP_KEYS
        if unknown:
            raise BadRequestError(
                f"unknown key {min(map(str, unknown))!r}",
                field=f"{where}.{min(map(str, unknown))}".lstrip("."),
                hint=f"known are {', '.join(sorted(GROUP_KEYS))}",
            )
        for key, kind, what in (
            ("template", str, "a name"), ("device", str, "a path"), ("rows", list, "a list"),
        ):  # fmt: skip
            if not isinstance(group.get(key), kind):
                raise BadRequestError(f"{key} must be {what}", field=f"{where}.{key}".lstrip("."))
        tags = group.get("tags") or {}
        rows = group["rows"]
        if not isinstance(tags, dict) or not all(isinstance(row, dict) for row in rows):
            raise BadRequestError("tags and each row must be objects", field=f"{where}.rows")
        found.append(RowGroup(group["template"], group["device"], tags, rows))
    return found


def make_batch(table: Table, groups: Sequence[RowGroup], precision_ns: int) -> Batch:
    """One batch of all groups of a template."""
    devices: list[str] = []
    times: list[Any] = []
    flat: list[Mapping[str, Any]] = []
    names = {"time", table.template.time_name.casefold()}
    for group in groups:
        for row in group.rows:
            values, stamp = _split_time(row, names)
            devices.append(group.device)
            times.append(stamp)
            flat.append(values)
    rejects: list[Reject] = []
    time_ns, good = _times(times, precision_ns, devices, flat, rejects)
    columns = _columns(table, flat, good, precision_ns, devices, time_ns, rejects)
    kept = _with_values(columns, good, devices, time_ns, flat, rejects)
    index = np.flatnonzero(kept)
    return Batch(
        table,
        [devices[row] for row in index.tolist()],
        time_ns[index],
        {key: column.take(index) for key, column in columns.items()},
        {group.device: group.tags for group in groups if group.tags},
        len(devices),
        rejects,
    )


def _split_time(row: Mapping[str, Any], names: set[str]) -> tuple[Mapping[str, Any], Any]:
    """(values by joined name, the time as sent or None)."""
    stamp: Any = None
    values: dict[str, Any] = {}
    for name, value in row.items():
        text = str(name)
        if text.casefold() in names:
            stamp = value
        elif isinstance(value, dict):
            values.update(_flatten(text, value, 1))
        elif value is not None:
            values[text] = value
    return values, stamp


def _flatten(prefix: str, data: Mapping[str, Any], depth: int) -> Iterator[tuple[str, Any]]:
    for name, value in data.items():
        inside = f"{prefix}.{name}"
        if isinstance(value, dict) and depth < NESTING_MAX:
            yield from _flatten(inside, value, depth + 1)
        elif value is not None:
            yield inside, value


def _times(
    stamps: Sequence[Any],
    precision_ns: int,
    devices: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
    rejects: list[Reject],
) -> tuple[TimesNs, AnyArray]:
    """(int64[n] ns, which rows have a usable time)."""
    good = np.ones(len(stamps), np.bool_)
    times = np.zeros(len(stamps), np.int64)
    low, high = -(-TIME_MIN_NS // precision_ns), TIME_MAX_NS // precision_ns
    for row, stamp in enumerate(stamps):
        if type(stamp) is int and low <= stamp <= high:
            times[row] = stamp * precision_ns
            continue
        parsed, reason = _parse_time(stamp)
        if reason:
            good[row] = False
            rejects.append(Reject(devices[row], None, "", reason, {**rows[row], "time": stamp}))
        else:
            times[row] = parsed
    return times, good


def _parse_time(stamp: Any) -> tuple[int, str]:
    """(ns, "") for an RFC 3339 text with a zone, else (0, reason)."""
    if stamp is None:
        return 0, NO_TIME
    if not isinstance(stamp, str):
        return 0, BAD_TIME
    try:
        moment = datetime.datetime.fromisoformat(stamp)
    except ValueError:
        return 0, BAD_TIME
    if moment.tzinfo is None:
        return 0, TIME_WITHOUT_ZONE
    since = moment - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    seconds = since.days * 86_400 + since.seconds
    time_ns = seconds * 1_000_000_000 + since.microseconds * 1000
    return (time_ns, "") if TIME_MIN_NS <= time_ns <= TIME_MAX_NS else (0, BAD_TIME)


def _columns(
    table: Table,
    rows: Sequence[Mapping[str, Any]],
    good: AnyArray,
    precision_ns: int,
    devices: Sequence[str],
    time_ns: TimesNs,
    rejects: list[Reject],
) -> dict[int, Column]:
    names = dict.fromkeys(name for row in rows for name in row)
    columns: dict[int, Column] = {}
    for name in names:
        values = [row.get(name) for row in rows]
        measurement = table.shown_measurement(name)
        if measurement is None:
            rejects += [
                Reject(devices[i], int(time_ns[i]), name, UNKNOWN_MEASUREMENT, value)
                for i, value in enumerate(values)
                if value is not None and good[i]
            ]
            continue
        column, bad = tolerant_column(measurement, values, precision_ns)
        rejects += [
            Reject(devices[i], int(time_ns[i]), name, reason, value)
            for i, reason, value in bad
            if good[i]
        ]
        known = columns.get(measurement.id)
        # Two spellings of one name: the later value of a row wins, an absent one does not.
        columns[measurement.id] = column if known is None else _over(known, column)
    return columns


def _over(first: Column, second: Column) -> Column:
    if second.valid is None:
        return second
    values = np.where(second.valid, second.values, first.values)
    valid = None if first.valid is None else first.valid | second.valid
    return Column(values, None if valid is None or valid.all() else valid)


def tolerant_column(
    measurement: Measurement, values: Any, precision_ns: int
) -> tuple[Column, list[tuple[int, str, Any]]]:
    """The column, null where a value cannot be stored, and (row, reason, value) of each such one.

    ``values``: a list, or an Arrow array, which is taken as it is when all of it can be stored.
    """
    count = len(values)
    try:
        return to_column(measurement, values, count, precision_ns), []
    except _REFUSALS:
        prepared = _prepared(measurement, values)
    bad = [
        (row, reason, prepared[row])
        for row, reason in _find_bad(measurement, prepared, 0, count, precision_ns)
    ]
    for row, _, _ in bad:
        prepared[row] = None
    return to_column(measurement, prepared, count, precision_ns), bad


_REFUSALS = (SchemaError, OutOfRangeError, TypeError, ValueError)
"""What a value can be refused with; numpy has its own words for lists inside lists."""


def _prepared(measurement: Measurement, values: Any) -> list[Any]:
    """The values as a list, with the texts that stand for floats and bytes replaced."""
    listed = values.to_pylist() if hasattr(values, "to_pylist") else list(values)
    if measurement.type.is_float:
        return [_FLOAT_NAMES.get(v, v) if type(v) is str else v for v in listed]
    if measurement.type is ColumnType.BLOB:
        return [_blob(v) if type(v) is str else v for v in listed]
    return listed


def _find_bad(
    measurement: Measurement, values: list[Any], start: int, end: int, precision_ns: int
) -> list[tuple[int, str]]:
    """Halves the range until single values are left; few bad ones are found in few steps."""
    try:
        to_column(measurement, values[start:end], end - start, precision_ns)
    except _REFUSALS as error:
        if end - start == 1:
            reason = OUT_OF_RANGE if isinstance(error, OutOfRangeError) else WRONG_TYPE
            return [(start, reason)]
        middle = (start + end) // 2
        return [
            *_find_bad(measurement, values, start, middle, precision_ns),
            *_find_bad(measurement, values, middle, end, precision_ns),
        ]
    return []


def _blob(text: str) -> bytes | str:
    """The bytes of base64; the text itself when it is none, which is then refused."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return text


def _with_values(
    columns: Mapping[int, Column],
    good: AnyArray,
    devices: Sequence[str],
    time_ns: TimesNs,
    rows: Sequence[Mapping[str, Any]],
    rejects: list[Reject],
) -> AnyArray:
    """Which rows are stored: those with a usable time and at least one value."""
    some = rows_with_values(columns, len(good))
    # A row whose values were all put aside is named by them.
    rejects += [
        Reject(devices[row], int(time_ns[row]), "", NO_VALUES, dict(rows[row]))
        for row in np.flatnonzero(good & ~some).tolist()
        if not rows[row]
    ]
    kept: AnyArray = good & some
    return kept
