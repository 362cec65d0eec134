"""What the engine stores, as plain values.

Invariants that every other file relies on:

1. Times are int64 nanoseconds UTC. A database's precision exists only at the API.
2. Measurements are addressed by their permanent id inside a template, never by name or position.
3. A column has one value per row; ``valid`` is None when no value is null.
4. A row's version is (epoch of its origin, LSN of the origin's log record). The pair, not the order
   of arrival, decides every merge.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

DeviceIds = npt.NDArray[np.uint32]
TimesNs = npt.NDArray[np.int64]
Lsns = npt.NDArray[np.uint64]
OriginIndexes = npt.NDArray[np.uint16]
BoolMask = npt.NDArray[np.bool_]
AnyArray = npt.NDArray[Any]

NO_DEVICE = np.uint32(0xFFFFFFFF)
"""The device id that is never given out: "there is no such device"."""

SELF_ORIGIN = 0
"""The index of this node itself in the list of origins."""


class ColumnType(enum.IntEnum):
    """Types of values. The numbers are on disk and on the wire: append only."""

    UNKNOWN = 0
    BOOLEAN = 1
    INT8 = 2
    INT16 = 3
    INT32 = 4
    INT64 = 5
    UINT8 = 6
    UINT16 = 7
    UINT32 = 8
    UINT64 = 9
    FLOAT = 10
    DOUBLE = 11
    TEXT = 12
    BLOB = 13
    TIMESTAMP = 14

    @property
    def dtype(self) -> np.dtype[Any]:
        """The numpy dtype of a column in memory; object for TEXT (str) and BLOB (bytes)."""
        return _DTYPES[self]

    @property
    def is_variable(self) -> bool:
        """True for TEXT and BLOB, whose values have no fixed width."""
        return self in (ColumnType.TEXT, ColumnType.BLOB)

    @property
    def is_float(self) -> bool:
        return self in (ColumnType.FLOAT, ColumnType.DOUBLE)

    @property
    def is_integer(self) -> bool:
        """True for the eight integer types (not for BOOLEAN and TIMESTAMP)."""
        return ColumnType.INT8 <= self <= ColumnType.UINT64

    def widens_to(self, other: ColumnType) -> bool:
        """True when every value of this type is one of ``other`` with the same canonical bits
        (slices.py): a wider integer that holds all of them, or DOUBLE for FLOAT."""
        if self == ColumnType.FLOAT:
            return other == ColumnType.DOUBLE
        return (
            self != other
            and self.is_integer
            and other.is_integer
            and bool(np.can_cast(self.dtype, other.dtype))
        )


_DTYPES: dict[ColumnType, np.dtype[Any]] = {
    ColumnType.BOOLEAN: np.dtype(np.bool_),
    ColumnType.INT8: np.dtype(np.int8),
    ColumnType.INT16: np.dtype(np.int16),
    ColumnType.INT32: np.dtype(np.int32),
    ColumnType.INT64: np.dtype(np.int64),
    ColumnType.UINT8: np.dtype(np.uint8),
    ColumnType.UINT16: np.dtype(np.uint16),
    ColumnType.UINT32: np.dtype(np.uint32),
    ColumnType.UINT64: np.dtype(np.uint64),
    ColumnType.FLOAT: np.dtype(np.float32),
    ColumnType.DOUBLE: np.dtype(np.float64),
    ColumnType.TEXT: np.dtype(object),
    ColumnType.BLOB: np.dtype(object),
    ColumnType.TIMESTAMP: np.dtype(np.int64),
}


AUTO = "AUTO"
"""The encoding or compression of a measurement that leaves the choice to the engine."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One column of a template. ``id`` is given by the template's owner and never re-used."""

    id: int
    name: str
    type: ColumnType
    encoding: str = AUTO
    compression: str = AUTO
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class Tag:
    """A fixed attribute of a device, such as its line or model."""

    name: str
    type: ColumnType = ColumnType.TEXT


@dataclass(frozen=True, slots=True)
class Template:
    """The schema that many equal devices share (IoTDB's schema template, TDengine's super table).

    A rollup table is a template too: ``rollup_of`` names its source and ``every_ns`` its window;
    it shares the devices of its source.
    """

    name: str
    measurements: tuple[Measurement, ...]
    tags: tuple[Tag, ...] = ()
    revision: int = 1
    time_name: str = "time"
    rollup_of: str | None = None
    every_ns: int | None = None
    keep_ns: int | None = None
    """How long rows of this table are kept; None: as the database says."""

    def measurement(self, name: str) -> Measurement | None:
        """The measurement of that name (not case-sensitive), or None."""
        wanted = name.casefold()
        return next((m for m in self.measurements if m.name.casefold() == wanted), None)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where rows came from: one unbroken line (epoch) of one node's log."""

    node_uuid: str
    node: str
    epoch: int = 0


@dataclass(slots=True)
class Column:
    """Values of one measurement: ``values`` [n] of the type's dtype, ``valid`` bool[n] or None.

    Values at invalid positions are unspecified (zero, None); nobody may read them.
    """

    values: AnyArray
    valid: BoolMask | None = None

    def mask(self) -> BoolMask:
        """bool[n]: where there is a value."""
        return np.ones(len(self.values), np.bool_) if self.valid is None else self.valid

    def take(self, index: AnyArray | slice) -> Column:
        """The rows at ``index`` (integer array, mask or slice)."""
        return Column(self.values[index], None if self.valid is None else self.valid[index])


@dataclass(slots=True)
class Rows:
    """n rows of a table: ``device`` uint32[n], ``time`` int64[n] ns, columns by measurement id."""

    device: DeviceIds
    time: TimesNs
    columns: dict[int, Column] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.time)

    def take(self, index: AnyArray | slice) -> Rows:
        """The rows at ``index``, in that order."""
        return Rows(
            self.device[index],
            self.time[index],
            {key: column.take(index) for key, column in self.columns.items()},
        )


@dataclass(slots=True)
class VersionedRows:
    """Rows with their versions: ``origin`` uint16[n] (index of the origin), ``lsn`` uint64[n]."""

    device: DeviceIds
    time: TimesNs
    origin: OriginIndexes
    lsn: Lsns
    columns: dict[int, Column] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.time)

    def take(self, index: AnyArray | slice) -> VersionedRows:
        """The rows at ``index``, in that order."""
        return VersionedRows(
            self.device[index],
            self.time[index],
            self.origin[index],
            self.lsn[index],
            {key: column.take(index) for key, column in self.columns.items()},
        )
