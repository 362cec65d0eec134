"""Lengths that lie are refused before a decoder sees them."""

from __future__ import annotations

import struct

import cramjam
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstem_engine.encoding import compression
from mainstem_engine.encoding.compression import Compression, compress, decompress
from mainstem_engine.errors import EncodingError


@given(st.binary(max_size=200), st.integers(1, 30))
def test_round_trip(piece: bytes, repeat: int) -> None:
    data = piece * repeat
    number, stored = compress(data)
    assert len(stored) <= len(data)
    assert bytes(decompress(number, memoryview(stored))) == data


def test_what_does_not_shrink_is_kept() -> None:
    assert compress(b"") == (Compression.UNCOMPRESSED, b"")
    assert compress(bytes(range(256)))[0] == Compression.UNCOMPRESSED
    assert compress(bytes(1000))[0] == Compression.ZSTD


@pytest.mark.parametrize("declared", [0, 1, 999, 1001, 1 << 20, 1 << 28, (1 << 32) - 1])
def test_lying_length(declared: int) -> None:
    frame = bytes(cramjam.zstd.compress(b"abc" * 333 + b"x", level=3))
    with pytest.raises(EncodingError):
        decompress(Compression.ZSTD, memoryview(struct.pack("<I", declared) + frame))


def test_bomb_is_not_inflated() -> None:
    """A frame of 16 MiB that says it has 100 bytes."""
    frame = bytes(cramjam.zstd.compress(bytes(16 << 20), level=3))
    with pytest.raises(EncodingError):
        decompress(Compression.ZSTD, memoryview(struct.pack("<I", 100) + frame))


@pytest.mark.parametrize("data", [b"", b"\1\0", b"\5\0\0\0", b"\5\0\0\0garbage", b"\0\0\0\0" * 9])
def test_garbage(data: bytes) -> None:
    with pytest.raises(EncodingError):
        decompress(Compression.ZSTD, memoryview(data))


def test_too_much_for_one_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "RAW_BYTES_MAX", 100)
    with pytest.raises(EncodingError):
        compress(bytes(101))
