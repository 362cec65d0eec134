"""Rows of a few PTS records of one table, small and quick to make: how live rows travel.

1. The encodings of parts (encoded_points.py) pay for themselves from some hundred rows on. Below it
   one step over all columns at once costs less than the records took as they are: every value
   becomes an integer, and each column is stored in as many bytes as its greatest one needs.
2. A FLOAT or DOUBLE is stored as a whole number of tenths, hundredths and so on where *every* value
   of its column comes back from that bit by bit, which is tried; else as its bits.
3. All records have the same columns of the same types, and the same revision. Rows stand in the
   order of their records, and keep the LSN of theirs.
4. Bytes may come from another node: lengths and counts are checked, and what the rows will take is
   bounded by the caller, before the first value is decoded. CorruptionError.

Layout: magic ``MLB1`` | u32 length of the header | header | values | bitmaps. The header is a
msgpack list:

  table, revision, 1 for rollup rows,
  records   flat list: LSN and rows of the first, then for each further one LSN - LSN before, rows
  ids       list of measurement ids
  types     u8 each
  widths    u8 each: bytes of a stored value, 0, 1, 2, 4 or 8; of DEVICE, of TIME, then of the ids
  powers    u8 each, likewise: of TIME values are multiples of 10^power; of FLOAT and DOUBLE
            fractions by it, or 255 for their bits; 0 for all others
  bases     list of integers, likewise: what is added to each stored value
  texts     list: the different values of each TEXT and BLOB, in the order of the ids
  nulls     list of ids that have a bitmap

Values: the columns of one width after the other, widths ascending; of each width the lowest bytes
of all values first, then the next (*planes*). Bitmaps as in points.py. A null is stored as any
value. BOOLEAN is 0 or 1, TEXT and BLOB the place among their texts, UINT64 as two's complement.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgpack
import numpy as np
import numpy.typing as npt

from mainstem_engine.encoded_points import EncodedPoints
from mainstem_engine.errors import CorruptionError
from mainstem_engine.filesystem import Buffer, byte_view
from mainstem_engine.model import AnyArray, BoolMask, Column, ColumnType, DeviceIds, Lsns, Rows
from mainstem_engine.points import Points

MAGIC = b"MLB1"
_HEAD = struct.Struct("<4sI")

HEADER_BYTES_MAX = 2 << 20
"""As objects a header takes some ten times as much. More than so much of different texts travels as
records do."""

_STORED = {width: np.dtype(f"<u{width}") for width in (1, 2, 4, 8)}
_WIDTH_OF = (0, *(1,) * 8, *(2,) * 8, *(4,) * 16, *(8,) * 32)
"""Bytes that hold an integer of so many bits."""

_WIDTHS_STORED = frozenset((0, *_STORED))
_SYSTEM = 2
"""DEVICE and TIME come before the columns."""

BITS = 255
"""The power of a column whose values are stored as their bits."""

POWER_MAX = 6
"""A sensor with more decimals than a micro-unit has noise in them."""

_TRY_AGAIN = 64
"""A column that once had no power is tried again with every so-manyth LSN: what it began with
(a sensor that was not calibrated) need not be how it goes on."""

_SHAPES_MAX = 4096
"""Sets of columns whose types are looked at once; more tables than most nodes have."""

_TENS = 10.0 ** np.arange(POWER_MAX + 1)
_TIME_POWERS = (6, 3)
_ROW_BYTES = 20
"""Device, time and LSN of a decoded row."""
_LSN_MAX = (1 << 63) - 1
_U32_MAX = 0xFFFFFFFF

_Ints = npt.NDArray[np.int64]
_Doubles = npt.NDArray[np.float64]

Powers = MutableMapping[tuple[str, int], int]
"""What suited the columns (table, measurement id) of earlier rows."""


def is_light(payload: Buffer) -> bool:
    """True for what ``encode_light`` made. No other payload begins so: its header would be as long
    as the magic says when it is read as a number."""
    return bytes(byte_view(payload)[:4]) == MAGIC


def encode_light(
    header: Mapping[str, Any],
    rows: Rows,
    lsn: Lsns,
    types: Mapping[int, ColumnType],
    powers: Powers,
) -> bytes:
    """The payload. ``header``: ``t``, ``rev`` and ``der`` of the records. ``lsn`` uint64[n],
    ascending, n > 0. ``powers`` is kept up to date."""
    table, keys = str(header["t"]), list(rows.columns)
    shape = _shape(bytes([types[key] for key in keys]))
    whole = np.empty((_SYSTEM + len(keys), len(rows)), np.int64)
    whole[0] = rows.device
    time_power = next((p for p in _TIME_POWERS if not (rows.time % 10**p).any()), 0)
    whole[1] = rows.time // 10**time_power if time_power else rows.time
    codes: list[list[Any]] = []
    columns = list(rows.columns.values())
    for place, kind in enumerate(shape.kinds, _SYSTEM):
        column = columns[place - _SYSTEM]
        if kind.is_variable:
            whole[place], values = _coded(column)
            codes.append(values)
        elif place not in shape.floats:
            whole[place] = _filled(column)
    found = [0, time_power, *[0] * len(keys)]
    if shape.floats:
        names = [(table, keys[place - _SYSTEM]) for place in shape.floats]
        some = [columns[place - _SYSTEM] for place in shape.floats]
        chosen = _Decimals(some, [shape.kinds[place - _SYSTEM] for place in shape.floats])
        again = int(lsn[0]) % _TRY_AGAIN == 0
        chosen.choose([powers.get(name, 0) for name in names], again=again)
        whole[_places(shape.floats)] = chosen.whole
        for place, name, power in zip(shape.floats, names, chosen.powers, strict=True):
            found[place] = powers[name] = power
    widths, bases = _narrowed(whole)
    nulls = [key for key, column in rows.columns.items() if column.valid is not None]
    fields = [
        table, header["rev"], header["der"], _packed_records(lsn), keys, shape.types,
        bytes(widths), bytes(found), bases, codes, nulls,
    ]  # fmt: skip
    packed = msgpack.packb(fields)
    parts = [_HEAD.pack(MAGIC, len(packed)), packed, *_planes(whole, widths)]
    bitmaps = (np.packbits(_valid(rows.columns[key]), bitorder="little") for key in nulls)
    parts += [bitmap.tobytes() for bitmap in bitmaps]
    return b"".join(parts)


def decode_light(payload: Buffer, *, bytes_max: int) -> EncodedPoints:
    """All rows, in the order of their records. Raises CorruptionError, also where they would take
    more than ``bytes_max``."""
    light = _open(payload)
    if light.decoded > bytes_max:
        raise _corrupt(f"{light.decoded} bytes of values, at most {bytes_max} may be")
    try:
        return light.decode()
    except (TypeError, ValueError, IndexError, OverflowError) as exc:
        raise _corrupt(f"rows that cannot be read: {exc!r}") from exc


def rows_bytes(rows: int, types: Mapping[int, ColumnType]) -> int:
    """Bytes that so many rows with these columns will take."""
    return rows * _shape(bytes(types.values())).row_bytes


def light_bytes(payload: Buffer) -> int:
    """Bytes that all rows will take. Raises CorruptionError."""
    return _open(payload).decoded


def is_readable(payload: Buffer) -> bool:
    """False if its header is longer than readers take: then its rows have to travel otherwise."""
    return int(_HEAD.unpack_from(byte_view(payload))[1]) <= HEADER_BYTES_MAX


def light_devices(payload: Buffer) -> DeviceIds:
    """The device of each row. Raises CorruptionError."""
    light = _open(payload)
    return light.devices(light.values())


# Encoding


class _Decimals:
    """FLOAT and DOUBLE columns as whole numbers. ``whole`` int64[columns, n]."""

    def __init__(self, columns: Sequence[Column], kinds: Sequence[ColumnType]) -> None:
        self._kinds = kinds
        self._values: list[AnyArray] = [_filled(column) for column in columns]
        self.powers = [BITS] * len(columns)
        self.whole: _Ints = np.empty((len(columns), len(self._values[0])), np.int64)

    def choose(self, first: Sequence[int], *, again: bool) -> None:
        """Powers, beginning with those that suited before. ``again``: try what had none, too."""
        columns = np.empty(self.whole.shape)
        for at, values in enumerate(self._values):
            columns[at] = values
        left = [at for at, power in enumerate(first) if power != BITS or again]
        tried = [0 if first[at] == BITS else first[at] for at in left]
        with np.errstate(invalid="ignore", over="ignore"):
            if len(left) == len(first) and self._try_all(columns, tried):
                return
            while left:
                good = self._try(columns, left, tried)
                following = [
                    (at, power + 1)
                    for at, power, ok in zip(left, tried, good, strict=True)
                    if not ok and power < POWER_MAX
                ]
                left, tried = [at for at, _ in following], [power for _, power in following]
        for at, power in enumerate(self.powers):
            if power == BITS:
                bits = np.uint32 if self._kinds[at] == ColumnType.FLOAT else np.int64
                self.whole[at] = np.ascontiguousarray(self._values[at]).view(bits)

    def _try_all(self, columns: _Doubles, powers: list[int]) -> bool:
        """True if all columns are DOUBLE and come back from these powers, as nearly always."""
        if ColumnType.FLOAT in self._kinds:
            return False
        whole, back = _scaled(columns, powers)
        if not (back.view(np.int64) == columns.view(np.int64)).all():
            return False
        self.whole, self.powers = whole, powers
        return True

    def _try(self, columns: _Doubles, places: list[int], powers: list[int]) -> list[bool]:
        """Of each of ``places``, whether its values come back from this power; takes those."""
        some = columns[places]
        whole, back = _scaled(some, powers)
        good: list[bool] = (back.view(np.int64) == some.view(np.int64)).all(axis=1).tolist()
        for at, place in enumerate(places):
            if self._kinds[place] == ColumnType.FLOAT:
                bits = back[at].astype(np.float32).view(np.int32)
                good[at] = bool((bits == self._values[place].view(np.int32)).all())
            if good[at]:
                self.whole[place] = whole[at]
                self.powers[place] = powers[at]
        return good


def _scaled(columns: _Doubles, powers: list[int]) -> tuple[_Ints, _Doubles]:
    """The columns as whole numbers, and what comes back from these. What is no number, or has too
    great a one, comes back as another."""
    tens = _TENS[powers][:, None]
    whole = np.rint(columns * tens).astype(np.int64)
    return whole, whole / tens


def _places(chosen: Sequence[int]) -> slice | list[int]:
    """Index of some rows (ascending, at least one); a slice where they are next to each other."""
    first, last = chosen[0], chosen[-1]
    return slice(first, last + 1) if last - first + 1 == len(chosen) else list(chosen)


def _filled(column: Column) -> AnyArray:
    """Values with something harmless where there is none."""
    if column.valid is None:
        return column.values
    values: AnyArray = column.values.copy()
    values[~column.valid] = 0
    return values


def _valid(column: Column) -> BoolMask:
    assert column.valid is not None
    return column.valid


def _coded(column: Column) -> tuple[_Ints, list[Any]]:
    """Place of each value among the different ones, and these. A loop per value: they are few."""
    index: dict[Any, int] = {}
    codes = np.zeros(len(column.values), np.int64)
    valid = None if column.valid is None else column.valid.tolist()
    for row, value in enumerate(column.values.tolist()):
        if valid is None or valid[row]:
            codes[row] = index.setdefault(value, len(index))
    return codes, list(index)


def _narrowed(whole: _Ints) -> tuple[list[int], list[int]]:
    """Width and base of each row of ``whole``; the bases are taken off in place."""
    widths, bases = [], []
    ends = zip(whole.min(axis=1).tolist(), whole.max(axis=1).tolist(), strict=True)
    for low, high in ends:
        width = _WIDTH_OF[(high - low).bit_length()]
        # Without a base the header is shorter, and zstd finds more alike.
        plain = low >= 0 and _WIDTH_OF[high.bit_length()] == width
        widths.append(width)
        bases.append(0 if plain else low)
    if any(bases):
        whole -= np.array(bases, np.int64)[:, None]
    return widths, bases


def _packed_records(lsn: Lsns) -> list[int]:
    if lsn[0] == lsn[-1]:
        return [int(lsn[0]), len(lsn)]
    edges = np.flatnonzero(lsn[1:] != lsn[:-1]) + 1
    starts = np.concatenate(([0], edges))
    flat = np.empty(2 * len(starts), np.int64)
    flat[0::2] = np.diff(lsn[starts].astype(np.int64), prepend=0)
    flat[1::2] = np.diff(starts, append=len(lsn))
    packed: list[int] = flat.tolist()
    return packed


def _planes(whole: _Ints, widths: Sequence[int]) -> list[bytes]:
    parts = []
    for width in sorted({*widths} - {0}):
        chosen = [at for at, each in enumerate(widths) if each == width]
        some = whole[_places(chosen)].astype(_STORED[width])
        parts.append(some.reshape(-1).view(np.uint8).reshape(-1, width).T.tobytes())
    return parts


# Decoding


@dataclass(frozen=True, slots=True)
class _Light:
    """A payload whose header was checked against its length. ``lsns`` and ``counts``: of the
    records; no counts: there is one record. ``data``: values and bitmaps."""

    table: str
    revision: int
    derived: int
    lsns: Lsns
    counts: _Ints | None
    keys: list[int]
    shape: _Shape
    widths: bytes
    powers: bytes
    bases: list[int]
    texts: list[list[Any]]
    nulls: list[int]
    data: memoryview
    rows: int

    @property
    def decoded(self) -> int:
        return self.rows * self.shape.row_bytes

    def values(self) -> _Ints:
        """int64[2 + columns, rows]: what was stored, with its base."""
        whole = np.zeros((len(self.widths), self.rows), np.int64)
        position = 0
        for width in sorted({*self.widths} - {0}):
            chosen = [at for at, each in enumerate(self.widths) if each == width]
            end = position + len(chosen) * self.rows * width
            planes = np.frombuffer(self.data[position:end], np.uint8).reshape(width, -1)
            some = np.ascontiguousarray(planes.T).view(_STORED[width])
            whole[_places(chosen)] = some.reshape(len(chosen), self.rows)
            position = end
        if any(self.bases):
            whole += np.array(self.bases, np.int64)[:, None]
        return whole

    def devices(self, whole: _Ints) -> DeviceIds:
        if not self._within(whole, 0, 0, _U32_MAX):
            raise ValueError("a device that is no u32")
        device: DeviceIds = whole[0].astype(np.uint32)
        return device

    def _within(self, whole: _Ints, place: int, low: int, high: int) -> bool:
        base = self.bases[place]
        if low <= base and base + (1 << 8 * self.widths[place]) <= high:
            return True
        # The greatest that could be is too great: that of those that are need not be.
        return low <= int(whole[place].min()) and int(whole[place].max()) <= high

    def decode(self) -> EncodedPoints:
        whole = self.values()
        power = self.powers[1]
        time = whole[1]
        if power:
            most = _LSN_MAX // 10**power
            if not self._within(whole, 1, -most, most):
                raise ValueError("a time beyond 64 bits")
            time = time * 10**power
        rows = Rows(self.devices(whole), time)
        validity = self._validity() if self.nulls else {}
        decimals = self._decimals(whole)
        texts = iter(self.texts)
        kinds = self.shape.kinds
        for place, (key, kind) in enumerate(zip(self.keys, kinds, strict=True), _SYSTEM):
            values: AnyArray | None = decimals.get(place)
            if values is not None:
                if kind == ColumnType.FLOAT:
                    values = values.astype(np.float32)
                rows.columns[key] = Column(values, validity.get(key))
                continue
            stored = whole[place]
            if kind == ColumnType.INT64:
                values = stored
            elif kind == ColumnType.DOUBLE:
                values = stored.view(np.float64)
            elif kind == ColumnType.FLOAT:
                values = stored.astype(np.uint32).view(np.float32)
            elif kind.is_variable:
                values = _named(stored, next(texts))
            elif kind == ColumnType.BOOLEAN:
                values = stored != 0
            else:
                values = stored.astype(kind.dtype, copy=False)
            rows.columns[key] = Column(values, validity.get(key))
        header = {
            "t": self.table, "rev": self.revision, "der": self.derived, "n": self.rows,
            "cols": [list(column) for column in zip(self.keys, self.shape.types, strict=True)],
        }  # fmt: skip
        points = Points(self.table, header, rows)
        if self.counts is None:
            single = int(self.lsns[0])
            return EncodedPoints(points, np.full(self.rows, single, np.uint64), single)
        return EncodedPoints(points, np.repeat(self.lsns, self.counts))

    def _decimals(self, whole: _Ints) -> Mapping[int, _Doubles]:
        """By place, the values of FLOAT and DOUBLE columns that are fractions."""
        chosen = [place for place in self.shape.floats if self.powers[place] != BITS]
        if not chosen:
            return {}
        tens = _TENS[[self.powers[place] for place in chosen]][:, None]
        return dict(zip(chosen, whole[_places(chosen)] / tens, strict=True))

    def _validity(self) -> Mapping[int, BoolMask]:
        size = -(-self.rows // 8)
        begin = self.data.nbytes - size * len(self.nulls)
        found: dict[int, BoolMask] = {}
        for key in self.nulls:
            packed = np.frombuffer(self.data[begin : begin + size], np.uint8)
            valid = np.unpackbits(packed, count=self.rows, bitorder="little")
            found[key] = valid.view(np.bool_)
            begin += size
        return found


def _named(codes: _Ints, texts: Sequence[Any]) -> AnyArray:
    values: AnyArray = np.full(max(len(texts), 1), None, object)
    values[: len(texts)] = texts
    if int(codes.min()) < 0 or int(codes.max()) >= len(values):
        raise ValueError("a code beyond the texts")
    found: AnyArray = values[codes]
    return found


def _open(payload: Buffer) -> _Light:
    view = byte_view(payload)
    if view.nbytes < _HEAD.size:
        raise _corrupt("too short for a header")
    magic, length = _HEAD.unpack_from(view)
    end = _HEAD.size + length
    if magic != MAGIC or end > view.nbytes or length > HEADER_BYTES_MAX:
        raise _corrupt(f"no light rows, cut off, or with a header of {length} bytes")
    try:
        fields = msgpack.unpackb(view[_HEAD.size : end])
        return _checked(fields, view[end:])
    except (msgpack.UnpackException, RecursionError) as exc:
        raise _corrupt(f"a header that is not msgpack ({exc})") from exc
    except (TypeError, ValueError, IndexError, OverflowError) as exc:
        raise _corrupt(f"a header that cannot be: {exc!r}") from exc


@dataclass(frozen=True, slots=True)
class _Shape:
    """What is known of columns by their types. ``floats``: places of FLOAT and DOUBLE."""

    types: bytes
    kinds: tuple[ColumnType, ...]
    floats: tuple[int, ...]
    variable: tuple[ColumnType, ...]
    row_bytes: int


@functools.lru_cache(_SHAPES_MAX)
def _shape(types: bytes) -> _Shape:
    kinds = tuple(map(ColumnType, types))
    if ColumnType.UNKNOWN in kinds:
        raise ValueError("a column of no type")
    return _Shape(
        types,
        kinds,
        tuple(place for place, kind in enumerate(kinds, _SYSTEM) if kind.is_float),
        tuple(kind for kind in kinds if kind.is_variable),
        _ROW_BYTES + sum(kind.dtype.itemsize + 1 for kind in kinds),
    )


def _checked(fields: Any, data: memoryview) -> _Light:
    table, revision, derived, records, keys, types, widths, powers, bases, texts, nulls = fields
    shape = _shape(types)
    lsns, counts, rows = _records(records)
    if len(set(keys)) != len(keys) or len(types) != len(keys):
        raise ValueError("columns that cannot be")
    if not len(widths) == len(powers) == len(bases) == _SYSTEM + len(keys):
        raise ValueError("a column without its width, power or base")
    if not _WIDTHS_STORED.issuperset(widths):
        raise ValueError("a width that is none")
    if max(powers) > POWER_MAX:
        wrong = [at for at, p in enumerate(powers) if p > POWER_MAX and at not in shape.floats]
        if wrong or not {*range(POWER_MAX + 1), BITS}.issuperset(powers):
            raise ValueError("a power that is none")
    if not set(nulls) <= set(keys) or len(set(nulls)) != len(nulls):
        raise ValueError("a bitmap of no column")
    _check_texts(texts, shape.variable)
    if sum(widths) * rows + len(nulls) * -(-rows // 8) != data.nbytes:
        raise ValueError(f"{data.nbytes} bytes of values for {rows} rows")
    if set(map(type, (*keys, *bases, revision, derived))) != {int}:
        raise ValueError("a number that is none")
    return _Light(
        str(table), revision, derived, lsns, counts, keys, shape, widths, powers, bases, texts,
        nulls, data, rows,
    )  # fmt: skip


def _records(flat: Any) -> tuple[Lsns, _Ints | None, int]:
    """(LSNs, rows of each, all rows) of the list in a header."""
    if len(flat) == 2:
        lsn, rows = flat
        if type(lsn) is not int or type(rows) is not int or lsn < 1 or rows < 1:
            raise ValueError("a record without an LSN or without rows")
        lsns, counts = np.array([lsn], np.uint64), None
    else:
        pairs = np.array(flat, np.int64)
        if pairs.ndim != 1 or not len(pairs) or len(pairs) % 2 or int(pairs.min()) < 1:
            raise ValueError("records without an LSN or without rows")
        # Added up as Python's integers first: these do not overflow.
        lsn, rows = sum(flat[0::2]), sum(flat[1::2])
        lsns, counts = np.cumsum(pairs[0::2]).astype(np.uint64), pairs[1::2]
    if lsn > _LSN_MAX or rows > _U32_MAX:
        raise ValueError(f"{rows} rows up to LSN {lsn}")
    return lsns, counts, rows


def _check_texts(texts: Sequence[Sequence[Any]], kinds: Sequence[ColumnType]) -> None:
    if len(texts) != len(kinds):
        raise ValueError("texts of no column")
    for values, kind in zip(texts, kinds, strict=True):
        wanted = str if kind == ColumnType.TEXT else bytes
        if not all(type(value) is wanted for value in values):
            raise ValueError(f"values that are no {kind.name}")


def _corrupt(problem: str) -> CorruptionError:
    return CorruptionError("light rows", 0, problem)
