"""Slice images that arrive: their ids mapped, their rows put aside where need be, then one record.

1. A batch without ranges holds images of its origin, and definitions that they need. Definitions
   are logged first (an RCV record that adds nothing to R), like those of any batch.
2. An image is applied only if it is not older than what touched the slice here: stored rows,
   deletes, earlier images, and what is in the log already and not applied yet. An older one is put
   off; the child makes a later one when it is asked again.
3. It replaces what is stored of the line in its range. So what was put aside of it is replaced
   too: the record says what is put aside of the image.
4. Where it repairs a slice that differed, it names the points that did (proof/differences.py). A
   slice that was still to come says nothing about errors.
5. Rows stay that their owner delivered and lost (kept_rows.py).
6. Of slices that were deleted here nothing is taken; a record says that it came.
7. An image of a closed epoch (``joins``) brings orphans: they are joined to what is here, below the
   line, and replace nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mainstem_engine.consumers import Ack
from mainstem_engine.encoded_points import decode_rows
from mainstem_engine.engine import Engine
from mainstem_engine.errors import CorruptionError, OverloadedError
from mainstem_engine.images import SliceImage
from mainstem_engine.log.records import RecordKind, decode_payload
from mainstem_engine.merge import key_order
from mainstem_engine.model import Lsns, Rows
from mainstem_engine.points import Points, points_header
from mainstem_sync.errors import RejectedError
from mainstem_sync.lines.epochs import EpochTable
from mainstem_sync.origins.line_rows import closed_epochs, newest_on_line
from mainstem_sync.origins.origin_state import OriginState, TableMap
from mainstem_sync.origins.received import Received, map_points
from mainstem_sync.proof.differences import Differences
from mainstem_sync.receiving.covering import put_aside_of_image
from mainstem_sync.receiving.domain import Domain
from mainstem_sync.receiving.incoming import Prepared, prepare
from mainstem_sync.receiving.kept_rows import Kept, with_kept
from mainstem_sync.receiving.parking import Parking
from mainstem_sync.receiving.quarantine import QuarantineStore
from mainstem_sync.state.deletions_here import declined_header
from mainstem_sync.wire.batch import Batch, WireRecord
from mainstem_sync.wire.frames import DECODED_BYTES_MAX
from mainstem_sync.wire.ranges import LSN_MAX, RangeSet

DEFINITIONS = frozenset({RecordKind.SCH, RecordKind.DEV})
"""What may travel outside R: it says what exists, and saying it twice changes nothing."""

OUTSIDE_RANGES = DEFINITIONS | {RecordKind.IMG, RecordKind.MAN}

SPAN_NS_MAX = 1500 * 366 * 86_400 * 10**9
"""One image spans at most so much: slices of a year, as many as one image has of minutes."""

Touch = tuple[str, int, int, int]
"""Table, first and last time in ns, greatest LSN."""


def is_outside_ranges(batch: Batch) -> bool:
    """True for a batch of images. RejectedError for other records outside R."""
    if batch.ranges or not (batch.records or batch.blocks):
        return False
    if batch.blocks or any(record.kind not in OUTSIDE_RANGES for record in batch.records):
        raise RejectedError(f"a batch of {batch.origin.name} has rows without their LSNs")
    return True


def touches_of(received: Received) -> list[Touch]:
    """What a record that was just logged is going to touch."""
    found = []
    for group in received.groups:
        time, lsn = group.rows.time, group.lsn
        if len(time):
            greatest = lsn if isinstance(lsn, int) else int(lsn.max())
            # One row is what a live record has most often; numpy's least of it costs as much as
            # its record does.
            ends = (time[0], time[0]) if len(time) == 1 else (time.min(), time.max())
            found.append((group.table, int(ends[0]), int(ends[1]), greatest))
    for lsn, erasure in received.deletes:
        if len(erasure.spans):
            spans = erasure.spans
            found.append((erasure.table, int(spans[:, 0].min()), int(spans[:, 1].max()), lsn))
    return found


@dataclass(slots=True)
class IncomingImages:
    """Takes batches of images. ``append(state, prepared)`` logs definitions; the caller holds the
    origin's intake lock. ``lock``: the federation's."""

    engine: Engine
    quarantine: QuarantineStore
    append: Callable[[OriginState, Prepared], Ack]
    domain: Domain
    via: str
    at_ms: int
    differences: Differences
    lock: threading.RLock
    epochs: EpochTable
    """Of the node whose images these are."""

    def take(self, state: OriginState, batch: Batch, raw: memoryview) -> Ack | None:
        """Logs a batch; the Ack of its last record, None if there is nothing in it.

        Raises StaleImageError, OverloadedError (to be sent again later), UnknownSchemaError,
        RejectedError, CorruptionError.
        """
        records = batch.records
        ack = self._others(state, batch, raw, [r for r in records if r.kind in DEFINITIONS])
        for record in [r for r in records if r.kind == RecordKind.IMG]:
            end = record.offset + record.length
            if end > len(raw):
                raise RejectedError(f"an image of {batch.origin.name} does not lie in its batch")
            ack = self._apply(state, record, raw[record.offset : end])
        said = [r for r in records if r.kind == RecordKind.MAN]
        return self._others(state, batch, raw, said) or ack

    def _others(
        self, state: OriginState, batch: Batch, raw: memoryview, records: Sequence[WireRecord]
    ) -> Ack | None:
        """Definitions, or statements, of a batch."""
        if not records:
            return None
        some = replace(batch, records=tuple(records))
        prepared = prepare(
            some, raw, RangeSet(), state.maps, via=self.via, paths=self.domain.paths,
            engine=self.engine, at_ms=self.at_ms, domain=self.domain,
            kin=state.kin(self.epochs.end_of(state.key.epoch)),
        )  # fmt: skip
        return self.append(state, prepared)

    def _apply(self, state: OriginState, record: WireRecord, payload: memoryview) -> Ack:
        image, points, joins, kept = _decode(state, record, payload)
        if joins != (state.line is not None):
            raise OverloadedError(f"an image of epoch {state.key.epoch} comes at the wrong time")
        table = state.maps.known_table(points.table)
        acks = [
            self._decline(state, table, part)
            if declined
            else self._store(
                state, table, part, replace(points, rows=part.rows), joins, _of(kept, part, table)
            )
            for part, declined in self._parts(state, table, image)
        ]
        return acks[-1]

    def _parts(
        self, state: OriginState, table: TableMap, image: SliceImage
    ) -> Iterator[tuple[SliceImage, bool]]:
        """The image, cut where slices begin or end of which rows were deleted here."""
        size = table.slice_ns
        first, end = image.start_ns // size, -(-image.end_ns // size)
        with self.lock:
            watch = state.home.watches.get(table.local)
            gone = [] if watch is None else watch.gone_here(first, end).tolist()
        if not gone:
            yield image, False
            return
        at = image.start_ns
        for first_gone, last_gone in RangeSet((key, key) for key in gone):
            start, end_ns = max(at, first_gone * size), min(image.end_ns, (last_gone + 1) * size)
            if at < start:
                yield _between(image, at, start), False
            yield _between(image, start, end_ns), True
            at = end_ns
        if at < image.end_ns:
            yield _between(image, at, image.end_ns), False

    def _decline(self, state: OriginState, table: TableMap, image: SliceImage) -> Ack:
        header = declined_header(replace(image, table=table.local))
        return self.engine.append(RecordKind.EVT, header)

    def _store(
        self,
        state: OriginState,
        table: TableMap,
        image: SliceImage,
        points: Points,
        joins: bool,
        kept: Kept,
    ) -> Ack:
        parking = Parking(state.key, self.at_ms)
        rows, lsn = points.rows, image.lsn
        mapped = self.domain.within(map_points(points, table, state.maps), state.maps)
        if mapped.denied is not None:
            lsn = lsn[~mapped.denied]
        if mapped.refused:
            lsn = lsn[:0]
        if mapped.denied is not None or mapped.conflicts:
            parking.put(image.as_of, mapped, table, state.maps, self.engine.catalog, image.lsn)
        order = key_order(mapped.rows.device, mapped.rows.time)
        stored = mapped.rows.take(order)
        image = replace(image, table=table.local, rows=stored, lsn=lsn[order])
        newest = 0 if joins else self._newest(state, image)
        if not joins:
            with self.lock:
                gone = state.gone.lsns
            image, kept = with_kept(self.engine, state, self.epochs, table, image, gone, kept)
        superseded = put_aside_of_image(
            self.quarantine, parking.blocks, node=state.key.name, uuid=state.key.uuid,
            table=table.local, start_ns=image.start_ns, end_ns=image.end_ns,
            as_of=None if joins else image.as_of,
        )  # fmt: skip
        header = {
            "aside": len(rows) - len(stored),
            "values": parking.values_by_table(),
            "parked": parking.slices(),
        }
        if kept:
            header["kept"] = kept
        with self.lock:  # rows that were owed as slices, or not exported, nobody altered
            owed = state.backlog.waiting_for(table.name, image.start_ns, image.end_ns)
        differing = [] if joins or owed else self.differences.of(self.engine, state, image)
        ack = self.engine.apply_image(image, max_lsn=newest, header=header, joins=joins)
        self.differences.note(differing, self.at_ms)
        touch = (table.local, image.start_ns, image.end_ns - 1, image.as_of)
        state.note_in_flight(ack, [touch])
        if superseded.items:  # seldom: the reason was removed, or its owner wrote other values
            superseded.forget(ack)
        return ack

    def _newest(self, state: OriginState, image: SliceImage) -> int:
        """The greatest LSN of the line that touched the slice, or is about to."""
        span = image.start_ns, image.end_ns
        found = newest_on_line(self.engine, state, self.epochs, image.table, *span)
        found = max(found, state.newest_in_flight(image.table, *span))
        for older, end in closed_epochs(state, self.epochs):
            found = max(found, min(end, older.newest_in_flight(image.table, *span)))
        # A delete says up to where it covers rows; its own record is later, and an image as of one
        # in between has the rows.
        with self.lock:
            watch = state.home.watches.get(image.table)
            if watch is not None:
                size = watch.slice_ns
                applied = watch.newest_applied(span[0] // size, -(-span[1] // size))
                found = max(found, applied)
        return found


def _between(image: SliceImage, start_ns: int, end_ns: int) -> SliceImage:
    """What of the image lies in [start, end)."""
    inside = (image.rows.time >= start_ns) & (image.rows.time < end_ns)
    rows: Rows = image.rows.take(inside)
    return replace(image, start_ns=start_ns, end_ns=end_ns, rows=rows, lsn=image.lsn[inside])


def _decode(
    state: OriginState, record: WireRecord, payload: memoryview
) -> tuple[SliceImage, Points, bool, Kept]:
    """The image, with its rows still under the origin's ids, whether it joins, and what a relay
    kept of it. Raises CorruptionError: it comes from another node."""
    header, buffers = decode_payload(payload)
    try:
        image, points = _opened(state, header, buffers)
        kept = [[int(part) for part in item] for item in header.get("kept", ())]
        if any(
            len(item) != 4 or not 0 <= min(item[2:]) <= max(item[2:]) < 1 << 64 for item in kept
        ):
            raise ValueError("what was kept is not [slice, rows, d1, d2]")
    except (KeyError, TypeError, ValueError, IndexError, OverflowError) as exc:
        raise CorruptionError("image", 0, f"cannot be read ({exc!r})") from exc
    if image.as_of != record.lsn or points.table.casefold() != record.table.casefold():
        raise RejectedError(f"an image of {record.table} is not what its batch says")
    return image, points, bool(header.get("joins")), kept


def _of(kept: Kept, image: SliceImage, table: TableMap) -> Kept:
    """What was kept of the slices that begin in an image's range."""
    size = table.slice_ns
    return [item for item in kept if image.start_ns <= item[0] * size < image.end_ns]


def _opened(
    state: OriginState, header: dict[str, Any], buffers: list[memoryview]
) -> tuple[SliceImage, Points]:
    key = state.key
    table, count = str(header["t"]), int(header["n"])
    if (str(header["node"]), int(header["epoch"])) != (key.uuid, key.epoch):
        raise ValueError("an image of another origin")
    start_ns, end_ns, as_of, part = (int(header[name]) for name in ("s", "e", "as_of", "part"))
    if not -(1 << 63) <= start_ns < end_ns < 1 << 63 or end_ns - start_ns > SPAN_NS_MAX:
        raise ValueError("a range out of bounds")
    if not 0 <= as_of <= LSN_MAX or part < (1 if header.get("joins") else 0):
        raise ValueError("a version or part out of bounds")
    points, lsn = _rows(table, count, buffers)
    rows = points.rows
    if len(rows):
        if int(rows.time.min()) < start_ns or int(rows.time.max()) >= end_ns:
            raise ValueError("rows outside the slice")
        if int(lsn.max()) > as_of:
            raise ValueError("rows newer than the image")
        same = rows.device[1:] == rows.device[:-1]
        if bool((same & (rows.time[1:] == rows.time[:-1])).any()):
            raise ValueError("two rows of one device and time")
    image = SliceImage(table, state.origin, start_ns, end_ns, as_of, rows, lsn, part)
    return image, points


def _rows(table: str, count: int, buffers: list[memoryview]) -> tuple[Points, Lsns]:
    if not buffers:
        if count:
            raise ValueError(f"{count} rows and no buffer")
        fields = points_header(table, 0, 0, accepted=0)
        nothing = Rows(np.empty(0, np.uint32), np.empty(0, np.int64), {})
        return Points(table, {**fields, "cols": []}, nothing), np.empty(0, np.uint64)
    (block,) = buffers
    found = decode_rows(block, bytes_max=DECODED_BYTES_MAX)
    if len(found.lsn) != count or found.points.table != table:
        raise ValueError("rows of another image")
    return found.points, found.lsn
