"""Batches and what becomes of them: the messages of a connected child.

A request is one REQUEST frame, any number of BATCH frames, sometimes a STATUS. The reply has one
ACK frame per batch and is signed with the lease.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mainstem_sync.errors import HashMismatchError, WireError
from mainstem_sync.wire.fields import integer, list_of, text
from mainstem_sync.wire.frames import (
    CODEC_NONE,
    DECODED_BYTES_MAX,
    HASH_BYTES,
    Frame,
    FrameType,
    batch_hash,
    compress,
    encode_frame,
    pack_header,
)
from mainstem_sync.wire.messages import LEASE_CHARS_MAX, AckCode, ChainPoint, OriginKey, Queue
from mainstem_sync.wire.ranges import RangeSet

RECORDS_MAX = 65_536
"""Records in one batch; at the smallest record this is the byte bound of a batch as well."""

BLOCKS_MAX = RECORDS_MAX
"""Blocks in one batch: a table and set of columns each has one, a relayed batch those it had."""

WHY_CHARS_MAX = 4096


@dataclass(frozen=True, slots=True)
class WireRecord:
    """Where one log record lies in a batch's raw payload."""

    lsn: int
    kind: int
    table: str
    rows: int
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class WireBlock:
    """Where a block of rows (blocks.py) lies in a batch's raw payload."""

    table: str
    rows: int
    offset: int
    length: int
    decoded: int
    """Bytes of the rows when decoded, at most."""

    def to_wire(self) -> list[Any]:
        return [self.table, self.rows, self.offset, self.length, self.decoded]

    @classmethod
    def from_wire(cls, value: object) -> WireBlock:
        if not isinstance(value, list) or len(value) != 5:
            raise WireError("a block is [table, rows, offset, length, decoded]")
        table, rows, offset, length, decoded = value
        return cls(
            text(table, "table"),
            integer(rows, "rows"),
            integer(offset, "offset"),
            integer(length, "length"),
            integer(decoded, "decoded", DECODED_BYTES_MAX),
        )


@dataclass(frozen=True, slots=True)
class Batch:
    """Records of one origin. ``ranges`` are all LSNs that this batch settles: contained and covered
    (not sent by the export rules). ``chain``: of the greatest LSN, only in the origin's own batch.
    """

    origin: OriginKey
    queue: Queue
    ranges: RangeSet
    records: tuple[WireRecord, ...]
    raw_length: int
    codec: str
    payload: bytes | memoryview
    hash: bytes
    chain: ChainPoint | None = None
    blocks: tuple[WireBlock, ...] = ()
    decode_error: WireError | None = None
    """Set when the frame is whole but its hash is not: the batch is answered, the rest goes on."""

    @classmethod
    def from_frame(cls, frame: Frame) -> Batch:
        header = frame.header
        records = []
        for item in list_of(header.get("recs", []), "recs", RECORDS_MAX):
            if not isinstance(item, list) or len(item) != 6:
                raise WireError("a record is [lsn, kind, table, rows, offset, length]")
            lsn, kind, table, rows, offset, length = item
            records.append(
                WireRecord(
                    integer(lsn, "lsn"),
                    integer(kind, "kind", 255),
                    text(table, "table", empty=True),
                    integer(rows, "rows"),
                    integer(offset, "offset"),
                    integer(length, "length"),
                )
            )
        payload = frame.payload
        if len(payload) < HASH_BYTES:
            raise WireError("a batch without its hash")
        stated, data = bytes(payload[:HASH_BYTES]), payload[HASH_BYTES:]
        real = batch_hash(frame.header_bytes, data)
        error = None if stated == real else HashMismatchError("the hash of a batch does not match")
        chain = header.get("chain")
        return cls(
            OriginKey.from_wire(header.get("origin")),
            _queue(header.get("queue")),
            RangeSet.from_wire(header.get("ranges")),
            tuple(records),
            integer(header.get("raw", len(data)), "raw"),
            text(header.get("codec", CODEC_NONE), "codec"),
            data,
            real,
            None if chain is None else ChainPoint.from_wire(chain),
            tuple(
                map(WireBlock.from_wire, list_of(header.get("blocks", []), "blocks", BLOCKS_MAX))
            ),
            error,
        )


def encode_batch(
    origin: OriginKey,
    queue: Queue,
    ranges: RangeSet,
    records: Sequence[WireRecord],
    raw: bytes | bytearray,
    chain: ChainPoint | None,
    blocks: Sequence[WireBlock] = (),
    *,
    dense: bool = False,
    short: bool = False,
) -> tuple[bytes, bytes]:
    """(frame, hash) of a batch whose raw payload is ``raw``. ``dense``: it is not compressed.
    ``short``: what goes without saying is left out, as version 3 allows."""
    codec, data = (CODEC_NONE, bytes(raw)) if dense else compress(raw)
    fields: dict[str, Any] = {
        "origin": origin.to_short() if short else origin.to_wire(),
        "queue": str(queue),
        "ranges": ranges.to_wire(),
    }
    if records or not short:
        fields["recs"] = [[r.lsn, r.kind, r.table, r.rows, r.offset, r.length] for r in records]
    if codec != CODEC_NONE or not short:
        fields |= {"raw": len(raw), "codec": codec}
    if chain is not None or not short:
        fields["chain"] = None if chain is None else chain.to_wire()
    if blocks:
        fields["blocks"] = [block.to_wire() for block in blocks]
    header = pack_header(fields)
    digest = batch_hash(header, data)
    return encode_frame(FrameType.BATCH, header, digest + data), digest


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """What became of the batch with this hash. ``watermark``: D of its origin afterwards."""

    hash: bytes
    code: AckCode
    watermark: int = 0
    message: str = ""

    def encode(self) -> bytes:
        """One ACK frame."""
        return encode_frame(
            FrameType.ACK,
            {"hash": self.hash, "code": str(self.code), "d": self.watermark, "why": self.message},
        )

    @classmethod
    def from_frame(cls, frame: Frame) -> Acknowledgement:
        header = frame.header
        digest, code = header.get("hash"), header.get("code")
        if not isinstance(digest, bytes) or len(digest) != HASH_BYTES:
            raise WireError("an acknowledgement without a hash")
        if code not in AckCode.__members__.values():
            raise WireError(f"acknowledgement code {code!r} is unknown")
        return cls(
            digest,
            AckCode(str(code)),
            integer(header.get("d"), "d"),
            text(header.get("why"), "why", WHY_CHARS_MAX, empty=True),
        )


def encode_request(lease: str, number: int, time_ns: int) -> bytes:
    """The REQUEST frame that opens a request."""
    return encode_frame(FrameType.REQUEST, {"lease": lease, "n": number, "time_ns": time_ns})


def request_lease(frame: Frame) -> tuple[str, int]:
    """(lease, number) of a REQUEST frame."""
    if frame.type is not FrameType.REQUEST:
        raise WireError("a request does not start with a REQUEST frame")
    lease = text(frame.header.get("lease"), "lease", LEASE_CHARS_MAX)
    return lease, integer(frame.header.get("n"), "n")


def _queue(value: object) -> Queue:
    if value not in Queue.__members__.values():
        raise WireError(f"queue {value!r} is unknown")
    return Queue(str(value))
