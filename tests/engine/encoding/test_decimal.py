"""DECIMAL gives every bit back, whatever was chosen for another block, and believes no bytes."""

from __future__ import annotations

import math
import struct
import tracemalloc

import numpy as np
import pytest

from mainstem_engine.encoding.auto import Choice
from mainstem_engine.encoding.column_encoder import ColumnEncoder
from mainstem_engine.encoding.decimal import DECIMALS_MAX, EXCEPTIONS, Decimal
from mainstem_engine.encoding.interface import EncodingNumber
from mainstem_engine.encoding.pco import Pco, PcoConfig
from mainstem_engine.encoding.registry import decode_column
from mainstem_engine.errors import EncodingError
from mainstem_engine.model import AnyArray, ColumnType

KINDS = [kind for kind in ColumnType if kind != ColumnType.UNKNOWN and Decimal().supports(kind)]
ODD = [
    math.nan, -math.nan, -0.0, 0.0, math.inf, -math.inf, 5e-324, 2.0**53, 2.0**53 - 1, -(2.0**53),
    0.1 + 0.2, 1e22, 1e308, 9007199254740.993, 2**53 / 10, 2**53 / 1e9, 32767.5, 32768.0,
    -32768.4999, 3276.7, 3276.8, -3276.8, -3276.9, 214748364.7, 214748364.8, -214748364.9,
]  # fmt: skip
SIZES = [0, 1, 2, 7, 8, 9, 20, 100, 1000, 5000]
SHARES = [0, 0.001, 0.02, 0.07, 0.3, 1]
CASES = 1500


def random_block(rng: np.random.Generator, kind: ColumnType, count: int) -> AnyArray:
    """Decimals near the ends of what whole numbers hold, or integers, and odd ones among them."""
    found: AnyArray
    if not kind.is_float:
        limits = np.iinfo(kind.dtype)
        reach = int(rng.choice([100, 1 << 15, 1 << 31, 1 << 62]))
        low, high = max(int(limits.min), -reach), min(int(limits.max), reach)
        found = rng.integers(low, high, count, dtype=kind.dtype.type, endpoint=True)
        ends = np.array([limits.min, limits.max, 0], kind.dtype)
        some = rng.random(count) < rng.choice([0, 0.02])
        found[some] = rng.choice(ends, int(some.sum()))
        return found
    scale = 10.0 ** int(rng.integers(0, DECIMALS_MAX + 2))
    reach = int(rng.choice([1 << 15, 1 << 31, 1 << 53])) + 3
    found = (rng.integers(-reach, reach, count) / scale).astype(kind.dtype)
    with np.errstate(over="ignore"):
        odd: AnyArray = rng.choice(np.array(ODD), count).astype(kind.dtype)
    if rng.random() < 0.3:
        odd = np.frombuffer(rng.bytes(odd.nbytes), kind.dtype)
    return np.where(rng.random(count) < rng.choice(SHARES), odd, found)


def random_choice(rng: np.random.Generator, kind: ColumnType) -> Choice:
    """As another block may have left it."""
    decimals = int(rng.integers(0, DECIMALS_MAX + 1)) if kind.is_float else 0
    config = PcoConfig(int(rng.integers(0, 9)), int(rng.integers(-2, 3)))
    return Choice(Decimal(), config, (float(rng.random()), 8.0), decimals)


@pytest.mark.parametrize("kind", KINDS)
def test_every_bit_comes_back_whatever_was_chosen_before(kind: ColumnType) -> None:
    rng = np.random.default_rng(int(kind))
    kept: Choice | None = None
    decimals = 0
    for case in range(CASES):
        blocks = [random_block(rng, kind, int(n)) for n in rng.choice(SIZES, rng.integers(1, 6))]
        edges = np.cumsum([0, *map(len, blocks)])
        encoder = ColumnEncoder(kind, choice=random_choice(rng, kind) if case % 2 else kept)
        for block, column in zip(
            blocks, encoder.encode_blocks(np.concatenate(blocks), edges), strict=True
        ):
            out: AnyArray = np.empty(len(block), kind.dtype)
            view = memoryview(column.data)
            decode_column(column.encoding, column.compression, view, kind, out)
            assert out.tobytes() == block.tobytes(), f"case {case}, {column.encoding.name}"
            decimals += column.encoding is EncodingNumber.DECIMAL
        kept = encoder.choice
    assert decimals > CASES // 20


ROWS = 10
PACKED = Pco().encode(np.arange(ROWS), ColumnType.INT64)
HUGE = (1 << 32) - 1


def with_exceptions(positions: list[int], values: bytes, packed: bytes = PACKED) -> bytes:
    count = struct.pack("<I", len(positions))
    rows = np.array(positions, "<u4").tobytes()
    return bytes([0, 8 | EXCEPTIONS]) + count + rows + values + packed


LIES = {
    "nothing": b"",
    "no width": b"\0",
    "no numbers": b"\0\x08",
    "a width": b"\0\x03" + PACKED,
    "another width": b"\0\x04" + PACKED,
    "decimals": bytes([DECIMALS_MAX + 1, 8]) + PACKED,
    "no count": b"\0\x88\1",
    "a count": b"\0\x88" + struct.pack("<I", HUGE) + bytes(64),
    "more than rows": with_exceptions([0] * 11, bytes(88)),
    "no values": with_exceptions([1, 2, 3], b"", b""),
    "a position": with_exceptions([ROWS], bytes(8)),
    "a negative position": with_exceptions([HUGE], bytes(8)),
    "fewer numbers": b"\0\x08" + Pco().encode(np.arange(9), ColumnType.INT64),
    "more numbers": b"\0\x08" + Pco().encode(np.arange(1 << 20), ColumnType.INT64),
    "floats": b"\0\x08" + Pco().encode(np.arange(ROWS) / 3, ColumnType.DOUBLE),
}


@pytest.mark.parametrize("lie", LIES)
def test_lies_are_refused(lie: str) -> None:
    out = np.empty(ROWS)
    tracemalloc.start()
    with pytest.raises(EncodingError):
        Decimal().decode(memoryview(LIES[lie]), ColumnType.DOUBLE, out)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 16


def test_integers_have_no_decimals() -> None:
    with pytest.raises(EncodingError):
        Decimal().decode(memoryview(b"\1\x08" + PACKED), ColumnType.INT64, np.empty(ROWS, np.int64))


def test_exceptions_are_put_where_they_were() -> None:
    data = with_exceptions([9, 0], np.array([np.inf, -0.0]).tobytes())
    out = np.empty(ROWS)
    Decimal().decode(memoryview(data), ColumnType.DOUBLE, out)
    assert out.tobytes() == np.array([-0.0, *range(1, 9), np.inf]).tobytes()
