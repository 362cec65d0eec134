"""The messages of the protocol, and the numbers that both sides agree on.

A child says HELLO and gets WELCOME (a lease, and per origin what the parent holds), then sends
requests: one REQUEST frame, any number of BATCH frames, sometimes a STATUS frame. The reply has one
ACK frame per batch, in order, and is signed with the lease. A refusal is one ERROR frame.

Decoding checks every type and bound: a message comes from another machine. Errors are WireError.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgpack

from mainstem_sync.errors import (
    FencedError,
    ForkedError,
    HashMismatchError,
    LeaseError,
    PeerError,
    RejectedError,
    SyncError,
    VersionError,
    WireError,
)
from mainstem_sync.ranges import LSN_MAX, RangeSet
from mainstem_sync.wire import (
    HASH_BYTES,
    Frame,
    FrameType,
    batch_hash,
    compress,
    decode_frames,
    encode_frame,
    pack_header,
)

VERSION = 1
"""The only version so far. HELLO states a range, so that later ones can be negotiated."""

HELLO_PATH = "/sync/v1/hello"
BATCHES_PATH = "/sync/v1/batches"

STATUS_EVERY_S = 2.0
"""A status rides with a request at least this often, so that a tree of three tiers is at most a
few seconds old; it is also the heartbeat."""

STALE_AFTER_S = 3 * STATUS_EVERY_S
"""Two heartbeats missed and the third one due."""

OFFLINE_AFTER_S = 30.0
"""A half-open link is noticed by both sides within this time, so nothing can still arrive."""

STATUS_BYTES_MAX = 1 << 20
"""A status with those of all children below. A larger one is cut (see children.py)."""

ORIGINS_MAX = 4096
"""Origins behind one child: more nodes than one site has by two orders of magnitude."""

RECORDS_MAX = 65_536
"""Records in one batch; at the smallest record this is the byte bound of a batch as well."""

_NAME_CHARS_MAX = 255
_LEASE_CHARS_MAX = 64


class Queue(enum.StrEnum):
    """Why a batch is sent now. Only the sender's scheduling depends on it."""

    CONTROL = "control"
    LIVE = "live"
    HISTORY = "history"


class AckCode(enum.StrEnum):
    """What became of a batch."""

    OK = "ok"
    """Durable and applied (or known already)."""
    NEED_SCHEMA = "need_schema"
    """A template or device is not known here yet: send the control queue, then this again."""
    BAD_HASH = "bad_hash"
    """Changed on its way: send again."""
    LATER = "later"
    """The parent is over a bound: send again after a pause."""
    REJECTED = "rejected"
    """Will never be taken: park it."""


@dataclass(frozen=True, slots=True)
class OriginKey:
    """One line of one node's log: node uuid and epoch. ``name`` is what people call the node."""

    uuid: str
    epoch: int
    name: str = field(compare=False)

    def to_wire(self) -> list[Any]:
        return [self.uuid, self.name, self.epoch]

    @classmethod
    def from_wire(cls, value: object) -> OriginKey:
        if not isinstance(value, list) or len(value) != 3:
            raise WireError("an origin is [uuid, name, epoch]")
        uuid, name, epoch = value
        return cls(_text(uuid, "uuid"), _integer(epoch, "epoch", 0xFFFFFFFF), _text(name, "name"))


@dataclass(frozen=True, slots=True)
class ChainPoint:
    """The value of a log's hash chain after one LSN."""

    lsn: int
    chain: bytes

    def to_wire(self) -> list[Any]:
        return [self.lsn, self.chain]

    @classmethod
    def from_wire(cls, value: object) -> ChainPoint:
        if not isinstance(value, list) or len(value) != 2:
            raise WireError("a chain point is [lsn, chain]")
        lsn, chain = value
        if not isinstance(chain, bytes) or len(chain) != HASH_BYTES:
            raise WireError("a chain value has 16 bytes")
        return cls(_integer(lsn, "lsn"), chain)


@dataclass(frozen=True, slots=True)
class Hello:
    """What a child says first. ``instance`` is new at every process start; ``nonce`` comes back."""

    origin: OriginKey
    instance: str
    nonce: str
    first_lsn: int
    durable_lsn: int
    chain: tuple[ChainPoint, ...] = ()
    origins: tuple[OriginKey, ...] = ()
    versions: tuple[int, int] = (VERSION, VERSION)

    def encode(self) -> bytes:
        """One HELLO frame."""
        return encode_frame(
            FrameType.HELLO,
            {
                "v": list(self.versions),
                "origin": self.origin.to_wire(),
                "instance": self.instance,
                "nonce": self.nonce,
                "first": self.first_lsn,
                "durable": self.durable_lsn,
                "chain": [point.to_wire() for point in self.chain],
                "origins": [origin.to_wire() for origin in self.origins],
            },
        )

    @classmethod
    def from_frame(cls, frame: Frame) -> Hello:
        header = frame.header
        low, high = _pair(header.get("v"))
        return cls(
            OriginKey.from_wire(header.get("origin")),
            _text(header.get("instance"), "instance"),
            _text(header.get("nonce"), "nonce"),
            _integer(header.get("first"), "first"),
            _integer(header.get("durable"), "durable"),
            tuple(ChainPoint.from_wire(p) for p in _list(header.get("chain"), "chain", 64)),
            tuple(
                OriginKey.from_wire(o) for o in _list(header.get("origins"), "origins", ORIGINS_MAX)
            ),
            (low, high),
        )


@dataclass(frozen=True, slots=True)
class Welcome:
    """The parent's answer. ``need_chain``: LSNs whose chain value it must see before it decides;
    then there is no lease yet and the child says HELLO again with them."""

    node: str
    uuid: str
    nonce: str
    lease: str
    time_ns: int
    held: tuple[tuple[OriginKey, RangeSet], ...] = ()
    need_chain: tuple[int, ...] = ()
    version: int = VERSION

    def encode(self) -> bytes:
        """One WELCOME frame."""
        return encode_frame(
            FrameType.WELCOME,
            {
                "v": self.version,
                "node": self.node,
                "uuid": self.uuid,
                "nonce": self.nonce,
                "lease": self.lease,
                "time_ns": self.time_ns,
                "held": [[key.to_wire(), ranges.to_wire()] for key, ranges in self.held],
                "need_chain": list(self.need_chain),
            },
        )

    @classmethod
    def from_frame(cls, frame: Frame) -> Welcome:
        header = frame.header
        held = []
        for item in _list(header.get("held"), "held", ORIGINS_MAX + 1):
            if not isinstance(item, list) or len(item) != 2:
                raise WireError("held is a list of [origin, ranges]")
            held.append((OriginKey.from_wire(item[0]), RangeSet.from_wire(item[1])))
        return cls(
            _text(header.get("node"), "node"),
            _text(header.get("uuid"), "uuid"),
            _text(header.get("nonce"), "nonce"),
            _text(header.get("lease"), "lease", _LEASE_CHARS_MAX, empty=True),
            _integer(header.get("time_ns"), "time_ns"),
            tuple(held),
            tuple(
                _integer(lsn, "lsn") for lsn in _list(header.get("need_chain"), "need_chain", 64)
            ),
            _integer(header.get("v"), "v"),
        )


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
    decode_error: WireError | None = None
    """Set when the frame is whole but its hash is not: the batch is answered, the rest goes on."""

    @classmethod
    def from_frame(cls, frame: Frame) -> Batch:
        header = frame.header
        records = []
        for item in _list(header.get("recs"), "recs", RECORDS_MAX):
            if not isinstance(item, list) or len(item) != 6:
                raise WireError("a record is [lsn, kind, table, rows, offset, length]")
            lsn, kind, table, rows, offset, length = item
            records.append(
                WireRecord(
                    _integer(lsn, "lsn"),
                    _integer(kind, "kind", 255),
                    _text(table, "table", empty=True),
                    _integer(rows, "rows"),
                    _integer(offset, "offset"),
                    _integer(length, "length"),
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
            _integer(header.get("raw"), "raw"),
            _text(header.get("codec"), "codec"),
            data,
            real,
            None if chain is None else ChainPoint.from_wire(chain),
            error,
        )


def encode_batch(
    origin: OriginKey,
    queue: Queue,
    ranges: RangeSet,
    records: Sequence[WireRecord],
    raw: bytes | bytearray,
    chain: ChainPoint | None,
) -> tuple[bytes, bytes]:
    """(frame, hash) of a batch whose raw payload is ``raw``."""
    codec, data = compress(raw)
    header = pack_header(
        {
            "origin": origin.to_wire(),
            "queue": str(queue),
            "ranges": ranges.to_wire(),
            "recs": [[r.lsn, r.kind, r.table, r.rows, r.offset, r.length] for r in records],
            "raw": len(raw),
            "codec": codec,
            "chain": None if chain is None else chain.to_wire(),
        }
    )
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
            _integer(header.get("d"), "d"),
            _text(header.get("why"), "why", 4096, empty=True),
        )


def encode_request(lease: str, number: int, time_ns: int) -> bytes:
    """The REQUEST frame that opens a request."""
    return encode_frame(FrameType.REQUEST, {"lease": lease, "n": number, "time_ns": time_ns})


def request_lease(frame: Frame) -> tuple[str, int]:
    """(lease, number) of a REQUEST frame."""
    if frame.type is not FrameType.REQUEST:
        raise WireError("a request does not start with a REQUEST frame")
    lease = _text(frame.header.get("lease"), "lease", _LEASE_CHARS_MAX)
    return lease, _integer(frame.header.get("n"), "n")


def encode_status(status: Mapping[str, Any]) -> bytes:
    """A STATUS frame. TooLargeError is the caller's business: see children.bounded_status."""
    return encode_frame(FrameType.STATUS, {}, pack_header(status))


def decode_status(frame: Frame) -> dict[str, Any]:
    """The status object of a STATUS frame."""
    if len(frame.payload) > STATUS_BYTES_MAX:
        raise WireError(f"a status of {len(frame.payload)} bytes")
    try:
        status = msgpack.unpackb(frame.payload, strict_map_key=False)
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as exc:
        raise WireError(f"a status is not msgpack ({exc})") from exc
    if not isinstance(status, dict):
        raise WireError("a status is not a map")
    return status


def encode_error(error: SyncError) -> bytes:
    """The ERROR frame of a refusal."""
    return encode_frame(
        FrameType.ERROR, {"code": error.code, "message": error.message, "hint": error.hint}
    )


def single_frame(message: bytes | memoryview) -> Frame:
    """The first frame of a reply; an ERROR frame is raised as the error that it stands for."""
    for frame in decode_frames(message):
        if frame.type is FrameType.ERROR:
            raise _peer_error(frame)
        return frame
    raise WireError("an empty reply")


_PEER_ERRORS = {
    kind.code: kind for kind in (FencedError, ForkedError, VersionError, LeaseError, RejectedError)
}


def _peer_error(frame: Frame) -> PeerError:
    header = frame.header
    kind = _PEER_ERRORS.get(str(header.get("code")), PeerError)
    hint = header.get("hint")
    text = str(header.get("message"))[:4096]
    error = kind(text, hint=None if hint is None else str(hint)[:4096])
    error.code = str(header.get("code"))[:64]
    return error


def _integer(value: object, what: str, limit: int = LSN_MAX) -> int:
    if type(value) is not int or not 0 <= value <= limit:
        raise WireError(f"{what} {value!r} is not a number from 0 to {limit}")
    return value


def _text(value: object, what: str, limit: int = _NAME_CHARS_MAX, *, empty: bool = False) -> str:
    if not isinstance(value, str) or len(value) > limit or not (value or empty):
        raise WireError(f"{what} is not a text of 1 to {limit} characters")
    return value


def _list(value: object, what: str, limit: int) -> list[Any]:
    if not isinstance(value, list) or len(value) > limit:
        raise WireError(f"{what} is not a list of at most {limit}")
    return value


def _pair(value: object) -> tuple[int, int]:
    low, high = (*_list(value, "v", 2), None, None)[:2]
    return _integer(low, "v"), _integer(high, "v")


def _queue(value: object) -> Queue:
    if value not in Queue.__members__.values():
        raise WireError(f"queue {value!r} is unknown")
    return Queue(str(value))
