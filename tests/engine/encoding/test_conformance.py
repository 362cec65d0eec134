"""What every encoding must do, for every type that it supports: the same bits come back.

One suite for all: a new encoding is covered by being registered.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstem_engine.encoding.column_encoder import ColumnEncoder, encode_column
from mainstem_engine.encoding.compression import Compression
from mainstem_engine.encoding.constant import Constant, is_constant
from mainstem_engine.encoding.decimal import Decimal, decimals_of
from mainstem_engine.encoding.interface import Encoding, EncodingNumber
from mainstem_engine.encoding.linear import Linear, is_linear
from mainstem_engine.encoding.pco import (
    AUTO_DELTA,
    LEVEL_FAST,
    LEVEL_SMALL,
    LOOKBACK_DELTA,
    Pco,
    PcoConfig,
)
from mainstem_engine.encoding.registry import ENCODINGS, decode_column
from mainstem_engine.errors import EncodingError
from mainstem_engine.model import AnyArray, ColumnType

TYPES = [kind for kind in ColumnType if kind != ColumnType.UNKNOWN]
PAIRS = [
    pytest.param(encoding, kind, id=f"{encoding.number.name}-{kind.name}")
    for encoding in ENCODINGS.values()
    for kind in TYPES
    if encoding.supports(kind)
]

# Quiet and signalling NaNs with payloads, both zeros, infinities, the smallest and largest numbers.
DOUBLES = [
    0x7FF8000000000000, 0x7FF8000000000123, 0xFFF8DEADBEEF0001, 0x7FF0000000000001,
    0x8000000000000000, 0, 0x7FF0000000000000, 0xFFF0000000000000, 1, 0x7FEFFFFFFFFFFFFF,
]  # fmt: skip
FLOATS = [0x7FC00000, 0x7FC00123, 0xFFC0BEEF, 0x7F800001, 0x80000000, 0, 0x7F800000, 0xFF800000, 1]
TEXTS = ["", "a", "ä\U0001f600", "x" * 300, "\ud800 alone", "nul\0inside", "\uffff"]
BLOBS = [b"", b"\0", b"\xff" * 300, bytes(range(256))]


def extremes(kind: ColumnType) -> AnyArray:
    """Values that an encoding is most likely to get wrong."""
    if kind == ColumnType.TEXT:
        return np.array(TEXTS, object)
    if kind == ColumnType.BLOB:
        return np.array(BLOBS, object)
    if kind == ColumnType.DOUBLE:
        return np.array(DOUBLES, np.uint64).view(np.float64)
    if kind == ColumnType.FLOAT:
        return np.array(FLOATS, np.uint32).view(np.float32)
    if kind == ColumnType.BOOLEAN:
        return np.array([True, False, False])
    limits = np.iinfo(kind.dtype)
    return np.array([limits.min, limits.max, 0, 1, limits.max - 1, limits.min + 1], kind.dtype)


def same_bits(left: AnyArray, right: AnyArray) -> bool:
    if left.dtype != right.dtype or left.shape != right.shape:
        return False
    return (
        left.tolist() == right.tolist()
        if left.dtype == object
        else (left.tobytes() == right.tobytes())
    )


def holds(encoding: Encoding, values: AnyArray) -> bool:
    """Whether ``values`` are such that the encoding may be used."""
    if isinstance(encoding, Constant):
        return is_constant(values)
    if isinstance(encoding, Decimal):
        return not len(values) or decimals_of(values) is not None
    return not isinstance(encoding, Linear) or is_linear(values)


def round_trip(encoding: Encoding, values: AnyArray, kind: ColumnType) -> AnyArray:
    out = np.empty(len(values), kind.dtype)
    encoding.decode(memoryview(encoding.encode(values, kind)), kind, out)
    return out


@pytest.mark.parametrize(("encoding", "kind"), PAIRS)
def test_extremes_alone_and_together(encoding: Encoding, kind: ColumnType) -> None:
    values = extremes(kind)
    samples = [values[:0], *(values[n : n + 1] for n in range(len(values)))]
    samples += [np.repeat(values[n : n + 1], 5000) for n in range(len(values))]
    samples += [values, np.tile(values, 700), np.repeat(values, 33)]
    for sample in samples:
        if holds(encoding, sample):
            assert same_bits(round_trip(encoding, sample, kind), sample)


@pytest.mark.parametrize(("encoding", "kind"), PAIRS)
def test_random_walks(encoding: Encoding, kind: ColumnType) -> None:
    """What sensors write: small steps, repeats, and around every border of a group of values."""
    if kind.is_variable:
        return
    rng = np.random.default_rng(int(kind))
    for count in (2, 15, 16, 17, 18, 127, 128, 129, 130, 257, 1000, 4096):
        walk = np.cumsum(rng.integers(-3, 4, count) * (rng.random(count) < 0.5))
        for sample in (walk, np.repeat(walk, 3)[:count], walk / 8, np.arange(count) * 1000):
            with np.errstate(invalid="ignore"):
                values = sample.astype(kind.dtype)
            holes = np.where(rng.random(count) < 0.1, rng.permutation(values), values)
            for column in (values, holes):
                if holds(encoding, column):
                    assert same_bits(round_trip(encoding, column, kind), column)


@pytest.mark.parametrize(("encoding", "kind"), PAIRS)
def test_a_view_into_more_rows_is_filled(encoding: Encoding, kind: ColumnType) -> None:
    """A reader decodes each block into its place."""
    values = np.repeat(extremes(kind)[:1], 20)
    if not holds(encoding, values):
        values = np.full(20, 25, kind.dtype)
    whole: AnyArray = np.zeros(60, kind.dtype)
    encoding.decode(memoryview(encoding.encode(values, kind)), kind, whole[20:40])
    assert same_bits(whole[20:40], values)
    assert same_bits(whole[:20], np.zeros(20, kind.dtype))
    assert same_bits(whole[40:], np.zeros(20, kind.dtype))


def values_of(kind: ColumnType) -> st.SearchStrategy[AnyArray]:
    if kind == ColumnType.TEXT:
        element: st.SearchStrategy[Any] = st.text(st.characters(exclude_categories=()), max_size=5)
    elif kind == ColumnType.BLOB:
        element = st.binary(max_size=5)
    else:
        width = 1 if kind == ColumnType.BOOLEAN else 8 * kind.dtype.itemsize
        bits = st.lists(st.integers(0, 2**width - 1), max_size=60)
        return bits.map(lambda items: _from_bits(items, kind))
    return st.lists(element, max_size=30).map(lambda items: _objects(items))


def _from_bits(items: list[int], kind: ColumnType) -> AnyArray:
    return np.array(items, f"u{kind.dtype.itemsize}").view(kind.dtype)


def _objects(items: list[Any]) -> AnyArray:
    out = np.empty(len(items), object)
    out[:] = items
    return out


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.name)
def test_any_bits_through_every_encoding(kind: ColumnType) -> None:
    @settings(max_examples=40, deadline=None)
    @given(values_of(kind), st.integers(1, 40))
    def check(values: AnyArray, repeat: int) -> None:
        sample = np.tile(values, repeat)
        for encoding in ENCODINGS.values():
            if encoding.supports(kind) and holds(encoding, sample):
                assert same_bits(round_trip(encoding, sample, kind), sample)
        encoded = encode_column(sample, kind)
        out = np.empty(len(sample), kind.dtype)
        view = memoryview(encoded.data)
        decode_column(encoded.encoding, encoded.compression, view, kind, out)
        assert same_bits(out, sample)

    check()


@pytest.mark.parametrize(("encoding", "kind"), PAIRS)
def test_wrong_bytes_raise_or_decode(encoding: Encoding, kind: ColumnType) -> None:
    """Cut, lengthened and flipped bytes: EncodingError or some values, never a crash or a hang."""
    values = np.tile(extremes(kind)[:2], 50)
    if isinstance(encoding, Decimal):
        # Few floats are no decimals, so that exceptions are damaged too.
        few = np.arange(100) % 33 == 5 if kind.is_float else np.zeros(100, np.bool_)
        values = np.where(few, values, values.dtype.type(25))
    elif not holds(encoding, values):
        values = values[:1].repeat(100)
    data = encoding.encode(values, kind)
    out = np.empty(len(values), kind.dtype)
    wrong = [data[:cut] for cut in range(0, len(data), max(1, len(data) // 40))]
    wrong += [b"", b"\0" * 40, b"\xff" * 40]
    for position in range(0, len(data), max(1, len(data) // 60)):
        flipped = bytearray(data)
        flipped[position] ^= 0xFF
        wrong.append(bytes(flipped))
    for sample in wrong:
        try:
            encoding.decode(memoryview(sample), kind, out)
        except EncodingError:
            continue
    with pytest.raises(EncodingError):
        encoding.decode(memoryview(b""), kind, out)


@pytest.mark.parametrize("encoding", ENCODINGS.values(), ids=lambda e: e.number.name)
def test_wrong_counts_raise(encoding: Encoding) -> None:
    kind = next(kind for kind in TYPES if encoding.supports(kind) and kind != ColumnType.BOOLEAN)
    values = np.tile(extremes(kind)[:1], 100)
    if not holds(encoding, values):
        values = np.ones(100, kind.dtype)
    data = memoryview(encoding.encode(values, kind))
    if encoding.number in (EncodingNumber.CONSTANT, EncodingNumber.LINEAR):
        return  # holds no count
    for count in (0, 99, 101, 5000):
        with pytest.raises(EncodingError):
            encoding.decode(data, kind, np.empty(count, kind.dtype))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=200),
    st.sampled_from([0, 0x7FF0000000000000, 0xFFF0000000000000, 0x3FF0000000000000]),
)
def test_pcodec_keeps_every_bit_of_a_double(bits: list[int], exponent: int) -> None:
    """NaN payloads and -0.0 go through pcodec as they are, among ordinary numbers too."""
    odd = (np.array(bits, np.uint64) | np.uint64(exponent)).view(np.float64)
    walk = np.round(np.cumsum(np.linspace(-1, 1, 500)), 2)
    walk[:: 500 // len(odd) + 1][: len(odd)] = odd[: len(walk[:: 500 // len(odd) + 1])]
    for sample in (odd, walk, np.concatenate([walk, odd])):
        assert same_bits(round_trip(Pco(), sample, ColumnType.DOUBLE), sample)


def test_pcodec_declares_no_length_that_is_trusted() -> None:
    data = Pco().encode(np.arange(1000), ColumnType.INT64)
    with pytest.raises(EncodingError):
        Pco().decode(memoryview(data), ColumnType.INT64, np.empty(10, np.int64))
    with pytest.raises(EncodingError):
        Pco().decode(memoryview(data), ColumnType.DOUBLE, np.empty(1000, np.float64))


def test_equal_but_different_bits_are_not_constant() -> None:
    assert not is_constant(np.array([0.0, -0.0]))
    assert is_constant(np.array([np.nan, np.nan]))
    different = np.array([0x7FF8000000000000, 0x7FF8000000000001], np.uint64).view(np.float64)
    assert not is_constant(different)


def test_unknown_numbers() -> None:
    out = np.empty(1, np.int64)
    data = memoryview(struct.pack("<q", 5))
    decode_column(EncodingNumber.PLAIN, Compression.UNCOMPRESSED, data, ColumnType.INT64, out)
    assert out.tolist() == [5]
    for encoding, compression in ((0, 0), (99, 0), (1, 1), (1, 2), (1, 99)):
        with pytest.raises(EncodingError):
            decode_column(encoding, compression, data, ColumnType.INT64, out)
    with pytest.raises(EncodingError):
        decode_column(EncodingNumber.PCO, 0, data, ColumnType.TEXT, np.empty(1, object))


@pytest.mark.parametrize("level", [LEVEL_FAST, LEVEL_SMALL])
@pytest.mark.parametrize("delta", [AUTO_DELTA, LOOKBACK_DELTA, 0, 1, 2])
@pytest.mark.parametrize("base", [None, 0.0, 1.0, 0.01, 1e-9])
def test_every_way_of_pcodec_is_exact(level: int, delta: int, base: float | None) -> None:
    """A mode that does not suit the values costs bytes, never a bit of a value."""
    config = PcoConfig(level, delta, base)
    rng = np.random.default_rng(9)
    for kind in TYPES:
        if not Pco().supports(kind) or (base and not kind.is_float):
            continue
        values = extremes(kind)
        decimals = np.round(rng.normal(0, 50, 600), 2).astype(kind.dtype)
        for sample in (
            values[:0], values[:1], values, np.tile(values, 200), decimals,
            np.where(rng.random(600) < 0.05, rng.choice(values, 600), decimals),
        ):  # fmt: skip
            packed = Pco().encode_as(sample, kind, config)
            out = np.empty(len(sample), kind.dtype)
            Pco().decode(memoryview(packed), kind, out)
            assert same_bits(out, sample)


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.name)
def test_blocks_of_a_column_share_what_suited_the_first(kind: ColumnType) -> None:
    """What a trial found for one block is used for blocks of quite another kind."""
    rng = np.random.default_rng(int(kind))
    values = extremes(kind)
    calm = np.repeat(values[:1], 600)
    calm[::7] = values[-1]
    blocks = [calm, values, np.tile(values, 90), values[:0], values[:1], rng.choice(values, 700)]
    encoder = ColumnEncoder(kind)
    for block in [*blocks, *reversed(blocks)]:
        encoded = encoder.encode(block)
        out = np.empty(len(block), kind.dtype)
        view = memoryview(encoded.data)
        decode_column(encoded.encoding, encoded.compression, view, kind, out)
        assert same_bits(out, block)


def test_numbers_are_fixed() -> None:
    assert {e.name: int(e) for e in EncodingNumber} == {
        "UNKNOWN": 0, "PLAIN": 1, "CONSTANT": 2, "PCO": 3, "DICTIONARY": 4, "RLE": 5,
        "TS_2DIFF": 6, "GORILLA": 7, "LINEAR": 8,
        "DECIMAL": 9,
    }  # fmt: skip
    assert {c.name: int(c) for c in Compression} == {
        "UNCOMPRESSED": 0, "SNAPPY": 1, "LZ4": 2, "ZSTD": 3,
    }  # fmt: skip
