"""Every encoding by its number and by its name, and the way back from bytes to values."""

from __future__ import annotations

from mainstem_engine.encoding.compression import decompress
from mainstem_engine.encoding.constant import Constant
from mainstem_engine.encoding.decimal import Decimal
from mainstem_engine.encoding.delta2 import Delta2
from mainstem_engine.encoding.dictionary import Dictionary
from mainstem_engine.encoding.gorilla import Gorilla
from mainstem_engine.encoding.interface import Encoding, EncodingNumber
from mainstem_engine.encoding.linear import Linear
from mainstem_engine.encoding.pco import Pco
from mainstem_engine.encoding.plain import Plain
from mainstem_engine.encoding.run_length import RunLength
from mainstem_engine.errors import EncodingError
from mainstem_engine.model import AnyArray, ColumnType

AUTO = "AUTO"
"""The name for "whatever suits": of encodings and of compressions."""

ENCODINGS: dict[int, Encoding] = {
    encoding.number: encoding
    for encoding in (
        Plain(), Constant(), Pco(), Dictionary(), RunLength(), Delta2(), Gorilla(), Linear(),
        Decimal(),
    )
}  # fmt: skip
"""Every encoding by its number on disk."""

_NOT_NAMED = (EncodingNumber.CONSTANT, EncodingNumber.LINEAR, EncodingNumber.DECIMAL)
"""They hold only some values of their types."""

NAMED: dict[str, Encoding] = {
    encoding.number.name: encoding
    for encoding in ENCODINGS.values()
    if encoding.number not in _NOT_NAMED
}
"""Every encoding that a template can name."""


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
