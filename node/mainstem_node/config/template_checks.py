"""What a template must satisfy: names that differ, conversions that exist, sensible bounds."""

from __future__ import annotations

from mainstem_node.config.report import Report
from mainstem_node.config.schema import MeasurementConfig, TemplateConfig
from mainstem_node.config.units import conversion
from mainstem_node.errors import UnitError


def check_template(report: Report, where: str, template: TemplateConfig) -> None:
    if not template.measurements:
        report.empty(f"{where}.measurements", "name at least one measurement")
    names: dict[str, str] = {"time": "the time column", "device": "the device column"}
    columns = [("tags", name) for name in template.tags]
    columns += [("measurements", name) for name in template.measurements]
    for section, name in columns:
        key = name.casefold()
        if key in names:
            report.problem(
                f"{where}.{section}.{name}",
                f"the name is that of {names[key]} (case does not matter)",
                "choose another; `from:` keeps the payload's name",
            )
        names.setdefault(key, f"{section}.{name}")
    for name, measurement in template.measurements.items():
        _measurement(report, f"{where}.measurements.{name}", measurement)


def _measurement(report: Report, where: str, m: MeasurementConfig) -> None:
    numeric = m.type.is_integer or m.type.is_float
    low, high = m.range if m.range is not None else (None, None)
    if low is not None and high is not None and low > high:
        report.problem(f"{where}.range", f"{low:g} is above {high:g}", "write [low, high]")
    if m.source_unit is not None and m.unit is None:
        report.problem(f"{where}.source_unit", "there is no `unit` to convert to", "add `unit`")
    elif m.source_unit is not None and m.unit is not None:
        try:
            conversion(m.source_unit, m.unit)
        except UnitError as error:
            report.problem(f"{where}.source_unit", error.message, error.hint or "")
    for key, given in (
        ("range", m.range is not None),
        ("deadband", m.deadband is not None),
        ("scale", m.scale != 1.0),
        ("offset", m.offset != 0.0),
        ("source_unit", m.source_unit is not None),
    ):
        if given and not numeric:
            report.problem(f"{where}.{key}", f"{m.type.name} is not a number", "remove it")
    if m.deadband is not None and m.deadband < 0:
        report.problem(f"{where}.deadband", "a deadband cannot be negative", "write 0 or more")
    if m.scale == 0:
        report.problem(f"{where}.scale", "0 makes every value the same", "write another factor")
    if m.rollover is not None and m.kind != "counter":
        report.problem(f"{where}.rollover", "only a counter rolls over", "add `kind: counter`")
    if m.rollover is not None and m.rollover < 1:
        report.problem(f"{where}.rollover", "it must be positive", "write the largest value + 1")
    numeric_only = {"GORILLA", "RLE", "TS_2DIFF", "PCO"}
    if m.type.is_variable and m.encoding in numeric_only:
        report.problem(
            f"{where}.encoding", f"{m.encoding} cannot hold {m.type.name}",
            "use DICTIONARY or PLAIN",
        )  # fmt: skip
