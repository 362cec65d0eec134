"""A million random columns, bit for bit. The seed of a failure is in its message."""

from __future__ import annotations

import numpy as np
import pytest

from mainstem_engine.encoding.column_encoder import encode_column
from mainstem_engine.encoding.compression import Compression
from mainstem_engine.encoding.registry import NAMED, decode_column
from mainstem_engine.model import AnyArray, ColumnType

CASES = 1_000_000
SHARDS = 20
"""So that a failure comes soon, and that progress is seen."""

KINDS = [kind for kind in ColumnType if kind != ColumnType.UNKNOWN]
NAMES = ["AUTO", *NAMED]
COMPRESSIONS = ["AUTO", *(each.name for each in Compression)]
WORDS = ["", "run", "stop", "ä\U0001f600", "\ud800", "x" * 40]


def random_column(rng: np.random.Generator, kind: ColumnType) -> AnyArray:
    """Up to 50 values: any bits, a walk, a few values, extremes among ordinary ones, decimals."""
    count = int(rng.integers(0, 51))
    if kind.is_variable:
        words = [WORDS[number] for number in rng.integers(0, len(WORDS), count).tolist()]
        out = np.empty(count, object)
        blobs = [word.encode("utf-8", "surrogatepass") for word in words]
        out[:] = words if kind == ColumnType.TEXT else blobs
        return out
    if kind == ColumnType.BOOLEAN:
        return rng.random(count) < rng.random()
    any_bits = np.frombuffer(rng.bytes(count * kind.dtype.itemsize), kind.dtype)
    shape = int(rng.integers(0, 5))
    if shape == 0:
        return any_bits
    steps = np.cumsum(rng.integers(-2, 3, count))
    walk = (steps / 8).astype(kind.dtype) if kind.is_float else steps.astype(kind.dtype)
    if shape == 1:
        return walk
    if shape == 2:
        return any_bits[rng.integers(0, max(1, min(3, count)), count)]
    if shape == 4 and kind.is_float:
        walk = (steps / 10.0 ** int(rng.integers(0, 11))).astype(kind.dtype)
    return np.where(rng.random(count) < (0.1 if shape == 3 else 0.03), any_bits, walk)


@pytest.mark.nightly
@pytest.mark.parametrize("shard", range(SHARDS))
def test_a_million_random_columns(shard: int) -> None:
    rng = np.random.default_rng(shard)
    for case in range(CASES // SHARDS):
        kind = KINDS[case % len(KINDS)]
        name = NAMES[case // 14 % len(NAMES)]
        compression = COMPRESSIONS[case // 98 % len(COMPRESSIONS)]
        values = random_column(rng, kind)
        column = encode_column(values, kind, encoding=name, compression=compression)
        out: AnyArray = np.empty(len(values), kind.dtype)
        view = memoryview(column.data)
        decode_column(column.encoding, column.compression, view, kind, out)
        same = values.tolist() == out.tolist() if kind.is_variable else (
            values.tobytes() == out.tobytes()
        )  # fmt: skip
        assert same, f"shard {shard}, case {case}: {kind.name} by {name}, {compression}"
