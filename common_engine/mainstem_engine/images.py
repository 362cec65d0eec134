"""Slice images: the whole content of one time slice of one origin at one LSN, absence included.

1. An image is what a query would read of that origin in [start, end) at the LSN ``as_of``: merged
   rows, each with the version that wrote it last. Only what is on disk is part of it.
2. Applying it replaces every row of the origin in the slice that came before, whatever it was, and
   leaves versions above ``as_of`` alone. From then on rows up to ``as_of`` say nothing new there:
   the floor of the slice (floors.py).
3. It may be applied only if it is not older than what was received of the slice: ``as_of`` is at or
   above the greatest LSN of it.
4. A large image is cut by time into images of shorter ranges, each complete in itself. Rows of one
   instant that are too many for a record follow in further *parts*, which only add.

IMG record, header: ``t`` table, ``node name epoch`` of the origin, ``s e`` the range in ns,
``as_of``, ``part``, ``n`` rows, ``new`` 1 where nothing was stored before. Buffers: LSNs uint64[n],
and the payload of a PTS record with the rows, sorted by device and time.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mainstem_engine.errors import CorruptionError
from mainstem_engine.filesystem import Buffer, byte_view
from mainstem_engine.log.records import decode_payload, encode_payload
from mainstem_engine.model import ColumnType, Lsns, Origin, Rows
from mainstem_engine.points import decode_points, encode_points, points_header

IMAGE_BYTES_MAX = 1_500_000
"""Bytes of the rows of one record, roughly: it stays below the bound of a record (2 MiB)."""
_KEY_BYTES = 20
"""Device, time and LSN of a row."""


@dataclass(frozen=True, slots=True, eq=False)
class SliceImage:
    """See the module. ``rows`` sorted by device and time, ``lsn`` uint64[n] parallel to them; ids
    are those of whoever made it until somebody has mapped them. ``part`` 0 replaces the slice,
    later ones add to it. ``fresh``: whoever logs it knows that it replaces nothing."""

    table: str
    origin: Origin
    start_ns: int
    end_ns: int
    as_of: int
    rows: Rows
    lsn: Lsns
    part: int = 0
    fresh: bool = False

    def pieces(self, bytes_max: int = IMAGE_BYTES_MAX) -> Iterator[SliceImage]:
        """The same as images of about ``bytes_max`` bytes, the ranges of which are the slice."""
        size = _row_bytes(self.rows)
        most = max(1, bytes_max // size)
        if len(self.rows) <= most:
            yield self
            return
        time = np.sort(self.rows.time)
        # A cut before the first instant that does not fit with what came since the last cut.
        cuts = [self.start_ns]
        first = 0
        while len(time) - first > most:
            cut = int(time[first + most])
            first = int(time.searchsorted(cut, side="left"))
            if cut <= cuts[-1] or first == 0:
                cut = cut + 1
                first = int(time.searchsorted(cut, side="left"))
            if cut >= self.end_ns:
                break
            cuts.append(cut)
        for start, end in itertools.pairwise([*cuts, self.end_ns]):
            inside = (self.rows.time >= start) & (self.rows.time < end)
            some = replace(
                self, start_ns=start, end_ns=end, rows=self.rows.take(inside), lsn=self.lsn[inside]
            )
            yield from _parts(some, most)


def encode_image(
    image: SliceImage, types: Mapping[int, ColumnType]
) -> tuple[dict[str, Any], list[Buffer]]:
    """Header and buffers of the record. ``types`` by measurement id."""
    origin = image.origin
    header = {
        "t": image.table,
        "node": origin.node_uuid,
        "name": origin.node,
        "epoch": origin.epoch,
        "s": image.start_ns,
        "e": image.end_ns,
        "as_of": image.as_of,
        "part": image.part,
        "n": len(image.rows),
        "new": int(image.fresh),
    }
    fields = points_header(image.table, 0, len(image.rows), accepted=0, derived=True)
    points = encode_points(fields, image.rows, types)
    rows = b"".join(map(byte_view, points))
    return header, [np.ascontiguousarray(image.lsn, "<u8"), rows]


def image_payload(image: SliceImage, types: Mapping[int, ColumnType]) -> list[Buffer]:
    """The pieces of the payload."""
    return encode_payload(*encode_image(image, types))


def decode_image(payload: Buffer) -> SliceImage:
    """The inverse of ``encode_image``; arrays look into ``payload``.

    Raises CorruptionError when anything does not fit: a payload may come from another node.
    """
    header, buffers = decode_payload(payload)
    try:
        return _decode(header, buffers)
    except (KeyError, TypeError, ValueError, IndexError, OverflowError) as exc:
        raise CorruptionError("IMG record", 0, f"cannot be read ({exc!r})") from exc


def _decode(header: dict[str, Any], buffers: list[memoryview]) -> SliceImage:
    lsn_buffer, points_buffer = buffers
    lsn: Lsns = np.frombuffer(lsn_buffer, "<u8")
    rows = decode_points(points_buffer).rows
    names = ("s", "e", "as_of", "part", "n", "epoch")
    start_ns, end_ns, as_of, part, count, epoch = (int(header[name]) for name in names)
    if not len(rows) == len(lsn) == count:
        raise ValueError(f"{len(rows)} rows and {len(lsn)} LSNs, {count} described")
    if not -(1 << 63) <= start_ns < end_ns < 1 << 63 or not 0 <= as_of < 1 << 63 or part < 0:
        raise ValueError("a range, version or part out of bounds")
    if count:
        if int(rows.time.min()) < start_ns or int(rows.time.max()) >= end_ns:
            raise ValueError("rows outside the slice")
        if int(lsn.max()) > as_of:
            raise ValueError("rows newer than the image")
        same = rows.device[1:] == rows.device[:-1]
        later = (rows.device[1:] > rows.device[:-1]) | (same & (rows.time[1:] > rows.time[:-1]))
        if not later.all():
            raise ValueError("rows out of order")
    origin = Origin(str(header["node"]), str(header["name"]), epoch)
    fresh = bool(header.get("new"))
    return SliceImage(str(header["t"]), origin, start_ns, end_ns, as_of, rows, lsn, part, fresh)


def _parts(image: SliceImage, most: int) -> Iterator[SliceImage]:
    for part, first in enumerate(range(0, max(1, len(image.rows)), most)):
        some = slice(first, first + most)
        yield replace(image, rows=image.rows.take(some), lsn=image.lsn[some], part=part)


def _row_bytes(rows: Rows) -> int:
    """Bytes of a row, on average."""
    total = _KEY_BYTES
    for column in rows.columns.values():
        total += column.values.itemsize + 1
        if column.values.dtype == object and len(rows):
            sizes = [len(v) for v in column.values.tolist() if isinstance(v, str | bytes)]
            total += 4 * sum(sizes) // len(rows) + 1
    return total
