"""What this node knows of the federation, as a state machine over its own log.

One consumer, one lock: everything that a record changes (counters, R, maps, watches, what is owed)
changes in one step, so that whoever holds the lock sees the state after a whole record. Nothing
here writes to the engine or waits for it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgpack
import numpy as np

from mainstem_engine.catalog.device_records import DeviceRecord
from mainstem_engine.consumers import AppliedDelete, AppliedRows, RowSink
from mainstem_engine.erasures import Erasure
from mainstem_engine.filesystem import byte_view
from mainstem_engine.images import SliceImage
from mainstem_engine.log.records import Record, RecordKind, decode_payload
from mainstem_engine.model import SELF_ORIGIN
from mainstem_sync.errors import WireError
from mainstem_sync.lines.moments import Moments
from mainstem_sync.origins.changes import TEMPLATE
from mainstem_sync.origins.origin_state import OriginMaps, Origins, OriginState
from mainstem_sync.origins.received import Received, decode_received
from mainstem_sync.slices.loss import EXPIRED, LOG_DAMAGED, Loss
from mainstem_sync.slices.manifest import Manifest
from mainstem_sync.slices.manifests import Manifests, slice_length_ns
from mainstem_sync.slices.owed import Owed
from mainstem_sync.slices.watch import TableWatch
from mainstem_sync.state.accounting import Accounts
from mainstem_sync.state.content import Classifier, points_header
from mainstem_sync.state.deletions_here import DECLINED, deleted_here, image_declined
from mainstem_sync.state.exports import ExportPolicy
from mainstem_sync.state.forward import PARK, Forward
from mainstem_sync.state.line_following import DAMAGED, DOUBT, LineFollowing
from mainstem_sync.state.moves import HANDOVER, Moves, moves_from_wire
from mainstem_sync.state.owed_log import declare_lost, owe
from mainstem_sync.state.scope import DeviceScope
from mainstem_sync.wire.messages import OriginKey
from mainstem_sync.wire.order import Order

SNAPSHOT_VERSION = 1

OWN_DELETES_MAX = 1_000
"""Deletes between two looks, a second apart. What is beyond stays in the quarantine."""
NS_PER_MS = 1_000_000


class Follower:
    """The federation's LogConsumer. ``lock`` guards all of its parts."""

    name = "federation"
    kinds = frozenset(RecordKind)

    def __init__(
        self,
        policy: ExportPolicy,
        *,
        has_parent: bool,
        lateness_ns: Callable[[str], int],
        clock_ns: Callable[[], int],
        monotonic: Callable[[], float],
    ) -> None:
        self.lock = threading.RLock()
        self.policy = policy
        self.origins = Origins()
        self.lines = LineFollowing(self.origins)
        self.accounts = Accounts()
        self.scope = DeviceScope(policy)
        self.forward: Forward | None = None
        if has_parent:
            classifier = Classifier(policy, self.scope, self.maps_of)
            self.forward = Forward(classifier, self.lock)
            self.lines.began = self.forward.owing.forked
        self.manifests = Manifests(
            self.lock,
            lateness_ns=lateness_ns,
            slice_ns=self.slice_ns,
            totals=self._totals,
            monotonic=monotonic,
        )
        self.on_applied: Callable[[], None] | None = None
        """Called on the committer thread after every record, without the lock."""
        self.written = Moments()
        """Until when own records had been written, from the times of own manifests."""
        self.rules_changed = False
        self.moves = Moves()
        self.own_deletes: deque[Erasure] = deque(maxlen=OWN_DELETES_MAX)
        """Deletes of this node that its own quarantine has not followed yet; since the start."""
        self.cleared: dict[str, int] = {}
        """Table to the last record here that deleted rows of it or replaced a slice; since the
        start."""
        self._clock_ns = clock_ns
        self._monotonic = monotonic
        self._every_ns: dict[str, int | None] = {}
        self._applying: OriginState | None = None
        self._deleting_lsn = 0
        self._applied_lsn = 0

    # LogConsumer

    def apply(self, record: Record, decoded: Any, sink: RowSink) -> None:
        """One record of the local log."""
        with self.lock:
            header: Mapping[str, Any] | None = None
            if record.kind == RecordKind.PTS:
                header = points_header(decoded)
                if header is not None:
                    self.accounts.points(header)
            elif record.kind == RecordKind.RCV:
                self._received(record, decoded, sink)
            elif record.kind == RecordKind.MAN:
                known = isinstance(decoded, Manifest)
                stated = decoded if known else Manifest.decode(record.payload)
                self.manifests.apply(stated)
                self.written.note(record.lsn, stated.as_of_ns // NS_PER_MS)
            elif record.kind in (RecordKind.SCH, RecordKind.DEV):
                self._defined(record)
            elif record.kind in (RecordKind.EPO, RecordKind.BOOT, RecordKind.EVT):
                self._lined(record)
            elif record.kind in (RecordKind.OWN, RecordKind.ORD):
                self._moved(record)
            elif record.kind == RecordKind.DEL and isinstance(decoded, Erasure):
                deleted_here(self.origins, decoded, self._watch)
                self.own_deletes.append(decoded)
            if self.forward is not None:
                self._forwarded(self.forward, record, header)
            if record.kind == RecordKind.IMG and isinstance(decoded, SliceImage):
                self._imaged(record, decoded, sink)
            self._applied_lsn = record.lsn
        if self.on_applied is not None:
            self.on_applied()

    def rows_applied(self, batch: AppliedRows) -> None:
        """Rows entered the head: their slices are touched."""
        if batch.origin == SELF_ORIGIN:
            self.manifests.rows_applied(batch)
            return
        with self.lock:
            state = self._applying
            if state is None:
                return  # rows of another consumer: nothing is known of their origin's log
            watch = self._watch(state, batch.table)
            time, lsn = self.lines.on_line(state, batch.table, watch, batch.time, batch.lsn)
            if len(time):
                watch.rows_applied(time, lsn)

    def rows_deleted(self, deleted: AppliedDelete) -> None:
        """Rows have gone: the slices that they were in are touched."""
        with self.lock:
            self.cleared[deleted.table] = deleted.tombstone.lsn
        if deleted.tombstone.origin == SELF_ORIGIN:
            self.manifests.rows_deleted(deleted.table, deleted.spans, deleted.tombstone.lsn)
            return
        with self.lock:
            if self._applying is not None:
                state = self._applying
                watch = self._watch(state, deleted.table)
                if self.lines.is_on_line(state, self._deleting_lsn):
                    watch.rows_deleted(deleted.spans, self._deleting_lsn)
                else:
                    self.lines.beyond(state, deleted.table, watch, deleted.spans)

    def _watch(self, state: OriginState, local_table: str) -> TableWatch:
        watch = state.home.watches.get(local_table)
        if watch is None:
            table = state.local_table(local_table)
            size = slice_length_ns(None) if table is None else table.slice_ns
            watch = state.watch(local_table, size)
            self.lines.watched(state, local_table, watch)
        return watch

    def snapshot(self) -> bytes:
        """Everything, as of the last record applied."""
        with self.lock:
            packed: bytes = msgpack.packb(
                {
                    "version": SNAPSHOT_VERSION,
                    "accounts": self.accounts.snapshot(),
                    "origins": self.origins.snapshot(),
                    "lines": self.lines.snapshot_all(),
                    "manifests": self.manifests.snapshot(),
                    "asked": self.manifests.asked,
                    "every": self._every_ns,
                    "forward": None if self.forward is None else self.forward.snapshot(),
                    "own_tables": []
                    if self.forward is None
                    else self.forward.classifier.snapshot(),
                    "applied": self._applied_lsn,
                    "written": self.written.to_plain(),
                    "moves": self.moves.snapshot(),
                }
            )
        return packed

    def restore(self, data: bytes) -> None:
        """Back to a snapshot."""
        fields = msgpack.unpackb(data, strict_map_key=False)
        with self.lock:
            self.accounts.restore(fields["accounts"])
            self.origins.restore(fields["origins"])
            self.lines.restore_all(fields)
            self.manifests.restore(fields["manifests"])
            self.manifests.ask_again(fields.get("asked", {}))
            self._every_ns = fields["every"]
            self._applied_lsn = fields["applied"]
            self.written = Moments.from_plain(fields.get("written"))
            if "moves" in fields:
                self.moves.restore(fields["moves"])
            if self.forward is None:
                return
            self.forward.classifier.restore(fields["own_tables"])
            if fields["forward"] is None:
                logged = {name: s.logged for name, s in self.accounts.tables.items()}
                self.forward.adopt(fields["applied"], logged)
            else:
                self.rules_changed = self.forward.restore(fields["forward"])

    # Parts

    def maps_of(self, key: OriginKey) -> OriginMaps:
        """The maps of an origin, empty ones if it is not known."""
        state = self.origins.get(key)
        return OriginMaps() if state is None else state.maps

    def slice_ns(self, table: str) -> int:
        """Length of an own table's slices."""
        return slice_length_ns(self._every_ns.get(table.casefold()))

    def _received(self, record: Record, decoded: object, sink: RowSink) -> None:
        if isinstance(decoded, Received):
            received = decoded
            if received.header["sch"] or received.header["dev"]:
                applied = self.origins.open(received.origin, received.header["via"])
                self.lines.mirror(applied, *decode_payload(byte_view(record.payload)))
        else:
            header, buffers = decode_payload(byte_view(record.payload))
            key = OriginKey(header["node"], header["epoch"], header["name"])
            replayed = self.origins.open(key, header["via"])
            received = decode_received(header, buffers, self.maps_of)
            self.lines.mirror(replayed, header, buffers)
        header = dict(received.header)
        state = self.origins.open(received.origin, header["via"])
        self.origins.begin(state)
        state.received.update(received.ranges)
        state.maps.said.forget(state.received.watermark)
        self.lines.received(state, received.ranges, header)
        self.moves.put(moves_from_wire(header.get("own", [])))
        self.accounts.received(header["counts"], header["values"])
        _put_aside(state, header["parked"])
        _dropped(state, header.get("said", ()))
        self._applying = state
        for group in received.groups:
            sink.add(group.table, state.origin, group.rows, group.lsn)
        for self._deleting_lsn, erasure in received.deletes:
            sink.delete(state.origin, erasure)
            self.lines.delete_below(state, erasure, sink)
        self._applying = None
        if received.ranges and "at" in header:
            state.moments.note(received.ranges.last, int(header["at"]))
        for lsn, manifest in received.manifests:
            state.written.note(lsn, manifest.as_of_ns // NS_PER_MS)
            if not self.lines.is_on_line(state, lsn):
                continue  # it speaks of a log that is no more
            table = state.maps.table(manifest.table)
            name = manifest.table if table is None else table.local
            watch = state.watch(name, manifest.slice_ns)
            watch.manifest_applied(manifest, lsn)
            if state.repairs:
                now = self._monotonic()
                for first, last in manifest.about:
                    state.repairs.answered(name, first, last, lsn, now, say=True)
        for lsn, owed in received.owed:
            if isinstance(owed, Owed):
                owe(self.origins, self.lines, state, owed, lsn)
                if self.forward is not None:
                    ref = (state.key.uuid, state.key.epoch, lsn)
                    self.forward.owing.hand_on(ref, owed.target or state.key, owed.ranges)
            else:
                declare_lost(self.origins, self.lines, state, owed, lsn)

    def _imaged(self, record: Record, image: SliceImage, sink: RowSink) -> None:
        """A slice image of another node was applied."""
        header, _ = decode_payload(byte_view(record.payload))
        counts = [len(image.rows), 0, int(header.get("aside", 0))]
        self.accounts.received({image.table: counts}, header.get("values", {}))
        origin = image.origin
        state = self.origins.get(OriginKey(origin.node_uuid, origin.epoch, origin.node))
        if state is None:
            return
        self.lines.image_applied(state, image, sink)
        if state.line is None:
            watch = self._watch(state, image.table)
            watch.image_applied(image.start_ns, image.end_ns, image.as_of)
            _put_aside(state, header.get("parked", ()))
            watch.keeps(header.get("kept", ()))
            first, last = image.start_ns // watch.slice_ns, (image.end_ns - 1) // watch.slice_ns
            state.repairs.answered(image.table, first, last, image.as_of, self._monotonic())
        table = state.local_table(image.table)
        if table is None:
            return
        span = image.start_ns, image.end_ns
        waiting = state.backlog.waiting_for(table.name, *span)
        self.lines.enter(state, state.backlog.image_applied(table.name, *span, image.as_of))
        if self.forward is not None:
            entry = waiting[0] if waiting else None
            self.forward.imaged(entry, state.key, image.table, len(image.rows))

    def _lined(self, record: Record) -> None:
        header, _ = decode_payload(byte_view(record.payload))
        if record.kind == RecordKind.BOOT:
            self.lines.own.trail.note_boot(record.lsn, bytes(header["id"]))
            self.lines.own.trail.note_point(record.lsn, record.chain)
        elif record.kind == RecordKind.EVT:
            self.lines.alarmed(header)
            if header.get("code") == DAMAGED or header.get("op") == DOUBT:
                self._damaged(str(header["t"]), header["spans"])
            if header.get("op") == DECLINED:
                image_declined(self.origins, self.accounts, header, self._monotonic())
        else:
            fork = self.lines.said(header)
            if fork is not None and self.forward is not None:
                self.forward.forked(fork)

    def _moved(self, record: Record) -> None:
        """Devices that change their owner: stated here, or ordered of this node or one below."""
        header, _ = decode_payload(byte_view(record.payload))
        try:
            if record.kind == RecordKind.OWN:
                self.moves.stated(moves_from_wire(header.get("moves")), record.lsn)
            elif header.get("kind") == HANDOVER:
                self.moves.put(moves_from_wire(Order.from_header(header).body.get("moves")))
        except WireError:  # of a later version: it is only not understood here
            return

    def _damaged(self, table: str, spans: Iterable[tuple[int, int]]) -> None:
        for start_ns, end_ns in spans:
            for state in self.origins:
                if (watch := state.watches.get(table)) is not None:
                    watch.damaged(start_ns, end_ns)

    def _defined(self, record: Record) -> None:
        header, _ = decode_payload(byte_view(record.payload))
        if record.kind == RecordKind.DEV:
            devices = DeviceRecord.from_header(header)
            self.scope.devices(devices.ids, devices.paths, foreign=devices.foreign)
        elif header.get("op") == "template":
            self._every_ns[str(header["name"]).casefold()] = header["every_ns"]
            self.lines.computed(str(header["name"]), header.get("rollup_of"))

    def _forwarded(
        self, forward: Forward, record: Record, header: Mapping[str, Any] | None
    ) -> None:
        if record.kind == RecordKind.EVT:
            event, _ = decode_payload(byte_view(record.payload))
            if event.get("op") == PARK:
                forward.park(event)
        elif record.kind in (RecordKind.COVER, RecordKind.EXP):
            owed = Owed.decode(byte_view(record.payload), record.lsn)
            forward.owe_slices(owed)
            for table in owed.said:
                for first, last in table.slices:
                    self.manifests.restate(table.name, first, last + 1)
        elif record.kind == RecordKind.LOSS:
            loss = Loss.decode(byte_view(record.payload))
            forward.lost(loss)
            if loss.target is None and loss.why == EXPIRED:
                for lost in loss.tables:
                    self.manifests.lost(lost.name, lost.slice_ns, lost.keys)
            if loss.target is None and loss.why == LOG_DAMAGED and loss.first_gone is not None:
                self.manifests.doubt(loss.first_gone, record.lsn)
        now_ns = self._clock_ns()
        if header is not None and not self.scope.used:
            # What an edge does all day: no need to look into the record.
            forward.points(record.lsn, header["t"], int(header["n"]), record.size, now_ns)
        else:
            forward.apply(forward.classifier.content(record, header), now_ns)

    def _totals(self, table: str) -> tuple[int, int]:
        """(late, quarantined) rows of an own table so far."""
        sums = self.accounts.tables.get(table)
        return (0, 0) if sums is None else (sums.late, sums.quarantined + sums.values_quarantined)


def _dropped(state: OriginState, said: Iterable[Sequence[Any]]) -> None:
    """Tables that their owner dropped, or took back."""
    for device, name, lsn, gone in said:
        mapped = state.maps.table(name) if device == TEMPLATE else None
        watch = None if mapped is None else state.home.watches.get(mapped.local)
        if watch is not None:
            watch.dropped(lsn, gone=bool(gone))


def _put_aside(state: OriginState, parked: Iterable[Sequence[Any]]) -> None:
    """What a record says was put aside of its rows, by slice."""
    for table, slice_ns, key, rows, d1, d2, values in parked:
        state.watch(table, slice_ns).parked(
            np.array([key], np.int64), np.array([rows], np.int64), np.array([d1], np.uint64),
            np.array([d2], np.uint64), np.array([values], np.int64),
        )  # fmt: skip
