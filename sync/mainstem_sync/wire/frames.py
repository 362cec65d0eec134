"""Bytes of the protocol: a message is a sequence of frames.

Frame:  magic "MSF1" | type u8 | flags u8 | reserved u16 | header length u32 | payload length u32 |
        crc32c u32 of header and payload | header (msgpack map) | payload

1. Every declared length is compared with its bound before anything is allocated or decoded.
2. A payload is compressed only inside a batch; its raw length is declared, and bounded per batch,
   per request and as a ratio, before the decoder is called.
3. ``sign`` closes a reply with a keyed hash over all of it: whoever does not know the lease (such
   as a captive portal) cannot make an acknowledgement.

Everything is little-endian. Errors are WireError and its kinds.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import google_crc32c
import msgpack
import numpy as np

from mainstem_sync.errors import HashMismatchError, TooLargeError, WireError

Buffer = bytes | bytearray | memoryview

MAGIC = b"MSF1"
FRAME = struct.Struct("<4sBBHIII")
HASH_BYTES = 16

REQUEST_BYTES_MAX = 16 << 20
"""A whole request or reply. Four batches of 4 MiB that do not compress still fit."""

RAW_BYTES_MAX = 8 << 20
"""One batch, decompressed: twice what a sender aims at, for a single large record."""

HEADER_BYTES_MAX = 2 << 20
"""10,000 ranges, a 1 MiB status and a batch of one-row records each stay below."""

FRAMES_MAX = 256
"""A request has a few frames per origin; more is not from us."""

REQUEST_RAW_BYTES_MAX = 32 << 20
"""All batches of one request, decompressed: senders aim at 4 MiB."""

DECODED_BYTES_MAX = 32 << 20
"""The rows of all blocks of one batch, decoded. A sender makes them of at most 8 MiB of its log,
which in memory is no more than three times as much."""

RATIO_MAX = 50_000
"""A run of equal bytes is one zstd block of 128 KiB in about 3 bytes, and a machine that stands
still sends such runs: only what no encoder can reach is refused. The sizes above bound the rest."""

RATIO_FREE_BYTES = 64 << 10
"""Below this the ratio says nothing and the size harms nobody."""

ZSTD_LEVEL = 1
"""Level 3 saves 4 % of the bytes for twice the time: the slowest machine is the edge."""

CODEC_NONE = "none"
CODEC_ZSTD = "zstd"


class FrameType(enum.IntEnum):
    """Types of frames. The numbers are on the wire: append only."""

    UNKNOWN = 0
    HELLO = 1
    WELCOME = 2
    REQUEST = 3
    BATCH = 4
    STATUS = 5
    ACK = 6
    ERROR = 7
    SIGNATURE = 8
    WANT = 9
    PROVEN = 12
    PIECE = 13
    ORDER = 14
    DOWN = 15
    ASK = 16
    QUERY = 17
    RESULT = 18
    CANCEL = 19
    TIME = 20


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame. ``header_bytes`` is what was on the wire, for hashing."""

    type: FrameType
    header: Mapping[str, Any]
    payload: memoryview
    header_bytes: bytes


def encode_frame(
    kind: FrameType, header: Mapping[str, Any] | bytes, payload: Buffer = b""
) -> bytes:
    """The bytes of one frame; ``header`` may be packed already."""
    packed = header if isinstance(header, bytes) else pack_header(header)
    if len(packed) > HEADER_BYTES_MAX:
        raise TooLargeError("a frame header", len(packed), HEADER_BYTES_MAX)
    crc = _crc(packed, payload)
    return b"".join(
        (FRAME.pack(MAGIC, kind, 0, 0, len(packed), len(payload), crc), packed, payload)
    )


def pack_header(header: Mapping[str, Any]) -> bytes:
    """A header as msgpack."""
    packed: bytes = msgpack.packb(header)
    return packed


def decode_frames(message: Buffer) -> Iterator[Frame]:
    """The frames of a message, in order. Raises WireError at the first that is not one."""
    view = memoryview(message).cast("B") if len(message) else memoryview(b"")
    if len(view) > REQUEST_BYTES_MAX:
        raise TooLargeError("a message", len(view), REQUEST_BYTES_MAX)
    position = frames = 0
    while position < len(view):
        frames += 1
        if frames > FRAMES_MAX:
            raise WireError(f"a message of more than {FRAMES_MAX} frames")
        frame, position = _decode_frame(view, position)
        yield frame


def _decode_frame(view: memoryview, position: int) -> tuple[Frame, int]:
    if len(view) - position < FRAME.size:
        raise WireError("a message ends inside a frame")
    magic, kind, _, _, header_length, payload_length, crc = FRAME.unpack_from(view, position)
    if magic != MAGIC:
        raise WireError("this is not a frame of the federation protocol")
    if header_length > HEADER_BYTES_MAX:
        raise TooLargeError("a frame header", header_length, HEADER_BYTES_MAX)
    start = position + FRAME.size
    end = start + header_length + payload_length
    if end > len(view):
        raise WireError("a message ends inside a frame")
    header_bytes = bytes(view[start : start + header_length])
    payload = view[start + header_length : end]
    if _crc(header_bytes, payload) != crc:
        raise HashMismatchError("the checksum of a frame does not match")
    try:
        header = msgpack.unpackb(header_bytes, strict_map_key=False)
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as exc:
        raise WireError(f"a frame header is not msgpack ({exc})") from exc
    if not isinstance(header, dict):
        raise WireError("a frame header is not a map")
    return Frame(_TYPES.get(kind, FrameType.UNKNOWN), header, payload, header_bytes), end


_TYPES = {int(kind): kind for kind in FrameType}


def _crc(header: bytes, payload: Buffer) -> int:
    value = google_crc32c.value(header)
    if len(payload):
        # The C function takes no memoryview; an array over it is accepted.
        data = payload if isinstance(payload, bytes) else np.frombuffer(payload, np.uint8)
        value = google_crc32c.extend(value, data)
    return int(value)


def batch_hash(header_bytes: bytes, payload: Buffer) -> bytes:
    """blake2b-128 of a batch as it is on the wire: what an acknowledgement names."""
    digest = hashlib.blake2b(header_bytes, digest_size=HASH_BYTES)
    digest.update(payload)
    return digest.digest()


def sign(message: bytes, key: bytes) -> bytes:
    """``message`` with a SIGNATURE frame keyed by the lease."""
    return message + encode_frame(FrameType.SIGNATURE, {}, _signature(message, key))


def verify_signature(message: bytes, key: bytes) -> bool:
    """True if ``message`` ends with the signature that ``sign`` makes with this key."""
    tail = FRAME.size + len(pack_header({})) + HASH_BYTES
    if len(message) < tail:
        return False
    body = message[:-tail]
    return hmac.compare_digest(message[-HASH_BYTES:], _signature(body, key))


def _signature(message: bytes, key: bytes) -> bytes:
    return hashlib.blake2b(message, digest_size=HASH_BYTES, key=key).digest()


def compress(raw: Buffer) -> tuple[str, bytes]:
    """(codec, bytes): zstd, or the bytes as they are where that is no larger."""
    import cramjam  # at the first use: an idle edge does without

    packed = bytes(cramjam.zstd.compress(raw, level=ZSTD_LEVEL)) if len(raw) else b""
    if len(packed) < len(raw):
        return CODEC_ZSTD, packed
    return CODEC_NONE, bytes(raw)


def decompress(codec: object, raw_length: object, data: Buffer) -> bytes | bytearray:
    """The raw bytes of a batch. Lengths are checked before the decoder is called."""
    import cramjam  # at the first use: an idle edge does without

    if type(raw_length) is not int or raw_length < 0:
        raise WireError("a batch without its raw length")
    if raw_length > RAW_BYTES_MAX:
        raise TooLargeError("a batch", raw_length, RAW_BYTES_MAX)
    if codec == CODEC_NONE:
        if len(data) != raw_length:
            raise WireError(f"a batch declares {raw_length} bytes and has {len(data)}")
        return bytes(data)
    if codec != CODEC_ZSTD:
        raise WireError(f"codec {codec!r} is unknown", hint="upgrade this node")
    if raw_length > RATIO_FREE_BYTES + RATIO_MAX * len(data):
        raise TooLargeError("a batch's compression ratio", raw_length, RATIO_MAX * len(data))
    output = bytearray(raw_length)  # the decoder can write no further than this
    try:
        written = cramjam.zstd.decompress_into(data, output)
    except (cramjam.DecompressionError, ValueError, OSError) as exc:
        raise WireError(f"a batch cannot be decompressed ({exc})") from exc
    if written != raw_length:
        raise WireError(f"a batch declares {raw_length} raw bytes and has {written}")
    return output
