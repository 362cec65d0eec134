"""SNAPPY: the raw format of snappy, without its framing.

The bytes begin with their raw length as a varint. Decoders allocate, and may abort, by it, so it is
read here and must be the declared one.
"""

from __future__ import annotations

from mainstem_engine.encoding.interface import Compression, Compressor
from mainstem_engine.errors import EncodingError

_VARINT_BYTES_MAX = 5
"""A varint of 32 bits: seven in each byte."""


class Snappy(Compressor):
    """See the module."""

    number = Compression.SNAPPY
    ratio_max = 32
    """The best element copies 64 bytes and takes 3: a ratio below 22."""

    def compress(self, data: bytes) -> bytes:
        import cramjam  # at the first use: an idle edge does without

        return bytes(cramjam.snappy.compress_raw(data))

    def decompress_into(self, stored: bytes, raw: bytearray) -> int:
        import cramjam  # at the first use: an idle edge does without

        length = declared_length(stored)
        if length != len(raw):
            raise EncodingError(f"snappy declares {length} raw bytes, not {len(raw)}")
        try:
            return int(cramjam.snappy.decompress_raw_into(stored, raw))
        except cramjam.DecompressionError as exc:
            raise EncodingError(f"snappy: {exc}") from exc


def declared_length(stored: bytes) -> int:
    """The raw length in front of snappy's bytes. EncodingError if there is none."""
    length = 0
    for place, byte in enumerate(stored[:_VARINT_BYTES_MAX]):
        length |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return length
    raise EncodingError("snappy bytes without a length")
