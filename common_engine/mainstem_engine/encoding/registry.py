"""Which encoding a column of a block gets, and which decoder its number names.

1. Equal values are CONSTANT and a handful of numbers is PLAIN, whatever is named.
2. What the template names is used where it can hold the type; AUTO, and any other name, tries.
3. A compression that is named follows any encoding; AUTO is ZSTD after all but PCO. Either is kept
   only where it makes the bytes fewer.
"""

from __future__ import annotations

from dataclasses import dataclass

from mainstem_engine.encoding.auto import VALUES_MIN, choose
from mainstem_engine.encoding.compression import compress, decompress
from mainstem_engine.encoding.constant import Constant, is_constant
from mainstem_engine.encoding.delta2 import Delta2
from mainstem_engine.encoding.dictionary import Dictionary
from mainstem_engine.encoding.gorilla import Gorilla
from mainstem_engine.encoding.interface import Compression, Encoding, EncodingNumber
from mainstem_engine.encoding.pco import Pco
from mainstem_engine.encoding.plain import Plain
from mainstem_engine.encoding.run_length import RunLength
from mainstem_engine.errors import EncodingError
from mainstem_engine.model import AnyArray, ColumnType

AUTO = "AUTO"

_PCO = Pco()

ENCODINGS: dict[int, Encoding] = {
    encoding.number: encoding
    for encoding in (
        Plain(), Constant(), _PCO, Dictionary(), RunLength(), Delta2(), Gorilla(),
    )
}  # fmt: skip
"""Every encoding by its number on disk."""

NAMED: dict[str, Encoding] = {
    encoding.number.name: encoding
    for encoding in ENCODINGS.values()
    if encoding.number != EncodingNumber.CONSTANT
}
"""Every encoding that a template can name."""


@dataclass(frozen=True, slots=True)
class EncodedColumn:
    """Bytes of the values of one column, and the two numbers that are needed to read them."""

    encoding: EncodingNumber
    compression: Compression
    data: bytes


def encode_column(
    values: AnyArray,
    column_type: ColumnType,
    *,
    ordered: bool = False,
    encoding: str = AUTO,
    compression: str = AUTO,
) -> EncodedColumn:
    """Encode values that are not null. ``ordered``: 64-bit integers that mostly grow, by PCO.

    ``encoding``, ``compression``: as a template names them, see the module.
    """
    if ordered and len(values) >= VALUES_MIN and not is_constant(values):
        return EncodedColumn(_PCO.number, Compression.UNCOMPRESSED, _PCO.encode_ordered(values))
    chosen = _chosen(values, column_type, encoding)
    data = chosen.encode(values, column_type)
    if compression in Compression.__members__:
        return EncodedColumn(chosen.number, *compress(data, Compression[compression]))
    if not chosen.compressible:
        return EncodedColumn(chosen.number, Compression.UNCOMPRESSED, data)
    return EncodedColumn(chosen.number, *compress(data))


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


def _chosen(values: AnyArray, column_type: ColumnType, name: str) -> Encoding:
    named = NAMED.get(name)
    if named is None or not named.supports(column_type):
        return choose(values, column_type)
    if is_constant(values):
        return ENCODINGS[EncodingNumber.CONSTANT]
    if len(values) < VALUES_MIN and not column_type.is_variable:
        return ENCODINGS[EncodingNumber.PLAIN]
    return named
