"""Lengths that lie are refused before a decoder sees them."""

from __future__ import annotations

import struct
import tracemalloc

import cramjam
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstem_engine.encoding import compression
from mainstem_engine.encoding.compression import COMPRESSORS, Compression, compress, decompress
from mainstem_engine.encoding.interface import Compressor
from mainstem_engine.encoding.snappy import declared_length
from mainstem_engine.errors import EncodingError

ALL = pytest.mark.parametrize("using", list(Compression), ids=lambda each: each.name)
EACH = pytest.mark.parametrize("using", COMPRESSORS.values(), ids=lambda each: each.number.name)
TEXT = b"abc" * 333 + b"x"


@given(st.binary(max_size=200), st.integers(1, 30), st.sampled_from(Compression))
def test_round_trip(piece: bytes, repeat: int, using: Compression) -> None:
    data = piece * repeat
    number, stored = compress(data, using)
    assert number in (using, Compression.UNCOMPRESSED)
    assert len(stored) <= len(data)
    assert bytes(decompress(number, memoryview(stored))) == data


@given(st.binary(max_size=300), st.sampled_from(list(COMPRESSORS.values())))
def test_round_trip_of_what_would_not_be_kept(data: bytes, using: Compressor) -> None:
    stored = struct.pack("<I", len(data)) + using.compress(data)
    assert bytes(decompress(using.number, memoryview(stored))) == data


def test_what_does_not_shrink_is_kept() -> None:
    assert compress(b"") == (Compression.UNCOMPRESSED, b"")
    for using in Compression:
        assert compress(bytes(range(256)), using)[0] == Compression.UNCOMPRESSED
        assert compress(bytes(1000), using)[0] == using
    assert compress(bytes(1000))[0] == Compression.ZSTD


@pytest.mark.parametrize("declared", [0, 1, 999, 1001, 1 << 20, 1 << 28, (1 << 32) - 1])
@EACH
def test_lying_length(using: Compressor, declared: int) -> None:
    stored = struct.pack("<I", declared) + using.compress(TEXT)
    with pytest.raises(EncodingError):
        decompress(using.number, memoryview(stored))


@EACH
def test_bomb_is_not_inflated(using: Compressor) -> None:
    """16 MiB that say they have 100 bytes."""
    stored = memoryview(struct.pack("<I", 100) + using.compress(bytes(16 << 20)))
    tracemalloc.start()
    with pytest.raises(EncodingError):
        decompress(using.number, stored)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # The stored bytes are copied once, for decoders do not take a view.
    assert peak < stored.nbytes + (1 << 16)


@pytest.mark.parametrize("lie", [b"\0", b"\x01", b"\xe9\x07", b"\xff\xff\xff\xff\x0f", b"\xff" * 9])
def test_snappy_bytes_that_lie_about_themselves(lie: bytes) -> None:
    stored = bytes(cramjam.snappy.compress_raw(TEXT))
    assert declared_length(stored) == len(TEXT)
    with pytest.raises(EncodingError):
        decompress(Compression.SNAPPY, memoryview(struct.pack("<I", 1000) + lie + stored[2:]))


@pytest.mark.parametrize("data", [b"", b"\1\0", b"\5\0\0\0", b"\5\0\0\0garbage", b"\0\0\0\0" * 9])
@EACH
def test_garbage(using: Compressor, data: bytes) -> None:
    with pytest.raises(EncodingError):
        decompress(using.number, memoryview(data))


@given(
    st.sampled_from(list(COMPRESSORS.values())),
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=4),
    st.integers(0, 2000),
)
def test_damaged_bytes_raise_or_decode(
    using: Compressor, changes: list[tuple[int, int]], cut: int
) -> None:
    raw = TEXT + bytes(range(256))
    stored = bytearray(struct.pack("<I", len(raw)) + using.compress(raw))
    for place, byte in changes:
        stored[place % len(stored)] = byte
    for damaged in (stored, stored[: cut % len(stored)], stored + stored[: cut % len(stored)]):
        try:
            decompress(using.number, memoryview(bytes(damaged)))
        except EncodingError:
            continue


@ALL
def test_too_much_for_one_block(using: Compression, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "RAW_BYTES_MAX", 100)
    with pytest.raises(EncodingError):
        compress(bytes(101), using)


def test_an_unknown_number() -> None:
    with pytest.raises(EncodingError, match="compression 9"):
        decompress(9, memoryview(bytes(8)))
