"""What one record of the local log means for the parent: what is sent of it, what stays here.

1. Own PTS, DEL and MAN records go up if the table is exported. Own definitions (SCH, DEV) always
   do: a parent that knows what exists can say what it does not hold, and a wider export needs no
   more than rows. Foreign definitions (made for a child's data) stay: the child's own ones go up.
   Rows of an urgent table go up like definitions, in the control queue.
2. A received batch (RCV) goes up under its origin's header: its records by the same rules, all
   other LSNs of its ranges as covered.
3. Everything else is nothing: its LSN is only covered.

The same function decides when rows are counted, when a batch is cut, and when rows are counted
again, so that the counts agree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mainstem_engine.erasures import ORIGIN
from mainstem_engine.filesystem import byte_view
from mainstem_engine.log.records import Record, RecordKind, decode_payload, encode_payload
from mainstem_engine.model import BoolMask
from mainstem_engine.points import Points
from mainstem_sync.origins.deletions import scoped_payload
from mainstem_sync.origins.origin_state import OriginMaps
from mainstem_sync.slices.loss import Loss
from mainstem_sync.slices.owed import Owed
from mainstem_sync.state.exports import ExportPolicy
from mainstem_sync.state.scope import DeviceScope
from mainstem_sync.wire.blocks import block_mask
from mainstem_sync.wire.messages import OriginKey, Queue
from mainstem_sync.wire.packing import Piece
from mainstem_sync.wire.ranges import RangeSet

BULK_ROWS_MIN = 4096
"""Rows of one record from which on it is a load and not what has just been measured: live rows need
not wait for it."""

MapsOf = Callable[[OriginKey], OriginMaps]

RETRIED = "retried"
"""Key of a received record that stores what was put aside (merging.py): it goes no further."""

ANNOUNCED = "announced"
"""Key of a definition that is logged again for the parent (announce.py)."""

CONTROL_KINDS = frozenset(
    {
        RecordKind.SCH, RecordKind.DEV, RecordKind.OWN, RecordKind.MAN, RecordKind.BOOT,
        RecordKind.RES,
    }
)  # fmt: skip
"""Definitions, who owns what, manifests, what became of orders, and process starts, by which every
tier tells a log from its copies. A delete is sent among them, and judged by its devices."""

FOR_ALL_KINDS = frozenset({RecordKind.BOOT, RecordKind.RES, RecordKind.OWN})
"""Every tier above needs them, whatever is exported."""

OWED_KINDS = frozenset({RecordKind.COVER, RecordKind.EXP, RecordKind.LOSS})
"""What is said of slices and ranges; it goes up with what is exported of it."""

_STATEMENTS = OWED_KINDS | {RecordKind.MAN}


@dataclass(slots=True)
class Content:
    """What one local record means for the parent.

    ``origin`` and ``ranges``: of a relayed batch, None for an own record. ``sent`` and ``kept``:
    stored rows by table. ``bytes``: of the payloads; ``weight``: what they would be
    as records. ``needed``: False if the parent needs nothing but the LSN. ``bulk``: a load, or what
    was history before it came here; of the history queue, even when it has just arrived.
    ``statement``: control that speaks of rows, and that nothing else waits for.
    """

    lsn: int
    origin: OriginKey | None = None
    ranges: RangeSet | None = None
    pieces: list[Piece] = field(default_factory=list)
    sent: dict[str, int] = field(default_factory=dict)
    kept: dict[str, int] = field(default_factory=dict)
    chain: list[Any] | None = None
    """Of a relayed batch: a point of its origin's chain."""
    control: bool = False
    statement: bool = False
    bulk: bool = False
    bytes: int = 0
    weight: int = 0

    @property
    def needed(self) -> bool:
        return self.ranges is not None or bool(self.pieces)

    def add(self, piece: Piece) -> None:
        self.pieces.append(piece)
        self.bytes += len(piece.payload)
        self.weight += piece.weight

    def count(self, table: str, sent: int, kept: int) -> None:
        if sent:
            self.sent[table] = self.sent.get(table, 0) + sent
        if kept:
            self.kept[table] = self.kept.get(table, 0) + kept


class Classifier:
    """Applies the export rules to records of the local log."""

    def __init__(self, policy: ExportPolicy, scope: DeviceScope, maps_of: MapsOf) -> None:
        self.policy = policy
        self.scope = scope
        self._maps_of = maps_of
        self._own_tables: set[str] = set()

    def content(self, record: Record, header: Mapping[str, Any] | None = None) -> Content:
        """``header``: of the record, where the caller has it already."""
        content = Content(record.lsn)
        kind = record.kind
        if kind == RecordKind.PTS:
            self._points(content, record, header)
        elif kind == RecordKind.RCV:
            self._relayed(content, record)
        elif kind == RecordKind.IMG:
            # What a repair here brought is not this node's to send.
            fields = decode_payload(byte_view(record.payload))[0]
            content.count(str(fields["t"]), 0, int(fields["n"]))
        elif kind == RecordKind.DEL:
            self._delete(content, record.lsn, byte_view(record.payload), None)
            content.control = bool(content.pieces)
        elif kind in OWED_KINDS:
            self._owed(content, record.lsn, record.kind, byte_view(record.payload))
            content.control = content.statement = True
        elif kind in CONTROL_KINDS:
            self._control(content, record)
        return content

    def _owed(self, content: Content, lsn: int, kind: int, payload: memoryview) -> None:
        """What is owed as slices, or lost: of the tables that go up."""
        header = decode_payload(payload)[0]
        if kind == RecordKind.LOSS:
            fields = Loss.from_header(header).to_wire(self.policy.sends)
        else:
            fields = Owed.from_header(header, lsn).to_wire(self.policy.sends)
        some = b"".join(map(byte_view, encode_payload(fields)))
        content.add(Piece(lsn, int(kind), "", 0, some))

    def _points(self, content: Content, record: Record, header: Mapping[str, Any] | None) -> None:
        payload = byte_view(record.payload)
        opened = None if header is not None else decode_payload(payload)
        fields = header if opened is None else opened[0]
        assert fields is not None
        table, rows = str(fields["t"]), int(fields["n"])
        if not rows or not self.policy.sends(table):
            content.count(table, 0, rows)
            return
        content.bulk = rows >= BULK_ROWS_MIN
        select = None
        if self.policy.prefixes(table) is not None:
            opened = opened or decode_payload(payload)
            device = np.frombuffer(opened[1][0], "<u4").astype(np.int64)
            select = self.scope.mask(table, device)
        piece = Piece(record.lsn, int(record.kind), table, rows, payload, opened=opened)
        self._send_rows(content, piece, select, rows)
        # A load of them would hold up what it needs itself.
        content.control = self.policy.is_urgent(table) and not content.bulk and content.needed

    def _send_rows(
        self, content: Content, piece: Piece, select: BoolMask | None, stored: int
    ) -> None:
        """``stored`` of the piece's rows are stored here; they are what is counted."""
        if select is None or select.all():
            content.add(piece)
            content.count(piece.table, stored, 0)
            return
        chosen = int(np.count_nonzero(select))
        if chosen:
            content.add(replace(piece, rows=chosen, select=select))
        sent = min(chosen, stored)
        content.count(piece.table, sent, stored - sent)

    def _control(self, content: Content, record: Record) -> None:
        payload = byte_view(record.payload)
        header, _ = decode_payload(payload)
        if self._wanted(record.kind, header, None):
            name = str(header.get("t") or header.get("name") or "")
            content.add(Piece(record.lsn, int(record.kind), name, 0, payload))
            content.control, content.statement = True, record.kind == RecordKind.MAN

    def _delete(
        self, content: Content, lsn: int, payload: memoryview, origin: OriginKey | None
    ) -> None:
        """A delete goes up if its table does, for those of its devices that do."""
        header, buffers = decode_payload(payload)
        table = str(header["t"])
        if not self.policy.sends(table) or (origin is None and header.get(ORIGIN)):
            return  # what is deleted here of a child's rows is deleted here only
        select = None
        if self.policy.prefixes(table) is not None and int(header["has"]) & 1:
            device: npt.NDArray[Any] = np.frombuffer(buffers[0], "<u4")
            if origin is not None:
                device = self._maps_of(origin).local_devices(device)
            select = self.scope.mask(table, device.astype(np.int64))
        some = scoped_payload(payload, select)
        if some is not None:
            content.add(Piece(lsn, int(RecordKind.DEL), table, 0, byte_view(some)))

    def _wanted(self, kind: int, header: Mapping[str, Any], origin: OriginKey | None) -> bool:
        """True if the parent needs a definition or manifest."""
        if kind == RecordKind.MAN:
            table = str(header["t"])
            return self.policy.sends(table) and self.speaks_of_all(table, origin)
        if origin is not None or header.get(ANNOUNCED) or kind in FOR_ALL_KINDS:
            return True
        if kind == RecordKind.DEV:
            return not header.get("foreign")
        if header.get("op") == "template":
            name = str(header["name"]).casefold()
            if not header.get("foreign"):
                self._own_tables.add(name)
            # A child may extend a template of this node: then it is this node's to announce.
            return name in self._own_tables
        if header.get("op") in ("drop", "tags"):
            return "database" not in header and not header.get("foreign")
        return header.get("op") == "database"

    def speaks_of_all(self, table: str, origin: OriginKey | None) -> bool:
        """True if every device of the table goes up: then its manifests say what does."""
        if self.policy.prefixes(table) is None:
            return True
        if origin is None:
            return self.scope.holds_all(table)
        devices = self._maps_of(origin).devices
        return self.scope.holds_all(table, devices[devices >= 0].tolist())

    def _relayed(self, content: Content, record: Record) -> None:
        header, buffers = decode_payload(byte_view(record.payload))
        origin = OriginKey(header["node"], header["epoch"], header["name"])
        content.origin, content.ranges = origin, RangeSet.from_wire(header["ranges"])
        content.chain = header["chain"]
        if header.get(RETRIED):
            for _, _, table, stored, *_ in header["recs"]:
                content.count(self._local_name(origin, table), 0, stored)
            return
        content.control = header["q"] == Queue.CONTROL
        content.statement = content.control and _STATEMENTS.issuperset(r[1] for r in header["recs"])
        content.bulk = header["q"] == Queue.HISTORY
        for table, rows, offset, length, decoded in header.get("blocks", ()):
            payload = buffers[0][offset : offset + length]
            piece = Piece(
                content.ranges.last, int(RecordKind.PTS), table, rows, payload, None, True, decoded
            )
            self._relayed_rows(content, origin, piece, rows)
        for lsn, kind, table, stored, offset, length, put_aside in header["recs"]:
            payload = buffers[0][offset : offset + length]
            if kind == RecordKind.PTS:
                rows = _rows_of(payload, stored, put_aside)
                piece = Piece(lsn, kind, table, rows, payload)
                self._relayed_rows(content, origin, piece, stored)
            elif kind == RecordKind.DEL:
                self._delete(content, lsn, payload, origin)
            elif kind in OWED_KINDS:
                self._owed(content, lsn, kind, payload)
            elif self._wanted(kind, decode_payload(payload)[0], origin):
                content.add(Piece(lsn, kind, table, 0, payload))

    def _relayed_rows(self, content: Content, origin: OriginKey, piece: Piece, stored: int) -> None:
        """Rows of a child's record or block, of which ``stored`` are stored here."""
        local = self._local_name(origin, piece.table)
        if not self.policy.sends(piece.table):
            content.count(local, 0, stored)
            return
        select = None
        if self.policy.prefixes(piece.table) is not None:
            select = self._relayed_mask(origin, piece)
        counted = Content(piece.lsn)
        self._send_rows(counted, piece, select, stored)
        for sent in counted.pieces:
            content.add(sent)
        content.count(local, sum(counted.sent.values()), sum(counted.kept.values()))

    def _relayed_mask(self, origin: OriginKey, piece: Piece) -> BoolMask | None:
        maps = self._maps_of(origin)
        if not piece.block:
            device = np.frombuffer(decode_payload(piece.payload)[1][0], "<u4")
            return self.scope.mask(piece.table, maps.local_devices(device))
        return block_mask(
            piece.payload, lambda ids: self.scope.mask(piece.table, maps.local_devices(ids))
        )

    def _local_name(self, origin: OriginKey, table: str) -> str:
        found = self._maps_of(origin).table(table)
        return table if found is None else found.local

    def snapshot(self) -> list[str]:
        return sorted(self._own_tables)

    def restore(self, own_tables: list[str]) -> None:
        self._own_tables = set(own_tables)


def _rows_of(payload: memoryview, stored: int, put_aside: int) -> int:
    """Rows in a relayed record: those put aside for their type are still in it, those of denied
    devices are not."""
    if not put_aside:
        return stored
    return int(decode_payload(payload)[0]["n"])


def points_header(decoded: object) -> Mapping[str, Any] | None:
    """The header of an own PTS record that came decoded."""
    return decoded.header if isinstance(decoded, Points) else None
