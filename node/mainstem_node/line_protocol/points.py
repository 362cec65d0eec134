"""What the parser makes of line protocol: the points of each measurement as columns.

1. A series is a measurement and its tags in the order of their keys; a point is one line.
2. A field has one type a line. Where lines differ, the field is several columns, one per type.
3. A line that cannot be read is a BadLine with its number; the others are not touched by it.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from mainstem_engine.model import AnyArray, BoolMask, TimesNs

Index = npt.NDArray[np.intp]
Tags = tuple[tuple[str, str], ...]
"""(key, value) in the order of the keys' UTF-8."""


class FieldType(enum.IntEnum):
    """The types of line protocol. INTEGER is int64 (``1i``), UNSIGNED uint64 (``1u``)."""

    FLOAT = 0
    INTEGER = 1
    UNSIGNED = 2
    BOOLEAN = 3
    TEXT = 4

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """The numpy dtype of its values; object (str) for TEXT."""
        return _DTYPES[self]


_DTYPES: dict[FieldType, np.dtype[np.generic]] = {
    FieldType.FLOAT: np.dtype(np.float64),
    FieldType.INTEGER: np.dtype(np.int64),
    FieldType.UNSIGNED: np.dtype(np.uint64),
    FieldType.BOOLEAN: np.dtype(np.bool_),
    FieldType.TEXT: np.dtype(object),
}


@dataclass(frozen=True, slots=True)
class FieldColumn:
    """Values of one type of one field: ``values[i]`` is of point ``rows[i]``, ascending."""

    name: str
    type: FieldType
    rows: Index
    values: AnyArray


@dataclass(slots=True)
class Points:
    """n points of one measurement, in the order of their lines.

    ``series``: tags of each series; ``series_of`` intp[n]. ``time_ns`` int64[n], unspecified where
    ``timed`` bool[n] is False: the line has no time. ``lines`` int64[n]: line numbers from 1.
    """

    measurement: str
    series: list[Tags]
    series_of: Index
    time_ns: TimesNs
    timed: BoolMask
    lines: npt.NDArray[np.int64]
    columns: list[FieldColumn]

    def __len__(self) -> int:
        return len(self.time_ns)


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that cannot be read: its number from 1, what is wrong, its bytes (the beginning of a
    long one)."""

    number: int
    problem: str
    text: bytes


@dataclass(slots=True)
class Parsed:
    """All points of a text, by measurement in order of appearance, and the lines that are none."""

    points: list[Points] = field(default_factory=list)
    bad: list[BadLine] = field(default_factory=list)

    def __len__(self) -> int:
        """Lines that are points, good and bad."""
        return sum(map(len, self.points)) + len(self.bad)
