"""Batches without ranges: they add nothing to R. What they say is as of an LSN.

Definitions of a line that has ended, or of a node below, are not logged again here: the records
that need them go up under that epoch's ids, or under that node's. So they are made from the catalog
when a parent turns out to lack them, and travel beside the records.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from mainstem_engine.erasures import decode_erasure
from mainstem_engine.log.records import RecordKind, decode_payload
from mainstem_sync.sending.outbox import Draft
from mainstem_sync.state.content import Content
from mainstem_sync.wire.batch import WireRecord, encode_batch
from mainstem_sync.wire.blocks import decode_block
from mainstem_sync.wire.frames import DECODED_BYTES_MAX
from mainstem_sync.wire.messages import OriginKey, Queue
from mainstem_sync.wire.ranges import RangeSet


@dataclass(frozen=True, slots=True)
class Definition:
    """``lsn``: the record of the owner by which it is so, where that is known. If the owner goes on
    from a backup of before that, it is not any more."""

    kind: RecordKind
    table: str
    payload: bytes
    lsn: int = 0


@dataclass(slots=True)
class OutsideDraft(Draft):
    """A batch of such records."""

    heads: list[tuple[int, int, str, int]] = field(default_factory=list)
    """LSN, kind, table and rows of each record."""
    parts: list[bytes] = field(default_factory=list)
    names: tuple[str, int] = ("", 0)
    """The table whose definition it is sent for, and its revision (naming.py)."""

    @classmethod
    def defining(
        cls, origin: OriginKey, definitions: Iterable[tuple[int, Definition]]
    ) -> OutsideDraft:
        """Of definitions only, each with the LSN of what needs it."""
        draft = cls(origin, Queue.CONTROL)
        for lsn, definition in definitions:
            draft.define(lsn, definition)
        draft.raw_bytes = draft.weight = sum(map(len, draft.parts))
        return draft

    def define(self, lsn: int, definition: Definition) -> None:
        """One more definition, for what is as of ``lsn``."""
        at = max(1, lsn, definition.lsn)
        self.put(at, definition.kind, definition.table, definition.payload)

    def put(self, lsn: int, kind: RecordKind, table: str, payload: bytes, rows: int = 0) -> None:
        """One more record."""
        self.heads.append((lsn, int(kind), table, rows))
        self.parts.append(payload)

    def encode(self) -> bytes:
        """The BATCH frame; sets ``digest``."""
        records = []
        offset = 0
        for (lsn, kind, table, rows), part in zip(self.heads, self.parts, strict=True):
            records.append(WireRecord(lsn, kind, table, rows, offset, len(part)))
            offset += len(part)
        frame, self.digest = encode_batch(
            self.origin, self.queue, RangeSet(), records, b"".join(self.parts), None
        )
        return frame


def devices_in(contents: Iterable[Content]) -> dict[str, set[int]]:
    """By table, the devices that rows and deletes are about, by their owner's ids."""
    found: dict[str, set[int]] = {}
    for content in contents:
        for piece in content.pieces:
            if piece.kind == RecordKind.PTS and piece.block:
                rows = decode_block(piece.payload, bytes_max=DECODED_BYTES_MAX).points.rows
                devices = rows.device
            elif piece.kind == RecordKind.PTS:
                devices = np.frombuffer(decode_payload(piece.payload)[1][0], np.uint32)
            elif piece.kind == RecordKind.DEL:
                named = decode_erasure(piece.payload).devices
                devices = np.empty(0, np.uint32) if named is None else named
            else:
                continue
            found.setdefault(piece.table, set()).update(np.unique(devices).tolist())
    return found
