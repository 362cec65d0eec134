"""What a Sparkplug host must satisfy: identifiers, the device path, templates."""

from __future__ import annotations

import re

from mainstem_node.config.broker_checks import check_broker
from mainstem_node.config.collectors.sparkplug import (
    SparkplugCollectorConfig,
    SparkplugCommandConfig,
)
from mainstem_node.config.report import Report
from mainstem_node.config.schema import NodeConfig

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_PLACEHOLDERS = ("group", "node", "device")


def check_sparkplug(report: Report, where: str, collector: SparkplugCollectorConfig) -> None:
    named = {"host_id": collector.host_id}
    named |= {f"groups[{number}]": group for number, group in enumerate(collector.groups)}
    for key, text in named.items():
        if not text or set("+/#") & set(text):
            report.problem(f"{where}.{key}", f"{text!r} holds + / or #", "write a plain name")
    check_broker(report, where, collector)
    for key in ("template", "definitions"):
        for name, template in getattr(collector, key).items():
            report.known_template(f"{where}.{key}.{name}", template)
    _check_device(report, f"{where}.device", collector.device)


def check_sparkplug_command(
    report: Report, where: str, node: NodeConfig, action: SparkplugCommandConfig
) -> None:
    """The collector that is to send it, and something that is allowed."""
    if not action.metrics:
        report.empty(f"{where}.metrics", "add a pattern of group/node/device/metric")
    hosts = [each.host_id for each in node.collectors if isinstance(each, SparkplugCollectorConfig)]
    report.known_collector(f"{where}.host_id", "sparkplug", action.host_id, hosts)


def _check_device(report: Report, where: str, device: str) -> None:
    report.device_path(where, device)
    for name in _PLACEHOLDER.findall(device):
        if name not in _PLACEHOLDERS:
            report.problem(where, f"{{{name}}} is unknown", "use {group}, {node} and {device}")
    if re.search(r"[{}]", _PLACEHOLDER.sub("", device)):
        report.problem(where, "a brace is not closed", "use {group}, {node} and {device}")
    elif not all(f"{{{name}}}" in device for name in ("node", "device")):
        report.problem(
            where, "several devices would have one path", "put {node} and {device} into it"
        )
    elif len([part for part in device.split(".") if "{device}" not in part]) < 2:
        report.problem(where, "an edge node itself has no path", "write root.{node}.{device}")
