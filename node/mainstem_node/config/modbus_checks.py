"""What a Modbus collector must satisfy: lines, units, register maps, and what may be written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase

from mainstem_engine.model import ColumnType
from mainstem_node.config.builder import suggestion
from mainstem_node.config.collectors.modbus import (
    REGISTERS_MAX,
    ModbusCollectorConfig,
    ModbusDeviceConfig,
    ModbusWriteConfig,
)
from mainstem_node.config.collectors.modbus_register import RegisterConfig, located
from mainstem_node.config.report import Report
from mainstem_node.config.schema import MeasurementConfig, NodeConfig, TemplateConfig

EVERY_NS_MIN = 10_000_000
"""Faster than any device answers."""
RETRIES_MAX = 10
_UNITS = {"serial": range(1, 248), "rtu+tcp": range(1, 248)}
_UNITS_TCP = range(256)


def check_modbus(report: Report, where: str, collector: ModbusCollectorConfig) -> None:
    scheme = collector.url.partition(":")[0]
    if not collector.devices:
        report.empty(f"{where}.devices", "add a device")
    if collector.timeout <= 0:
        report.problem(f"{where}.timeout", "it is not positive", "write 1s")
    if not 0 <= collector.retries <= RETRIES_MAX:
        report.problem(f"{where}.retries", f"it is not in 0..{RETRIES_MAX}", "write 1")
    for number, device in enumerate(collector.devices):
        inside = f"{where}.devices[{number}]"
        units = _UNITS.get(scheme, _UNITS_TCP)
        if device.unit not in units:
            report.problem(
                f"{inside}.unit",
                f"it is not in {units[0]}..{units[-1]}",
                "write that of the device",
            )
        if any(device.device == other.device for other in collector.devices[:number]):
            report.problem(
                f"{inside}.device", "another device of this collector has this path",
                "give each its own, or put the registers together",
            )  # fmt: skip
        _device(report, inside, where, collector, device)


def _device(
    report: Report,
    inside: str,
    where: str,
    collector: ModbusCollectorConfig,
    device: ModbusDeviceConfig,
) -> None:
    template = report.known_template(f"{inside}.template", device.template)
    if device.every < EVERY_NS_MIN:
        report.problem(f"{inside}.every", "it is less than 10ms", "write 1s")
    if device.timeout is not None and device.timeout <= 0:
        report.problem(f"{inside}.timeout", "it is not positive", "write 1s")
    if not 1 <= device.registers_max <= REGISTERS_MAX:
        report.problem(f"{inside}.registers_max", f"it is not in 1..{REGISTERS_MAX}", "write 125")
    if not 0 <= device.gap <= REGISTERS_MAX:
        report.problem(f"{inside}.gap", f"it is not in 0..{REGISTERS_MAX}", "write 0")
    for tag in device.tags:
        if template is not None and tag.casefold() not in map(str.casefold, template.tags):
            report.problem(
                f"{inside}.tags.{tag}", f"{device.template} has no such tag",
                suggestion(tag, template.tags),
            )  # fmt: skip
    place = f"{inside}.registers"
    if device.map is not None:
        place = f"{where}.maps.{device.map}"
        if device.registers:
            report.problem(f"{inside}.map", "there are `registers`, too", "leave one out")
            return
        if device.map not in collector.maps:
            report.problem(
                f"{inside}.map", f"there is no map {device.map!r}",
                suggestion(device.map, collector.maps),
            )  # fmt: skip
            return
    registers = collector.registers(device)
    if not registers:
        report.empty(place, "add a measurement and its address")
    for name, register in registers.items():
        _register(report, f"{place}.{name}", device, name, register, template)


def _register(
    report: Report,
    where: str,
    device: ModbusDeviceConfig,
    name: str,
    register: RegisterConfig,
    template: TemplateConfig | None,
) -> None:
    try:
        table, _ = located(register, device.base)
    except ValueError as error:
        report.problem(f"{where}.address", *error.args)
        return
    if register.bit is not None and not 0 <= register.bit <= 15:
        report.problem(f"{where}.bit", "it is not in 0..15", "0 is the lowest bit")
    if table in ("coil", "discrete") and (register.kind != "bool" or register.bit is not None):
        key = "bit" if register.bit is not None else "type"
        report.problem(f"{where}.{key}", f"a {table} is one bit", "leave it out")
    elif register.bit is not None and register.kind != "bool":
        report.problem(f"{where}.type", "a bit is true or false", "leave it out")
    if (register.kind == "string") != (register.length is not None):
        report.problem(
            f"{where}.length", "a string, and nothing else, has a length",
            "write how many registers it has",
        )  # fmt: skip
    elif not 1 <= register.words <= device.registers_max:
        report.problem(
            f"{where}.length", f"it is not in 1..{device.registers_max}", "that is `registers_max`"
        )
    if register.scale == 0:
        report.problem(f"{where}.scale", "it is 0", "write 1")
    if register.kind in ("bool", "string") and (register.scale, register.offset) != (1, 0):
        report.problem(f"{where}.scale", f"a {register.kind} has none", "leave it out")
    if template is not None:
        _measurement(report, where, name, register, template)


def _measurement(
    report: Report, where: str, name: str, register: RegisterConfig, template: TemplateConfig
) -> None:
    """There is such a measurement, and it can hold the value."""
    found = _of_name(template, name)
    if found is None:
        report.problem(
            where, f"there is no measurement {name!r}", suggestion(name, template.measurements)
        )
    elif found.is_computed:
        report.problem(where, f"{name} is computed", "leave the register out")
    else:
        kind = found.type
        is_number = kind.is_float or kind.is_integer
        wanted = {"bool": kind == ColumnType.BOOLEAN, "string": kind == ColumnType.TEXT}
        if not wanted.get(register.kind, is_number):
            report.problem(
                f"{where}.type", f"{name} is {kind.name}, and the register {register.kind}",
                "correct one of them: bool for BOOLEAN, string for TEXT",
            )  # fmt: skip


def check_modbus_write(
    report: Report, where: str, node: NodeConfig, action: ModbusWriteConfig
) -> None:
    """Each pattern allows something, and what is written has the unit that is stored."""
    if not action.allow:
        report.empty(f"{where}.allow", "add a pattern of DEVICE/MEASUREMENT")
    known = list(writable(node))
    for number, pattern in enumerate(action.allow):
        inside = f"{where}.allow[{number}]"
        fitting = [each for each in known if fnmatchcase(f"{each[0].device}/{each[1]}", pattern)]
        if not fitting:
            report.problem(
                inside, f"no coil or holding register of a collector modbus is {pattern!r}",
                "write DEVICE/MEASUREMENT, as root.plant_a.press.m1/setpoint",
            )  # fmt: skip
        for device, name in fitting:
            template = report.parts.templates.get(device.template)
            found = None if template is None else _of_name(template, name)
            if found is not None and _is_converted(found):
                report.problem(
                    inside, f"{device.device}/{name}: its template converts what is read",
                    "put `scale` and `offset` into the register: commands are in their unit",
                )  # fmt: skip


def writable(node: NodeConfig) -> Iterator[tuple[ModbusDeviceConfig, str]]:
    """(device, measurement) of all coils and holding registers that are polled."""
    for collector in node.collectors:
        if not isinstance(collector, ModbusCollectorConfig):
            continue
        for device in collector.devices:
            for name, register in collector.registers(device).items():
                try:
                    table, _ = located(register, device.base)
                except ValueError:
                    continue  # it is a problem of its own
                if table in ("coil", "holding"):
                    yield device, name


def _of_name(template: TemplateConfig, name: str) -> MeasurementConfig | None:
    by_name: Mapping[str, MeasurementConfig] = {
        each.casefold(): config for each, config in template.measurements.items()
    }
    return by_name.get(name.casefold())


def _is_converted(measurement: MeasurementConfig) -> bool:
    return (measurement.scale, measurement.offset) != (1, 0) or (
        measurement.source_unit not in (None, measurement.unit)
    )
