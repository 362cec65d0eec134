"""The rows of many PTS records, one record after the other, without a Points for each.

1. Small records are what a live node writes. Here a record costs one look at its header and one
   reference to each of its buffers; the bytes of a column are joined in one step.
2. The records have the same columns of the same types. Nulls may be in some and not in others.
3. The records are of a log of this node, or were checked when they came: what is wrong all the same
   shows in the total length of a column. CorruptionError.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mainstem_engine.errors import CorruptionError
from mainstem_engine.model import AnyArray, BoolMask, Column, ColumnType, Rows
from mainstem_engine.points import DICTIONARY, decode_texts, opened_points

OpenRecord = tuple[Mapping[str, Any], Sequence[memoryview]]
"""Header and buffers of a PTS record, as decode_payload gives them."""


def stacked_rows(records: Sequence[OpenRecord]) -> Rows:
    """The rows of all ``records`` (at least one), in their order."""
    if len(records) == 1:
        header, buffers = records[0]
        return opened_points(header, buffers).rows
    try:
        return _stacked(records)
    except (KeyError, TypeError, ValueError, IndexError) as exc:
        raise CorruptionError("PTS record", 0, f"rows that cannot be read: {exc!r}") from exc


def _stacked(records: Sequence[OpenRecord]) -> Rows:
    counts = [int(header["n"]) for header, _ in records]
    total = sum(counts)
    device = _joined([buffers[0] for _, buffers in records], np.dtype("<u4"), total)
    time = _joined([buffers[1] for _, buffers in records], np.dtype("<i8"), total)
    rows = Rows(device, time)
    places = [2] * len(records)
    for number, (key, code, _, kind) in enumerate(records[0][0]["cols"]):
        described = [header["cols"][number] for header, _ in records]
        if any(other[0] != key or other[1] != code or other[3] != kind for other in described):
            raise ValueError("records of other columns")
        values = _values(records, places, counts, ColumnType(code), kind)
        rows.columns[int(key)] = Column(values, _validity(records, places, counts, number))
    if any(place != len(buffers) for place, (_, buffers) in zip(places, records, strict=True)):
        raise ValueError("buffers that no column describes")
    return rows


def _values(
    records: Sequence[OpenRecord],
    places: list[int],
    counts: Sequence[int],
    kind: ColumnType,
    how: int,
) -> AnyArray:
    """The values of the column whose buffers begin at ``places``, which are moved beyond them."""
    taken = 3 if how == DICTIONARY else 1
    found = [
        buffers[place : place + taken] for place, (_, buffers) in zip(places, records, strict=True)
    ]
    places[:] = [place + taken for place in places]
    if how == DICTIONARY:
        texts = [decode_texts(some, kind, n) for some, n in zip(found, counts, strict=True)]
        return np.concatenate(texts)
    return _joined([some[0] for some in found], kind.dtype, sum(counts))


def _validity(
    records: Sequence[OpenRecord], places: list[int], counts: Sequence[int], number: int
) -> BoolMask | None:
    """Which values are there; None when all are. A loop per record that has nulls."""
    has = [bool(header["cols"][number][2]) for header, _ in records]
    if not any(has):
        return None
    valid: BoolMask = np.ones(sum(counts), np.bool_)
    start = 0
    for at, count in enumerate(counts):
        if has[at]:
            packed = np.frombuffer(records[at][1][places[at]], np.uint8)
            places[at] += 1
            if len(packed) != -(-count // 8):
                raise ValueError(f"a bitmap of {len(packed)} bytes for {count} rows")
            valid[start : start + count] = np.unpackbits(packed, count=count, bitorder="little")
        start += count
    return valid


def _joined(buffers: Sequence[memoryview], dtype: np.dtype[Any], total: int) -> AnyArray:
    stored = np.dtype(np.uint8) if dtype == np.bool_ else dtype
    array: AnyArray = np.frombuffer(b"".join(buffers), stored)
    if len(array) != total:
        raise ValueError(f"{len(array)} values of {dtype} in {total} rows")
    return (array != 0) if dtype == np.bool_ else array
