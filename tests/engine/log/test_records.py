"""Payloads: what goes in comes out, and lying lengths are refused."""

from __future__ import annotations

import struct

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstem_engine.errors import CorruptionError
from mainstem_engine.filesystem import Buffer
from mainstem_engine.log.records import RecordKind, decode_payload, encode_payload

headers = st.dictionaries(
    st.text(max_size=4).filter(lambda key: key != "b"),
    st.one_of(st.integers(-(2**63), 2**64 - 1), st.text(max_size=8), st.binary(max_size=8)),
    max_size=4,
)


@given(headers, st.lists(st.binary(max_size=40), max_size=5))
def test_round_trip(header: dict[str, object], buffers: list[bytes]) -> None:
    payload = b"".join(bytes(piece) for piece in encode_payload(header, buffers))
    assert len(payload) % 8 == 0
    decoded, views = decode_payload(payload)
    assert decoded == header
    assert [bytes(view) for view in views] == buffers


def test_buffers_are_aligned_and_not_copied() -> None:
    values: list[Buffer] = [np.arange(3, dtype=np.uint8), np.arange(5, dtype=np.int64)]
    payload = b"".join(bytes(piece) for piece in encode_payload({"t": "x"}, values))
    _, views = decode_payload(payload)
    array = np.frombuffer(views[1], np.int64)
    assert array.flags.aligned
    assert array.tolist() == [0, 1, 2, 3, 4]
    assert views[1].obj is payload


def test_strided_arrays_are_refused() -> None:
    with pytest.raises((ValueError, TypeError)):
        encode_payload({}, [np.arange(10)[::2]])


@given(st.binary(max_size=64))
def test_any_bytes_decode_or_raise(data: bytes) -> None:
    try:
        header, _ = decode_payload(data)
    except CorruptionError:
        return
    assert isinstance(header, dict)


@pytest.mark.parametrize("lengths", [[5], [-1], ["a"], None, 7, [1 << 60]])
def test_lying_buffer_lengths(lengths: object) -> None:
    packed = msgpack.packb({"b": lengths})
    with pytest.raises(CorruptionError):
        decode_payload(struct.pack("<I", len(packed)) + packed)


def test_kinds_are_fixed() -> None:
    numbers = {kind.name: int(kind) for kind in RecordKind}
    names = "UNKNOWN PTS DEL SCH DEV OWN RCV IMG MAN LOSS EXP EVT EPO BOOT COVER ORD RES"
    assert numbers == {name: number for number, name in enumerate(names.split())}
