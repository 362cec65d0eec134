"""Bytes of the encodings that are ours: what was written once must be read for ever.

The bytes are spelled out, and read once more by a plain loop that follows docs/file-format.md.
"""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstem_engine.encoding.delta2 import Delta2
from mainstem_engine.encoding.gorilla import Gorilla
from mainstem_engine.encoding.interface import EncodingNumber
from mainstem_engine.encoding.registry import ENCODINGS, NAMED
from mainstem_engine.model import AnyArray, ColumnType

INT32, DOUBLE, BOOLEAN = ColumnType.INT32, ColumnType.DOUBLE, ColumnType.BOOLEAN

BYTES = {
    ("PLAIN", INT32, (5, -1)): "05000000 ffffffff",
    ("PLAIN", BOOLEAN, (True, False, True)): "05",
    # two runs of u8 lengths 3 and 1, then 7 and 9
    ("RLE", INT32, (7, 7, 7, 9)): "02000000 01 03 01 07000000 09000000",
    ("RLE", BOOLEAN, (True, True, False)): "02000000 01 02 01 01",
    # two distinct values, codes 0 1 0, then -0.0's bits after 2.0's
    ("DICTIONARY", DOUBLE, (2.0, -0.0, 2.0)): (
        "02000000 00 01 00 0000000000000040 0000000000000080"
    ),
    # four values from 10; width 2, minimum -1; 2 0 3 as bits 10 00 11 from the lowest
    ("TS_2DIFF", INT32, (10, 11, 10, 12)): "04000000 0a000000 02 ffffffff 32",
    # steps of 5 only: no bits
    ("TS_2DIFF", INT32, (0, 5, 10)): "03000000 00000000 00 05000000",
    # changed 1 0 1, fresh 1 0, one window of 2 bits above 1; 01 11 from the lowest
    ("GORILLA", INT32, (1, 3, 3, 5)): "04000000 01000000 05 01 01 02 0d",
    ("GORILLA", DOUBLE, (1.0, 1.0)): "02000000 000000000000f03f 00",
}


@pytest.mark.parametrize(("case", "expected"), BYTES.items(), ids=lambda item: str(item)[:40])
def test_bytes(case: tuple[str, ColumnType, tuple[float, ...]], expected: str) -> None:
    name, kind, items = case
    values = np.array(items, kind.dtype)
    stored = bytes.fromhex(expected)
    assert NAMED[name].encode(values, kind).hex(" ") == stored.hex(" ")
    out = np.empty(len(values), kind.dtype)
    NAMED[name].decode(memoryview(stored), kind, out)
    assert out.tobytes() == values.tobytes()


def test_every_encoding_but_constant_can_be_named() -> None:
    assert set(NAMED) == {"PLAIN", "RLE", "TS_2DIFF", "GORILLA", "DICTIONARY", "PCO"}
    assert set(ENCODINGS) == set(EncodingNumber) - {EncodingNumber.UNKNOWN}


def bit(data: bytes, place: int) -> int:
    return data[place // 8] >> (place % 8) & 1


def number(data: bytes, place: int, width: int) -> int:
    return sum(bit(data, place + i) << i for i in range(width))


def gorilla_by_the_page(data: bytes) -> list[int]:
    count, value = struct.unpack_from("<IQ", data)
    changed = [bit(data[12:], i) for i in range(count - 1)]
    data = data[12 + (count + 6) // 8 :]
    fresh = [bit(data, i) for i in range(sum(changed))]
    data = data[(len(fresh) + 7) // 8 :]
    windows = list(zip(data[: sum(fresh)], data[sum(fresh) : 2 * sum(fresh)], strict=True))
    data = data[2 * sum(fresh) :]
    found, place, window, opens = [value], 0, -1, iter(fresh)
    for differs in changed:
        if differs:
            window += next(opens)
            trailing, length = windows[window]
            value ^= number(data, place, length) << trailing
            place += length
        found.append(value)
    return found


def delta2_by_the_page(data: bytes) -> list[int]:
    count, value = struct.unpack_from("<IQ", data)
    groups = (count - 1 + 127) // 128
    widths = data[12 : 12 + groups]
    lows = struct.unpack_from(f"<{groups}Q", data, 12 + groups)
    data = data[12 + 9 * groups :]
    found, place = [value], 0
    for i in range(count - 1):
        value = (value + lows[i // 128] + number(data, place, widths[i // 128])) % 2**64
        place += widths[i // 128]
        found.append(value)
    return found


WALKS = st.lists(
    st.one_of(st.just(0), st.integers(-5, 5), st.integers(-(2**63), 2**63 - 1)),
    min_size=1,
    max_size=300,
).map(lambda steps: np.cumsum(np.array(steps, np.int64)))


@given(WALKS)
def test_a_loop_reads_the_same(values: AnyArray) -> None:
    kind, expected = ColumnType.INT64, values.view(np.uint64).tolist()
    assert gorilla_by_the_page(Gorilla().encode(values, kind)) == expected
    assert delta2_by_the_page(Delta2().encode(values, kind)) == expected
