"""What a template must satisfy: names that differ, conversions that exist, sensible bounds."""

from __future__ import annotations

from mainstem_engine.model import ColumnType
from mainstem_node.config.builder import suggestion
from mainstem_node.config.report import Report
from mainstem_node.config.schema import MeasurementConfig, TemplateConfig
from mainstem_node.config.templates import QUALITY_SUFFIX, terms_of
from mainstem_node.config.units import conversion
from mainstem_node.errors import ExpressionError, UnitError
from mainstem_node.expressions import parse


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
        _filters(report, f"{where}.measurements.{name}", measurement)
        _computed(report, f"{where}.measurements.{name}", name, template)
        quality = f"{name}{QUALITY_SUFFIX}"
        if template.quality and quality.casefold() in names:
            report.problem(
                f"{where}.quality", f"{quality} is the name of {names[quality.casefold()]}",
                "choose another name",
            )  # fmt: skip


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
        ("swinging_door", m.swinging_door is not None),
        ("max_rate", m.max_rate is not None),
        ("kind", m.kind == "counter"),
        ("scale", m.scale != 1.0),
        ("offset", m.offset != 0.0),
        ("source_unit", m.source_unit is not None),
    ):
        if given and not numeric:
            report.problem(f"{where}.{key}", f"{m.type.name} is not a number", "remove it")
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


def _filters(report: Report, where: str, m: MeasurementConfig) -> None:
    for key, value in (("swinging_door", m.swinging_door), ("max_rate", m.max_rate)):
        if value is not None and value <= 0:
            report.problem(f"{where}.{key}", f"{value:g} is not positive", "remove it")
    chosen = [
        key
        for key, given in (
            ("deadband", m.deadband is not None),
            ("swinging_door", m.swinging_door is not None),
            ("on_change", m.on_change),
        )
        if given
    ]
    if len(chosen) > 1:
        report.problem(f"{where}.{chosen[1]}", f"there is `{chosen[0]}` as well", "use one of them")


def _computed(report: Report, where: str, name: str, template: TemplateConfig) -> None:
    """What a measurement is computed from: others that devices send."""
    m = template.measurements[name]
    texts = {"derive": m.derive, "increment_of": m.increment_of, "previous_of": m.previous_of}
    given = {key: text for key, text in texts.items() if text is not None}
    if not given:
        return
    if len(given) > 1 or m.source is not None:
        others = [*given, *(["from"] if m.source is not None else [])]
        report.problem(f"{where}.{others[1]}", f"there is `{others[0]}` as well", "use one of them")
        return
    sent = {n.casefold(): each for n, each in template.measurements.items() if not each.is_computed}
    ((key, text),) = given.items()
    if key == "derive":
        _expression(report, f"{where}.derive", m, template)
        return
    origin = sent.get(text.casefold())
    if origin is None:
        report.problem(
            f"{where}.{key}", f"no measurement {text!r} is sent",
            suggestion(text, [n for n in template.measurements if n.casefold() in sent]),
        )  # fmt: skip
    elif key == "increment_of" and origin.kind != "counter":
        report.problem(f"{where}.{key}", f"{text} is not a counter", "add `kind: counter` to it")
    elif key == "increment_of" and (origin.deadband or origin.swinging_door or origin.on_change):
        report.problem(
            f"{where}.{key}", f"not every value of {text} is stored",
            f"remove the filter of {text}: after a restart its increments go on from there",
        )  # fmt: skip
    elif key == "increment_of" and not (m.type.is_float or m.type.is_integer):
        report.problem(f"{where}.type", f"{m.type.name} is not a number", "write INT64 or DOUBLE")
    elif key == "previous_of" and m.type != origin.type:
        report.problem(
            f"{where}.type", f"{text} is {origin.type.name}", f"write {origin.type.name}"
        )


def _expression(report: Report, where: str, m: MeasurementConfig, template: TemplateConfig) -> None:
    try:
        found = parse(m.derive or "", terms_of(template))
    except ExpressionError as error:
        report.problem(where, error.message, error.hint or "write such as a * 2 + b")
        return
    if found.is_condition != (m.type is ColumnType.BOOLEAN):
        kind = "a condition" if found.is_condition else "a number"
        remedy = "BOOLEAN" if found.is_condition else "DOUBLE"
        report.problem(where, f"it is {kind}, and the type is {m.type.name}", f"write {remedy}")
    elif not (m.type is ColumnType.BOOLEAN or m.type.is_float or m.type.is_integer):
        report.problem(where, f"it is a number, and the type is {m.type.name}", "write DOUBLE")
