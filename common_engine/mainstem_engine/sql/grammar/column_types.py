"""Names of types, encodings and compressions in SQL: both peers' and ours.

1. Every name of a type leads to one ColumnType; what we do not store (DECIMAL, JSON, GEOMETRY) is
   refused by name.
2. An encoding is kept as declared. Names of the peers that we do not have are accepted with a
   warning and stand for PCO or ZSTD: data is bit-exact whatever is named.
3. A numeric encoding on TEXT or BLOB is an error when it is declared, not when data arrives.
"""

from __future__ import annotations

from mainstem_engine.errors import SchemaError, SqlUnsupportedError
from mainstem_engine.model import ColumnType, Tag

TYPES: dict[str, ColumnType] = {
    "BOOL": ColumnType.BOOLEAN,
    "BOOLEAN": ColumnType.BOOLEAN,
    "TINYINT": ColumnType.INT8,
    "INT8": ColumnType.INT8,
    "SMALLINT": ColumnType.INT16,
    "INT16": ColumnType.INT16,
    "INT": ColumnType.INT32,
    "INTEGER": ColumnType.INT32,
    "INT32": ColumnType.INT32,
    "BIGINT": ColumnType.INT64,
    "INT64": ColumnType.INT64,
    "LONG": ColumnType.INT64,
    "UTINYINT": ColumnType.UINT8,
    "UINT8": ColumnType.UINT8,
    "USMALLINT": ColumnType.UINT16,
    "UINT16": ColumnType.UINT16,
    "UINT": ColumnType.UINT32,
    "UINTEGER": ColumnType.UINT32,
    "UINT32": ColumnType.UINT32,
    "UBIGINT": ColumnType.UINT64,
    "UINT64": ColumnType.UINT64,
    "FLOAT": ColumnType.FLOAT,
    "FLOAT32": ColumnType.FLOAT,
    "REAL": ColumnType.FLOAT,
    "DOUBLE": ColumnType.DOUBLE,
    "FLOAT64": ColumnType.DOUBLE,
    "TEXT": ColumnType.TEXT,
    "STRING": ColumnType.TEXT,
    "VARCHAR": ColumnType.TEXT,
    "BINARY": ColumnType.TEXT,
    "NCHAR": ColumnType.TEXT,
    "BLOB": ColumnType.BLOB,
    "VARBINARY": ColumnType.BLOB,
    "BYTES": ColumnType.BLOB,
    "TIMESTAMP": ColumnType.TIMESTAMP,
}
"""BINARY is TDengine's name of VARCHAR."""

_UNSIGNED = {
    ColumnType.INT8: ColumnType.UINT8,
    ColumnType.INT16: ColumnType.UINT16,
    ColumnType.INT32: ColumnType.UINT32,
    ColumnType.INT64: ColumnType.UINT64,
}

_NUMERIC_ENCODINGS = frozenset({"RLE", "TS_2DIFF", "GORILLA", "PCO"})
_ENCODINGS = _NUMERIC_ENCODINGS | {"AUTO", "PLAIN", "DICTIONARY"}
_PEER_ENCODINGS = frozenset(
    {"ZIGZAG", "CHIMP", "SPRINTZ", "RLBE", "SIMPLE8B", "BIT-PACKING", "DELTA-I", "DELTA-D"}
)
_COMPRESSIONS = frozenset({"AUTO", "UNCOMPRESSED", "SNAPPY", "LZ4", "ZSTD"})
_PEER_COMPRESSIONS = frozenset({"GZIP", "LZMA2", "ZLIB", "XZ", "TSZ"})


def column_type(name: str, *, unsigned: bool = False) -> ColumnType:
    """The type of that name, in any case. Raises SqlUnsupportedError."""
    found = TYPES.get(name.upper())
    if found is not None and unsigned:
        found = _UNSIGNED.get(found)
    if found is None:
        written = f"{name} UNSIGNED" if unsigned else name
        raise SqlUnsupportedError(
            f"type {written} is not supported",
            field=name,
            hint="use BOOLEAN, INT8..INT64, UINT8..UINT64, FLOAT, DOUBLE, TEXT, BLOB or TIMESTAMP",
        )
    return found


def checked_tag(name: str, kind: ColumnType) -> Tag:
    """A tag of that type. Raises SqlUnsupportedError."""
    if kind == ColumnType.TIMESTAMP:
        raise SqlUnsupportedError(
            f"tag {name} of type TIMESTAMP is not supported",
            field=name,
            hint="declare it BIGINT, and write the time as an integer",
        )
    return Tag(name, kind)


def checked_encoding(column: str, kind: ColumnType, name: str) -> tuple[str, str | None]:
    """(encoding, warning or None) for a declared encoding. Raises SchemaError."""
    upper = name.upper()
    if upper not in _ENCODINGS and upper not in _PEER_ENCODINGS:
        raise SchemaError(
            f"column {column}: encoding {name!r} is unknown",
            field=column,
            hint=f"use one of {', '.join(sorted(_ENCODINGS))}",
        )
    if kind.is_variable and upper not in ("AUTO", "PLAIN", "DICTIONARY"):
        raise SchemaError(
            f"column {column}: encoding {upper} cannot hold {kind.name}",
            field=column,
            hint="use DICTIONARY or PLAIN",
        )
    if upper in _ENCODINGS:
        return upper, None
    return "PCO", f"column {column}: encoding {upper} is stored as PCO"


def checked_compression(column: str, name: str) -> tuple[str, str | None]:
    """(compression, warning or None) for a declared compression. Raises SchemaError."""
    upper = {"NONE": "UNCOMPRESSED", "DISABLED": "UNCOMPRESSED"}.get(name.upper(), name.upper())
    if upper in _COMPRESSIONS:
        return upper, None
    if upper in _PEER_COMPRESSIONS:
        return "ZSTD", f"column {column}: compression {upper} is stored as ZSTD"
    raise SchemaError(
        f"column {column}: compression {name!r} is unknown",
        field=column,
        hint=f"use one of {', '.join(sorted(_COMPRESSIONS))}",
    )
