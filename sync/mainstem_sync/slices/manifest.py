"""One manifest record (MAN): what the owner of rows says about closed slices of one table.

1. ``[closed_from, closed_through)`` is closed by this record. Slices in it that no manifest lists
   hold no rows. An empty interval only revises slices that were closed before.
2. Per listed slice: number of rows, two digest sums, and the greatest LSN that touched it. The
   statement is about the rows after every record up to that LSN.
3. The newest statement about a slice is the one in the record with the greatest LSN.
4. ``whole`` says that this record lists every slice of an interval that holds rows, also of one
   that was closed before: what the owner says when it is asked for an hour or a day again.

Header: ``t slice_ns from through lateness_ns as_of n missing gaps late quarantined`` (times in ns),
and where there is one ``whole`` (``[from, through, max_lsn]``) and ``clock_err`` (ms).
Buffers: start int64 ns, rev uint32, count int64, d1 uint64, d2 uint64, max_lsn uint64, each [n].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mainstem_engine.filesystem import Buffer
from mainstem_engine.log.records import decode_payload
from mainstem_sync.errors import WireError
from mainstem_sync.wire.ranges import LSN_MAX

SLICES_MAX = 5000
"""Slices of one record: 200 kB, a fraction of a batch."""

WHOLE_SLICES_MAX = SLICES_MAX
"""Slices of an interval that one record states as a whole: three days of minutes."""

SLICE_NS = 60 * 1_000_000_000
"""One minute: small enough to find a hole quickly, and a year is half a million."""

SLICE_NS_MAX = 366 * 86_400 * 1_000_000_000
"""A rollup over more than a year is a mistake, and a bound keeps arithmetic in int64."""

MISSING_SOURCES_MAX = 100
COLLECTOR_GAPS_MAX = 100
"""A manifest is for deciding, not for listing: status pages have the rest."""

_KINDS = ("<i8", "<u4", "<i8", "<u8", "<u8", "<u8")

Ints = npt.NDArray[np.int64]
Sums = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Manifest:
    """See the module. All times are ns; ``late`` and ``quarantined`` are totals of the table.
    ``whole``: [from, through) ns and the LSN that the statement is about. ``clock_err_ms``: how far
    the owner's clock may have been off."""

    table: str
    slice_ns: int
    closed_from_ns: int
    closed_through_ns: int
    lateness_ns: int
    as_of_ns: int
    start_ns: Ints
    rev: npt.NDArray[np.uint32]
    count: Ints
    d1: Sums
    d2: Sums
    max_lsn: Sums
    missing_sources: tuple[str, ...] = ()
    collector_gaps: tuple[tuple[int, int], ...] = ()
    late: int = 0
    quarantined: int = 0
    whole: tuple[int, int, int] | None = None
    clock_err_ms: int | None = None

    @property
    def keys(self) -> Ints:
        """Slice indexes of the listed slices."""
        return self.start_ns // self.slice_ns

    @property
    def about(self) -> list[tuple[int, int]]:
        """[first, last] slice indexes that this is a statement about."""
        if self.whole is not None:
            return [(self.whole[0] // self.slice_ns, self.whole[1] // self.slice_ns - 1)]
        return [(key, key) for key in self.keys.tolist()]

    def encode(self) -> tuple[dict[str, Any], list[Buffer]]:
        """(header, buffers) for Engine.append."""
        header: dict[str, Any] = {
            "t": self.table,
            "slice_ns": self.slice_ns,
            "from": self.closed_from_ns,
            "through": self.closed_through_ns,
            "lateness_ns": self.lateness_ns,
            "as_of": self.as_of_ns,
            "n": len(self.start_ns),
            "missing": list(self.missing_sources[:MISSING_SOURCES_MAX]),
            "gaps": [list(gap) for gap in self.collector_gaps[:COLLECTOR_GAPS_MAX]],
            "late": self.late,
            "quarantined": self.quarantined,
        }
        if self.whole is not None:
            header["whole"] = list(self.whole)
        if self.clock_err_ms is not None:
            header["clock_err"] = self.clock_err_ms
        return header, [self.start_ns, self.rev, self.count, self.d1, self.d2, self.max_lsn]

    @classmethod
    def decode(cls, payload: Buffer) -> Manifest:
        """A MAN payload from another node. Raises WireError or CorruptionError."""
        header, buffers = decode_payload(payload)
        try:
            return cls._from_parts(header, buffers)
        except (KeyError, TypeError, ValueError, OverflowError) as exc:
            raise WireError(f"a manifest that cannot be read ({exc!r})") from exc

    @classmethod
    def _from_parts(cls, header: Mapping[str, Any], buffers: Sequence[memoryview]) -> Manifest:
        count = int(header["n"])
        slice_ns = int(header["slice_ns"])
        if not 0 <= count <= SLICES_MAX or not 0 < slice_ns <= SLICE_NS_MAX:
            raise ValueError(f"{count} slices of {slice_ns} ns")
        arrays = [
            _array(buffer, np.dtype(kind), count)
            for buffer, kind in zip(
                buffers, ("<i8", "<u4", "<i8", "<u8", "<u8", "<u8"), strict=True
            )
        ]
        start: Ints = arrays[0]
        if count and (bool((start[1:] <= start[:-1]).any()) or bool((start % slice_ns).any())):
            raise ValueError("slices out of order or off their grid")
        first, through = int(header["from"]), int(header["through"])
        if first > through or first % slice_ns or through % slice_ns:
            raise ValueError("a closed interval that is not one")
        return cls(
            str(header["t"]), slice_ns, first, through, int(header["lateness_ns"]),
            int(header["as_of"]), start, arrays[1], arrays[2], arrays[3], arrays[4], arrays[5],
            tuple(str(path) for path in header["missing"][:MISSING_SOURCES_MAX]),
            tuple((int(a), int(b)) for a, b in header["gaps"][:COLLECTOR_GAPS_MAX]),
            int(header["late"]), int(header["quarantined"]),
            _whole(header.get("whole"), slice_ns),
            None if header.get("clock_err") is None else int(header["clock_err"]),
        )  # fmt: skip


def _whole(value: object, slice_ns: int) -> tuple[int, int, int] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(type(number) is int for number in value):
        raise ValueError("a whole interval that is not one")
    first, through, max_lsn = value
    slices = (through - first) // slice_ns
    if (
        first % slice_ns
        or through % slice_ns
        or not 0 < slices <= WHOLE_SLICES_MAX
        or not 0 <= max_lsn <= LSN_MAX
    ):
        raise ValueError("a whole interval off its grid")
    return first, through, max_lsn


def _array(buffer: memoryview, dtype: np.dtype[Any], count: int) -> npt.NDArray[Any]:
    if buffer.nbytes != dtype.itemsize * count:
        raise ValueError(f"a buffer of {buffer.nbytes} bytes for {count} slices")
    return np.frombuffer(buffer, dtype)
