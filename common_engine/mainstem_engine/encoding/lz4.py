"""LZ4: one block of the lz4 block format, which has no length of its own."""

from __future__ import annotations

from mainstem_engine.encoding.interface import Compression, Compressor
from mainstem_engine.errors import EncodingError


class Lz4(Compressor):
    """See the module."""

    number = Compression.LZ4
    ratio_max = 256
    """Each further byte of a match's length adds at most 255."""

    def compress(self, data: bytes) -> bytes:
        import cramjam  # at the first use: an idle edge does without

        return bytes(cramjam.lz4.compress_block(data, store_size=False))

    def decompress_into(self, stored: bytes, raw: bytearray) -> int:
        import cramjam  # at the first use: an idle edge does without

        if not raw:
            # The shortest block is one empty token; the decoder wants room even for that.
            if stored != b"\0":
                raise EncodingError("lz4 bytes for no raw ones")
            return 0
        try:
            return int(cramjam.lz4.decompress_block_into(stored, raw, output_len=len(raw)))
        except cramjam.DecompressionError as exc:
            raise EncodingError(f"lz4: {exc}") from exc
