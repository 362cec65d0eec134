"""One entry of a Modbus register map: where a value lies, and what its bits mean.

On the wire addresses count from 0 in each of four tables. Manuals write them in three ways, and
``base`` says which: 0 as on the wire, 1 counted from one, 40001 with the table in front (1-9999
coils, 10001 discrete inputs, 30001 input registers, 40001 holding registers; also with six digits,
400001).
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Base = Literal[0, 1, 40001]
Table = Literal["holding", "input", "coil", "discrete"]
Order = Literal["big", "little"]

WORDS = {
    "int16": 1, "uint16": 1, "int32": 2, "uint32": 2, "int64": 4, "uint64": 4,
    "float32": 2, "float64": 4, "bool": 1,
}  # fmt: skip
"""Registers that a value of a type takes."""
ADDRESS_MAX = 65_535
_TABLES: dict[int, Table] = {0: "coil", 1: "discrete", 3: "input", 4: "holding"}


class RegisterConfig(Struct, frozen=True, kw_only=True):
    """A value: `table`, `address` and `type`, and what makes of it what is stored."""

    address: int
    table: Table | None = None
    """Default holding; with `base: 40001` the address says it."""
    type: (
        Literal[
            "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64",
            "bool", "string",
        ]
        | None
    ) = None  # fmt: skip
    """Default uint16; of coils, discrete inputs and a `bit` bool."""
    bit: int | None = None
    """One bit of a register, 0 is the lowest: true or false."""
    length: int | None = None
    """Registers of a string: two characters each."""
    byte_order: Order | None = None
    """Of the two bytes of a register; default that of the device."""
    word_order: Order | None = None
    """Of the registers of a value: big has the highest first; default that of the device."""
    scale: float = 1.0
    offset: float = 0.0
    """What is stored is raw * scale + offset."""
    write: Literal["auto", "multiple"] = "auto"
    """multiple: written with function 16 or 15 also where it is one register or coil."""
    read_back: bool = True
    """false: what is written cannot be read, or does not stay."""

    @property
    def kind(self) -> str:
        """The type, or what it is by default."""
        if self.type is not None:
            return self.type
        is_bit = self.bit is not None or self.table in ("coil", "discrete")
        return "bool" if is_bit else "uint16"

    @property
    def words(self) -> int:
        """Registers, or coils, that it takes."""
        return WORDS.get(self.kind, self.length or 1)


def located(register: RegisterConfig, base: Base) -> tuple[Table, int]:
    """(table, address from 0). Raises ValueError(problem, remedy)."""
    table, address = register.table or "holding", register.address - min(base, 1)
    if base == 40001:
        table, address = _modicon(register.address)
        if register.table not in (None, table):
            raise ValueError(
                f"{register.address} is in the table {table}", "leave `table` out, or correct it"
            )
    if not 0 <= address <= ADDRESS_MAX + 1 - register.words:
        raise ValueError(
            f"address {register.address} is outside the table",
            f"with base {base} it is {min(base, 1)}..{ADDRESS_MAX + min(base, 1)}",
        )
    return table, address


def _modicon(number: int) -> tuple[Table, int]:
    digits = 10_000 if number < 100_000 else 100_000
    table, place = _TABLES.get(number // digits), number % digits
    if table is None or place == 0:
        raise ValueError(
            f"{number} is no address of this notation", "write 1, 10001, 30001, 40001 or above"
        )
    return table, place - 1
