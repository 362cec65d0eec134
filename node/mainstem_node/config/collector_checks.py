"""What a node's collectors must satisfy: topic filters, device patterns, templates and tags."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mainstem_node.config.broker_checks import check_broker
from mainstem_node.config.builder import suggestion
from mainstem_node.config.collectors.mqtt import MqttCollectorConfig
from mainstem_node.config.collectors.simulator import SimulatorCollectorConfig
from mainstem_node.config.collectors.sparkplug import (
    SparkplugCollectorConfig,
    SparkplugCommandConfig,
)
from mainstem_node.config.collectors.subscription import SubscriptionConfig
from mainstem_node.config.report import Report
from mainstem_node.config.schema import MqttPublishConfig, NodeConfig, TemplateConfig
from mainstem_node.config.sparkplug_checks import check_sparkplug, check_sparkplug_command

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_KNOWN_PLACEHOLDER = re.compile(r"topic\[\d+\]|payload\.[^.{}\s][^{}]*")
_SIMULATED_MAX = 100_000
_EVERY_NS_MIN = 10_000_000
"""Made-up rows are for trying out; faster ones are a benchmark's."""


def check_collectors(report: Report, where: str, node: NodeConfig) -> None:
    if node.collectors and node.tier != "edge":
        report.problem(
            f"{where}.collectors", f"a {node.tier} does not collect", "move it to an edge"
        )
    for number, collector in enumerate(node.collectors):
        inside = f"{where}.collectors[{number}]"
        match collector:
            case MqttCollectorConfig():
                _mqtt(report, inside, collector)
            case SimulatorCollectorConfig():
                _simulator(report, inside, collector)
            case SparkplugCollectorConfig():
                check_sparkplug(report, inside, collector)


def _mqtt(report: Report, where: str, collector: MqttCollectorConfig) -> None:
    if not collector.subscriptions:
        report.empty(f"{where}.subscriptions", "add a topic")
    check_broker(report, where, collector)
    check_subscriptions(report, where, collector.subscriptions)


def _simulator(report: Report, where: str, collector: SimulatorCollectorConfig) -> None:
    template = report.known_template(f"{where}.template", collector.template)
    if not 1 <= collector.devices <= _SIMULATED_MAX:
        report.problem(f"{where}.devices", f"it is not in 1..{_SIMULATED_MAX}", "write 1")
    if collector.every < _EVERY_NS_MIN:
        report.problem(f"{where}.every", "it is less than 10ms", "write 1s")
    if not collector.device.startswith("root."):
        report.problem(f"{where}.device", "a device path begins with root", "write root. in front")
    if collector.devices > 1 and "{n}" not in collector.device:
        report.problem(f"{where}.device", "several devices would have one path", "put {n} into it")
    for name in collector.signals:
        if template is not None and name.casefold() not in map(str.casefold, template.measurements):
            report.problem(
                f"{where}.signals.{name}", f"{collector.template} has no such measurement",
                suggestion(name, template.measurements),
            )  # fmt: skip


def check_actions(report: Report, where: str, node: NodeConfig) -> None:
    if node.actions and node.tier != "edge":
        report.problem(f"{where}.actions", f"a {node.tier} has no equipment", "move it to an edge")
    for number, action in enumerate(node.actions):
        inside = f"{where}.actions[{number}]"
        match action:
            case MqttPublishConfig():
                _publish(report, inside, action)
            case SparkplugCommandConfig():
                check_sparkplug_command(report, inside, node, action)


def _publish(report: Report, where: str, action: MqttPublishConfig) -> None:
    if not action.topics:
        report.empty(f"{where}.topics", "add a filter")
    if action.password is not None and action.username is None:
        report.problem(f"{where}.password", "there is no `username`", "add it")
    for index, topic in enumerate(action.topics):
        if is_bad_filter(topic):
            report.problem(
                f"{where}.topics[{index}]", f"{topic!r} is not a topic filter",
                "+ stands for one whole level, # for all that follow",
            )  # fmt: skip


def is_bad_filter(topic: str) -> bool:
    """True for a text that is no MQTT topic filter."""
    levels = topic.split("/")
    return not topic or any(
        ("#" in level and (level != "#" or index != len(levels) - 1))
        or ("+" in level and level != "+")
        for index, level in enumerate(levels)
    )


def check_subscriptions(
    report: Report, where: str, subscriptions: Sequence[SubscriptionConfig]
) -> None:
    """Topic filters, templates, device patterns and tags."""
    for number, subscription in enumerate(subscriptions):
        inside = f"{where}.subscriptions[{number}]"
        template = _template_of(report, inside, subscription)
        levels = subscription.topic.split("/")
        if is_bad_filter(subscription.topic):
            report.problem(
                f"{inside}.topic", f"{subscription.topic!r} is not a topic filter",
                "+ stands for one whole level, # for all that follow",
            )  # fmt: skip
        device = subscription.device or "root."
        if not device.startswith(("root.", "{payload.")):
            report.problem(
                f"{inside}.device", "a device path begins with root", "write root. in front"
            )
        for tag in subscription.tags:
            if template is not None and tag.casefold() not in map(str.casefold, template.tags):
                report.problem(
                    f"{inside}.tags.{tag}", f"{subscription.template} has no such tag",
                    suggestion(tag, template.tags),
                )  # fmt: skip
        texts = {"device": device}
        texts |= {f"tags.{tag}": text for tag, text in subscription.tags.items()}
        for key, text in texts.items():
            _placeholders(report, f"{inside}.{key}", text, levels)


def _template_of(
    report: Report, where: str, subscription: SubscriptionConfig
) -> TemplateConfig | None:
    """The template that a subscription names. Only line protocol may name none."""
    if subscription.template is None:
        if subscription.codec != "line_protocol":
            report.problem(f"{where}.template", "the key is missing", "add `template: ...`")
        if subscription.tags:
            report.problem(
                f"{where}.tags", "there is no `template` to have them",
                "leave it out: the tags are those of the lines",
            )  # fmt: skip
        if "{payload." in (subscription.device or ""):
            report.problem(
                f"{where}.device", "without a `template` it stands before every device",
                "use text and {topic[n]}",
            )  # fmt: skip
        return None
    if subscription.device is None:
        report.problem(f"{where}.device", "the key is missing", "add `device: ...`")
    return report.known_template(f"{where}.template", subscription.template)


def _placeholders(report: Report, where: str, text: str, levels: list[str]) -> None:
    for name in _PLACEHOLDER.findall(text):
        if not _KNOWN_PLACEHOLDER.fullmatch(name):
            report.problem(
                where, f"{{{name}}} is unknown", "use {topic[n]} (from 0) or {payload.NAME}"
            )
        elif name.startswith("topic[") and "#" not in levels:
            index = int(name[6:-1])
            if index >= len(levels):
                report.problem(
                    where, f"{{{name}}}: the topic has {len(levels)} levels",
                    f"use at most {{topic[{len(levels) - 1}]}}",
                )  # fmt: skip
    if re.search(r"[{}]", _PLACEHOLDER.sub("", text)):
        report.problem(where, "a brace is not closed", "use {topic[n]} or {payload.NAME}")
