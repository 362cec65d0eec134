"""Values and the registers that stand for them, in all four orders."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from mainstem_edge.modbus.blocks import Block
from mainstem_edge.modbus.errors import ValueFormError
from mainstem_edge.modbus.register import CODES, Register, encoded
from mainstem_node.config.collectors.modbus_register import WORDS

RANGES = {
    kind: (-(2 ** (16 * WORDS[kind] - 1)), 2 ** (16 * WORDS[kind] - 1) - 1)
    if kind.startswith("int") else (0, 2 ** (16 * WORDS[kind]) - 1)
    for kind in CODES if "int" in kind
}  # fmt: skip


def register(kind: str = "uint16", **more: Any) -> Register:
    return Register("m", "holding", 0, kind, **{"words": WORDS.get(kind, 1), **more})


def decoded(one: Register, words: list[int]) -> Any:
    return Block([one]).values(np.array(words, np.uint16))["m"]


@given(some.data())
def test_what_is_written_is_read_again(data: some.DataObject) -> None:
    kind = data.draw(some.sampled_from([*CODES, "bool", "string"]))
    orders: dict[str, Any] = {
        "bytes_little": data.draw(some.booleans()),
        "words_little": data.draw(some.booleans()),
    }
    value: Any
    if kind in RANGES:
        value = data.draw(some.integers(*RANGES[kind]))
    elif kind == "bool":
        value = data.draw(some.booleans())
    elif kind == "string":
        letters = some.characters(codec="utf-8", exclude_categories=("C", "Z"))
        value = data.draw(some.text(letters, max_size=3))
        orders["words"] = 6
    else:
        finite = {"allow_nan": False, "allow_infinity": False}
        wide = some.floats(width=64, **finite)
        value = data.draw(some.floats(width=32, **finite) if kind == "float32" else wide)
    one = register(kind, **orders)
    words = encoded(one, value)
    assert len(words) == one.words
    assert decoded(one, words) == value


@given(
    some.sampled_from(["int16", "uint16", "int32", "uint32"]),
    some.data(),
    some.sampled_from([0.1, 0.01, 0.5, 10.0, 0.3, -1.0]),
    some.integers(-50, 50),
)
def test_a_scale_is_undone(kind: str, data: some.DataObject, scale: float, offset: int) -> None:
    one = register(kind, scale=scale, offset=float(offset))
    raw = data.draw(some.integers(*RANGES[kind]))
    words = encoded(register(kind), raw)
    assert encoded(one, decoded(one, words)) == words


def test_orders_are_those_of_the_manuals() -> None:
    """12345.678 as a float is 46 40 E6 B6."""
    octets = struct.pack(">f", 12345.678)
    assert octets == bytes.fromhex("4640e6b6")
    for orders, words in (
        ({}, [0x4640, 0xE6B6]),
        ({"words_little": True}, [0xE6B6, 0x4640]),
        ({"bytes_little": True}, [0x4046, 0xB6E6]),
        ({"bytes_little": True, "words_little": True}, [0xB6E6, 0x4046]),
    ):
        one = register("float32", **orders)
        assert decoded(one, words) == pytest.approx(12345.678)
        assert encoded(one, 12345.678) == words


def test_tenths_are_what_people_expect() -> None:
    assert decoded(register(scale=0.1), [213]) == 21.3  # 213 * 0.1 is 21.3 and a bit
    assert decoded(register("int16", scale=0.1, offset=-40), [65_535]) == -40.1


def test_bits_and_strings() -> None:
    assert decoded(register("bool", bit=3), [0b1000]) is True
    assert decoded(register("bool", bit=3), [0b0111]) is False
    assert decoded(register("bool", bit=11, bytes_little=True), [0b1000]) is True
    assert decoded(register("bool"), [2]) is True
    assert decoded(register("string", words=3), [0x4142, 0x4320, 0x0000]) == "ABC"
    assert decoded(register("string", words=2), [0xFFFE, 0]) == "��"


def test_a_number_that_is_none_is_no_value() -> None:
    assert decoded(register("float32"), [0x7FC0, 0]) is None
    assert decoded(register("float32", scale=0.1), [0x7FC0, 0]) is None


@pytest.mark.parametrize(
    ("kind", "value", "problem"),
    [
        ("int16", 32_768, "beyond"),
        ("uint16", -1, "beyond"),
        ("uint16", 1.5, "whole"),
        ("float32", 1e39, "beyond"),
        ("float32", float("nan"), "NaN"),
        ("uint16", "1", "number"),
        ("uint16", True, "number"),
        ("bool", 1, "true or false"),
        ("string", "abc", "at most 2"),
        ("string", 5, "text"),
    ],
)
def test_what_does_not_fit_is_refused(kind: str, value: Any, problem: str) -> None:
    with pytest.raises(ValueFormError, match=problem):
        encoded(register(kind), value)


def test_a_scaled_value_is_checked_as_it_lies_in_the_register() -> None:
    assert encoded(register("int16", scale=0.1), 3276.7) == [32_767]
    with pytest.raises(ValueFormError, match="beyond"):
        encoded(register("int16", scale=0.1), 3276.8)
