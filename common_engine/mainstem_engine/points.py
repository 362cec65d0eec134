"""The payload of a PTS record: rows of one table, sorted by device and time, without duplicates.

Header: ``t`` table, ``rev`` template revision, ``n`` rows, ``acc`` rows as offered, ``mrg`` rows
merged away because the call named a (device, time) twice, ``der`` 1 for derived rows (rollups),
``in`` the intake's counts where given, ``cols`` one list per column:
``[measurement id, type, has validity, kind]``. Further keys belong to who wrote the record.

Buffers: device uint32, time int64 ns, then per column its values and, with validity, a bitmap
(bit i of byte i // 8, least significant first; 1 is valid). ``kind`` 0: values as they are, one
byte for a BOOLEAN. ``kind`` 1 (TEXT, BLOB): codes uint32[n], offsets uint32[k + 1], bytes.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mainstem_engine.errors import CorruptionError
from mainstem_engine.filesystem import Buffer
from mainstem_engine.log.records import decode_payload, encode_payload
from mainstem_engine.model import AnyArray, BoolMask, Column, ColumnType, Rows

PLAIN = 0
DICTIONARY = 1

_U8, _U32, _I64 = np.dtype("u1"), np.dtype("<u4"), np.dtype("<i8")


@dataclass(frozen=True, slots=True)
class Points:
    """A decoded PTS record. ``rows`` have the measurement ids of the table's owner."""

    table: str
    header: Mapping[str, Any]
    rows: Rows

    @property
    def derived(self) -> bool:
        return bool(self.header.get("der"))


def points_header(
    table: str,
    revision: int,
    rows: int,
    *,
    accepted: int,
    derived: bool = False,
    intake: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """The fields that every PTS record has. ``accepted``: rows before equal keys were merged; of
    derived rows nothing was accepted."""
    fields: dict[str, Any] = {"t": table, "rev": revision, "n": rows, "der": int(derived)}
    fields |= {"acc": 0, "mrg": 0} if derived else {"acc": accepted, "mrg": accepted - rows}
    return fields if intake is None else {**fields, "in": dict(intake)}


def split_points(
    header: Mapping[str, Any], rows: Rows, pieces: int
) -> list[tuple[dict[str, Any], Rows]]:
    """``rows`` as at most ``pieces`` records of about equal length, each with its own header.

    The counts of all headers add up to those of ``header``, and every record's are consistent in
    themselves: what was merged, filtered or put aside is counted with the first.
    """
    bounds = [len(rows) * number // pieces for number in range(pieces + 1)]
    spans = [(a, b) for a, b in itertools.pairwise(bounds) if b > a]
    found = []
    later = 0 if header["der"] else len(rows) - spans[0][1]
    for number, (start, end) in enumerate(spans):
        count = end - start
        accepted = 0 if header["der"] else count
        fields = {**header, "n": count, "acc": accepted, "mrg": 0}
        counts = header.get("in")
        if number == 0:
            fields |= {"acc": header["acc"] - later, "mrg": header["mrg"]}
        if counts is not None:
            fields["in"] = dict(counts) if number == 0 else dict.fromkeys(counts, 0)
            if "received" in counts:
                fields["in"]["received"] = accepted if number else counts["received"] - later
        found.append((fields, rows.take(slice(start, end))))
    return found


def encode_points(
    header: Mapping[str, Any], rows: Rows, types: Mapping[int, ColumnType]
) -> list[Buffer]:
    """The pieces of the payload; fixed-width arrays of ``rows`` are not copied."""
    columns: list[list[int]] = []
    buffers: list[Buffer] = [rows.device, rows.time]
    for measurement_id, column in rows.columns.items():
        kind = types[measurement_id]
        if kind.is_variable:
            columns.append([measurement_id, kind, column.valid is not None, DICTIONARY])
            buffers.extend(_encode_variable(column, kind))
        else:
            columns.append([measurement_id, kind, column.valid is not None, PLAIN])
            buffers.append(column.values)
        if column.valid is not None:
            buffers.append(np.packbits(column.valid, bitorder="little"))
    return encode_payload({**header, "cols": columns}, buffers)


def _encode_variable(column: Column, kind: ColumnType) -> list[Buffer]:
    """Codes, offsets and bytes; a null has code 0 and is hidden by the validity."""
    index: dict[Any, int] = {}
    codes = np.zeros(len(column.values), np.uint32)
    values: Sequence[Any] = column.values.tolist()
    valid = None if column.valid is None else column.valid.tolist()
    for row, value in enumerate(values):
        if valid is None or valid[row]:
            codes[row] = index.setdefault(value, len(index))
    encoded = [v.encode() for v in index] if kind == ColumnType.TEXT else list(index)
    offsets = np.zeros(len(encoded) + 1, np.uint32)
    np.cumsum([len(item) for item in encoded], out=offsets[1:]) if encoded else None
    return [codes, offsets, b"".join(encoded)]


def decode_points(payload: Buffer) -> Points:
    """The rows of a PTS record; arrays look into ``payload``. Raises CorruptionError.

    Every length is checked against the number of rows, so that a payload from another node cannot
    make a reader look outside it.
    """
    return opened_points(*decode_payload(payload))


def opened_points(header: Mapping[str, Any], buffers: Sequence[memoryview]) -> Points:
    """As ``decode_points``, of a payload that was opened already."""
    try:
        return _decode(header, buffers)
    except (KeyError, TypeError, ValueError, IndexError) as exc:
        raise CorruptionError("PTS record", 0, f"rows that cannot be read: {exc!r}") from exc


def _decode(header: Mapping[str, Any], buffers: Sequence[memoryview]) -> Points:
    count = int(header["n"])
    if not 0 <= count <= len(buffers[0]):
        raise ValueError(f"{count} rows")
    rows = Rows(_array(buffers[0], _U32, count), _array(buffers[1], _I64, count))
    position = 2
    for measurement_id, code, has_valid, kind in header["cols"]:
        column_type, is_variable, dtype = _kind(code)
        if kind == DICTIONARY and is_variable:
            values = decode_texts(buffers[position : position + 3], column_type, count)
            position += 3
        elif kind == PLAIN and not is_variable:
            values = _array(buffers[position], dtype, count)
            position += 1
        else:
            raise ValueError(f"column kind {kind} of {column_type.name}")
        valid: BoolMask | None = None
        if has_valid:
            packed = _array(buffers[position], _U8, -(-count // 8))
            valid = np.unpackbits(packed, count=count, bitorder="little").view(np.bool_)
            position += 1
        rows.columns[int(measurement_id)] = Column(values, valid)
    if position != len(buffers):
        raise ValueError(f"{len(buffers)} buffers, {position} described")
    return Points(str(header["t"]), header, rows)


@functools.cache
def _kind(code: int) -> tuple[ColumnType, bool, np.dtype[Any]]:
    """A type, whether its values differ in length, and their dtype. ValueError: there is none."""
    kind = ColumnType(code)
    return kind, kind.is_variable, kind.dtype


def _array(buffer: memoryview, dtype: np.dtype[Any], count: int) -> AnyArray:
    if buffer.nbytes != dtype.itemsize * count:
        raise ValueError(f"a buffer of {buffer.nbytes} bytes for {count} values of {dtype}")
    array: AnyArray = np.frombuffer(buffer, np.uint8 if dtype == np.bool_ else dtype)
    return (array != 0) if dtype == np.bool_ else array


def decode_texts(buffers: Sequence[memoryview], kind: ColumnType, count: int) -> AnyArray:
    """Values of TEXT or BLOB from codes, offsets and bytes. ValueError if they do not fit."""
    codes = _array(buffers[0], np.dtype("<u4"), count)
    offsets = np.frombuffer(buffers[1], "<u4").astype(np.int64)
    data = bytes(buffers[2])
    if len(offsets) == 0 or offsets[0] != 0 or offsets[-1] != len(data):
        raise ValueError("offsets of a dictionary")
    if (offsets[1:] < offsets[:-1]).any():
        raise ValueError("offsets of a dictionary go back")
    pieces: list[Any] = [data[a:b] for a, b in itertools.pairwise(offsets.tolist())]
    if kind == ColumnType.TEXT:
        pieces = [piece.decode() for piece in pieces]
    if not pieces:
        return np.full(count, None, object)
    if count and int(codes.max()) >= len(pieces):
        raise ValueError("a code beyond the dictionary")
    table = np.empty(len(pieces), object)
    table[:] = pieces
    values: AnyArray = table[codes]
    return values
