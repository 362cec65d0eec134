"""``modbus.write``: a value written to a register that a collector of this node polls.

1. Only what a pattern of the configuration allows is written to: there is no default. Where it is
   written, in which type and with which scale the register map of the collector says.
2. It is sent once, over the collector's line, before polls that wait. What the device refuses was
   not done (FAILED); where no answer comes nobody knows (UNKNOWN).
3. Then the register is read. One that holds something else is UNKNOWN, too, and says what it holds:
   a device may limit a value, or not have got to it yet. ``read_back: false`` leaves that out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from mainstem_edge.collectors.modbus import ModbusCollector, Polled
from mainstem_edge.modbus.blocks import Block
from mainstem_edge.modbus.errors import (
    LineError,
    ModbusError,
    RefusedError,
    SilentError,
    ValueFormError,
)
from mainstem_edge.modbus.register import BIT_TABLES, Register, Words, encoded
from mainstem_node.commanding.action import (
    ActionError,
    UncertainActionError,
    not_allowed,
    refuse_unknown,
)
from mainstem_node.errors import BadRequestError

NAME = "modbus.write"
ARGUMENTS = ("device", "measurement", "value")
WRITABLE = ("coil", "holding")

RegisterMaps = Mapping[str, Mapping[str, Register]]
"""By device path, by measurement."""


class ModbusWrite:
    """``maps``: what there is to write to. ``allowed``: patterns of DEVICE/MEASUREMENT.
    ``collectors``: those that run now."""

    name = NAME

    def __init__(
        self,
        allowed: Sequence[str],
        maps: RegisterMaps,
        collectors: Callable[[], Sequence[ModbusCollector]],
    ) -> None:
        self._allowed = tuple(allowed)
        self._maps = maps
        self._collectors = collectors

    def check(self, arguments: Mapping[str, Any]) -> None:
        """``device``: its path; ``measurement``: text; ``value``: number, text, true or false, in
        the unit of the register map. Raises BadRequestError."""
        refuse_unknown(NAME, arguments, ARGUMENTS)
        for key in ("device", "measurement"):
            if not isinstance(arguments.get(key), str):
                raise BadRequestError(f"{key} is missing, or no text", field=key)
        register = self._register(arguments)
        try:
            encoded(register, arguments.get("value"))
        except ValueFormError as error:
            raise BadRequestError(error.message, field="value") from error

    def run(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Writes once, and reads what is there then."""
        register = self._register(arguments)
        collector, polled = self._polled(arguments["device"])
        value = arguments["value"]
        words = encoded(register, value)
        where = f"{arguments['device']}/{arguments['measurement']}"
        try:
            _write(collector, polled, register, words)
        except LineError as error:
            if not error.was_sent:
                raise ActionError(error.message) from error
            raise UncertainActionError(f"{where}: {error.message}") from error
        except SilentError as error:
            raise UncertainActionError(f"{where}: {error.message}") from error
        except RefusedError as error:
            raise ActionError(f"{where}: {error.message}") from error
        told: dict[str, Any] = {"table": register.table, "address": register.address}
        if not register.read_back:
            return told
        try:
            there = _read(collector, polled, register)
        except ModbusError as error:  # it was acknowledged all the same
            return {**told, "read_back": None, "problem": error.message}
        found = Block([register]).values(there)[register.name]
        if not _is_there(register, words, there):
            raise UncertainActionError(f"{where} was written, and then held {found!r}")
        return {**told, "read_back": found}

    def _register(self, arguments: Mapping[str, Any]) -> Register:
        device, measurement = str(arguments["device"]), str(arguments["measurement"])
        register = self._maps.get(device, {}).get(measurement)
        path = f"{device}/{measurement}"
        if not any(fnmatchcase(path, pattern) for pattern in self._allowed):
            raise not_allowed(f"writing to {path!r}", "measurement")
        if register is None or register.table not in WRITABLE:
            raise BadRequestError(
                f"{path!r} is no coil or holding register of a collector",
                field="measurement",
                hint="name it as `devices` of the collector does",
            )
        return register

    def _polled(self, device: str) -> tuple[ModbusCollector, Polled]:
        for collector in self._collectors():
            found = collector.find(device)
            if found is not None:
                return collector, found
        raise ActionError(f"no collector polls {device}")


def _write(
    collector: ModbusCollector, polled: Polled, register: Register, words: Sequence[int]
) -> None:
    line, device = collector.line, polled.device
    unit, timeout_s = device.unit.number, device.timeout_s
    if register.bit is None:
        line.write(unit, register.table, register.address, words, register.many, timeout_s)
        return
    bit = register.bit ^ 8 if register.bytes_little else register.bit
    line.write_bit(unit, register.address, bit, any(words), timeout_s)


def _read(collector: ModbusCollector, polled: Polled, register: Register) -> Words:
    device = polled.device
    return collector.line.read(
        device.unit.number,
        register.table,
        register.address,
        register.words,
        device.timeout_s,
        urgent=True,
    )


def _is_there(register: Register, words: Sequence[int], there: Words) -> bool:
    if register.bit is not None or register.table in BIT_TABLES:
        return bool(Block([register]).values(there)[register.name]) == any(words)
    return bool(np.array_equal(there, words))
