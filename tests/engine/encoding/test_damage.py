"""Damaged bytes: EncodingError or some values; never a crash, never memory that nothing justifies.

Checksums find such bytes first. These tests are about what they miss, and about what a hostile peer
could send.
"""

from __future__ import annotations

import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstem_engine.encoding.compression import Compression, compress
from mainstem_engine.encoding.interface import EncodingNumber
from mainstem_engine.encoding.registry import ENCODINGS, NAMED, decode_column
from mainstem_engine.errors import EncodingError
from mainstem_engine.model import AnyArray, ColumnType

COUNT = 300
KINDS = [kind for kind in ColumnType if kind != ColumnType.UNKNOWN]


def sample(kind: ColumnType) -> AnyArray:
    rng = np.random.default_rng(int(kind))
    if kind.is_variable:
        words = ["run", "stop", "", "ä"] if kind == ColumnType.TEXT else [b"", b"\0\xff", b"x" * 9]
        return np.array(words, object)[rng.integers(0, len(words), COUNT)]
    steps = np.cumsum(rng.integers(-3, 4, COUNT)) * (rng.random(COUNT) < 0.8)
    with np.errstate(invalid="ignore"):
        return (steps / 8).astype(kind.dtype)


Stored = dict[tuple[EncodingNumber, Compression, ColumnType], tuple[Compression, bytes]]
STORED: Stored = {
    (encoding.number, compression, kind): compress(encoding.encode(sample(kind), kind), compression)
    for encoding in NAMED.values()
    for compression in Compression
    for kind in KINDS
    if encoding.supports(kind)
}


@settings(max_examples=700, deadline=None)
@given(
    st.sampled_from(list(STORED)),
    st.lists(st.tuples(st.integers(0, 1 << 14), st.integers(0, 255)), max_size=4),
    st.integers(0, 1 << 14),
    st.sampled_from(["kept", "cut", "lengthened"]),
    st.sampled_from([0, 1, COUNT - 1, COUNT, COUNT, COUNT + 1, 5000]),
)
def test_damaged_bytes_raise_or_decode(
    key: tuple[EncodingNumber, Compression, ColumnType],
    changes: list[tuple[int, int]],
    cut: int,
    shape: str,
    rows: int,
) -> None:
    compression, data = STORED[key]
    damaged = bytearray(data)
    for place, byte in changes:
        damaged[place % len(damaged)] = byte
    if shape == "cut":
        damaged = damaged[: cut % len(damaged)]
    elif shape == "lengthened":
        damaged += damaged[: cut % len(damaged)]
    check(key[0], compression, bytes(damaged), key[2], rows)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(list(ENCODINGS)),
    st.sampled_from(list(Compression)),
    st.sampled_from(KINDS),
    st.binary(max_size=100),
    st.integers(0, 40),
)
def test_any_bytes_raise_or_decode(
    number: int, compression: Compression, kind: ColumnType, data: bytes, rows: int
) -> None:
    check(number, compression, data, kind, rows)


def check(encoding: int, compression: int, data: bytes, kind: ColumnType, rows: int) -> None:
    out: AnyArray = np.empty(rows, kind.dtype)
    try:
        decode_column(encoding, compression, memoryview(data), kind, out)
    except EncodingError:
        return
    # What was decoded can be read: no BOOLEAN is 7, no TEXT is bytes.
    if kind == ColumnType.BOOLEAN:
        assert set(out.view(np.uint8).tolist()) <= {0, 1}
    elif kind.is_variable:
        assert {type(value) for value in out.tolist()} <= {
            str if kind == ColumnType.TEXT else bytes
        }


HUGE = (1 << 32) - 1
LIES = {
    "runs": (EncodingNumber.RLE, struct.pack("<IB", HUGE, 1) + bytes(90)),
    "one run": (EncodingNumber.RLE, struct.pack("<IBIq", 1, 4, HUGE, 5)),
    "runs of no rows": (EncodingNumber.RLE, struct.pack("<IBBq", 1, 1, 0, 5)),
    "runs that overflow": (EncodingNumber.RLE, struct.pack("<IBIIqq", 2, 4, HUGE, HUGE, 5, 6)),
    "width of lengths": (EncodingNumber.RLE, struct.pack("<IB", 1, 3) + bytes(11)),
    "distinct": (EncodingNumber.DICTIONARY, struct.pack("<I", HUGE) + bytes(90)),
    "codes": (EncodingNumber.DICTIONARY, struct.pack("<I", 1) + b"\7" * 10 + bytes(8)),
    "differences": (EncodingNumber.TS_2DIFF, struct.pack("<IqBq", HUGE, 5, 64, 1)),
    "bits of differences": (EncodingNumber.TS_2DIFF, struct.pack("<IqBq", 10, 5, 255, 1)),
    "payload of differences": (EncodingNumber.TS_2DIFF, struct.pack("<IqBq", 10, 5, 64, 1)),
    "values": (EncodingNumber.GORILLA, struct.pack("<IqH", HUGE, 5, 0)),
    "windows": (EncodingNumber.GORILLA, struct.pack("<IqH", 10, 5, 511) + b"\xff\xff"),
    "no window": (EncodingNumber.GORILLA, struct.pack("<IqHH", 10, 5, 511, 0) + bytes(80)),
    "bits of a window": (
        EncodingNumber.GORILLA,
        struct.pack("<IqHHBB", 10, 5, 511, 1, 60, 200) + bytes(80),
    ),
    "pcodec": (EncodingNumber.PCO, b"pco!" + b"\xff" * 40),
}


@pytest.mark.parametrize("lie", LIES)
def test_lying_counts_are_refused_before_they_are_used(lie: str) -> None:
    number, data = LIES[lie]
    out = np.empty(10, np.int64)
    tracemalloc.start()
    with pytest.raises(EncodingError):
        decode_column(number, 0, memoryview(data), ColumnType.INT64, out)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 16
