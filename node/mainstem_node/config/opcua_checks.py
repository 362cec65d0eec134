"""What a collector of OPC UA must satisfy: security, nodes, device paths; and its commands."""

from __future__ import annotations

import re
from collections.abc import Mapping

from mainstem_node.config.builder import suggestion
from mainstem_node.config.collectors.opcua import (
    OpcuaBrowseConfig,
    OpcuaCollectorConfig,
    OpcuaWriteConfig,
)
from mainstem_node.config.report import Report
from mainstem_node.config.schema import NodeConfig, TemplateConfig

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_KNOWN_PLACEHOLDER = re.compile(r"name|path\[\d\]")
_DEPTH_MAX = 20
_NODES_MAX = 200_000
"""Watched variables cost about a kilobyte each, here and at the server."""
_QUEUE_MAX = 10_000
_MILLISECOND_NS = 1_000_000


def check_opcua(report: Report, where: str, collector: OpcuaCollectorConfig) -> None:
    _security(report, where, collector)
    if not collector.devices and not collector.browse:
        report.empty(f"{where}.devices", "add a device, or `browse`")
    named: dict[str, TemplateConfig | None] = {}
    for number, each in enumerate(collector.devices):
        inside = f"{where}.devices[{number}]"
        named[each.template] = report.known_template(f"{inside}.template", each.template)
        if not each.nodes:
            report.empty(f"{inside}.nodes", "add a measurement and its node id")
        for name in each.nodes:
            _measurement(
                report, f"{inside}.nodes.{name}", name, {each.template: named[each.template]}
            )
    for number, browse in enumerate(collector.browse):
        inside = f"{where}.browse[{number}]"
        for pattern, template in browse.template.items():
            named[template] = report.known_template(f"{inside}.template.{pattern}", template)
        _browse(report, inside, browse)
    for name in collector.deadband:
        _measurement(report, f"{where}.deadband.{name}", name, named)
    bounds = {"nodes_max": (1, _NODES_MAX), "queue": (1, _QUEUE_MAX)}
    for key, (low, high) in bounds.items():
        if not low <= getattr(collector, key) <= high:
            report.problem(f"{where}.{key}", f"it is not in {low}..{high}", f"write {low}")
    for key in ("publish_every", "sample_every", "watchdog"):
        duration_ns = getattr(collector, key)
        if duration_ns is not None and duration_ns < _MILLISECOND_NS:
            report.problem(f"{where}.{key}", "it is less than 1ms", "write 1s")


def _measurement(
    report: Report, where: str, name: str, among: Mapping[str, TemplateConfig | None]
) -> None:
    """One of these templates must have it."""
    if None in among.values():
        return  # an unknown template is a problem already
    known = [each for found in among.values() if found is not None for each in found.measurements]
    if name.casefold() not in map(str.casefold, known):
        report.problem(
            where, f"{', '.join(among)} has no such measurement", suggestion(name, known)
        )


def check_opcua_write(
    report: Report, where: str, node: NodeConfig, action: OpcuaWriteConfig
) -> None:
    """The collector whose session it uses, and something that is allowed."""
    if not action.nodes:
        report.empty(f"{where}.nodes", "add a pattern of node ids")
    urls = [each.url for each in node.collectors if isinstance(each, OpcuaCollectorConfig)]
    report.known_collector(f"{where}.url", "opcua", action.url, urls, verb="has")


def _security(report: Report, where: str, collector: OpcuaCollectorConfig) -> None:
    files = {key: getattr(collector, key) for key in ("cert", "key", "server_cert")}
    for key, file in files.items():
        if collector.security != "None" and file is None:
            remedy = "fetch it with `mainstem opcua certificate URL FILE`, and look at it"
            report.problem(
                f"{where}.{key}", f"the key is missing: security is {collector.security}",
                remedy if key == "server_cert" else f"add `{key}: FILE`",
            )  # fmt: skip
        elif collector.security == "None" and file is not None:
            report.problem(
                f"{where}.{key}", "it is not used: there is no `security`",
                "add `security: Basic256Sha256`, or leave it out",
            )  # fmt: skip
    if collector.password is not None and collector.username is None:
        report.problem(f"{where}.password", "there is no `username`", "add it")


def _browse(report: Report, where: str, browse: OpcuaBrowseConfig) -> None:
    if not browse.template:
        report.empty(f"{where}.template", 'add `"**": TEMPLATE`')
    if not 1 <= browse.depth <= _DEPTH_MAX:
        report.problem(f"{where}.depth", f"it is not in 1..{_DEPTH_MAX}", "write 6")
    device = browse.device
    report.device_path(f"{where}.device", device)
    for name in _PLACEHOLDER.findall(device):
        if not _KNOWN_PLACEHOLDER.fullmatch(name):
            report.problem(f"{where}.device", f"{{{name}}} is unknown", "use {name} and {path[n]}")
    if re.search(r"[{}]", _PLACEHOLDER.sub("", device)):
        report.problem(f"{where}.device", "a brace is not closed", "use {name} and {path[n]}")
    elif not _PLACEHOLDER.search(device):
        report.problem(
            f"{where}.device", "several devices would have one path", "put {name} into it"
        )
