"""``mainstem modbus``: registers of a device, before anything is collected."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mainstem_node.commands.arguments import Json
from mainstem_node.commands.terminal import fail, result_json, result_table

if TYPE_CHECKING:
    from mainstem_edge.modbus.line import Line, LineSettings
    from mainstem_edge.modbus.register import Register

app = typer.Typer(no_args_is_help=True, help="Registers of a Modbus device.")

COUNT_MAX = 125
WRONG_ARGUMENT = 2


class Table(StrEnum):
    """The four tables."""

    holding = "holding"
    input = "input"
    coil = "coil"
    discrete = "discrete"


class Type(StrEnum):
    """As in a register map."""

    int16 = "int16"
    uint16 = "uint16"
    int32 = "int32"
    uint32 = "uint32"
    int64 = "int64"
    uint64 = "uint64"
    float32 = "float32"
    float64 = "float64"


class Order(StrEnum):
    """Which comes first, the higher or the lower."""

    big = "big"
    little = "little"


class Parity(StrEnum):
    """Of a serial line."""

    none = "none"
    even = "even"
    odd = "odd"


@app.callback()
def modbus() -> None:
    """Registers of a Modbus device."""


@app.command()
def read(
    url: Annotated[str, typer.Argument(help="tcp://host:502, rtu+tcp:, tls: or serial:/dev/...")],
    address: Annotated[int, typer.Option(min=0, max=65_535, help="From 0, as on the wire.")] = 0,
    count: Annotated[int, typer.Option(min=1, max=COUNT_MAX, help="Values.")] = 1,
    unit: Annotated[int, typer.Option(min=0, max=255)] = 1,
    table: Annotated[Table, typer.Option()] = Table.holding,
    kind: Annotated[Type, typer.Option("--type")] = Type.uint16,
    word_order: Annotated[Order, typer.Option()] = Order.big,
    byte_order: Annotated[Order, typer.Option()] = Order.big,
    timeout: Annotated[float, typer.Option(min=0.01, max=60.0, help="Seconds.")] = 2.0,
    baud: Annotated[int, typer.Option(help="Of a serial line, as the next two.")] = 19_200,
    parity: Annotated[Parity, typer.Option()] = Parity.even,
    stop_bits: Annotated[int, typer.Option(min=1, max=2)] = 1,
    ca: Annotated[Path | None, typer.Option(help="Who vouches for a TLS device.")] = None,
    as_json: Json = False,
) -> None:
    """Read values once, and show them beside the registers that they lie in.

    Try types and orders until the values are those that the device shows.
    """
    from mainstem_edge.modbus.errors import ModbusError
    from mainstem_edge.modbus.line import Line
    from mainstem_edge.modbus.register import BIT_TABLES, Register
    from mainstem_node.config.collectors.modbus_register import ADDRESS_MAX, WORDS

    is_bit = table.value in BIT_TABLES
    words = 1 if is_bit else WORDS[kind.value]
    if count * words > COUNT_MAX:
        fail(
            f"{count} x {kind.value} are {count * words} registers",
            f"a request reads {COUNT_MAX} at most",
            WRONG_ARGUMENT,
        )
    if address + count * words > ADDRESS_MAX + 1:
        fail("there is no such address", f"the last is {ADDRESS_MAX}", WRONG_ARGUMENT)
    registers = [
        Register(
            str(address + n * words),
            table.value,
            address + n * words,
            "bool" if is_bit else kind.value,
            words,
            bytes_little=byte_order is Order.little,
            words_little=word_order is Order.little,
        )
        for n in range(count)
    ]
    line = Line(_settings(url, baud, parity.value, stop_bits, ca))
    try:
        line.open()
        _show(line, unit, registers, timeout, as_json)
    except ModbusError as error:
        fail(error.message, "look at URL, --unit, --table and --address")
    finally:
        line.close()


def _settings(url: str, baud: int, parity: str, stop_bits: int, ca: Path | None) -> LineSettings:
    from mainstem_edge.assembly.modbus import line_settings
    from mainstem_node.config.collectors.client_tls import ClientTlsConfig
    from mainstem_node.config.collectors.modbus import (
        ModbusCollectorConfig,
        SerialConfig,
        parse_modbus_url,
    )

    try:
        return line_settings(
            ModbusCollectorConfig(
                type="modbus",
                url=parse_modbus_url(url),
                devices=(),
                serial=SerialConfig(
                    baud=baud,
                    parity="none" if parity == "none" else "even" if parity == "even" else "odd",
                    stop_bits=2 if stop_bits == 2 else 1,
                ),
                tls=ClientTlsConfig(ca=ca),
            )
        )
    except OSError as error:
        fail(f"{ca}: {error}", "name a file of certificates", WRONG_ARGUMENT)
    except ValueError as error:
        problem, remedy = error.args
        fail(problem, remedy, WRONG_ARGUMENT)


def _show(
    line: Line, unit: int, registers: list[Register], timeout_s: float, as_json: bool
) -> None:
    from mainstem_edge.modbus.blocks import Block

    block = Block(registers)
    words = line.read(unit, block.table, block.address, block.count, timeout_s)
    values = block.values(words)
    shown = [
        {
            "address": each.address,
            "registers": [
                f"{word:04x}"
                for word in words[each.address - block.address : each.end - block.address].tolist()
            ],
            "value": values[each.name],
        }
        for each in registers
    ]
    if as_json:
        result_json(shown)
    else:
        result_table(
            ("address", "registers", "value"),
            [(each["address"], " ".join(each["registers"]), str(each["value"])) for each in shown],
        )
