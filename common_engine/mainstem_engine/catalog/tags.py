"""Tag values: per family and tag one column of codes, and what each code means.

1. Code 0 is "no value". The codes of the values in the base are 1 + their number there
   (value_table.py); values that came since have the next codes. Codes may change when a new base is
   made, so a reader takes codes and values from one column object.
2. Two values are the same if their packed bytes are: 1, 1.0, True and "1" are four values. A search
   for a number finds it in each of its types (1 equals 1.0, and not "1").
3. The inverted index has, per value asked for, a roaring bitmap of the positions that have it. A
   bitmap is made when it is asked for, extended when there are new devices, and forgotten when
   others are used more. Tags with many distinct values have none: comparing the column is as fast.
4. A value that came since is not looked for in a base with so many values, most of which belong to
   one device each: it may have two codes. ``codes_equal_to`` gives both, ``canonical`` one of them,
   and the next merge makes them one.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, overload

import msgpack
import numpy as np
import numpy.typing as npt
from pyroaring import BitMap

from mainstem_engine.catalog.base import BaseValues
from mainstem_engine.catalog.key_index import ABSENT, KeyIndex
from mainstem_engine.catalog.vector import LayeredColumn, Vector
from mainstem_engine.model import AnyArray, DeviceIds

TagValue: TypeAlias = str | int | float | bool | bytes | None
NO_TAG = 0
"""Code of an absent tag value."""

INDEXED_VALUES_MAX = 10_000
"""Tags with fewer distinct values have bitmaps: each then holds many devices."""
BITMAPS_PER_QUESTION = 64
"""A question for more values compares the column once: cheaper than making so many bitmaps."""
INDEX_BYTES_MAX = 4 << 20
"""Of all bitmaps together. One of a million devices takes at most 128 KiB."""

Codes = npt.NDArray[np.uint32]
Positions = npt.NDArray[np.uint32]


def packed(value: TagValue) -> bytes:
    """What identifies a value."""
    data: bytes = msgpack.packb(value)
    return data


def unpacked(key: bytes) -> TagValue:
    """The value that is packed like this."""
    value: TagValue = msgpack.unpackb(key)
    return value


@dataclass(frozen=True, slots=True)
class CodedTag:
    """The values of one tag for some devices: ``values[codes[i]]`` is that of device i."""

    values: list[TagValue]
    codes: Codes

    @classmethod
    def of(cls, values: Sequence[TagValue]) -> CodedTag:
        """From one value per device."""
        if set(map(type, values)) <= {str, type(None)}:
            keys: Sequence[Any] = values
        else:
            keys = list(map(msgpack.Packer().pack, values))
        seen = dict.fromkeys(keys)
        if len(seen) == len(keys):
            return cls(list(values), np.arange(len(values), dtype=np.uint32))
        place = {key: code for code, key in enumerate(seen)}
        codes = np.fromiter(map(place.__getitem__, keys), np.uint32, count=len(keys))
        distinct: list[TagValue] = list(place)
        if keys is not values:
            distinct = [unpacked(key) for key in place]
        return cls(distinct, codes)

    def to_list(self) -> list[TagValue]:
        """One value per device."""
        values = self.values
        return [values[code] for code in self.codes.tolist()]

    def take(self, places: npt.NDArray[np.integer[Any]]) -> CodedTag:
        """The values of some of the devices, by their places, ascending."""
        if len(places) == len(self.codes):
            return self
        taken = self.codes[places]
        if not len(taken):
            return CodedTag([], taken)
        if len(self.values) < len(taken):
            used, codes = np.unique(taken, return_inverse=True)
            return CodedTag([self.values[code] for code in used.tolist()], codes.astype(np.uint32))
        # Many values: only those that are used are touched, without sorting them.
        used_at = np.zeros(len(self.values), np.bool_)
        used_at[taken] = True
        used = np.flatnonzero(used_at)
        new_code = np.cumsum(used_at, dtype=np.uint32) - np.uint32(1)
        values = self.values
        if int(used[-1]) - int(used[0]) + 1 == len(used):
            kept = values[int(used[0]) : int(used[-1]) + 1]
        else:
            kept = [values[code] for code in used.tolist()]
        return CodedTag(kept, new_code[taken])


class TagValues(Sequence[TagValue]):
    """What the codes of a column mean, as of one moment."""

    __slots__ = ("_added", "_base", "_count")

    def __init__(self, base: BaseValues | None, added: KeyIndex, added_count: int) -> None:
        self._base = base
        self._added = added
        self._count = 1 + (0 if base is None else len(base)) + added_count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, code: int) -> TagValue: ...

    @overload
    def __getitem__(self, code: slice) -> list[TagValue]: ...

    def __getitem__(self, code: int | slice) -> TagValue | list[TagValue]:
        """Raises IndexError."""
        if isinstance(code, slice):
            return [self[one] for one in range(*code.indices(self._count))]
        if not 0 <= code < self._count:
            raise IndexError(code)
        if code == NO_TAG:
            return None
        known = 0 if self._base is None else len(self._base)
        if self._base is None or code > known:
            return unpacked(self._added.key(int(code) - known - 1))
        return unpacked(self._base.key(int(code) - 1))

    def packed(self, codes: npt.NDArray[np.integer[Any]]) -> list[bytes]:
        """What identifies the values of these codes, ascending."""
        known = 0 if self._base is None else len(self._base)
        older, newer = codes[codes <= known].tolist(), codes[codes > known]
        keys = [] if self._base is None else [self._base.key(code - 1) for code in older if code]
        keys = [_NOTHING, *keys] if NO_TAG in older else keys
        return keys + self._added.keys(newer.astype(np.int64) - known - 1)


class TagColumn:
    """Values of one tag for the devices of one family, by the device's position in it."""

    __slots__ = ("added", "base_values", "codes", "name")

    def __init__(
        self, name: str, codes: AnyArray | None = None, base_values: BaseValues | None = None
    ) -> None:
        self.name = name
        base = np.empty(0, np.uint32) if codes is None else codes
        self.codes = LayeredColumn(base, Vector(np.uint32))
        self.base_values = base_values
        self.added = KeyIndex()
        """Values that are not in the base, packed, in order of their codes."""

    @property
    def distinct(self) -> int:
        """How many values there are, used or not; those that have two codes count twice."""
        return self._known + len(self.added)

    @property
    def values(self) -> TagValues:
        return TagValues(self.base_values, self.added, len(self.added))

    def extend(self, tag: CodedTag, position: int) -> None:
        """Gives the devices from ``position`` on (above all earlier ones) their values."""
        keys = list(map(msgpack.Packer().pack, tag.values))
        self._extend(keys, tag.codes, position)

    def replace(self, positions: DeviceIds, value: TagValue) -> None:
        """Gives these positions another value, None for none: with a copy of all codes."""
        if not len(positions):
            return
        code = NO_TAG if value is None else self._codes_made([packed(value)])[0]
        first, count = len(self.codes.base), max(len(self.codes), int(positions.max()) + 1)
        changed = np.zeros(count, np.uint32)
        changed[: len(self.codes)] = self.codes.slice(0, len(self.codes))
        changed[positions] = code
        codes = LayeredColumn(changed[:first], Vector(np.uint32))
        codes.extend(changed[first:])
        self.codes = codes

    def extend_from(self, other: TagColumn, start: int, stop: int) -> None:
        """Takes over the values of another column at these positions, above all of this one."""
        codes = other.codes_between(start, stop)
        used = np.flatnonzero(np.bincount(codes))
        place = np.zeros(int(used[-1]) + 1, np.uint32)
        place[used] = np.arange(len(used), dtype=np.uint32)
        self._extend(other.values.packed(used), place[codes], start)

    def _extend(self, keys: list[bytes], codes: Codes, position: int) -> None:
        """Code c stands for keys[c]."""
        if len(self.codes) < position:
            self.codes.extend(np.full(position - len(self.codes), NO_TAG, np.uint32))
        self.codes.extend(self._codes_made(keys)[codes])

    def _codes_made(self, keys: list[bytes]) -> Codes:
        """The codes of distinct values, new ones for new values; see rule 4."""
        codes = self._codes_added(keys)
        if 0 < self._known < INDEXED_VALUES_MAX:
            self._look_in_base(keys, codes)
        unknown = codes == NO_TAG
        if _NOTHING in keys:
            unknown[keys.index(_NOTHING)] = False
        new = np.flatnonzero(unknown)
        if len(new):
            first = 1 + self.distinct
            self.added.add(keys if len(new) == len(keys) else [keys[row] for row in new.tolist()])
            codes[new] = np.arange(first, first + len(new), dtype=np.uint32)
        return codes

    @property
    def _known(self) -> int:
        """How many values the base has."""
        return 0 if self.base_values is None else len(self.base_values)

    def _codes_added(self, keys: list[bytes]) -> Codes:
        """uint32[n]: the codes of values that came since the base, NO_TAG for others."""
        places = self.added.find_many(keys)
        return np.where(places == ABSENT, NO_TAG, places + self._known + 1).astype(np.uint32)

    def _look_in_base(self, keys: list[bytes], codes: Codes) -> None:
        """Fills in the codes of values that are in the base where there is none yet."""
        if self.base_values is None:
            return
        rest = np.flatnonzero(codes == NO_TAG)
        numbers = self.base_values.find_many([keys[row] for row in rest.tolist()])
        codes[rest] = np.where(numbers == ABSENT, NO_TAG, numbers + 1)

    def canonical(self, codes: Codes) -> Codes:
        """The same values with one code for each: that of the base where a value has two."""
        known = self._known
        if known < INDEXED_VALUES_MAX or self.base_values is None:
            return codes
        newer = np.flatnonzero(codes > known)
        used, place = np.unique(codes[newer], return_inverse=True)
        numbers = self.base_values.find_many(self.added.keys(used.astype(np.int64) - known - 1))
        if (numbers == ABSENT).all():
            return codes
        changed = codes.copy()
        changed[newer] = np.where(numbers == ABSENT, used, numbers + 1)[place]
        return changed

    def codes_of(self, positions: npt.NDArray[Any]) -> Codes:
        """Codes at these positions; absent where the column is shorter."""
        count = len(self.codes)
        known = positions < count
        if known.all():
            return self.codes.take(positions).astype(np.uint32, copy=False)
        found = np.full(len(positions), NO_TAG, np.uint32)
        found[known] = self.codes.take(positions[known])
        return found

    def codes_between(self, start: int, stop: int) -> AnyArray:
        """Codes at the positions from ``start`` to before ``stop``, of any unsigned type."""
        count = len(self.codes)
        found = self.codes.slice(start, min(stop, count)) if start < count else self.codes.base[:0]
        if stop <= count:
            return found
        return np.concatenate([found, np.zeros(stop - max(start, count), np.uint8)])

    def codes_equal_to(self, wanted: Iterable[Any]) -> list[int]:
        """Codes of the values that equal one of ``wanted``; NO_TAG when None is among them."""
        keys = list(dict.fromkeys(key for value in wanted for key in _alike(value)))
        newer, in_base = self._codes_added(keys), np.full(len(keys), NO_TAG, np.uint32)
        self._look_in_base(keys, in_base)
        found = np.concatenate([newer, in_base])
        codes = np.unique(found[found != NO_TAG]).tolist()
        return [NO_TAG, *codes] if _NOTHING in keys else codes


_NOTHING = packed(None)


def _alike(value: Any) -> list[bytes]:
    """The packed forms of all values that equal this one."""
    if hasattr(value, "item"):
        value = value.item()
    if not isinstance(value, int | float):
        return [packed(value)] if isinstance(value, str | bytes | None) else []
    if value != value:
        return [packed(float(value))]
    forms: list[TagValue] = [True, False] if value in (0, 1) else []
    forms = [form for form in forms if form == value]
    if isinstance(value, int) or value.is_integer():
        if -(1 << 63) <= value < 1 << 64:
            forms.append(int(value))
        if value == 0:
            forms += [0.0, -0.0]
        elif abs(value) <= _FLOAT_MAX and float(value) == value:
            forms.append(float(value))
    else:
        forms.append(float(value))
    return [packed(form) for form in forms]


_FLOAT_MAX = 1 << 1023
"""Larger integers may overflow the conversion to a float."""


class TagIndex:
    """Bitmaps of positions by (family, tag, value); see the module. For any number of threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bitmaps: OrderedDict[tuple[int, str, bytes], tuple[BitMap, int]] = OrderedDict()
        self._bytes = 0

    @property
    def nbytes(self) -> int:
        """Estimate of what the bitmaps take."""
        return self._bytes

    def positions(self, family: int, column: TagColumn, code: int, count: int) -> BitMap:
        """Positions below ``count`` that have the value of ``code``. Not to be changed."""
        value = column.values[code]
        key = (family, column.name.casefold(), packed(value))
        with self._lock:
            bitmap, through = self._bitmaps.get(key, (BitMap(), 0))
        if through < count:
            codes = column.codes_between(through, count)
            found = np.flatnonzero(codes == code) + through
            # A new one: others may be reading the old.
            bitmap = bitmap | BitMap(found.astype(np.uint32))
            self._keep(key, bitmap, count)
            return bitmap
        with self._lock:
            if key in self._bitmaps:
                self._bitmaps.move_to_end(key)
        if through > count:
            return bitmap & BitMap(range(count))
        return bitmap

    def forget(self) -> None:
        """Values of devices have changed: what was found is not true any more."""
        with self._lock:
            self._bitmaps.clear()
            self._bytes = 0

    def _keep(self, key: tuple[int, str, bytes], bitmap: BitMap, count: int) -> None:
        with self._lock:
            old = self._bitmaps.pop(key, None)
            if old is not None:
                self._bytes -= _bitmap_bytes(*old)
            self._bitmaps[key] = (bitmap, count)
            self._bytes += _bitmap_bytes(bitmap, count)
            while self._bytes > INDEX_BYTES_MAX and len(self._bitmaps) > 1:
                _, gone = self._bitmaps.popitem(last=False)
                self._bytes -= _bitmap_bytes(*gone)


def _bitmap_bytes(bitmap: BitMap, count: int) -> int:
    """A container per 65,536 positions has two bytes for each, or 8 KiB; and its frame."""
    containers = (count >> 16) + 1
    return 64 + 32 * containers + min(2 * len(bitmap), 8192 * containers)
