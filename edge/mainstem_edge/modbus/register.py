"""A register of a map, and the way between its bits and its value.

A register has 16 bits; its upper byte comes first, unless ``byte_order`` is little. A value of
several registers has the highest first, unless ``word_order`` is little. So the bytes ABCD of a
32-bit value lie as ABCD, CDAB (words little), BADC (bytes little) or DCBA (both).

A scale that is one over a whole number divides, and its offset is added before that: 213 * 0.1 is
21.3 then, and not 21.300000000000001.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mainstem_edge.modbus.errors import ValueFormError

Words = npt.NDArray[np.uint16]
"""Registers, or coils as 0 and 1, as they came."""
Floats = npt.NDArray[np.float64]

CODES = {
    "int16": "h", "uint16": "H", "int32": "i", "uint32": "I", "int64": "q", "uint64": "Q",
    "float32": "f", "float64": "d",
}  # fmt: skip
"""Types that are numbers, and their codes in ``struct`` and numpy."""
BOOL, STRING = "bool", "string"
BIT_TABLES = ("coil", "discrete")


@dataclass(frozen=True, slots=True)
class Register:
    """``name``: under which rows carry the value. ``words``: registers, or coils, that it takes.

    ``kind``: a key of CODES, BOOL or STRING. ``bit``: of one register, for BOOL. ``many``: written
    with the function for several. ``read_back``: what is written can be read.
    """

    name: str
    table: str
    address: int
    kind: str = "uint16"
    words: int = 1
    bit: int | None = None
    bytes_little: bool = False
    words_little: bool = False
    scale: float = 1.0
    offset: float = 0.0
    many: bool = False
    read_back: bool = True

    @property
    def end(self) -> int:
        return self.address + self.words

    @property
    def is_scaled(self) -> bool:
        return (self.scale, self.offset) != (1.0, 0.0)


def ordered(words: Words, bytes_little: bool, words_little: bool) -> npt.NDArray[np.uint16]:
    """uint16[n, k] of n values, the highest register first, each big-endian in memory."""
    found = words[:, ::-1] if words_little else words
    return np.ascontiguousarray(found, dtype="<u2" if bytes_little else ">u2")


def numbers(words: Words, kind: str, bytes_little: bool, words_little: bool) -> npt.NDArray[Any]:
    """[n] numbers of a kind, out of uint16[n, k]."""
    laid = ordered(words, bytes_little, words_little)
    found: npt.NDArray[Any] = laid.view(f">{CODES[kind]}")[:, 0]
    return found


def text(words: Words, register: Register) -> str:
    """A string up to its first NUL, without the blanks that fill it."""
    laid = ordered(words.reshape(1, -1), register.bytes_little, register.words_little)
    return laid.tobytes().partition(b"\0")[0].decode("utf-8", "replace").rstrip()


def divisor(scale: float) -> float | None:
    """The whole number that a scale is one over; None when it is not."""
    whole = round(1 / scale) if abs(scale) < 1 else 0
    return float(whole) if whole and 1 / whole == scale else None


Scaling = tuple[Floats, Floats, Floats]
"""[n] each: what is multiplied by, then added, then divided by."""


def scaling(registers: Sequence[Register]) -> Scaling:
    """Of ``raw * scale + offset``."""
    overs = np.array([divisor(each.scale) or 1.0 for each in registers])
    factors = np.array([each.scale if divisor(each.scale) is None else 1.0 for each in registers])
    return factors, np.array([each.offset for each in registers]) * overs, overs


def scaled(values: npt.NDArray[Any], factors: Floats, summands: Floats, overs: Floats) -> Floats:
    """[n] each."""
    return (values.astype(np.float64) * factors + summands) / overs


def encoded(register: Register, value: Any) -> list[int]:
    """The registers that stand for a value; of a coil [0] or [1]. Raises ValueFormError."""
    if register.kind == BOOL:
        if not isinstance(value, bool):
            raise ValueFormError("it takes true or false")
        if register.table in BIT_TABLES:
            return [int(value)]
        return _words(register, struct.pack(">H", int(value)))
    if register.kind == STRING:
        return _text_words(register, value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueFormError("it takes a number")
    if value - value != 0:
        raise ValueFormError("it takes neither NaN nor an infinity")
    code = CODES[register.kind]
    number = _raw(register, value)
    try:
        return _words(register, struct.pack(f">{code}", number))
    except (struct.error, OverflowError):
        raise ValueFormError(f"{value} is beyond what {register.kind} holds") from None


def _raw(register: Register, value: int | float) -> int | float:
    """What stands in the register, before it is packed."""
    is_float = register.kind in ("float32", "float64")
    if not register.is_scaled:
        if not is_float and value != int(value):
            raise ValueFormError(f"{value} is no whole number, as {register.kind} holds")
        return float(value) if is_float else int(value)
    over = divisor(register.scale)
    if over is None:
        raw = (value - register.offset) / register.scale
    else:
        raw = value * over - register.offset * over
    return raw if is_float else round(raw)


def _text_words(register: Register, value: Any) -> list[int]:
    if not isinstance(value, str):
        raise ValueFormError("it takes text")
    octets = value.encode()
    if len(octets) > 2 * register.words:
        raise ValueFormError(f"it takes at most {2 * register.words} bytes of text")
    return _words(register, octets.ljust(2 * register.words, b"\0"))


def _words(register: Register, octets: bytes) -> list[int]:
    """Octets, the highest first, as registers in the order of the device."""
    laid: Sequence[int] = np.frombuffer(octets, "<u2" if register.bytes_little else ">u2").tolist()
    return list(reversed(laid)) if register.words_little else list(laid)
