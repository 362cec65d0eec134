"""DEL records: what is written is read again, what does not fit is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mainstem_engine.erasures import (
    ENTRIES_MAX,
    Erasure,
    decode_erasure,
    encode_erasure,
    erasure_payload,
)
from mainstem_engine.errors import CorruptionError
from mainstem_engine.filesystem import byte_view
from mainstem_engine.log.records import encode_payload


def u32(*values: int) -> Any:
    return np.array(values, np.uint32)


def i64(*values: int) -> Any:
    return np.array(values, np.int64)


def joined(pieces: Any) -> bytes:
    return b"".join(map(byte_view, pieces))


CASES = [
    Erasure("t", 7, 0, 10, rows=3),
    Erasure("t", 7, -5, 10, u32(1, 2, 9), measurements=(0, 4)),
    Erasure("t", 7, 1, 4, u32(1, 1, 2), i64(1, 3, 3)),
    Erasure("t", 7, 1, 9, u32(1, 1, 2), i64(1, 3, 3), i64(3, 5, 9), (2,), 4, {"asof": 1}),
]


@pytest.mark.parametrize("erasure", CASES)
def test_a_record_is_read_as_it_was_written(erasure: Erasure) -> None:
    found = decode_erasure(joined(erasure_payload(erasure)))
    assert repr(found) == repr(erasure)
    item = found.tombstone(9, 2, rows=1)
    assert (item.lsn, item.origin, item.as_of, item.rows) == (9, 2, 7, 1)


@pytest.mark.parametrize(
    "erasure",
    [
        Erasure("t", 7, 0, 10, u32(2, 1)),
        Erasure("t", 7, 0, 10, u32(1, 1)),
        Erasure("t", 7, 0, 10, u32()),
        Erasure("t", 7, 0, 10, None, i64(1)),
        Erasure("t", 7, 0, 10, u32(1, 1), i64(1, 1)),
        Erasure("t", 7, 0, 10, u32(1), i64(1, 2)),
        Erasure("t", 7, 0, 10, u32(1, 1), i64(1, 3), i64(4, 5)),
        Erasure("t", 7, 0, 10, u32(1), i64(1), i64(1)),
        Erasure("t", 7, 10, 0),
        Erasure("t", -1, 0, 10),
        Erasure("t", 1, 0, 10, rows=-1),
    ],
)
def test_what_does_not_fit_is_refused(erasure: Erasure) -> None:
    with pytest.raises(CorruptionError):
        decode_erasure(joined(erasure_payload(erasure)))


def test_a_header_that_lies_is_refused() -> None:
    header, buffers = encode_erasure(CASES[1])
    for change in ({"has": 3}, {"as_of": "x"}, {"s": 1 << 63}, {"m": 3}):
        with pytest.raises(CorruptionError):
            decode_erasure(joined(encode_payload({**header, **change}, buffers)))


def test_a_long_one_becomes_several_records() -> None:
    count = 2 * ENTRIES_MAX + 1
    long = Erasure("t", 7, 0, count, np.arange(count, dtype=np.uint32), rows=5)
    pieces = list(long.pieces(np.ones(count, np.int64)))
    assert [len(p.devices) for p in pieces if p.devices is not None] == [
        ENTRIES_MAX,
        ENTRIES_MAX,
        1,
    ]
    assert [p.rows for p in pieces] == [ENTRIES_MAX, ENTRIES_MAX, 1]
    assert list(CASES[0].pieces(np.ones(1, np.int64))) == [CASES[0]]
