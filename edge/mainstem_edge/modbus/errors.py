"""Errors of Modbus.

EdgeError                          (mainstem_edge.errors)
└── ModbusError
    ├── LineError      (OSError)       the connection, or the serial port, is gone
    ├── SilentError    (TimeoutError)  a unit did not answer, or not what it was asked
    ├── RefusedError                   a unit answered with an exception; carries its code
    └── ValueFormError (ValueError)    a value that a register cannot hold
"""

from __future__ import annotations

from mainstem_edge.errors import EdgeError

ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE = 1, 2, 3
GATEWAY_NO_PATH, GATEWAY_NO_ANSWER = 10, 11
MEANINGS = {
    ILLEGAL_FUNCTION: "illegal function", ILLEGAL_ADDRESS: "illegal data address",
    ILLEGAL_VALUE: "illegal data value", 4: "device failure", 5: "acknowledge", 6: "device busy",
    7: "negative acknowledge", 8: "memory parity error",
    GATEWAY_NO_PATH: "gateway path unavailable",
    GATEWAY_NO_ANSWER: "gateway: the device does not answer",
}  # fmt: skip
"""Of exception codes, as the specification calls them."""


class ModbusError(EdgeError):
    """The root of Modbus errors."""

    code = "MODBUS"


class LineError(ModbusError, OSError):
    """The connection, or the serial port, is gone, or cannot be opened. ``was_sent``: a request may
    have reached its unit."""

    def __init__(self, message: str, was_sent: bool = False) -> None:
        super().__init__(message)
        self.was_sent = was_sent


class SilentError(ModbusError, TimeoutError):
    """A unit did not answer in time, or with something else than it was asked for."""


class RefusedError(ModbusError):
    """A unit answered with an exception. ``exception``: its code."""

    def __init__(self, unit: int, exception: int) -> None:
        self.unit = unit
        self.exception = exception
        meaning = MEANINGS.get(exception, "no code of the specification")
        super().__init__(f"unit {unit} answers exception {exception} ({meaning})")


class ValueFormError(ModbusError, ValueError):
    """A value that a register cannot hold."""
