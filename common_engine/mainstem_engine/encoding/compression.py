"""General compression behind an encoding, with lengths that are checked before any decoder runs.

Stored form: ``raw length u32 | compressed bytes``; UNCOMPRESSED stores the bytes alone.

A decoder is only ever given a buffer of the declared raw length, and that length must be one that
the stored bytes can hold. Decoders of this family abort the process, or allocate without bound,
when a length lies; with the buffer given they can do neither.
"""

from __future__ import annotations

import enum
import struct

import cramjam

from mainstem_engine.errors import EncodingError

RAW_BYTES_MAX = 1 << 28
"""One column of one block; as large as a log record may be."""

RATIO_MAX = 1 << 16
"""zstd spends at least three bytes per 128 KiB, a ratio below 44,000."""

ZSTD_LEVEL = 3
"""zstd's own default: higher levels gained less than 5 % on text at a third of the speed."""

COMPRESS_BYTES_MIN = 48
"""A zstd frame costs about 12 bytes; shorter input rarely pays."""

_LENGTH = struct.Struct("<I")


class Compression(enum.IntEnum):
    """The numbers are on disk: append only. Only UNCOMPRESSED and ZSTD are written."""

    UNCOMPRESSED = 0
    SNAPPY = 1
    LZ4 = 2
    ZSTD = 3


def compress(data: bytes) -> tuple[Compression, bytes]:
    """``data`` in whichever form is smaller. EncodingError if it is over the bound."""
    if len(data) > RAW_BYTES_MAX:
        raise EncodingError(f"{len(data)} bytes in one block of a column", hint="write less a call")
    if len(data) >= COMPRESS_BYTES_MIN:
        packed = _LENGTH.pack(len(data)) + bytes(cramjam.zstd.compress(data, level=ZSTD_LEVEL))
        if len(packed) < len(data):
            return Compression.ZSTD, packed
    return Compression.UNCOMPRESSED, data


def decompress(number: int, data: memoryview) -> memoryview:
    """The raw bytes. EncodingError if the form is unknown or a length does not fit."""
    if number == Compression.UNCOMPRESSED:
        return data
    if number != Compression.ZSTD:
        raise EncodingError(f"compression {number} is not known", hint="use a newer version")
    if data.nbytes < _LENGTH.size:
        raise EncodingError("compressed bytes without a length")
    (length,) = _LENGTH.unpack_from(data)
    if length > min(RAW_BYTES_MAX, data.nbytes * RATIO_MAX):
        raise EncodingError(f"{data.nbytes} compressed bytes declare {length} raw ones")
    raw = bytearray(length)
    try:
        written = cramjam.zstd.decompress_into(bytes(data[_LENGTH.size :]), raw)
    except cramjam.DecompressionError as exc:
        raise EncodingError(f"zstd: {exc}") from exc
    if written != length:
        raise EncodingError(f"{length} raw bytes declared, {written} found")
    return memoryview(raw)
