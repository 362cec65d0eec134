"""Digests of time slices: two sums per slice that differ whenever the rows differ.

For every stored value that is not null, in each of the two sums (all modulo 2**64)

    k  = mix(device key + time * A)
    d += mix((k + (measurement id + 1) * B) ^ canonical value)

where the device keys are the halves of blake2b-128(device path). A sum does not depend on order,
and the digest of an hour is the sum of its minutes. Nothing but path, permanent measurement id,
time in ns and value enters, so renaming a measurement or widening its type changes nothing.

Canonical values are 64 bits: integers, booleans and timestamps as they are (sign-extended), FLOAT
and DOUBLE as the bits of the float64 of the same value with the sign of zero and the payload of
NaN kept, TEXT and BLOB as the first 64 bits of blake2b of their bytes.

What counts is what a query would read: fragments are merged, deleted rows are left out, and so are
rows that are expired here. A slice that has begun to expire cannot equal its owner's statement.

The two mixes are the finalisers of SplitMix64 (Steele, Lea, Flood 2014, variant 13 of Stafford)
and of MurmurHash3 (Appleby): bijections of 64 bits that shuffle every input bit into every output
bit. With two independent 64-bit sums, two different slices agree with a chance of about 2**-128.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mainstem_engine.columns import exact_float64
from mainstem_engine.model import Column, Rows, VersionedRows
from mainstem_engine.scan import Selection, iterate_rows
from mainstem_engine.view import TableView

U64 = npt.NDArray[np.uint64]
_Sums = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], U64, U64]

TIME_FACTOR = np.uint64(0x9E3779B97F4A7C15)
"""A above: 2**64 divided by the golden ratio, odd."""
MEASUREMENT_FACTOR = np.uint64(0xC2B2AE3D27D4EB4F)
"""B above: an odd constant without relation to A (second prime of XXH64)."""
_SPLITMIX = (30, 0xBF58476D1CE4E5B9, 27, 0x94D049BB133111EB, 31)
_MURMUR = (33, 0xFF51AFD7ED558CCD, 33, 0xC4CEB9FE1A85EC53, 33)
_TEXT_KEY = b"mainstem digest"
_MASK = 0xFFFFFFFFFFFFFFFF
PIECE_ROWS = 1 << 14
"""Rows hashed at a time: a few arrays of this length stay in the second-level cache."""

WAITING_MAX = 1 << 18
"""Sums that wait to be added up: 8 MB, and far more than a scan of a few days makes."""


@dataclass(frozen=True, slots=True)
class SliceDigests:
    """One entry per slice that holds rows, ascending: ``start`` int64 ns, ``count`` int64 rows,
    ``d1`` and ``d2`` uint64."""

    start: npt.NDArray[np.int64]
    count: npt.NDArray[np.int64]
    d1: U64
    d2: U64

    def __len__(self) -> int:
        return len(self.start)


def slice_digests(
    view: TableView,
    keys: DeviceKeys,
    selection: Selection,
    slice_ns: int,
    measurement_ids: Mapping[int, int],
) -> SliceDigests:
    """Digests by scanning. ``measurement_ids``: id in the digest by stored id; no others count."""
    found: list[_Sums] = []
    waiting = 0
    for rows in iterate_rows(view, selection):
        found.append(digest_rows(rows, keys, slice_ns, measurement_ids))
        waiting += len(found[-1][0])
        if waiting > WAITING_MAX:
            found = [_added(found)]
            waiting = len(found[0][0])
    return SliceDigests(*_added(found))


KEYS_MAX = 1 << 14
"""Devices whose hashes are kept, 4 MB. A slice is scanned once a minute, mostly of the same."""


class PathLookup(Protocol):
    """Whoever knows the path of a device id: the catalog, or a record's own list."""

    def path(self, device: int) -> str: ...


class DeviceKeys:
    """The two hashes of a device's path, computed when first needed. Thread-safe: whoever is too
    late computes again."""

    def __init__(self, devices: PathLookup) -> None:
        self._devices = devices
        self._known: dict[int, tuple[int, int]] = {}

    def of(self, device: npt.NDArray[np.uint32]) -> tuple[U64, U64]:
        """(k1, k2) uint64[n] of sorted devices."""
        first = np.flatnonzero(np.append(True, device[1:] != device[:-1]))
        counts = np.diff(np.append(first, len(device)))
        pairs = np.array([self._key(d) for d in device[first].tolist()], np.uint64)
        return np.repeat(pairs[:, 0], counts), np.repeat(pairs[:, 1], counts)

    def _key(self, device: int) -> tuple[int, int]:
        found = self._known.get(device)
        if found is None:
            path = self._devices.path(device).encode()
            digest = hashlib.blake2b(path, digest_size=16, key=_TEXT_KEY).digest()
            found = int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")
            if len(self._known) >= KEYS_MAX:
                self._known.clear()
            self._known[device] = found
        return found


def digest_rows(
    rows: Rows | VersionedRows,
    keys: DeviceKeys,
    slice_ns: int,
    measurement_ids: Mapping[int, int],
) -> _Sums:
    """(slice start, rows, d1, d2) of merged rows, one entry per slice, ascending."""
    columns = [
        (rows.columns[stored_id], np.uint64((digest_id + 1) * int(MEASUREMENT_FACTOR) & _MASK))
        for stored_id, digest_id in measurement_ids.items()
        if stored_id in rows.columns
    ]
    room = np.empty((2, min(PIECE_ROWS, len(rows))), np.uint64)
    found = []
    for first in range(0, len(rows), PIECE_ROWS):
        piece = slice(first, min(first + PIECE_ROWS, len(rows)))
        time = rows.time[piece]
        key1, key2 = keys.of(rows.device[piece])
        mixed, shifted = room[:, : len(time)]
        np.multiply(time.view(np.uint64), TIME_FACTOR, out=mixed)
        key1 += mixed
        key2 += mixed
        mix(key1, _SPLITMIX, shifted)
        mix(key2, _MURMUR, shifted)
        total1, total2 = np.zeros_like(key1), np.zeros_like(key2)
        for column, offset in columns:
            some = column.take(piece)
            bits = canonical_bits(some)
            for key, constants, total in ((key1, _SPLITMIX, total1), (key2, _MURMUR, total2)):
                np.add(key, offset, out=mixed)
                mixed ^= bits
                mix(mixed, constants, shifted)
                if some.valid is not None:
                    mixed *= some.valid
                total += mixed
        # Rows of a device that share a slice are neighbours: they are added up before any sorting.
        start = time // slice_ns  # divided so, and not by %: numpy has a way of its own
        start *= slice_ns
        firsts = np.flatnonzero(np.append(True, start[1:] != start[:-1]))
        count = np.diff(np.append(firsts, len(start)))
        sums = np.add.reduceat(total1, firsts), np.add.reduceat(total2, firsts)
        found.append((start[firsts], count, *sums))
    return _added(found)


def _added(found: Sequence[_Sums]) -> _Sums:
    """One entry per slice, ascending."""
    if not found:
        return np.empty(0, np.int64), np.empty(0, np.int64), *np.empty((2, 0), np.uint64)
    start, *sums = (np.concatenate(column) for column in zip(*found, strict=True))
    order = np.argsort(start, kind="stable")
    start = start[order]
    firsts = np.flatnonzero(np.append(True, start[1:] != start[:-1]))
    count, d1, d2 = (np.add.reduceat(each[order], firsts) for each in sums)
    return start[firsts], count.astype(np.int64), d1, d2


def mix(values: U64, constants: tuple[int, int, int, int, int], shifted: U64) -> None:
    """Three xor-shifts with two multiplications between them, in place. ``shifted``: room for as
    many values."""
    shift1, factor1, shift2, factor2, shift3 = constants
    np.right_shift(values, np.uint64(shift1), out=shifted)
    values ^= shifted
    values *= np.uint64(factor1)
    np.right_shift(values, np.uint64(shift2), out=shifted)
    values ^= shifted
    values *= np.uint64(factor2)
    np.right_shift(values, np.uint64(shift3), out=shifted)
    values ^= shifted


def canonical_bits(column: Column) -> U64:
    """uint64[n], see above; unspecified where the column is null."""
    values = column.values
    if values.dtype == object:
        return np.array([_text_bits(value) for value in values], np.uint64)
    if values.dtype == np.float32:
        return exact_float64(values).view(np.uint64)
    if values.dtype.kind == "f":
        return values.view(np.uint64)
    if values.dtype.kind == "u" or values.dtype == np.bool_:
        return values.astype(np.uint64)
    return values.astype(np.int64).view(np.uint64)


def _text_bits(value: Any) -> int:
    if not isinstance(value, str | bytes):
        return 0  # the place of a null holds anything
    data = value.encode() if isinstance(value, str) else value
    return int.from_bytes(hashlib.blake2b(data, digest_size=8, key=_TEXT_KEY).digest(), "little")
