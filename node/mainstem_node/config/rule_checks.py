"""What alarm rules must satisfy: one kind each, a number to watch, a name of their own."""

from __future__ import annotations

import math

from mainstem_node.config.report import Report
from mainstem_node.config.rules import ALARMS, HOUR_NS, SECOND_NS, RuleConfig
from mainstem_node.config.schema import NodeConfig, TemplateConfig
from mainstem_node.config.templates import rule_terms
from mainstem_node.errors import ExpressionError
from mainstem_node.expressions import parse

RULES_MAX = 200
"""Each looks at every batch of its template."""
LEARNED_MIN = 30
"""Values of which a standard deviation is known to a tenth or so."""
MISSING_MIN_NS = SECOND_NS
"""Silence is looked for once a second."""


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
        _watched(report, inside, rule)
        _kind(report, inside, rule)


def _watched(report: Report, inside: str, rule: RuleConfig) -> None:
    """The measurement of a rule about values, the expressions of one about rows."""
    template = report.known_template(f"{inside}.template", rule.template)
    if rule.missing is not None or rule.expression is not None:
        if rule.measurement is not None:
            report.problem(f"{inside}.measurement", "this kind watches rows", "remove it")
        if template is not None:
            _expressions(report, inside, rule, template)
    elif rule.measurement is None:
        report.problem(f"{inside}.measurement", "it is not there", "name what is watched")
    elif template is not None:
        _measurement(report, f"{inside}.measurement", rule.measurement, rule.template, template)


def _measurement(
    report: Report, place: str, name: str, template_name: str, template: TemplateConfig
) -> None:
    found = {each.casefold(): config for each, config in template.measurements.items()}
    config = found.get(name.casefold())
    if config is None:
        report.problem(
            place, f"{template_name} has no {name!r}", f"use one of {', '.join(sorted(found))}"
        )
    elif not (config.type.is_float or config.type.is_integer):
        report.problem(place, "it is not a number", "watch a number")
    elif config.increment_of is not None or config.previous_of is not None:
        report.problem(
            place, "it is made of stored values, after rules have looked",
            "watch what it is made of",
        )  # fmt: skip


def _expressions(report: Report, inside: str, rule: RuleConfig, template: TemplateConfig) -> None:
    for key in ("expression", "clear"):
        text = getattr(rule, key)
        if text is None:
            continue
        try:
            found = parse(text, rule_terms(template))
        except ExpressionError as error:
            report.problem(
                f"{inside}.{key}", error.message, error.hint or "write such as a > 2 AND b < 1"
            )
            continue
        if not found.is_condition:
            report.problem(f"{inside}.{key}", "it is a number", "compare it, such as a + b > 2")
        elif not found.names:
            report.problem(f"{inside}.{key}", "it reads no measurement", "name one")


def _kind(report: Report, inside: str, rule: RuleConfig) -> None:
    limits = rule.above is not None or rule.below is not None
    others = ("rate", "stuck", "deviation", "missing", "expression")
    if limits + sum(getattr(rule, key) is not None for key in others) != 1:
        report.problem(
            inside, "a rule has one kind",
            "write `above`/`below`, `rate`, `stuck`, `deviation`, `missing` or `expression`",
        )  # fmt: skip
    for key in ("above", "below", "rate", "hysteresis", "deviation", "noise"):
        value = getattr(rule, key)
        if value is not None and not math.isfinite(value):
            report.problem(f"{inside}.{key}", "it is not finite", "write a number")
    if rule.hysteresis < 0:
        report.problem(f"{inside}.hysteresis", "it is negative", "write 0 or more")
    if rule.hysteresis and not limits and rule.deviation is None:
        report.problem(f"{inside}.hysteresis", "this kind has none", "remove it")
    if rule.rate is not None and rule.rate <= 0:
        report.problem(f"{inside}.rate", "it is not above 0", "write the change per second")
    if rule.stuck is not None and rule.stuck <= 0:
        report.problem(f"{inside}.stuck", "it is not above 0", "write 10m")
    _deviation(report, inside, rule)
    if rule.missing is not None:
        if rule.missing < MISSING_MIN_NS:
            report.problem(f"{inside}.missing", "it is below 1s", "write 5m")
        for key in ("delay", "clear_delay"):
            if getattr(rule, key):
                report.problem(f"{inside}.{key}", "silence is a delay", "remove it")
    if rule.clear is not None and rule.expression is None:
        report.problem(f"{inside}.clear", "it goes with `expression`", "write `hysteresis`")
    both = rule.above is not None and rule.below is not None
    if both and (rule.below or 0.0) + 2 * rule.hysteresis > (rule.above or 0.0):
        report.problem(
            f"{inside}.below", "between the limits no alarm would ever be over",
            "move the limits apart, or take less hysteresis",
        )  # fmt: skip


def _deviation(report: Report, inside: str, rule: RuleConfig) -> None:
    if rule.deviation is None:
        given = (rule.memory != HOUR_NS, rule.every != SECOND_NS, rule.noise != 0)
        for key, is_given in zip(("memory", "every", "noise"), given, strict=True):
            if is_given:
                report.problem(f"{inside}.{key}", "it goes with `deviation`", "remove it")
        return
    if rule.deviation <= 0:
        report.problem(f"{inside}.deviation", "it is not above 0", "write 6")
    elif rule.hysteresis > rule.deviation:
        report.problem(f"{inside}.hysteresis", "it is above `deviation`", "write less")
    if rule.noise < 0:
        report.problem(f"{inside}.noise", "it is negative", "write 0 or more")
    if rule.every < SECOND_NS:
        report.problem(f"{inside}.every", "it is below 1s", "write 1s or more")
    elif rule.memory < LEARNED_MIN * rule.every:
        report.problem(
            f"{inside}.memory", f"it is below {LEARNED_MIN} times `every`",
            "a mean of so few values says little: write more",
        )  # fmt: skip
