"""Bytes of a log segment.

A segment is a header of 64 bytes, then records, each starting at a multiple of 8. Little-endian.

Segment header:  magic 8 | version u16 | header size u16 | flags u32 | first LSN u64 |
                 chain before it 16 | node uuid 16 | reserved u32 | crc32c u32 of these 60 bytes
Record header:   payload length u32 | crc32c u32 | LSN u64 | kind u8 | flags u8 | reserved u16 |
                 unsynced u32 | chain 16
then the payload, then zeros to a multiple of 8.

- The record's crc covers everything after the crc field, but not the zeros behind the payload. It
  starts from ``record_salt(node uuid, first LSN of the segment)``, so that a record of another log
  or segment that lies inside a payload or on a stale disk block is never taken for one of this one.
- ``chain[n] = blake2b-16(chain[n-1] | kind u8 | lsn u64 | length u32 | xxh3-128(payload))``, the
  inner hash big-endian; chain[0] is 16 zero bytes. It tells two logs apart that went on from
  one copy, and a payload from another; it is no defence against somebody who forges both.
- A segment of version 1 differs in one thing: its chain is ``blake2b-16(chain[n-1] | kind u8 |
  lsn u64 | payload)``. It is read, and never extended.
- ``unsynced`` is the number of records before this one that were not known to be on disk when it
  was written: LSN - 1 - unsynced and all before it were durable. With it recovery tells a torn
  write (the records were never durable) from damage to durable records.
- A segment exists only after everything in older segments was synced. Records in an older segment
  at or above a newer segment's first LSN are void: they are what a failed sync left.
- The file name is the first LSN, 20 digits, and ``.log``.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import google_crc32c
import numpy as np
import xxhash

MAGIC = b"MSTMLOG\n"
VERSION = 2
VERSIONS = (1, VERSION)
"""What is read; only the last is written, but for records that are copied as they are."""
SEGMENT_SUFFIX = ".log"

SEGMENT_HEADER = struct.Struct("<8sHHIQ16s16sI")
SEGMENT_HEADER_BYTES = SEGMENT_HEADER.size + 4
RECORD_HEADER = struct.Struct("<IIQBBHI16s")
RECORD_HEADER_BYTES = RECORD_HEADER.size
RECORD_ALIGNMENT = 8

CHAIN_BYTES = 16
CHAIN_START = bytes(CHAIN_BYTES)
CHAIN_UNKNOWN = CHAIN_START
"""Before a segment whose preceding record was lost. Only LSN 0 really has this value."""

PAYLOAD_BYTES_MAX = 1 << 28
"""256 MiB: eight times the largest request; bounds what a damaged length field may claim."""

LSN_MAX = (1 << 63) - 1
"""LSNs also live in int64 columns."""

CHECKED_FROM = 8  # the crc covers everything behind the length and crc fields
_CHAIN_PREFIX_1 = struct.Struct("<16sBQ")
_CHAIN_INPUT = struct.Struct("<16sBQI16s")
_LENGTH_AND_CRC = struct.Struct("<II")


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    """What a segment says about itself."""

    first_lsn: int
    chain_before: bytes
    node_uuid: bytes
    version: int = VERSION

    def pack(self) -> bytes:
        """The 64 bytes at the start of the file."""
        body = SEGMENT_HEADER.pack(
            MAGIC, self.version, SEGMENT_HEADER_BYTES, 0, self.first_lsn, self.chain_before,
            self.node_uuid, 0,
        )  # fmt: skip
        return body + struct.pack("<I", google_crc32c.value(body))

    @classmethod
    def unpack(cls, data: bytes) -> SegmentHeader | None:
        """The header, of any version, or None if the bytes are not one."""
        if len(data) < SEGMENT_HEADER_BYTES:
            return None
        body = bytes(data[: SEGMENT_HEADER.size])
        (crc,) = struct.unpack_from("<I", data, SEGMENT_HEADER.size)
        magic, version, size, _, first_lsn, chain, uuid, _ = SEGMENT_HEADER.unpack(body)
        if magic != MAGIC or size != SEGMENT_HEADER_BYTES or google_crc32c.value(body) != crc:
            return None
        return cls(first_lsn, chain, uuid, version)


def segment_name(first_lsn: int) -> str:
    """The file name of the segment that starts at ``first_lsn``."""
    return f"{first_lsn:020d}{SEGMENT_SUFFIX}"


def segment_first_lsn(name: str) -> int | None:
    """The first LSN that a file name says, or None for other files."""
    stem = name.removesuffix(SEGMENT_SUFFIX)
    return int(stem) if stem != name and len(stem) == 20 and stem.isdigit() else None


def padded(length: int) -> int:
    """``length`` rounded up to where the next record may start."""
    return -(-length // RECORD_ALIGNMENT) * RECORD_ALIGNMENT


def payload_digest(pieces: Sequence[bytes | memoryview]) -> bytes:
    """What the chain takes of a payload: 16 bytes, the same however it is cut into pieces.

    Depends on nothing else, so that it is made before a record knows its place. Large pieces are
    hashed without the interpreter lock.
    """
    if len(pieces) == 1:
        return xxhash.xxh3_128_digest(pieces[0])
    digest = xxhash.xxh3_128()
    for piece in pieces:
        digest.update(piece)
    return digest.digest()


def next_chain(chain: bytes, kind: int, lsn: int, length: int, digest: bytes) -> bytes:
    """The chain value of record ``lsn`` with a payload of ``length`` bytes."""
    made = _CHAIN_INPUT.pack(chain, kind, lsn, length, digest)
    return hashlib.blake2b(made, digest_size=CHAIN_BYTES).digest()


def chain_of_version(
    version: int, chain: bytes, kind: int, lsn: int, payload: bytes | memoryview
) -> bytes:
    """The chain value of a record in a segment of ``version``, which is one of VERSIONS."""
    if version >= VERSION:
        return next_chain(chain, kind, lsn, len(payload), payload_digest([payload]))
    digest = hashlib.blake2b(_CHAIN_PREFIX_1.pack(chain, kind, lsn), digest_size=CHAIN_BYTES)
    digest.update(payload)
    return digest.digest()


def record_salt(node_uuid: bytes, first_lsn: int) -> int:
    """Where the crc of every record in one segment starts."""
    return int(google_crc32c.value(node_uuid + struct.pack("<Q", first_lsn)))


def pack_record_header(
    salt: int,
    lsn: int,
    kind: int,
    unsynced: int,
    chain: bytes,
    length: int,
    pieces: Sequence[bytes | memoryview],
) -> bytes:
    """The 40 bytes before a payload of ``length`` bytes in ``pieces``."""
    head = RECORD_HEADER.pack(length, 0, lsn, kind, 0, 0, unsynced, chain)
    crc = google_crc32c.extend(salt, head[CHECKED_FROM:])
    for piece in pieces:
        # The C function takes no memoryview; an array over one is accepted.
        data = piece if isinstance(piece, bytes) else np.frombuffer(piece, np.uint8)
        crc = google_crc32c.extend(crc, data)
    return _LENGTH_AND_CRC.pack(length, crc) + head[CHECKED_FROM:]
