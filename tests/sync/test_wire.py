"""Frames: what is sent comes back, and nothing else is accepted."""

from __future__ import annotations

import random

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstem_sync.errors import HashMismatchError, TooLargeError, WireError
from mainstem_sync.wire import frames as wire
from mainstem_sync.wire.frames import FrameType, compress, decode_frames, decompress, encode_frame


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([t for t in FrameType if t]),
            st.dictionaries(st.text(max_size=8), st.integers(-(2**31), 2**63), max_size=4),
            st.binary(max_size=64),
        ),
        max_size=5,
    )
)
def test_frames_come_back_as_they_were_sent(
    sent: list[tuple[FrameType, dict[str, int], bytes]],
) -> None:
    message = b"".join(encode_frame(*frame) for frame in sent)
    back = [(f.type, dict(f.header), bytes(f.payload)) for f in decode_frames(message)]
    assert back == sent


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**31))
def test_a_flipped_bit_is_always_noticed(seed: int) -> None:
    rng = random.Random(seed)
    message = bytearray(encode_frame(FrameType.BATCH, {"a": 1}, b"payload"))
    changed = bytearray(message)
    changed[rng.randrange(len(message))] ^= 1 << rng.randrange(8)
    # Two bytes of a frame are reserved and one is its type: they carry nothing that counts.
    if changed[:5] + changed[8:] != message[:5] + message[8:] and changed[4] == message[4]:
        with pytest.raises(WireError):
            list(decode_frames(bytes(changed)))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=100))
def test_arbitrary_bytes_are_refused_not_misread(data: bytes) -> None:
    if data:
        with pytest.raises(WireError):
            list(decode_frames(data))


def test_declared_lengths_are_checked_before_anything_else() -> None:
    huge = wire.FRAME.pack(wire.MAGIC, FrameType.BATCH, 0, 0, wire.HEADER_BYTES_MAX + 1, 0, 0)
    with pytest.raises(TooLargeError):
        list(decode_frames(huge))
    with pytest.raises(WireError, match="ends inside"):
        list(decode_frames(wire.FRAME.pack(wire.MAGIC, 4, 0, 0, 0, 1 << 31, 0)))
    with pytest.raises(TooLargeError) as caught:
        list(decode_frames(bytes(wire.REQUEST_BYTES_MAX + 1)))
    assert caught.value.limit == wire.REQUEST_BYTES_MAX
    with pytest.raises(TooLargeError):
        encode_frame(FrameType.STATUS, bytes(wire.HEADER_BYTES_MAX + 1))
    frames = encode_frame(FrameType.ACK, {}) * (wire.FRAMES_MAX + 1)
    with pytest.raises(WireError, match="more than"):
        list(decode_frames(frames))


def test_headers_must_be_maps() -> None:
    for header in (msgpack.packb([1]), b"\xc1"):
        with pytest.raises(WireError):
            list(decode_frames(encode_frame(FrameType.ACK, header)))


def test_an_unknown_type_is_kept_for_later_versions() -> None:
    message = bytearray(encode_frame(FrameType.ACK, {"x": 1}))
    message[4] = 200
    (frame,) = decode_frames(bytes(message))
    assert frame.type is FrameType.UNKNOWN


@pytest.mark.parametrize("raw", [b"", b"abc", bytes(100_000), random.Random(1).randbytes(5000)])
def test_compression_comes_back(raw: bytes) -> None:
    codec, packed = compress(raw)
    assert bytes(decompress(codec, len(raw), packed)) == raw
    assert len(packed) <= len(raw)


def test_a_bomb_is_refused_by_its_declared_size_and_ratio() -> None:
    codec, packed = compress(bytes(8 << 20))
    with pytest.raises(TooLargeError):
        decompress(codec, (8 << 20) + 1, packed)
    with pytest.raises(TooLargeError, match="ratio"):
        decompress(codec, 8 << 20, packed[:100])


@pytest.mark.parametrize(
    ("codec", "length", "data"),
    [
        ("zstd", 10, b"nonsense"),
        ("none", 3, b"four"),
        ("lz4", 3, b"abc"),
        ("zstd", -1, b""),
        ("zstd", None, b""),
        ("zstd", True, b""),
    ],
)
def test_what_cannot_be_decompressed_is_a_wire_error(
    codec: str, length: object, data: bytes
) -> None:
    with pytest.raises(WireError):
        decompress(codec, length, data)


def test_a_lying_length_is_noticed() -> None:
    codec, packed = compress(bytes(50_000))
    for lie in (49_999, 50_001):
        with pytest.raises(WireError):
            decompress(codec, lie, packed)


def test_only_who_knows_the_key_can_sign() -> None:
    signed = wire.sign(encode_frame(FrameType.ACK, {"code": "ok"}), b"lease")
    assert wire.verify_signature(signed, b"lease")
    assert not wire.verify_signature(signed, b"other")
    assert not wire.verify_signature(signed[:-1] + bytes([signed[-1] ^ 1]), b"lease")
    assert not wire.verify_signature(b"", b"lease")
    assert [f.type for f in decode_frames(signed)] == [FrameType.ACK, FrameType.SIGNATURE]


def test_a_damaged_payload_is_a_hash_mismatch() -> None:
    message = bytearray(encode_frame(FrameType.BATCH, {}, b"payload"))
    message[-1] ^= 1
    with pytest.raises(HashMismatchError):
        list(decode_frames(bytes(message)))
