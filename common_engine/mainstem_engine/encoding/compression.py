"""General compression behind an encoding, with lengths that are checked before any decoder runs.

Stored form: ``raw length u32 | compressed bytes``; UNCOMPRESSED stores the bytes alone.

A decoder is only ever given a buffer of the declared raw length, and that length must be one that
the stored bytes can hold. Decoders of this family abort the process, or allocate without bound,
when a length lies; with the buffer given they can do neither.
"""

from __future__ import annotations

import struct

from mainstem_engine.encoding.interface import Compression, Compressor
from mainstem_engine.encoding.lz4 import Lz4
from mainstem_engine.encoding.snappy import Snappy
from mainstem_engine.encoding.zstd import Zstd
from mainstem_engine.errors import EncodingError

__all__ = ["COMPRESSORS", "Compression", "compress", "decompress"]

RAW_BYTES_MAX = 1 << 28
"""One column of one block; as large as a log record may be."""

COMPRESS_BYTES_MIN = 48
"""A zstd frame costs about 12 bytes; shorter input rarely pays."""

COMPRESSORS: dict[int, Compressor] = {
    compressor.number: compressor for compressor in (Snappy(), Lz4(), Zstd())
}
"""Every compression by its number on disk; UNCOMPRESSED needs none."""

_LENGTH = struct.Struct("<I")


def load_compressors() -> None:
    """Imports what compressors are made of: by whoever takes rows that will have to be written. A
    flush that has to load a library fails when memory is short, and that is when it is needed.

    Raises MemoryError.
    """
    try:
        import cramjam  # noqa: F401 - a process without rows does without it
    except ImportError as error:
        raise MemoryError(f"a library cannot be loaded: {error}") from error


def compress(data: bytes, using: Compression = Compression.ZSTD) -> tuple[Compression, bytes]:
    """``data`` by ``using`` or as it is, whichever is smaller. EncodingError if over the bound."""
    if len(data) > RAW_BYTES_MAX:
        raise EncodingError(f"{len(data)} bytes in one block of a column", hint="write less a call")
    if using != Compression.UNCOMPRESSED and len(data) >= COMPRESS_BYTES_MIN:
        packed = _LENGTH.pack(len(data)) + COMPRESSORS[using].compress(data)
        if len(packed) < len(data):
            return using, packed
    return Compression.UNCOMPRESSED, data


def decompress(number: int, data: memoryview) -> memoryview:
    """The raw bytes. EncodingError if the form is unknown or a length does not fit."""
    if number == Compression.UNCOMPRESSED:
        return data
    compressor = COMPRESSORS.get(number)
    if compressor is None:
        raise EncodingError(f"compression {number} is not known", hint="use a newer version")
    if data.nbytes < _LENGTH.size:
        raise EncodingError("compressed bytes without a length")
    (length,) = _LENGTH.unpack_from(data)
    if length > min(RAW_BYTES_MAX, data.nbytes * compressor.ratio_max):
        raise EncodingError(f"{data.nbytes} compressed bytes declare {length} raw ones")
    raw = bytearray(length)
    written = compressor.decompress_into(bytes(data[_LENGTH.size :]), raw)
    if written != length:
        raise EncodingError(f"{length} raw bytes declared, {written} found")
    return memoryview(raw)
