"""What a collector of Kafka must satisfy: brokers, groups, topics, credentials, bounds."""

from __future__ import annotations

import re

from mainstem_node.config.collectors.kafka import KafkaCollectorConfig, KafkaSubscriptionConfig
from mainstem_node.config.reading_checks import Topic, check_reading
from mainstem_node.config.report import Report
from mainstem_node.config.schema import NodeConfig

MIB = 1 << 20
_IN_FLIGHT_MAX = 1_000_000
_PREFETCH_MAX = 1024 * MIB
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
_OTHERS = r"topic|key|partition|header\.[^{}\s]+"
_REMEDY = "use {topic[n]} (from 0), {topic}, {key}, {partition}, {header.NAME} or {payload.NAME}"


def check_kafka(
    report: Report, where: str, node: NodeConfig, collector: KafkaCollectorConfig
) -> None:
    if not collector.brokers:
        report.empty(f"{where}.brokers", "add host:port of a broker")
    if not collector.subscriptions:
        report.empty(f"{where}.subscriptions", "add a topic")
    for number, subscription in enumerate(collector.subscriptions):
        _subscription(report, f"{where}.subscriptions[{number}]", subscription)
    others = [each for each in node.collectors if isinstance(each, KafkaCollectorConfig)]
    if sum(each.group == collector.group for each in others) > 1:
        report.problem(
            f"{where}.group", "another collector of this node has it",
            "one collector reads all topics of a group; give the other a `group` of its own",
        )  # fmt: skip
    _credentials(report, where, collector)
    if not 1 <= collector.in_flight <= _IN_FLIGHT_MAX:
        report.problem(f"{where}.in_flight", f"it is not in 1..{_IN_FLIGHT_MAX}", "write 5000")
    if not MIB <= collector.prefetch <= _PREFETCH_MAX:
        report.problem(f"{where}.prefetch", "it is not in 1MiB..1GiB", "write 16MiB")


def _subscription(report: Report, where: str, found: KafkaSubscriptionConfig) -> None:
    topic = found.topic
    levels = tuple(topic.split("."))
    if topic.startswith("^"):
        levels = ("#",)  # any number of them
        try:
            re.compile(topic)
        except re.error as error:
            report.problem(f"{where}.topic", f"{topic!r} is no pattern: {error}", "write ^plant-.*")
        if "/" in topic:
            report.problem(f"{where}.topic", "no topic of Kafka has a /", "leave it out")
    elif not _TOPIC.fullmatch(topic) or topic in (".", ".."):
        report.problem(
            f"{where}.topic", f"{topic!r} is not the name of a topic",
            "letters, digits, '.', '_' and '-'; a pattern begins with ^",
        )  # fmt: skip
    check_reading(report, where, found, Topic(levels, _OTHERS, _REMEDY, has_stamps=True))


def _credentials(report: Report, where: str, collector: KafkaCollectorConfig) -> None:
    if collector.sasl == "none":
        for key in ("username", "password"):
            if getattr(collector, key) is not None:
                report.problem(
                    f"{where}.{key}", "it is not used: there is no `sasl`",
                    "add `sasl: scram-sha-512`, or plain",
                )  # fmt: skip
    else:
        for key in ("username", "password"):
            if getattr(collector, key) is None:
                report.problem(f"{where}.{key}", "the key is missing: `sasl` needs it", "add it")
    tls = collector.tls
    if collector.security == "none" and (tls.ca or tls.cert or tls.key):
        report.problem(f"{where}.tls", "it is not used: `security` is none", "add `security: tls`")
    if (tls.cert is None) != (tls.key is None):
        report.problem(f"{where}.tls", "of `cert` and `key` one is missing", "add it")
