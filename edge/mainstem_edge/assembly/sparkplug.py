"""Sparkplug B: one reader for all edge nodes, and the host application at the broker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mainstem_edge.assembly.mqtt import settings
from mainstem_edge.assembly.workbench import Workbench
from mainstem_edge.collectors.interface import Collector
from mainstem_edge.collectors.message_queue import MessageQueue
from mainstem_edge.collectors.mqtt_connection import MqttSettings
from mainstem_edge.collectors.sparkplug import SparkplugCollector, topics
from mainstem_edge.preprocess import TemplateRules
from mainstem_edge.reader import Reader
from mainstem_edge.sparkplug.placing import Place, Placing
from mainstem_edge.sparkplug.reader import SparkplugReader
from mainstem_engine.model import ColumnType
from mainstem_node.config.collectors.sparkplug import SparkplugCollectorConfig


def readers(bench: Workbench, config: SparkplugCollectorConfig) -> list[Reader]:
    def find(place: Place, columns: Mapping[str, ColumnType]) -> TemplateRules | None:
        table = bench.engine.catalog.templates.find(place.template)
        if place.is_own and columns and place.template.casefold() not in bench.declared:
            table = bench.auto_templates.fitted(place.template, {}, columns)
        if table is None or table.replaces_rows:
            return None
        return bench.collected(table)

    placing = Placing(
        config.device,
        config.template,
        config.definitions,
        own_templates=bench.node.intake.auto_template is not False,
    )
    for name in config.templates:
        bench.collected(bench.engine.catalog.table(name))
    return [SparkplugReader(placing, find, bench.clock, create=config.auto_create)]


def collector(
    bench: Workbench, number: int, config: SparkplugCollectorConfig, found: Sequence[Reader]
) -> Collector:
    return SparkplugCollector(
        f"sparkplug-{number}",
        found,
        MessageQueue(config.in_flight, config.queue_bytes),
        settings=sparkplug_settings(bench.node.id, number, config),
        host_id=config.host_id,
        protocol=config.protocol,
        message_bytes_max=config.message_limit,
        rng=bench.rng,
        clock_ns=bench.clock_ns,
    )


def sparkplug_settings(node: str, number: int, config: SparkplugCollectorConfig) -> MqttSettings:
    """How to reach the broker."""
    client_id = config.client_id or f"mainstem-{node}-sparkplug-{number}"
    return settings(config, client_id, topics(config.host_id, config.groups))
