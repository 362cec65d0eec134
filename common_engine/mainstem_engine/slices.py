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
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mainstem_engine.columns import exact_float64
from mainstem_engine.merge import lengths, new_runs
from mainstem_engine.model import Column, Rows, TimesNs, VersionedRows

U64 = npt.NDArray[np.uint64]
Sums = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], U64, U64]
"""(slice start, rows, d1, d2): one entry per slice, ascending."""

TIME_FACTOR = np.uint64(0x9E3779B97F4A7C15)
"""A above: 2**64 divided by the golden ratio, odd."""
MEASUREMENT_FACTOR = 0xC2B2AE3D27D4EB4F
"""B above: an odd constant without relation to A (second prime of XXH64)."""


def _pair(first: int, second: int) -> U64:
    """[2, 1]: a constant of SplitMix64 and its counterpart of MurmurHash3."""
    return np.array([[first], [second]], np.uint64)


_SHIFT_1, _FACTOR_1 = _pair(30, 33), _pair(0xBF58476D1CE4E5B9, 0xFF51AFD7ED558CCD)
_SHIFT_2, _FACTOR_2 = _pair(27, 33), _pair(0x94D049BB133111EB, 0xC4CEB9FE1A85EC53)
_SHIFT_3 = _pair(31, 33)
_TEXT_KEY = b"mainstem digest"
_MASK = 0xFFFFFFFFFFFFFFFF
PIECE_ROWS = 3 << 13
"""Rows hashed at a time, with 1.6 MB of room: calls of numpy take a tenth of the time, and what
they work on is in the second-level cache or just behind it."""

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


class SliceSums:
    """Adds up what pieces of a scan say of slices, in any order."""

    def __init__(self) -> None:
        self._found: list[Sums] = []
        self._waiting = 0

    def add(self, sums: Sums) -> None:
        """Of some rows that no other piece has."""
        self._found.append(sums)
        self._waiting += len(sums[0])
        if self._waiting > WAITING_MAX:
            self._found = [added(self._found)]
            self._waiting = len(self._found[0][0])

    def total(self) -> SliceDigests:
        return SliceDigests(*added(self._found))


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

    def of(self, device: npt.NDArray[np.uint32]) -> U64:
        """uint64[2, n] of devices of which equal ones are neighbours."""
        first = new_runs(device).nonzero()[0]
        counts = lengths(first, len(device))
        pairs = np.array([self._key(d) for d in device[first].tolist()], np.uint64)
        return np.repeat(pairs.reshape(-1, 2).T, counts, axis=1)

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


class PieceDigest:
    """Both sums of a piece of up to PIECE_ROWS rows, column after column: ``begin``, ``add`` each
    measurement, ``end``. The same room is used for every piece."""

    def __init__(self, rows: int = PIECE_ROWS) -> None:
        self._room = np.empty((4, 2, rows), np.uint64)
        self._begin(0)

    def _begin(self, rows: int) -> None:
        self._key, self._total, self._mixed, self._shifted = self._room[:, :, :rows]

    def begin(self, device: npt.NDArray[np.uint32], time: TimesNs, keys: DeviceKeys) -> None:
        """``device``: equal ones are neighbours. ``time`` int64[n] ns."""
        self._begin(len(time))
        self._time = time
        moment = self._mixed[0]
        np.multiply(time.view(np.uint64), TIME_FACTOR, out=moment)
        np.add(keys.of(device), moment, out=self._key)
        self._mix(self._key)
        self._total[:] = 0

    def add(self, column: Column, digest_id: int) -> None:
        """The values of a measurement, by its id in the digest."""
        mixed = self._mixed
        np.add(self._key, np.uint64((digest_id + 1) * MEASUREMENT_FACTOR & _MASK), out=mixed)
        mixed ^= canonical_bits(column)
        self._mix(mixed)
        if column.valid is not None:
            mixed &= np.negative(column.valid.astype(np.uint64))  # all bits, or none
        self._total += mixed

    def end(self, slice_ns: int, ends: npt.NDArray[np.int64]) -> list[Sums]:
        """What the piece says of slices, for each of its runs of rows, which end before the rows
        ``ends``. A slice comes once for each device."""
        start = self._time // slice_ns  # divided so, and not by %: numpy has a way of its own
        start *= slice_ns
        new = np.empty(len(start), np.bool_)
        new[0] = True
        np.not_equal(start[1:], start[:-1], out=new[1:])
        new[ends[ends < len(start)]] = True
        firsts = new.nonzero()[0]
        count = lengths(firsts, len(start))
        d1, d2 = np.add.reduceat(self._total, firsts, axis=1)
        cuts = firsts.searchsorted(ends).tolist()
        start = start[firsts]
        return [
            (start[low:high], count[low:high], d1[low:high], d2[low:high])
            for low, high in itertools.pairwise([0, *cuts])
        ]

    def _mix(self, values: U64) -> None:
        """Three xor-shifts with two multiplications between them, in place."""
        shifted = self._shifted
        np.right_shift(values, _SHIFT_1, out=shifted)
        values ^= shifted
        values *= _FACTOR_1
        np.right_shift(values, _SHIFT_2, out=shifted)
        values ^= shifted
        values *= _FACTOR_2
        np.right_shift(values, _SHIFT_3, out=shifted)
        values ^= shifted


def digest_rows(
    rows: Rows | VersionedRows,
    keys: DeviceKeys,
    slice_ns: int,
    measurement_ids: Mapping[int, int],
) -> Sums:
    """Of merged rows, sorted by device. ``measurement_ids``: id in the digest by stored id."""
    columns = [
        (rows.columns[stored_id], digest_id)
        for stored_id, digest_id in measurement_ids.items()
        if stored_id in rows.columns
    ]
    digest = PieceDigest(min(PIECE_ROWS, len(rows)))
    found = []
    for first in range(0, len(rows), PIECE_ROWS):
        piece = slice(first, min(first + PIECE_ROWS, len(rows)))
        digest.begin(rows.device[piece], rows.time[piece], keys)
        for column, digest_id in columns:
            digest.add(column.take(piece), digest_id)
        found += digest.end(slice_ns, np.array([piece.stop - first]))
    return added(found)


def added(found: Sequence[Sums]) -> Sums:
    """One entry per slice, ascending."""
    found = [sums for sums in found if len(sums[0])]
    if not found:
        return np.empty(0, np.int64), np.empty(0, np.int64), *np.empty((2, 0), np.uint64)
    start, *sums = (np.concatenate(column) for column in zip(*found, strict=True))
    order = start.argsort(kind="stable")
    start = start[order]
    firsts = new_runs(start).nonzero()[0]
    count, d1, d2 = (np.add.reduceat(each[order], firsts) for each in sums)
    return start[firsts], count.astype(np.int64), d1, d2


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
