"""Arrow streams that strangers send: bounded before the decoder, checked after it.

1. Compressed buffers are refused: a few bytes may claim gigabytes, and the decoder allocates what
   they claim. Whether a message is compressed stands in its metadata, which is read here.
2. Every batch is validated in full: an offset outside its buffer would read foreign memory.
3. The columns are ``device`` and ``time``, tags and measurements by name.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from mainstem_node.errors import BadRequestError, TooLargeError

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_MAX = 5_000_000
"""Dictionary columns make rows cheap on the wire; in memory they are not."""
_RECORD_BATCH = 3
_DICTIONARY_BATCH = 2
"""Kinds of messages in Arrow's Message table."""


def read_table(body: bytes) -> pa.Table:
    """The stream as one table. BadRequestError when it is none, or is compressed."""
    import pyarrow as pa

    try:
        _refuse_compressed(body)
        with pa.ipc.open_stream(pa.py_buffer(body)) as reader:
            batches, rows = [], 0
            for batch in reader:
                batch.validate(full=True)
                rows += batch.num_rows
                if rows > ROWS_MAX:
                    raise TooLargeError(f"more than {ROWS_MAX} rows", hint="send them in parts")
                batches.append(batch)
            return pa.Table.from_batches(batches, reader.schema)
    except (pa.ArrowException, OSError, struct.error, IndexError) as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadRequestError(f"the body is not an Arrow stream: {text}") from None


def _refuse_compressed(body: bytes) -> None:
    import pyarrow as pa

    reader = pa.ipc.MessageReader.open_stream(pa.py_buffer(body))
    while True:
        try:
            message = reader.read_next_message()
        except StopIteration:
            return
        if _is_compressed(memoryview(message.metadata)):
            raise BadRequestError(
                "the Arrow stream is compressed",
                hint="write it without IpcWriteOptions.compression",
            )


def _is_compressed(metadata: memoryview) -> bool:
    """Reads two tables of Arrow's flatbuffer: Message.header, then RecordBatch.compression."""
    root = _uint32(metadata, 0)
    kind_at = _field(metadata, root, 1)
    header_at = _field(metadata, root, 2)
    if kind_at is None or header_at is None:
        return False
    kind = metadata[kind_at]
    table = header_at + _uint32(metadata, header_at)
    if kind == _DICTIONARY_BATCH:
        data_at = _field(metadata, table, 1)
        if data_at is None:
            return False
        table = data_at + _uint32(metadata, data_at)
    elif kind != _RECORD_BATCH:
        return False
    return _field(metadata, table, 3) is not None


def _field(data: memoryview, table: int, number: int) -> int | None:
    """Where a field of a flatbuffer table stands, or None when it is absent."""
    vtable = table - _int32(data, table)
    if vtable < 0:
        raise IndexError("the metadata points outside itself")
    size = _uint16(data, vtable)
    slot = 4 + 2 * number
    if slot >= size:
        return None
    offset = _uint16(data, vtable + slot)
    return table + offset if offset else None


def _uint32(data: memoryview, at: int) -> int:
    return int(struct.unpack_from("<I", data, at)[0])


def _int32(data: memoryview, at: int) -> int:
    return int(struct.unpack_from("<i", data, at)[0])


def _uint16(data: memoryview, at: int) -> int:
    return int(struct.unpack_from("<H", data, at)[0])


def plain_column(column: Any) -> Any:
    """A column without dictionary encoding, as one array."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return column.combine_chunks() if hasattr(column, "combine_chunks") else column
