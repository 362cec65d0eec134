"""What collectors of HTTP must satisfy: names, senders, what stands in requests."""

from __future__ import annotations

from mainstem_node.config.collectors.http_poll import HttpPollCollectorConfig
from mainstem_node.config.collectors.http_push import HttpPushCollectorConfig, SenderConfig
from mainstem_node.config.reading_checks import Topic, check_reading
from mainstem_node.config.report import Report
from mainstem_node.config.schema import NodeConfig

IN_FLIGHT_MAX = 10_000
"""Each is a connection."""
MESSAGE_BYTES_MAX = 32 << 20
"""The server's own bound of a body."""

EVERY_NS_MIN = 1_000_000_000
"""Faster is not polite to anybody's server; MQTT or a push are for that."""
TIMEOUT_NS_MAX = 600 * 1_000_000_000
ANSWER_BYTES_MAX = 256 << 20
"""It is held in memory as a whole, and again when it is read."""

_POLLED = Topic((), remedy="use text and {payload.NAME}")
_PUSHED = Topic(
    (), r"path\[-?\d+\]|(query|header)\.[^.{}\s][^{}\s]*",
    "use {path[n]} (from 0, after the name), {query.NAME}, {header.NAME} or {payload.NAME}",
)  # fmt: skip


def check_push(
    report: Report, where: str, node: NodeConfig, collector: HttpPushCollectorConfig
) -> None:
    pushed = [each for each in node.collectors if isinstance(each, HttpPushCollectorConfig)]
    names = [each.name for each in pushed]
    if names.count(collector.name) > 1:
        report.problem(f"{where}.name", f"{collector.name!r} is there twice", "choose another name")
    for key, high in (("in_flight", IN_FLIGHT_MAX), ("per_minute", 10**9)):
        if not 1 <= getattr(collector, key) <= high:
            report.problem(f"{where}.{key}", f"it is not in 1..{high}", "write 500")
    if not 0 < collector.message_limit <= MESSAGE_BYTES_MAX:
        report.problem(f"{where}.message_limit", "it is not in 1B..32MiB", "write 1MiB")
    check_reading(report, where, collector, _PUSHED)
    if collector.sender is not None:
        _sender(report, f"{where}.sender", collector.sender)


def check_poll(report: Report, where: str, collector: HttpPollCollectorConfig) -> None:
    if collector.every < EVERY_NS_MIN:
        report.problem(f"{where}.every", "it is less than 1s", "write 1m")
    if collector.offset and not 0 < collector.offset < collector.every:
        report.problem(f"{where}.offset", "it is not below `every`", "write 0s")
    if not 0 < collector.timeout <= TIMEOUT_NS_MAX:
        report.problem(f"{where}.timeout", "it is not in 1ns..10m", "write 30s")
    if not 0 < collector.message_limit <= ANSWER_BYTES_MAX:
        report.problem(f"{where}.message_limit", "it is not in 1B..256MiB", "write 16MiB")
    if (collector.username is None) != (collector.password is None):
        report.problem(where, "`username` and `password` belong together", "add the other")
    if collector.body is not None and collector.method == "GET":
        report.problem(f"{where}.body", "GET has no body", "write `method: POST`")
    if collector.codec == "raw" and collector.measurement is None:
        report.problem(
            f"{where}.measurement", "nothing says what the value is called", "write its name"
        )
    for key, other in (("secret_query", "query"), ("secret_headers", "headers")):
        twice = {name.casefold() for name in getattr(collector, key)} & {
            name.casefold() for name in getattr(collector, other)
        }
        for name in sorted(twice):
            report.problem(f"{where}.{key}.{name}", f"it is in `{other}`, too", "leave one out")
    check_reading(report, where, collector, _POLLED)


def _sender(report: Report, where: str, sender: SenderConfig) -> None:
    ways = [name for name in ("token", "password", "signature") if getattr(sender, name)]
    if len(ways) != 1:
        report.problem(
            where, f"{' and '.join(ways) or 'none'} of token, password and signature",
            "write one of them",
        )  # fmt: skip
    if sender.signature is not None and not sender.signature.secret:
        report.problem(f"{where}.signature.secret", "it is empty", "export the variable")
    if (sender.username is None) != (sender.password is None):
        report.problem(where, "`username` and `password` belong together", "add the other")
    if sender.header is not None and sender.token is None:
        report.problem(f"{where}.header", "there is no `token` to stand in it", "leave it out")
