"""What alarm rules must satisfy: one kind each, a number to watch, a name of their own."""

from __future__ import annotations

import math

from mainstem_node.config.report import Report
from mainstem_node.config.rules import ALARMS, RuleConfig
from mainstem_node.config.schema import NodeConfig

RULES_MAX = 200
"""Each looks at every batch of its template."""


def check_rules(report: Report, where: str, node: NodeConfig) -> None:
    if not node.rules:
        return
    if node.tier != "edge":
        report.problem(f"{where}.rules", "only an edge has rules", "move them to the edge")
    if len(node.rules) > RULES_MAX:
        report.problem(f"{where}.rules", f"more than {RULES_MAX}", "make fewer")
    for name in report.parts.template_names:
        if name.casefold() == ALARMS:
            report.problem(
                f"templates.{name}", "the alarms of rules are stored under this name",
                "rename the template",
            )  # fmt: skip
    names: set[str] = set()
    for number, rule in enumerate(node.rules):
        inside = f"{where}.rules[{number}]"
        if rule.name.casefold() in names:
            report.problem(f"{inside}.name", f"{rule.name!r} is there twice", "choose another name")
        names.add(rule.name.casefold())
        _measurement(report, inside, rule)
        _kind(report, inside, rule)


def _measurement(report: Report, inside: str, rule: RuleConfig) -> None:
    template = report.known_template(f"{inside}.template", rule.template)
    if template is None:
        return
    found = {name.casefold(): each for name, each in template.measurements.items()}
    config = found.get(rule.measurement.casefold())
    if config is None:
        report.problem(
            f"{inside}.measurement", f"{rule.template} has no {rule.measurement!r}",
            f"use one of {', '.join(sorted(found))}",
        )  # fmt: skip
    elif not (config.type.is_float or config.type.is_integer):
        report.problem(f"{inside}.measurement", "it is not a number", "watch a number")


def _kind(report: Report, inside: str, rule: RuleConfig) -> None:
    limits = rule.above is not None or rule.below is not None
    if limits + (rule.rate is not None) + (rule.stuck is not None) != 1:
        report.problem(inside, "a rule has one kind", "write `above`/`below`, `rate` or `stuck`")
    for key in ("above", "below", "rate", "hysteresis"):
        value = getattr(rule, key)
        if value is not None and not math.isfinite(value):
            report.problem(f"{inside}.{key}", "it is not finite", "write a number")
    if rule.hysteresis < 0:
        report.problem(f"{inside}.hysteresis", "it is negative", "write 0 or more")
    if rule.hysteresis and not limits:
        report.problem(f"{inside}.hysteresis", "only limits have one", "remove it")
    if rule.rate is not None and rule.rate <= 0:
        report.problem(f"{inside}.rate", "it is not above 0", "write the change per second")
    if rule.stuck is not None and rule.stuck <= 0:
        report.problem(f"{inside}.stuck", "it is not above 0", "write 10m")
    both = rule.above is not None and rule.below is not None
    if both and (rule.below or 0.0) + 2 * rule.hysteresis > (rule.above or 0.0):
        report.problem(
            f"{inside}.below", "between the limits no alarm would ever be over",
            "move the limits apart, or take less hysteresis",
        )  # fmt: skip
