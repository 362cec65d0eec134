"""The messages of the protocol, and the numbers that both sides agree on.

A child says HELLO and gets WELCOME (a lease, and per origin what the parent holds), then sends
requests: one REQUEST frame, any number of BATCH frames, sometimes a STATUS frame. The reply has one
ACK frame per batch, in order, and is signed with the lease. A refusal is one ERROR frame.

Decoding checks every type and bound: a message comes from another machine. Errors are WireError.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgpack

from mainstem_sync.errors import (
    BusyError,
    FencedError,
    ForkedError,
    LeaseError,
    PeerError,
    RejectedError,
    SyncError,
    VersionError,
    WireError,
)
from mainstem_sync.wire.fields import integer, text
from mainstem_sync.wire.frames import (
    HASH_BYTES,
    Frame,
    FrameType,
    decode_frames,
    encode_frame,
    pack_header,
)

VERSION = 3
"""The newest version. HELLO states a range; the parent answers with the greatest that both know."""

VERSION_MIN = 1
"""The oldest that is still spoken. It knows no epochs: a fork is refused there, not resolved."""

EPOCHS_VERSION = 2
"""Versions from here on know epochs, challenges and lines."""

HELLO_PATH = "/sync/v1/hello"
BATCHES_PATH = "/sync/v1/batches"
DOWN_PATH = "/sync/v1/down"
RESULTS_PATH = "/sync/v1/results"
LEASE_HEADER = "Mainstem-Lease"
LINE_HEADER = "Mainstem-Line"
"""Of a request for orders, which has no body: ``uuid:epoch`` of the log that its cursor is of."""

STATUS_EVERY_S = 2.0
"""A status rides with a request at least this often, so that a tree of three tiers is at most a
few seconds old; it is also the heartbeat."""

STATUS_ALONE_S = 2.5
"""So old is the last one at most: until then the next waits for rows to ride with. An edge that
measures once a second would else make every third request for a status alone."""

STALE_AFTER_S = 3 * STATUS_EVERY_S
"""Two heartbeats missed and the third one due."""

OFFLINE_AFTER_S = 30.0
"""A half-open link is noticed by both sides within this time, so nothing can still arrive."""

LEASE_CHARS_MAX = 64

STATUS_BYTES_MAX = 1 << 20
"""A status with those of all children below. A larger one is cut (see children.py)."""

RETRY_AFTER_S = 1.0
RETRY_AFTER_S_MAX = 60.0
"""What a busy parent may ask for; longer would be an outage."""

ORIGINS_MAX = 8192
"""Origins behind one child: more nodes than one site has by two orders of magnitude. A HELLO names
all of them, in a header of less than a mebibyte."""


class Queue(enum.StrEnum):
    """Why a batch is sent now. Only the sender's scheduling depends on it."""

    CONTROL = "control"
    LIVE = "live"
    HISTORY = "history"


class AckCode(enum.StrEnum):
    """What became of a batch."""

    OK = "ok"
    """Durable and applied (or known already)."""
    NEED_EPO = "need_epo"
    """Of an epoch that is not known here: say HELLO again, which tells of it."""
    NEED_SCHEMA = "need_schema"
    """A template or device is not known here yet: send the control queue, then this again."""
    BAD_HASH = "bad_hash"
    """Changed on its way: send again."""
    LATER = "later"
    """The parent is over a bound: send again after a pause."""
    PART = "part"
    """A piece is kept; ``d`` says how many bytes of the batch there are from its beginning."""
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

    def to_short(self) -> list[Any]:
        """As to_wire, the uuid as 16 bytes."""
        try:
            packed = bytes.fromhex(self.uuid)
        except ValueError:
            return self.to_wire()
        return [packed if packed.hex() == self.uuid else self.uuid, self.name, self.epoch]

    @classmethod
    def from_wire(cls, value: object) -> OriginKey:
        if not isinstance(value, list) or len(value) != 3:
            raise WireError("an origin is [uuid, name, epoch]")
        uuid, name, epoch = value
        uuid = uuid.hex() if isinstance(uuid, bytes) else uuid
        return cls(text(uuid, "uuid"), integer(epoch, "epoch", 0xFFFFFFFF), text(name, "name"))


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
        return cls(integer(lsn, "lsn"), chain)


def encode_status(status: Mapping[str, Any] | bytes) -> bytes:
    """A STATUS frame; ``status`` may be packed already. TooLargeError is the caller's business: see
    children.packed_status."""
    packed = status if isinstance(status, bytes) else pack_header(status)
    return encode_frame(FrameType.STATUS, {}, packed)


def decode_status(frame: Frame) -> dict[str, Any]:
    """The status object of a STATUS frame."""
    if len(frame.payload) > STATUS_BYTES_MAX:
        raise WireError(f"a status of {len(frame.payload)} bytes")
    try:
        # Types of their own, times among them, are nothing that anybody above could show.
        status = msgpack.unpackb(
            frame.payload, strict_map_key=False, timestamp=1, ext_hook=lambda *_: None
        )
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as exc:
        raise WireError(f"a status is not msgpack ({exc})") from exc
    if not isinstance(status, dict):
        raise WireError("a status is not a map")
    return status


def encode_error(error: SyncError) -> bytes:
    """The ERROR frame of a refusal."""
    header: dict[str, Any] = {
        "code": error.code, "message": error.message, "hint": error.hint,
    }  # fmt: skip
    if isinstance(error, BusyError):
        header["retry_s"] = error.retry_after_s
    return encode_frame(FrameType.ERROR, header)


def single_frame(message: bytes | memoryview) -> Frame:
    """The first frame of a reply; an ERROR frame is raised as the error that it stands for."""
    for frame in decode_frames(message):
        if frame.type is FrameType.ERROR:
            raise _peer_error(frame)
        return frame
    raise WireError("an empty reply")


_PEER_ERRORS = {
    kind.code: kind
    for kind in (BusyError, FencedError, ForkedError, VersionError, LeaseError, RejectedError)
}


def _peer_error(frame: Frame) -> PeerError:
    header = frame.header
    kind = _PEER_ERRORS.get(str(header.get("code")), PeerError)
    hint = header.get("hint")
    text = str(header.get("message"))[:4096]
    error = kind(text, hint=None if hint is None else str(hint)[:4096])
    if isinstance(error, BusyError):
        error.retry_after_s = _pause(header.get("retry_s"))
    error.code = str(header.get("code"))[:64]
    return error


def _pause(value: object) -> float:
    """Seconds that a busy parent asks for, within bounds."""
    seconds = float(value) if isinstance(value, int | float) else RETRY_AFTER_S
    return min(max(seconds, 0.0), RETRY_AFTER_S_MAX) if seconds == seconds else RETRY_AFTER_S
