"""The interfaces of encodings and compressions: values to bytes and back, bit for bit.

Every encoding is given the values that are not null, without gaps, and must return them with equal
bits: NaN payloads, -0.0 and lone surrogates included. It never sees nulls, files or checksums.
``decode`` may be given any bytes; it raises EncodingError and allocates no more than ``out`` and
the encoded bytes justify.

A compression makes bytes of an encoding smaller; it knows nothing of values.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np

from mainstem_engine.model import AnyArray, ColumnType


class EncodingNumber(enum.IntEnum):
    """Which encoding a column of a block has. The numbers are on disk: append only."""

    UNKNOWN = 0
    PLAIN = 1
    CONSTANT = 2
    PCO = 3
    DICTIONARY = 4
    RLE = 5
    TS_2DIFF = 6
    GORILLA = 7
    LINEAR = 8
    DECIMAL = 9


class Compression(enum.IntEnum):
    """Which compression follows the encoding. The numbers are on disk: append only."""

    UNCOMPRESSED = 0
    SNAPPY = 1
    LZ4 = 2
    ZSTD = 3


class Encoding(ABC):
    """One way to write values. Instances have no state and may be shared by threads."""

    number: ClassVar[EncodingNumber]
    compressible: ClassVar[bool]
    """True if general compression may still shrink the result."""

    @abstractmethod
    def supports(self, column_type: ColumnType) -> bool:
        """Whether ``encode`` takes values of this type."""

    @abstractmethod
    def encode(self, values: AnyArray, column_type: ColumnType) -> bytes:
        """``values``: [n] of the type's dtype, contiguous, none null."""

    @abstractmethod
    def decode(self, data: memoryview, column_type: ColumnType, out: AnyArray) -> None:
        """Fill ``out`` ([n] of the type's dtype, contiguous). EncodingError: ``data`` is wrong."""


class Compressor(ABC):
    """One general compression. Instances have no state and may be shared by threads."""

    number: ClassVar[Compression]
    ratio_max: ClassVar[int]
    """More raw bytes than this for each stored byte the format cannot express."""

    @abstractmethod
    def compress(self, data: bytes) -> bytes:
        """The bytes to store, without the raw length."""

    @abstractmethod
    def decompress_into(self, stored: bytes, raw: bytearray) -> int:
        """Fill ``raw``, whose length is the declared one; returns the bytes that were written.

        A length of its own that ``stored`` declares is compared with ``raw`` before a decoder is
        called. EncodingError: ``stored`` is wrong.
        """


def disk_dtype(column_type: ColumnType) -> np.dtype[Any]:
    """The little-endian dtype of a type of fixed width. Not for TEXT and BLOB."""
    return column_type.dtype.newbyteorder("<")
