"""Which registers are read together, and how a block is cut that was refused."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as some

from mainstem_edge.modbus.blocks import COILS_MAX, Block, blocks_of
from mainstem_edge.modbus.register import Register


def at(*places: int, table: str = "holding", words: int = 1) -> list[Register]:
    return [
        Register(f"m{place}", table, place, "uint32" if words == 2 else "uint16", words)
        for place in places
    ]


def extents(blocks: list[Block]) -> list[tuple[str, int, int]]:
    return [(each.table, each.address, each.count) for each in blocks]


def test_what_lies_side_by_side_is_one_block() -> None:
    assert extents(blocks_of(at(3, 1, 2), 0, 125)) == [("holding", 1, 3)]
    assert extents(blocks_of(at(1, 3), 0, 125)) == [("holding", 1, 1), ("holding", 3, 1)]
    assert extents(blocks_of(at(1, 3), 1, 125)) == [("holding", 1, 3)]
    mixed = at(1) + at(2, table="input")
    assert extents(blocks_of(mixed, 9, 125)) == [("holding", 1, 1), ("input", 2, 1)]


def test_a_block_is_no_longer_than_a_request() -> None:
    blocks = blocks_of(at(*range(0, 300, 2), words=2), 0, 125)
    assert [each.count for each in blocks] == [124, 124, 52]
    coils = [Register(f"c{n}", "coil", n, "bool") for n in range(COILS_MAX + 1)]
    assert [each.count for each in blocks_of(coils, 0, 125)] == [COILS_MAX, 1]


@given(
    some.lists(some.tuples(some.integers(0, 60), some.integers(1, 4)), min_size=1, max_size=20),
    some.integers(0, 5),
    some.integers(4, 20),
)
def test_every_register_is_in_one_block(places: list[tuple[int, int]], gap: int, most: int) -> None:
    registers = [
        Register(f"m{n}", "holding", place, "string", words)
        for n, (place, words) in enumerate(places)
    ]
    blocks = blocks_of(registers, gap, most)
    found = [each for block in blocks for each in block.registers]
    assert sorted(each.name for each in found) == sorted(each.name for each in registers)
    for block in blocks:
        assert block.count <= most
        for each in block.registers:
            assert block.address <= each.address
            assert each.end <= block.address + block.count


def test_a_refused_block_is_cut_where_nobody_asked_for_anything_and_then_in_halves() -> None:
    (block,) = blocks_of(at(0, 1, 2, 10, 11), 9, 125)
    first, second = block.parts()
    assert [(each.address, each.count) for each in (first, second)] == [(0, 3), (10, 2)]
    assert [part.count for part in first.parts()] == [1, 2]
    assert Block(at(5)).parts() == ()


def test_values_of_many_forms_are_read_out_of_one_block() -> None:
    registers = [
        Register("a", "holding", 10, "int16"),
        Register("b", "holding", 11, "uint32", 2),
        Register("c", "holding", 13, "uint16", scale=0.1),
        Register("d", "holding", 14, "float32", 2, words_little=True),
        Register("e", "holding", 16, "bool", bit=0),
        Register("f", "holding", 16, "bool", bit=1),
        Register("g", "holding", 17, "string", 2),
        Register("h", "holding", 19, "int16", scale=0.5, offset=1.0),
    ]
    words = np.array([0xFFFF, 1, 2, 213, 0, 0x3F80, 0b10, 0x4869, 0, 3], np.uint16)
    expected: dict[str, Any] = {
        "a": -1, "b": 65_538, "c": 21.3, "d": 1.0, "e": False, "f": True, "g": "Hi", "h": 2.5,
    }  # fmt: skip
    found = Block(registers).values(words)
    assert found == expected
    assert {name: type(value) for name, value in found.items()} == {
        name: type(value) for name, value in expected.items()
    }
    bits = Block([Register("x", "coil", 0, "bool"), Register("y", "coil", 2, "bool")])
    assert bits.values(np.array([1, 0, 0], np.uint16)) == {"x": True, "y": False}
