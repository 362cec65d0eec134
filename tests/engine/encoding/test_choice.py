"""What a template names is what is written; AUTO takes what a trial finds smallest."""

from __future__ import annotations

import numpy as np
import pytest

from mainstem_engine.encoding.auto import choose
from mainstem_engine.encoding.column_encoder import ColumnEncoder, EncodedColumn, encode_column
from mainstem_engine.encoding.compression import Compression
from mainstem_engine.encoding.interface import EncodingNumber
from mainstem_engine.encoding.pco_search import decimal_step
from mainstem_engine.encoding.registry import ENCODINGS, NAMED, decode_column
from mainstem_engine.model import AnyArray, ColumnType

TYPES = [kind for kind in ColumnType if kind != ColumnType.UNKNOWN]
NUMBERS = [kind for kind in TYPES if not kind.is_variable]


def walk(kind: ColumnType, count: int = 3000) -> AnyArray:
    rng = np.random.default_rng(5)
    if kind == ColumnType.TEXT:
        return np.array(["run", "stop", "ä"], object)[rng.integers(0, 3, count)]
    if kind == ColumnType.BLOB:
        return np.array([b"", b"\0\xff"], object)[rng.integers(0, 2, count)]
    if kind == ColumnType.BOOLEAN:
        return np.repeat(rng.random(count // 50) < 0.5, 50)
    steps = np.cumsum(rng.integers(-4, 5, count)) % 120
    return (steps / 8 if kind.is_float else steps).astype(kind.dtype)


def decoded(column: EncodedColumn, kind: ColumnType, count: int) -> AnyArray:
    out: AnyArray = np.empty(count, kind.dtype)
    view = memoryview(column.data)
    decode_column(column.encoding, column.compression, view, kind, out)
    return out


@pytest.mark.parametrize("compression", [each.name for each in Compression])
@pytest.mark.parametrize("encoding", NAMED)
@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.name)
def test_names_are_honoured(kind: ColumnType, encoding: str, compression: str) -> None:
    values = walk(kind)
    column = encode_column(values, kind, encoding=encoding, compression=compression)
    assert decoded(column, kind, len(values)).tolist() == values.tolist()
    if NAMED[encoding].supports(kind):
        assert column.encoding.name == encoding
        # Kept only where it pays: after PCO it does not.
        assert column.compression.name in (compression, "UNCOMPRESSED")
        raw = NAMED[encoding].encode(values, kind)
        assert len(column.data) <= len(raw)
        if encoding == "PLAIN" and kind.dtype.itemsize > 1:
            assert column.compression.name == compression
    else:
        assert column.encoding == EncodingNumber.DICTIONARY


@pytest.mark.parametrize("encoding", [*NAMED, "AUTO", "CHIMP", "CONSTANT", ""])
@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.name)
def test_one_value_a_few_and_none(kind: ColumnType, encoding: str) -> None:
    values = walk(kind)
    for count in (0, 1):
        column = encode_column(values[:count], kind, encoding=encoding)
        assert column.encoding == EncodingNumber.CONSTANT
        assert decoded(column, kind, count).tolist() == values[:count].tolist()
    same = encode_column(values[:1].repeat(500), kind, encoding=encoding)
    assert same.encoding == EncodingNumber.CONSTANT
    few = np.r_[values[:1], values[values != values[0]][:3]]
    column = encode_column(few, kind, encoding=encoding)
    if not kind.is_variable:
        assert column.encoding == EncodingNumber.PLAIN
    assert decoded(column, kind, len(few)).tolist() == few.tolist()


@pytest.mark.parametrize("count", [100, 1000, 4096, 20_000])
def test_auto(count: int) -> None:
    rng = np.random.default_rng(1)
    double, boolean = ColumnType.DOUBLE, ColumnType.BOOLEAN
    noise = rng.normal(size=count)
    decimals = choose(np.round(np.cumsum(noise), 2), double)
    assert (decimals.encoding.number, decimals.decimals) == (EncodingNumber.DECIMAL, 2)
    assert choose(noise, double).encoding.number == EncodingNumber.PCO
    assert choose(np.full(count, np.nan), double).encoding.number == EncodingNumber.CONSTANT
    bits = choose(rng.random(count) < 0.5, boolean).encoding.number
    assert bits in (EncodingNumber.PLAIN, EncodingNumber.PCO)  # a bit a value, either way
    days = np.arange(count) * 86_400_000
    assert choose(days, ColumnType.TIMESTAMP).encoding.number == EncodingNumber.PCO


def test_auto_finds_runs() -> None:
    rng = np.random.default_rng(2)
    steps = np.repeat(rng.normal(size=20), 205)
    assert choose(steps, ColumnType.DOUBLE).encoding.number == EncodingNumber.RLE
    switches = np.repeat(rng.random(32) < 0.5, 128)
    assert choose(switches, ColumnType.BOOLEAN).encoding.number == EncodingNumber.RLE


def test_auto_finds_values_that_come_again() -> None:
    rng = np.random.default_rng(3)
    cycle = np.tile(rng.normal(size=37), 110)
    assert choose(cycle, ColumnType.DOUBLE).encoding.number == EncodingNumber.DICTIONARY
    assert (
        choose(cycle.astype(np.float32), ColumnType.FLOAT).encoding.number
        == EncodingNumber.DICTIONARY
    )


@pytest.mark.parametrize("kind", NUMBERS, ids=lambda kind: kind.name)
def test_auto_is_never_much_larger_than_the_best(kind: ColumnType) -> None:
    values = walk(kind)
    sizes = [
        len(encode_column(values, kind, encoding=name).data)
        for name in ("PCO", "RLE", "DICTIONARY")
    ]
    assert len(encode_column(values, kind).data) <= 1.15 * min(sizes)


def test_times_and_lsns_have_no_trial() -> None:
    def encoded(values: AnyArray) -> str:
        column = encode_column(values, ColumnType.UINT64, ordered=True)
        assert column.compression == Compression.UNCOMPRESSED
        assert decoded(column, ColumnType.UINT64, len(values)).tolist() == values.tolist()
        return column.encoding.name

    assert encoded(np.repeat(np.arange(1, 300, dtype=np.uint64), 10)) == "PCO"
    assert encoded(np.repeat(np.arange(1, 5, dtype=np.uint64), 700)) == "RLE"
    assert encoded(np.arange(5, 50_000, 1000, dtype=np.uint64)) == "LINEAR"
    assert encoded(np.arange(9, 0, -1, dtype=np.uint64)) == "LINEAR"


def test_a_choice_is_kept_until_sizes_drift() -> None:
    rng = np.random.default_rng(4)
    encoder = ColumnEncoder(ColumnType.DOUBLE)
    calm = np.round(np.cumsum(rng.normal(size=(8, 2000)), axis=1), 1)
    names = {encoder.encode(block).encoding.name for block in calm}
    kept = encoder.choice
    assert names == {"DECIMAL"}
    assert kept is not None
    assert (kept.decimals, kept.stale) == (1, False)
    wild = np.round(np.cumsum(rng.normal(0, 1000, size=(8, 2000)), axis=1), 1)
    encoder.encode(wild[0])
    assert encoder.choice is not None
    assert encoder.choice.stale
    # The same is found again: it now suits blocks of either size.
    for block in [*wild, *calm, *wild]:
        encoder.encode(block)
        assert encoder.choice.way == kept.way
        assert encoder.choice.value_bytes[0] <= kept.value_bytes[0]
    assert encoder.choice.value_bytes[1] > 2 * kept.value_bytes[1]


def test_one_odd_block_does_not_decide_for_others() -> None:
    rng = np.random.default_rng(11)
    encoder = ColumnEncoder(ColumnType.DOUBLE)
    calm = np.round(np.cumsum(rng.normal(size=(20, 1000)), axis=1), 2)
    odd = rng.normal(size=1000)
    blocks = [*calm[:6], odd, *calm[6:]]
    names = [encoder.encode(block).encoding.name for block in blocks]
    assert names == ["DECIMAL"] * 6 + ["PCO"] + ["DECIMAL"] * 14


def test_values_that_change_for_good_are_tried_again() -> None:
    rng = np.random.default_rng(12)
    encoder = ColumnEncoder(ColumnType.DOUBLE)
    for block in np.round(np.cumsum(rng.normal(size=(6, 1000)), axis=1), 2):
        encoder.encode(block)
    for block in rng.normal(size=(12, 1000)):
        encoder.encode(block)
    assert encoder.choice is not None
    assert encoder.choice.encoding.number == EncodingNumber.PCO


def test_more_decimals_are_found_from_block_to_block() -> None:
    """As in small flushes, each of which has an encoder of its own and one block."""
    rng = np.random.default_rng(15)
    choice, names, decimals = None, [], []
    for number in range(6):
        encoder = ColumnEncoder(ColumnType.DOUBLE, choice=choice)
        block = np.round(rng.normal(0, 50, 500), 0 if number < 2 else 2)
        names.append(encoder.encode(block).encoding.name)
        choice = encoder.choice
        assert choice is not None
        decimals.append(choice.decimals)
    assert names == ["DECIMAL", "DECIMAL", "PCO", "DECIMAL", "DECIMAL", "DECIMAL"]
    assert decimals == [0, 0, 0, 2, 2, 2]


@pytest.mark.parametrize("kind", [ColumnType.DOUBLE, ColumnType.FLOAT], ids=lambda kind: kind.name)
def test_a_few_values_that_are_no_decimals_are_kept_beside_them(kind: ColumnType) -> None:
    rng = np.random.default_rng(13)
    values = np.round(50 + rng.normal(size=1000), 2).astype(kind.dtype)
    odd = np.array([np.nan, -0.0, np.inf, -np.inf, 1e30, 1 / 3], kind.dtype)
    values[[0, 1, 17, 400, 998, 999]] = odd
    column = encode_column(values, kind)
    assert column.encoding == EncodingNumber.DECIMAL
    assert decoded(column, kind, 1000).tobytes() == values.tobytes()


def test_blocks_of_one_call_are_those_of_many() -> None:
    """Blocks that are looked at together are encoded as blocks that come alone."""
    rng = np.random.default_rng(14)
    walks = np.round(np.cumsum(rng.normal(size=3000)), 1)
    kinds = [walks, np.repeat(walks[:30], 100), np.full(700, 2.5), walks[:3], np.empty(0)]
    blocks = [kinds[number] for number in rng.integers(0, len(kinds), 40)]
    edges = np.cumsum([0, *map(len, blocks)])
    together = ColumnEncoder(ColumnType.DOUBLE).encode_blocks(np.concatenate(blocks), edges)
    one = ColumnEncoder(ColumnType.DOUBLE)
    alone = [one.encode(block) for block in blocks]
    for block, left, right in zip(blocks, together, alone, strict=True):
        assert left.encoding == right.encoding
        assert decoded(left, ColumnType.DOUBLE, len(block)).tobytes() == block.tobytes()
        # Whole numbers are as wide as the largest of the column asks for.
        assert len(left.data) <= len(right.data) + 40


def test_decimals_are_found() -> None:
    rng = np.random.default_rng(6)
    for decimals in range(6):
        values = np.round(rng.normal(0, 50, 500), decimals)
        assert decimal_step(values) == pytest.approx(10.0**-decimals)
        assert decimal_step(values.astype(np.float32)) == pytest.approx(10.0**-decimals)
    assert decimal_step(rng.normal(size=500)) is None
    assert decimal_step(np.array([np.nan, np.inf, 2.5])) == 0.1
    assert decimal_step(np.array([np.nan, np.inf])) is None
    assert decimal_step(np.array([1e300, 2.0])) is None


def test_what_each_encoding_can_hold() -> None:
    for encoding in ENCODINGS.values():
        held = {kind for kind in ColumnType if encoding.supports(kind)}
        anything = encoding.number.name in ("PLAIN", "CONSTANT", "DICTIONARY")
        whole = {ColumnType.INT64, ColumnType.UINT64, ColumnType.TIMESTAMP}
        numbers = whole if encoding.number == EncodingNumber.LINEAR else set(NUMBERS)
        if encoding.number == EncodingNumber.DECIMAL:
            wide = {kind for kind in NUMBERS if kind.dtype.itemsize > 2}
            numbers = wide - {ColumnType.TIMESTAMP}
        assert held == (set(TYPES) if anything else numbers)
