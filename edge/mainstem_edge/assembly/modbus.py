"""Modbus: a subscription per template, the line, and the devices on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from urllib.parse import urlsplit

from mainstem_edge.assembly.workbench import Workbench
from mainstem_edge.collectors.interface import Collector
from mainstem_edge.collectors.message_queue import MessageQueue
from mainstem_edge.collectors.modbus import TOPIC, ModbusCollector, Polled
from mainstem_edge.collectors.mqtt import tls_context
from mainstem_edge.modbus.device import TIME_KEY, Device
from mainstem_edge.modbus.line import Line, LineSettings
from mainstem_edge.modbus.register import Register
from mainstem_edge.modbus.unit import Unit
from mainstem_edge.preprocess import MeasurementRule
from mainstem_edge.reader import Reader
from mainstem_node.config.collectors.modbus import ModbusCollectorConfig, ModbusDeviceConfig
from mainstem_node.config.collectors.modbus_register import RegisterConfig, located
from mainstem_node.config.collectors.subscription import PayloadTimeConfig, SubscriptionConfig
from mainstem_node.config.schema import NodeConfig
from mainstem_node.extras import require

SECOND_NS = 1_000_000_000
MESSAGES_MAX = 1000
"""Rows that wait at most; the line is asked no more until they are taken."""
QUEUE_BYTES = 8 << 20
MESSAGE_BYTES_MAX = 1 << 20
"""A register map of all four tables is a third of that."""
PORTS = {"tcp": 502, "rtu+tcp": 502, "tls": 802}
PARITIES = {"none": "N", "even": "E", "odd": "O"}


def readers(bench: Workbench, config: ModbusCollectorConfig) -> list[Reader]:
    tags: dict[str, dict[str, str]] = {template: {} for template in config.templates}
    for device in config.devices:
        for tag in device.tags:
            tags[device.template][tag] = f"{{payload.{_tag_key(tag)}}}"
    return [
        bench.subscription(
            SubscriptionConfig(
                topic=_topic(template),
                codec="msgpack",
                template=template,
                device="{payload.device}",
                tags=patterns,
                time=PayloadTimeConfig(field=TIME_KEY, unit="ns"),
                auto_create=config.auto_create,
            ),
            MESSAGE_BYTES_MAX,
            knows_quality=True,
        )
        for template, patterns in tags.items()
    ]


def collector(
    bench: Workbench, number: int, config: ModbusCollectorConfig, found: Sequence[Reader]
) -> Collector:
    require("modbus")
    units: dict[int, Unit] = {}
    return ModbusCollector(
        f"modbus-{number}",
        found,
        MessageQueue(MESSAGES_MAX, QUEUE_BYTES),
        line=Line(line_settings(config)),
        polled=[
            _polled(bench, config, each, units.setdefault(each.unit, Unit(each.unit)))
            for each in config.devices
        ],
        rng=bench.rng,
        clock_ns=bench.clock_ns,
    )


def line_settings(config: ModbusCollectorConfig) -> LineSettings:
    """Raises OSError for a file of `tls` that cannot be read."""
    url = urlsplit(config.url)
    pause_s = config.pause / SECOND_NS
    if url.scheme == "serial":
        serial = config.serial
        return LineSettings(
            "serial",
            url.path,
            baud=serial.baud,
            parity=PARITIES[serial.parity],
            stop_bits=serial.stop_bits,
            data_bits=serial.data_bits,
            pause_s=pause_s,
        )
    tls = config.tls
    return LineSettings(
        url.scheme,
        url.hostname or "127.0.0.1",
        url.port or PORTS[url.scheme],
        tls_context(tls.ca, tls.cert, tls.key) if url.scheme == "tls" else None,
        pause_s=pause_s,
    )


def register_maps(node: NodeConfig) -> dict[str, dict[str, Register]]:
    """What the collectors of a node poll, for commands: by device, by measurement."""
    return {
        device.device: _register_map(config, device)
        for config in node.collectors
        if isinstance(config, ModbusCollectorConfig)
        for device in config.devices
    }


def _register_map(config: ModbusCollectorConfig, device: ModbusDeviceConfig) -> dict[str, Register]:
    """By measurement, under its own name."""
    found = config.registers(device)
    return {name: _register(name, each, device) for name, each in found.items()}


def _register(name: str, config: RegisterConfig, device: ModbusDeviceConfig) -> Register:
    table, address = located(config, device.base)
    is_bit = table in ("coil", "discrete")
    return Register(
        name=name,
        table=table,
        address=address,
        kind="bool" if is_bit else config.kind,
        words=1 if is_bit else config.words,
        bit=config.bit,
        bytes_little=(config.byte_order or device.byte_order) == "little",
        words_little=(config.word_order or device.word_order) == "little",
        scale=config.scale,
        offset=config.offset,
        many=config.write == "multiple",
        read_back=config.read_back,
    )


def _polled(
    bench: Workbench, config: ModbusCollectorConfig, device: ModbusDeviceConfig, unit: Unit
) -> Polled:
    rules = {rule.name.casefold(): rule for rule in bench.rules(device.template).measurements}
    timeout = config.timeout if device.timeout is None else device.timeout
    return Polled(
        Device(
            device.device,
            unit,
            _sourced(_register_map(config, device), rules),
            every_ns=device.every,
            timeout_s=timeout / SECOND_NS,
            tags={_tag_key(tag): text for tag, text in device.tags.items()},
            qualities=frozenset(r.source for r in rules.values() if r.quality is not None),
            retries=config.retries,
            gap=device.gap,
            registers_max=device.registers_max,
            clock_ns=bench.clock_ns,
        ),
        _topic(device.template),
    )


def _sourced(
    registers: Mapping[str, Register], rules: Mapping[str, MeasurementRule]
) -> list[Register]:
    """Under the names that rows have for the measurements; one that was dropped is not read."""
    return [
        replace(each, name=rules[name.casefold()].source)
        for name, each in registers.items()
        if name.casefold() in rules
    ]


def _topic(template: str) -> str:
    return f"{TOPIC}/{template}"


def _tag_key(tag: str) -> str:
    """No measurement can be called so."""
    return f"tag:{tag}"
