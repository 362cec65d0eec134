"""Lines that were read, collected as flat arrays, and turned into the points of each measurement.

Every value of every line has a place in flat arrays, in the order of appearance. A line has a
*kind*: its series and its *shape*, which is the measurement and the names of its fields in order.
So field j of all lines of a shape is one gather: ``first value of the line + j``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mainstem_engine.model import BoolMask
from mainstem_node.line_protocol.line import Line, read_key
from mainstem_node.line_protocol.points import (
    FieldColumn,
    FieldType,
    Index,
    Points,
    Tags,
)

UNREADABLE = -1
"""The kind of a text that read_key leaves to read_line."""
Int64 = npt.NDArray[np.int64]
Types = npt.NDArray[np.uint8]


@dataclass(slots=True)
class Values:
    """n values: ``types`` (FieldType); ``floats`` of the FLOATs; ``integers`` of the others: bits
    of an UNSIGNED, 0 or 1 of a BOOLEAN, the place in ``Collected.texts`` of a TEXT."""

    types: Types
    floats: npt.NDArray[np.float64]
    integers: Int64


@dataclass(slots=True)
class _Lines:
    """Lines whose values begin at ``values_from``; arrays [n]."""

    kinds: Index
    first_values: Index
    times: Int64
    timed: BoolMask
    numbers: Int64


class Collected:
    """Everything that was read of one text."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._kinds: dict[bytes, int] = {}
        self._kind_of: dict[tuple[int, int], int] = {}
        self._series: dict[tuple[str, Tags], int] = {}
        self._shapes: dict[tuple[str, tuple[str, ...]], int] = {}
        self._series_of_kind: list[int] = []
        self._shape_of_kind: list[int] = []
        self._values: list[Values] = []
        self._lines: list[_Lines] = []
        self._value_count = 0

    @property
    def series_count(self) -> int:
        """Series seen so far."""
        return len(self._series)

    # Kinds

    def kinds(self, keys: Sequence[bytes]) -> Index:
        """intp[n]: kinds of lines without their values; UNREADABLE where read_key says so."""
        known = self._kinds
        found = list(map(known.get, keys))
        if None in found:
            for key in dict.fromkeys(
                k for k, kind in zip(keys, found, strict=True) if kind is None
            ):
                read = read_key(key)
                known[key] = UNREADABLE if read is None else self._kind(*read)
            found = [known[key] for key in keys]
        return np.array(found, np.intp)

    def _kind(self, measurement: str, tags: Tags, fields: tuple[str, ...]) -> int:
        series = self._series.setdefault((measurement, tags), len(self._series))
        shape = self._shapes.setdefault((measurement, fields), len(self._shapes))
        kind = self._kind_of.setdefault((series, shape), len(self._kind_of))
        if kind == len(self._series_of_kind):
            self._series_of_kind.append(series)
            self._shape_of_kind.append(shape)
        return kind

    # Adding

    def add(
        self,
        kinds: Index,
        value_counts: Index,
        values: Values,
        times: Int64,
        timed: BoolMask,
        numbers: Int64,
    ) -> None:
        """Lines with their values one after the other."""
        first = np.cumsum(value_counts) - value_counts + self._value_count
        self._lines.append(_Lines(kinds, first, times, timed, numbers))
        self._values.append(values)
        self._value_count += len(values.types)

    def add_lines(self, lines: Iterable[tuple[int, Line, int | None]]) -> None:
        """(line number, line, time in ns) each."""
        kinds: list[int] = []
        counts: list[int] = []
        times: list[int] = []
        timed: list[bool] = []
        numbers: list[int] = []
        types: list[int] = []
        floats: list[float] = []
        integers: list[int] = []
        for number, line, time_ns in lines:
            kinds.append(self._kind(line.measurement, line.tags, tuple(line.fields)))
            counts.append(len(line.fields))
            times.append(time_ns or 0)
            timed.append(time_ns is not None)
            numbers.append(number)
            for kind, value in line.fields.values():
                types.append(kind)
                floats.append(value if kind == FieldType.FLOAT else 0.0)  # type: ignore[arg-type]
                integers.append(self._integer(kind, value))
        if kinds:
            self.add(
                np.array(kinds, np.intp),
                np.array(counts, np.intp),
                Values(
                    np.array(types, np.uint8),
                    np.array(floats, np.float64),
                    np.array(integers, np.int64),
                ),
                np.array(times, np.int64),
                np.array(timed, np.bool_),
                np.array(numbers, np.int64),
            )

    def _integer(self, kind: FieldType, value: float | int | bool | str) -> int:
        if kind == FieldType.TEXT:
            self.texts.append(str(value))
            return len(self.texts) - 1
        if kind == FieldType.FLOAT:
            return 0
        number = int(value)
        return number - 2**64 if number >= 2**63 else number

    # The result

    def points(self) -> list[Points]:
        """The points of each measurement, in order of its first line."""
        if not self._lines:
            return []
        lines = _joined_lines(self._lines)
        values = _joined_values(self._values)
        series_of_kind = np.array(self._series_of_kind, np.intp)
        shape_of_kind = np.array(self._shape_of_kind, np.intp)
        shapes = list(self._shapes)
        names = list(dict.fromkeys(measurement for measurement, _ in shapes))
        place = {name: at for at, name in enumerate(names)}
        measurement_of_shape = np.array([place[name] for name, _ in shapes], np.intp)
        shape = shape_of_kind[lines.kinds]
        series_names = list(self._series)
        found = []
        for at, rows in _groups(measurement_of_shape[shape]):
            some = _taken(lines, rows)
            used, series_of = np.unique(series_of_kind[some.kinds], return_inverse=True)
            found.append(
                Points(
                    names[at],
                    [series_names[number][1] for number in used.tolist()],
                    series_of.astype(np.intp),
                    some.times,
                    some.timed,
                    some.numbers,
                    self._columns(some, shape[rows], values, shapes),
                )
            )
        found.sort(key=lambda points: int(points.lines[0]))
        return found

    def _columns(
        self,
        lines: _Lines,
        shape: Index,
        values: Values,
        shapes: Sequence[tuple[str, tuple[str, ...]]],
    ) -> list[FieldColumn]:
        """Columns of the lines of one measurement, by name and type."""
        pieces: dict[tuple[str, FieldType], list[tuple[Index, Index]]] = {}
        for at, rows in _groups(shape):
            first = lines.first_values[rows]
            for offset, name in enumerate(shapes[at][1]):
                places = first + offset
                types = values.types[places]
                if (types == types[0]).all():
                    pieces.setdefault((name, FieldType(types[0])), []).append((rows, places))
                    continue
                for number in np.unique(types).tolist():
                    chosen = types == number
                    pieces.setdefault((name, FieldType(number)), []).append(
                        (rows[chosen], places[chosen])
                    )
        columns = []
        for (name, kind), parts in pieces.items():
            rows, places = parts[0]
            if len(parts) > 1:
                rows = np.concatenate([part[0] for part in parts])
                order = np.argsort(rows, kind="stable")
                rows = rows[order]
                places = np.concatenate([part[1] for part in parts])[order]
            columns.append(FieldColumn(name, kind, rows, self._typed(kind, values, places)))
        return columns

    def _typed(self, kind: FieldType, values: Values, places: Index) -> npt.NDArray[np.generic]:
        if kind == FieldType.FLOAT:
            return values.floats[places]
        integers = values.integers[places]
        if kind == FieldType.UNSIGNED:
            return integers.view(np.uint64)
        if kind == FieldType.BOOLEAN:
            return integers.astype(np.bool_)
        if kind == FieldType.TEXT:
            texts = np.empty(len(integers), object)
            texts[:] = [self.texts[at] for at in integers.tolist()]
            return texts
        return integers


def _joined_lines(pieces: Sequence[_Lines]) -> _Lines:
    """All lines, in the order of their numbers."""
    if len(pieces) == 1:
        return pieces[0]
    whole = _Lines(
        np.concatenate([piece.kinds for piece in pieces]),
        np.concatenate([piece.first_values for piece in pieces]),
        np.concatenate([piece.times for piece in pieces]),
        np.concatenate([piece.timed for piece in pieces]),
        np.concatenate([piece.numbers for piece in pieces]),
    )
    if (np.diff(whole.numbers) >= 0).all():
        return whole
    return _taken(whole, np.argsort(whole.numbers, kind="stable"))


def _taken(lines: _Lines, rows: Index) -> _Lines:
    if len(rows) == len(lines.kinds) and rows[0] == 0 and (np.diff(rows) == 1).all():
        return lines
    return _Lines(
        lines.kinds[rows],
        lines.first_values[rows],
        lines.times[rows],
        lines.timed[rows],
        lines.numbers[rows],
    )


def _joined_values(pieces: Sequence[Values]) -> Values:
    if len(pieces) == 1:
        return pieces[0]
    return Values(
        np.concatenate([piece.types for piece in pieces]),
        np.concatenate([piece.floats for piece in pieces]),
        np.concatenate([piece.integers for piece in pieces]),
    )


def _groups(keys: Index) -> list[tuple[int, Index]]:
    """(key, its rows ascending) of each key that occurs."""
    if (keys == keys[0]).all():
        return [(int(keys[0]), np.arange(len(keys)))]
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=ordered[0] - 1))
    ends = [*starts[1:].tolist(), len(order)]
    return [
        (int(ordered[start]), order[start:end])
        for start, end in zip(starts.tolist(), ends, strict=True)
    ]
