"""Which registers are read together, and what becomes of them.

1. Registers of one table that lie side by side, or at most ``gap`` apart, are one block, as far as
   a request reaches. A value is never torn.
2. A block that a device refuses is cut where nobody asked for anything, else in halves of its
   values: what the device has goes on, and what it does not have is found in a few requests.
3. All values of a block that are of one type and order become numbers in one step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from mainstem_edge.modbus.register import (
    BIT_TABLES,
    BOOL,
    STRING,
    Register,
    Scaling,
    Words,
    numbers,
    scaled,
    scaling,
    text,
)

COILS_MAX = 2000
"""Of the protocol, in one request."""


class Block:
    """Registers of one table, by address, that one request reads."""

    def __init__(self, registers: Sequence[Register]) -> None:
        self.registers = tuple(registers)
        self.table = registers[0].table
        self.address = registers[0].address
        self.count = max(each.end for each in registers) - self.address

    def parts(self) -> tuple[Block, ...]:
        """What is asked for instead, when this is refused; nothing when it is one value."""
        if len(self.registers) == 1:
            return ()
        apart = [
            n
            for n in range(1, len(self.registers))
            if self.registers[n].address > max(each.end for each in self.registers[:n])
        ]
        cut = apart[len(apart) // 2] if apart else len(self.registers) // 2
        return Block(self.registers[:cut]), Block(self.registers[cut:])

    def values(self, words: Words) -> dict[str, Any]:
        """By name, out of ``count`` registers. A number that is none (NaN) is None."""
        found: dict[str, Any] = {}
        for group in self._groups:
            found.update(zip(group.names, group.decode(words), strict=True))
        return found

    @cached_property
    def _groups(self) -> list[_Group]:
        by_form: dict[tuple[Any, ...], list[Register]] = {}
        for each in self.registers:
            form = each.kind, each.words, each.bytes_little, each.words_little, each.is_scaled
            by_form.setdefault(form, []).append(each)
        return [_Group.of(self.address, alike) for alike in by_form.values()]

    def __repr__(self) -> str:
        return f"{self.table} {self.address}..{self.address + self.count - 1}"


@dataclass(frozen=True, slots=True)
class _Group:
    """Registers of one form. ``at`` [n, k]: where their words are in the block."""

    registers: tuple[Register, ...]
    names: tuple[str, ...]
    at: npt.NDArray[np.intp]
    scaling: Scaling

    @classmethod
    def of(cls, start: int, registers: Sequence[Register]) -> _Group:
        first = np.array([each.address - start for each in registers], np.intp)
        at = first[:, None] + np.arange(registers[0].words)
        names = tuple(each.name for each in registers)
        return cls(tuple(registers), names, at, scaling(registers))

    def decode(self, words: Words) -> list[Any]:
        first = self.registers[0]
        taken = words[self.at]
        if first.kind == STRING:
            return [
                text(row, register) for row, register in zip(taken, self.registers, strict=True)
            ]
        if first.kind == BOOL:
            return self._bits(taken)
        values = numbers(taken, first.kind, first.bytes_little, first.words_little)
        if first.is_scaled:
            values = scaled(values, *self.scaling)
        found: list[Any] = values.tolist()
        if values.dtype.kind == "f":
            return [None if each != each else each for each in found]
        return found

    def _bits(self, taken: Words) -> list[Any]:
        first = self.registers[0]
        if first.table in BIT_TABLES:
            return list((taken[:, 0] != 0).tolist())
        whole = numbers(taken, "uint16", first.bytes_little, first.words_little).astype(np.int64)
        shifts = np.array([each.bit or 0 for each in self.registers])
        masks = np.array([0xFFFF if each.bit is None else 1 for each in self.registers])
        return list(((whole >> shifts) & masks != 0).tolist())


def blocks_of(registers: Sequence[Register], gap: int, registers_max: int) -> list[Block]:
    """The blocks of a register map. ``gap``: registers nobody asked for that may be read."""
    blocks: list[Block] = []
    open_: list[Register] = []
    end = 0
    for each in sorted(registers, key=lambda one: (one.table, one.address, one.end)):
        most = COILS_MAX if each.table in BIT_TABLES else registers_max
        if open_ and (
            open_[0].table != each.table
            or each.address > end + gap
            or max(end, each.end) - open_[0].address > most
        ):
            blocks.append(Block(open_))
            open_ = []
        end = each.end if not open_ else max(end, each.end)
        open_.append(each)
    return [*blocks, Block(open_)] if open_ else blocks
