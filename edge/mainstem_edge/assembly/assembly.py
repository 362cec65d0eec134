"""From the configuration to intakes: every kind of collector is made here.

``KINDS`` is the one place where a kind is added: what the file says (a struct), how its messages
are read, and how its source is talked to. The module of a kind is imported when a collector of it
is made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mainstem_edge.assembly.room import Room
from mainstem_edge.assembly.workbench import Workbench
from mainstem_edge.collectors.interface import Collector
from mainstem_edge.collectors.undurable import Undurable
from mainstem_edge.intake import Intake
from mainstem_edge.reader import Reader
from mainstem_edge.table_intake import TableIntake
from mainstem_node.config.collectors.file import FileCollectorConfig
from mainstem_node.config.collectors.http_poll import HttpPollCollectorConfig
from mainstem_node.config.collectors.http_push import HttpPushCollectorConfig
from mainstem_node.config.collectors.kafka import KafkaCollectorConfig
from mainstem_node.config.collectors.modbus import ModbusCollectorConfig
from mainstem_node.config.collectors.mqtt import MqttCollectorConfig
from mainstem_node.config.collectors.opcua import OpcuaCollectorConfig
from mainstem_node.config.collectors.simulator import SimulatorCollectorConfig
from mainstem_node.config.collectors.sparkplug import SparkplugCollectorConfig
from mainstem_node.config.schema import CollectorConfig

Fitting = tuple[tuple[Reader, ...], Mapping[str, TableIntake]]
"""Of one collector: what its messages become, and where that is stored."""


@dataclass(frozen=True, slots=True)
class Kind:
    """``readers(bench, config)``; ``collector(bench, number, config, readers)``, not started."""

    readers: Callable[[Workbench, Any], Sequence[Reader]]
    collector: Callable[[Workbench, int, Any, Sequence[Reader]], Collector]


file = Room("file")
http = Room("http")
kafka = Room("kafka")
modbus = Room("modbus")
mqtt = Room("mqtt")
opcua = Room("opcua")
simulator = Room("simulator")
sparkplug = Room("sparkplug")

KINDS: Mapping[type[CollectorConfig], Kind] = {
    FileCollectorConfig: Kind(file.readers, file.collector),
    HttpPollCollectorConfig: Kind(http.poll_readers, http.poll_collector),
    HttpPushCollectorConfig: Kind(http.push_readers, http.push_collector),
    KafkaCollectorConfig: Kind(kafka.readers, kafka.collector),
    MqttCollectorConfig: Kind(mqtt.readers, mqtt.collector),
    OpcuaCollectorConfig: Kind(opcua.readers, opcua.collector),
    SimulatorCollectorConfig: Kind(simulator.readers, simulator.collector),
    SparkplugCollectorConfig: Kind(sparkplug.readers, sparkplug.collector),
    ModbusCollectorConfig: Kind(modbus.readers, modbus.collector),
}


class Assembly:
    """Builds the intakes of one edge."""

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench
        self._configs = bench.node.collectors
        self._undurable = Undurable(bench.node.storage.memory_limit)

    def intakes(self) -> list[Intake]:
        """One intake per collector, not started."""
        found = [self._intake(number, config) for number, config in enumerate(self._configs)]
        self._bench.expect_devices()
        return found

    def fittings(self) -> list[Fitting]:
        """What the intakes of these collectors would be made with, without making them."""
        found: list[Fitting] = [
            (self._readers(config), self._bench.tables) for config in self._configs
        ]
        self._bench.expect_devices()
        return found

    def _readers(self, config: CollectorConfig) -> tuple[Reader, ...]:
        return tuple(KINDS[type(config)].readers(self._bench, config))

    def _intake(self, number: int, config: CollectorConfig) -> Intake:
        bench = self._bench
        readers = self._readers(config)
        return Intake(
            KINDS[type(config)].collector(bench, number, config, readers),
            bench.tables,
            bench.quarantine,
            node=bench.node.id,
            inbox=bench.inbox,
            clock_ns=bench.clock_ns,
            undurable=self._undurable,
        )
