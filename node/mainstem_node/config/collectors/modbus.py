"""Modbus: the devices of one line, or behind one gateway, and the registers that are polled."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from msgspec import Struct

from mainstem_node.config.collectors.client_tls import ClientTlsConfig
from mainstem_node.config.collectors.modbus_register import Base, Order, RegisterConfig
from mainstem_node.config.kinds import DevicePath, DurationNs, Kind, Name, Text

SECOND_NS = 1_000_000_000
REGISTERS_MAX = 125
"""Of the protocol, in one request."""
SCHEMES = ("tcp", "rtu+tcp", "tls", "serial")


def parse_modbus_url(text: str) -> str:
    """``tcp://host:502``, ``rtu+tcp://host:port``, ``tls://host:802`` or ``serial:/dev/...``."""
    try:
        parts = urlsplit(text)
        _ = parts.port  # raises for a port that is no number
    except ValueError as error:
        raise ValueError(f"{text!r} is not a URL", str(error)) from None
    place = parts.path if parts.scheme == "serial" else parts.hostname
    if parts.scheme not in SCHEMES or not place or parts.username or parts.query:
        raise ValueError(
            f"{text!r} names no Modbus line",
            "write tcp://host:502, rtu+tcp://host:4001, tls://host:802 or serial:/dev/ttyUSB0",
        )
    return text.rstrip("/")


MODBUS_URL = Kind(
    "URL",
    parse_modbus_url,
    {"type": "string", "pattern": r"^(tcp|rtu\+tcp|tls|serial):"},
)
ModbusUrl = Annotated[str, MODBUS_URL]


class SerialConfig(Struct, frozen=True, kw_only=True):
    """How the bits of a serial line are sent: as at all devices on it."""

    baud: int = 19_200
    parity: Literal["none", "even", "odd"] = "even"
    stop_bits: Literal[1, 2] = 1
    data_bits: Literal[7, 8] = 8


class ModbusDeviceConfig(Struct, frozen=True, kw_only=True):
    """One device: its `unit` on the line, and what is read of it every so often."""

    device: DevicePath
    template: Name
    unit: int = 1
    every: DurationNs = SECOND_NS
    registers: dict[Name, RegisterConfig] = {}
    """By measurement."""
    map: Name | None = None
    """One of the collector's `maps`, instead of `registers`."""
    tags: dict[Name, Text] = {}
    base: Base = 0
    """How addresses are written: 0 as on the wire, 1 counted from one, or 40001."""
    byte_order: Order = "big"
    word_order: Order = "big"
    gap: int = 0
    """So many registers nobody asked for may be read, to save a request."""
    registers_max: int = REGISTERS_MAX
    """Of one request: some devices take fewer."""
    timeout: DurationNs | None = None


class ModbusCollectorConfig(Struct, frozen=True, kw_only=True):
    """A Modbus client at one line: one request at a time."""

    type: Literal["modbus"]
    url: ModbusUrl
    devices: tuple[ModbusDeviceConfig, ...]
    maps: dict[Name, dict[Name, RegisterConfig]] = {}
    """Register maps that several devices have."""
    timeout: DurationNs = SECOND_NS
    """How long a device may take to answer."""
    retries: int = 1
    """How often a request that was not answered is sent again."""
    pause: DurationNs = 0
    """Between two requests, for devices that need it."""
    auto_create: bool = True
    serial: SerialConfig = SerialConfig()
    tls: ClientTlsConfig = ClientTlsConfig()

    @property
    def templates(self) -> tuple[str, ...]:
        """The templates whose rows it brings."""
        return tuple(dict.fromkeys(each.template for each in self.devices))

    def registers(self, device: ModbusDeviceConfig) -> dict[str, RegisterConfig]:
        """The register map of a device."""
        return device.registers if device.map is None else self.maps.get(device.map, {})


class ModbusWriteConfig(Struct, frozen=True, kw_only=True):
    """Commands may write to registers that a collector `modbus` of this node names."""

    type: Literal["modbus.write"]
    allow: tuple[Text, ...]
    """Patterns (`*`: any text) of DEVICE/MEASUREMENT, as root.plant_a.press.m1/setpoint."""
