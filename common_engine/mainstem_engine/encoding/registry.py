"""Which encoding a column of a block gets, and which decoder its number names.

Whatever encoding a template names, blocks are written so: equal values as CONSTANT, numbers by
PCO, TEXT and BLOB by DICTIONARY, the rest as PLAIN; all but PCO with zstd where that is smaller.
"""

from __future__ import annotations

from dataclasses import dataclass

from mainstem_engine.encoding.compression import Compression, compress, decompress
from mainstem_engine.encoding.constant import Constant, is_constant
from mainstem_engine.encoding.dictionary import Dictionary
from mainstem_engine.encoding.interface import Encoding, EncodingNumber
from mainstem_engine.encoding.pco import Pco
from mainstem_engine.encoding.plain import Plain
from mainstem_engine.errors import EncodingError
from mainstem_engine.model import AnyArray, ColumnType

PCO_VALUES_MIN = 8
"""Below this the frame of pcodec is larger than the values."""

_PLAIN, _CONSTANT, _PCO, _DICTIONARY = Plain(), Constant(), Pco(), Dictionary()

ENCODINGS: dict[int, Encoding] = {
    encoding.number: encoding for encoding in (_PLAIN, _CONSTANT, _PCO, _DICTIONARY)
}
"""Every encoding by its number on disk."""


@dataclass(frozen=True, slots=True)
class EncodedColumn:
    """Bytes of the values of one column, and the two numbers that are needed to read them."""

    encoding: EncodingNumber
    compression: Compression
    data: bytes


def encode_column(
    values: AnyArray, column_type: ColumnType, *, ordered: bool = False
) -> EncodedColumn:
    """Encode values that are not null. ``ordered``: 64-bit integers that mostly grow."""
    encoding = _choose(values, column_type)
    if encoding is _PCO and ordered:
        data = _PCO.encode_ordered(values)
    else:
        data = encoding.encode(values, column_type)
    if not encoding.compressible:
        return EncodedColumn(encoding.number, Compression.UNCOMPRESSED, data)
    compression, data = compress(data)
    return EncodedColumn(encoding.number, compression, data)


def decode_column(
    encoding: int, compression: int, data: memoryview, column_type: ColumnType, out: AnyArray
) -> None:
    """Fill ``out`` with the values. EncodingError if the bytes are wrong or a number is unknown."""
    decoder = ENCODINGS.get(encoding)
    if decoder is None or not decoder.supports(column_type):
        raise EncodingError(
            f"encoding {encoding} is not known for {column_type.name}", hint="use a newer version"
        )
    decoder.decode(decompress(compression, data), column_type, out)


def _choose(values: AnyArray, column_type: ColumnType) -> Encoding:
    if is_constant(values):
        return _CONSTANT
    if column_type.is_variable:
        return _DICTIONARY
    if _PCO.supports(column_type) and len(values) >= PCO_VALUES_MIN:
        return _PCO
    return _PLAIN
