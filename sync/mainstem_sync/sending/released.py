"""What a range of the log is about, told in slices: the content of a COVER record.

1. Of a range that is still there, the log says it: which slices its rows and deletes touch, what
   was said about slices, and how many rows are pending. One record per origin.
   Definitions are not about slices: own ones are to be said again (``defined``), those of another
   node go up with the image of any slice of their table.
2. Of a range that is gone, the store says it, as far as it can: the slices that hold rows of those
   versions or later ones, which may have values of those from before, and everything that was said
   since. Slices of which a record deleted something are known for as long as they are remembered
   one by one; older ones are found to differ, and repaired.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from mainstem_engine.catalog.device_records import DeviceRecord
from mainstem_engine.engine import Engine
from mainstem_engine.erasures import decode_erasure
from mainstem_engine.log.log import Log
from mainstem_engine.log.records import RecordKind, decode_payload
from mainstem_engine.model import SELF_ORIGIN
from mainstem_sync.origins.origin_state import OriginState
from mainstem_sync.slices.manifest import Manifest
from mainstem_sync.slices.owed import Owed, OwedTable
from mainstem_sync.slices.slice_table import touched_by
from mainstem_sync.slices.wants import DONE_MAX
from mainstem_sync.state.content import Classifier, Content
from mainstem_sync.state.follower import Follower
from mainstem_sync.wire.blocks import decode_block
from mainstem_sync.wire.frames import DECODED_BYTES_MAX
from mainstem_sync.wire.messages import OriginKey
from mainstem_sync.wire.packing import Piece
from mainstem_sync.wire.ranges import LSN_MAX, RangeSet


@dataclass(slots=True)
class _Gathered:
    """What one origin's records are about."""

    owed: Owed
    tables: dict[str, OwedTable] = field(default_factory=dict)
    said: dict[str, OwedTable] = field(default_factory=dict)

    def slices(self, name: str, slice_ns: int) -> RangeSet:
        return self.tables.setdefault(name, OwedTable(name, slice_ns)).slices

    def done(self) -> Owed:
        self.owed.tables = list(self.tables.values())
        self.owed.said = list(self.said.values())
        self.owed.since = max(self.owed.since, self.owed.ranges.last)
        return self.owed


class Released:
    """See the module. ``slice_ns`` gives the slice length of a table, by origin (None: own) and the
    name that its origin calls it."""

    def __init__(self, follower: Follower, classifier: Classifier) -> None:
        self._follower = follower
        self._classifier = classifier
        self.defined: dict[str, list[npt.NDArray[np.uint32]]] = {}
        """By own table, devices that were defined in what was read last."""

    # Of a log that is there

    def read(self, log: Log, lsns: RangeSet) -> list[Owed]:
        """What the records in ``lsns`` are about, one per origin. Reads all of them."""
        found: dict[OriginKey | None, _Gathered] = {}
        self.defined = {}
        for first, last in lsns:
            for record in log.read(first, last):
                content = self._classifier.content(record)
                self._add(found, content)
        return [gathered.done() for gathered in found.values()]

    def _add(self, found: dict[OriginKey | None, _Gathered], content: Content) -> None:
        gathered = _of(found, content.origin)
        owed = gathered.owed
        owed.local.add(content.lsn)
        owed.size += content.bytes
        if content.ranges is None:
            owed.ranges.add(content.lsn)
        else:
            owed.ranges.update(content.ranges)
        for table, rows in content.sent.items():
            owed.rows[table] = owed.rows.get(table, 0) + rows
        for piece in content.pieces:
            if piece.kind in (RecordKind.COVER, RecordKind.EXP):
                self._earlier(found, content.origin, piece)
            else:
                self._piece(gathered, piece)

    def _piece(self, gathered: _Gathered, piece: Piece) -> None:
        own = gathered.owed.target is None
        if piece.kind == RecordKind.PTS:
            size = self._slice_ns(gathered.owed.target, piece.table)
            keys, counts = np.unique(_times(piece) // size, return_counts=True)
            slices = gathered.slices(piece.table, size)
            for key, rows in zip(keys.tolist(), counts.tolist(), strict=True):
                slices.add(key)
                if own:
                    known = gathered.owed.counts.setdefault(piece.table, {})
                    known[key] = known.get(key, 0) + rows
        elif piece.kind == RecordKind.DEL:
            erasure = decode_erasure(piece.payload)
            size = self._slice_ns(gathered.owed.target, erasure.table)
            if len(erasure.spans):
                slices = gathered.slices(erasure.table, size)
                known_keys = np.array(
                    [k for first, last in slices for k in (first, last)], np.int64
                )
                for key in touched_by(erasure.spans, size, known_keys).tolist():
                    slices.add(key)
        elif piece.kind == RecordKind.MAN:
            manifest = Manifest.decode(piece.payload)
            # What another node said goes up beside images; what this one said it says again.
            said = gathered.said if own else gathered.tables
            about = OwedTable(manifest.table, manifest.slice_ns)
            _add_said(said.setdefault(manifest.table, about), manifest)

        elif piece.kind in (RecordKind.SCH, RecordKind.DEV):
            self._definition(gathered, piece)

    def _definition(self, gathered: _Gathered, piece: Piece) -> None:
        header, _ = decode_payload(piece.payload)
        if gathered.owed.target is None:
            if piece.kind == RecordKind.DEV:
                record = DeviceRecord.from_header(header)
                self.defined.setdefault(record.family, []).append(record.ids)
            elif header.get("op") == "template":
                self.defined.setdefault(str(header["name"]), [])
            return
        with self._follower.lock:
            state = self._follower.origins.get(gathered.owed.target)
            mapped = None if state is None else state.maps.table(piece.table)
            if state is None or mapped is None:
                return
            watch = state.home.watches.get(mapped.local)
        if watch is not None and watch.closed:
            gathered.slices(mapped.name, mapped.slice_ns).add(watch.closed.last)

    def _earlier(
        self,
        found: dict[OriginKey | None, _Gathered],
        writer: OriginKey | None,
        piece: Piece,
    ) -> None:
        """A record of this kind that the parent never got: what is said now speaks for it too."""
        earlier = Owed.decode(piece.payload, piece.lsn)
        gathered = _of(found, earlier.target or writer)
        gathered.owed.ranges.update(earlier.ranges)
        gathered.owed.since = max(gathered.owed.since, earlier.since)
        for table in earlier.tables:
            gathered.slices(table.name, table.slice_ns).update(table.slices)
        if writer is None:
            gathered.owed.old += [*earlier.old[-DONE_MAX:], piece.lsn]
        else:
            gathered.owed.others.append((writer.uuid, writer.epoch, piece.lsn))

    def _slice_ns(self, origin: OriginKey | None, table: str) -> int:
        if origin is None:
            return self._follower.slice_ns(table)
        mapped = self._follower.maps_of(origin).table(table)
        return self._follower.slice_ns(table) if mapped is None else mapped.slice_ns

    # Of a log that is gone

    def own(self, engine: Engine, missing: RangeSet, old: Iterable[int]) -> Owed:
        """Own records that the parent lost, of a log that is released."""
        owed = Owed(None, missing.copy(), missing.last, old=list(old))
        first_lsn = next(iter(missing))[0]
        for name, closed in self._follower.manifests.closed().items():
            if not self._classifier.policy.sends(name):
                continue
            size = self._follower.slice_ns(name)
            touched = self._follower.manifests.touched_from(name, first_lsn)
            keys = sorted({*_stored(engine, name, SELF_ORIGIN, size, missing), *touched})
            table = OwedTable(name, size, RangeSet((k, k) for k in keys))
            owed.tables.append(table)
            if closed is not None:
                first, end = closed.from_ns // size, closed.through_ns // size
                first = first if first_lsn == 1 or not keys else max(first, min(keys))
                if first < end:
                    owed.said.append(OwedTable(name, size, RangeSet([(first, end - 1)])))
        return owed

    def relayed(self, engine: Engine, state: OriginState, missing: RangeSet) -> Owed:
        """The same for another node's records."""
        owed = Owed(state.key, missing.copy(), missing.last)
        if not missing:
            return owed
        first_lsn = next(iter(missing))[0]
        index = engine.origin_index(state.origin)
        with self._follower.lock:
            tables = list(state.line_maps().tables.values())
        for mapped in tables:
            if not self._classifier.policy.sends(mapped.name):
                continue
            slices = RangeSet()
            if index is not None:
                keys = _stored(engine, mapped.local, index, mapped.slice_ns, missing)
                slices.update(RangeSet((key, key) for key in keys))
            with self._follower.lock:
                watch = state.watches.get(mapped.local)
                if watch is not None:
                    slices.update(watch.closed)
                    touched = watch.touched_from(first_lsn).tolist()
                    slices.update(RangeSet((key, key) for key in touched))
            owed.tables.append(OwedTable(mapped.name, mapped.slice_ns, slices))
        return owed


def _of(found: dict[OriginKey | None, _Gathered], origin: OriginKey | None) -> _Gathered:
    return found.setdefault(origin, _Gathered(Owed(origin, RangeSet(), 0)))


def _times(piece: Piece) -> np.ndarray:
    """Event times of the rows that go up."""
    if not piece.block:
        return piece.points().rows.time
    time = decode_block(piece.payload, bytes_max=DECODED_BYTES_MAX).points.rows.time
    return time if piece.select is None else time[piece.select]


def _add_said(said: OwedTable, manifest: Manifest) -> None:
    size = manifest.slice_ns
    first, end = manifest.closed_from_ns // size, manifest.closed_through_ns // size
    if manifest.whole is not None:
        first, end = manifest.whole[0] // size, manifest.whole[1] // size
    if first < end:
        said.slices.add(first, end - 1)
    for key in manifest.keys.tolist():
        said.slices.add(key)


def _stored(engine: Engine, table: str, origin: int, slice_ns: int, missing: RangeSet) -> list[int]:
    first = next(iter(missing))[0]
    keys: list[int] = engine.stored_slices(table, origin, slice_ns, first, LSN_MAX).tolist()
    return keys
