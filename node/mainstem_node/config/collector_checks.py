"""What a node's collectors and actions must satisfy, kind by kind."""

from __future__ import annotations

from mainstem_node.config.broker_checks import check_broker
from mainstem_node.config.builder import suggestion
from mainstem_node.config.collectors.file import FileCollectorConfig
from mainstem_node.config.collectors.http_poll import HttpPollCollectorConfig
from mainstem_node.config.collectors.http_push import HttpPushCollectorConfig
from mainstem_node.config.collectors.kafka import KafkaCollectorConfig
from mainstem_node.config.collectors.modbus import ModbusCollectorConfig, ModbusWriteConfig
from mainstem_node.config.collectors.mqtt import MqttCollectorConfig
from mainstem_node.config.collectors.opcua import OpcuaCollectorConfig, OpcuaWriteConfig
from mainstem_node.config.collectors.simulator import SimulatorCollectorConfig
from mainstem_node.config.collectors.sparkplug import (
    SparkplugCollectorConfig,
    SparkplugCommandConfig,
)
from mainstem_node.config.file_checks import check_files
from mainstem_node.config.http_checks import check_poll, check_push
from mainstem_node.config.kafka_checks import check_kafka
from mainstem_node.config.modbus_checks import check_modbus, check_modbus_write
from mainstem_node.config.opcua_checks import check_opcua, check_opcua_write
from mainstem_node.config.reading_checks import check_subscriptions, is_bad_filter
from mainstem_node.config.report import Report
from mainstem_node.config.schema import MqttPublishConfig, NodeConfig
from mainstem_node.config.sparkplug_checks import check_sparkplug, check_sparkplug_command

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
            case FileCollectorConfig():
                check_files(report, inside, node, collector)
            case HttpPollCollectorConfig():
                check_poll(report, inside, collector)
            case HttpPushCollectorConfig():
                check_push(report, inside, node, collector)
            case KafkaCollectorConfig():
                check_kafka(report, inside, node, collector)
            case MqttCollectorConfig():
                _mqtt(report, inside, collector)
            case SimulatorCollectorConfig():
                _simulator(report, inside, collector)
            case SparkplugCollectorConfig():
                check_sparkplug(report, inside, collector)
            case ModbusCollectorConfig():
                check_modbus(report, inside, collector)
            case OpcuaCollectorConfig():
                check_opcua(report, inside, collector)


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
    report.device_path(f"{where}.device", collector.device)
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
            case ModbusWriteConfig():
                check_modbus_write(report, inside, node, action)
            case OpcuaWriteConfig():
                check_opcua_write(report, inside, node, action)


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
