"""What must hold of those who are told of alarms: names of their own, topics that can be published
to, bounds, and rules that name nobody else."""

from __future__ import annotations

import re

from mainstem_node.config.notify import (
    LOG,
    TOPIC_NAMES,
    MqttNotifyConfig,
    NotifyConfig,
    WebhookNotifyConfig,
)
from mainstem_node.config.report import Report
from mainstem_node.config.schema import NodeConfig

TARGETS_MAX = 8
"""Each has a thread."""
PER_MINUTE_MAX = 6000
TIMEOUT_NS_MAX = 60 * 1_000_000_000
"""A try that takes longer holds up all that wait behind it."""
_OWN_HEADERS = frozenset({
    "content-length", "content-type", "host", "idempotency-key", "mainstem-signature",
    "transfer-encoding", "user-agent",
})  # fmt: skip
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A field name (RFC 9110, 5.6.2)."""


def check_notify(report: Report, where: str, node: NodeConfig) -> None:
    if node.notify and node.tier != "edge":
        report.problem(f"{where}.notify", "only an edge tells of alarms", "move it to the edge")
    if len(node.notify) > TARGETS_MAX:
        report.problem(f"{where}.notify", f"more than {TARGETS_MAX}", "make fewer")
    names = {LOG}
    for number, target in enumerate(node.notify):
        inside = f"{where}.notify[{number}]"
        if target.name in names:
            report.problem(
                f"{inside}.name", f"{target.name!r} is there already", "choose another `name`"
            )
        names.add(target.name)
        _bounds(report, inside, target)
        if isinstance(target, MqttNotifyConfig):
            _topic(report, inside, target)
        else:
            _webhook(report, inside, target)
    for number, rule in enumerate(node.rules):
        for action in rule.actions:
            if action not in names:
                report.problem(
                    f"{where}.rules[{number}].actions", f"{action!r} is not under `notify`",
                    f"use one of {', '.join(sorted(names))}",
                )  # fmt: skip


def _bounds(report: Report, where: str, target: NotifyConfig) -> None:
    if not 1 <= target.per_minute <= PER_MINUTE_MAX:
        report.problem(f"{where}.per_minute", f"it is not in 1..{PER_MINUTE_MAX}", "write 60")
    if target.expire <= 0:
        report.problem(f"{where}.expire", "it is not above 0", "write 1d")
    if not 0 < target.timeout <= TIMEOUT_NS_MAX:
        report.problem(f"{where}.timeout", "it is not in 1ns..60s", "write 10s")
    if target.tls.key is not None and target.tls.cert is None:
        report.problem(f"{where}.tls.key", "there is no `cert`", "add it")


def _topic(report: Report, where: str, target: MqttNotifyConfig) -> None:
    if target.password is not None and target.username is None:
        report.problem(f"{where}.password", "there is no `username`", "add it")
    if any(sign in target.topic for sign in "+#\0") or not target.topic:
        report.problem(f"{where}.topic", "it is no topic to publish to", "remove + and #")
    for name in re.findall(r"\{([^{}]*)\}", target.topic):
        if name not in TOPIC_NAMES:
            known = ", ".join(f"{{{each}}}" for each in TOPIC_NAMES)
            report.problem(f"{where}.topic", f"{{{name}}} is unknown", f"use {known}")


def _webhook(report: Report, where: str, target: WebhookNotifyConfig) -> None:
    if target.secret is not None and not target.secret:
        report.problem(f"{where}.secret", "it is empty", "export the variable")
    for name in target.secret_headers:
        if name.casefold() in _OWN_HEADERS or not _HEADER.fullmatch(name):
            report.problem(
                f"{where}.secret_headers.{name}", "this header cannot be set", "leave it out"
            )
