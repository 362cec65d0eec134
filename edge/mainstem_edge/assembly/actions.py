"""What commands may do at an edge: one action for each kind that the configuration names."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mainstem_edge.actions.modbus_write import ModbusWrite
from mainstem_edge.actions.sparkplug_dcmd import Allowed, HostSide, SparkplugDcmd
from mainstem_edge.assembly.modbus import register_maps
from mainstem_edge.assembly.mqtt import publish_action
from mainstem_edge.assembly.opcua import write_action
from mainstem_edge.collectors.interface import Collector
from mainstem_edge.collectors.modbus import ModbusCollector
from mainstem_edge.collectors.sparkplug import SparkplugCollector
from mainstem_node.commanding.action import Action
from mainstem_node.config.collectors.modbus import ModbusWriteConfig
from mainstem_node.config.collectors.opcua import OpcuaWriteConfig
from mainstem_node.config.collectors.sparkplug import SparkplugCommandConfig
from mainstem_node.config.schema import MqttPublishConfig, NodeConfig

Collectors = Callable[[], Sequence[Collector]]
"""Those that run now: actions are made before them."""


def actions(node: NodeConfig, collectors: Collectors) -> list[Action]:
    found: list[Action] = []
    publishing = [each for each in node.actions if isinstance(each, MqttPublishConfig)]
    if publishing:
        found.append(publish_action(node.id, publishing))
    commands = [each for each in node.actions if isinstance(each, SparkplugCommandConfig)]
    if commands:
        allowed = [Allowed(_host(collectors, each.host_id), each.metrics) for each in commands]
        found.append(SparkplugDcmd(allowed))
    writing = [each for each in node.actions if isinstance(each, ModbusWriteConfig)]
    if writing:
        patterns = [pattern for each in writing for pattern in each.allow]
        found.append(ModbusWrite(patterns, register_maps(node), lambda: _lines(collectors)))
    writes = [each for each in node.actions if isinstance(each, OpcuaWriteConfig)]
    if writes:
        found.append(write_action(writes, collectors))
    return found


def _lines(collectors: Collectors) -> list[ModbusCollector]:
    return [each for each in collectors() if isinstance(each, ModbusCollector)]


def _host(collectors: Collectors, host_id: str) -> Callable[[], HostSide | None]:
    def find() -> HostSide | None:
        for each in collectors():
            if isinstance(each, SparkplugCollector) and each.host_id == host_id:
                return each
        return None

    return find
