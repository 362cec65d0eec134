"""From the configuration to running parts: rules, subscriptions, collectors, intakes.

The only file of the edge that knows both the topology's structs and the parts made from them.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import unquote, urlsplit

from mainstem_edge.actions.mqtt_publish import Broker, MqttPublish
from mainstem_edge.collectors.message_queue import MessageQueue
from mainstem_edge.collectors.mqtt import MqttCollector, tls_context
from mainstem_edge.collectors.mqtt_connection import MqttSettings
from mainstem_edge.decode.csv_codec import CsvCodec
from mainstem_edge.decode.json_codec import JsonCodec
from mainstem_edge.device_book import DeviceBook, DeviceLimit
from mainstem_edge.device_memory import DeviceMemory
from mainstem_edge.intake import Intake
from mainstem_edge.patterns import PathPattern, Pattern
from mainstem_edge.payload_time import TimeReader
from mainstem_edge.preprocess import (
    HEARTBEAT_NS,
    MeasurementRule,
    TemplateRules,
    combined_linear,
)
from mainstem_edge.subscription import ClockBounds, MakeCodec, Subscription
from mainstem_edge.table_intake import Outside, Quarantine, TableIntake
from mainstem_engine.catalog.templates import Table
from mainstem_engine.engine import Engine
from mainstem_engine.model import ColumnType
from mainstem_node.config import conversion
from mainstem_node.config.schema import (
    MeasurementConfig,
    MqttCollectorConfig,
    MqttPublishConfig,
    NodeConfig,
    SubscriptionConfig,
    TemplateConfig,
    Topology,
)

SECOND_NS = 1_000_000_000
PORTS = {"mqtt": 1883, "mqtts": 8883}

Fitting = tuple[tuple[Subscription, ...], Mapping[str, TableIntake]]
"""Of one collector: what its messages become, and where that is stored."""

CODECS: Mapping[str, MakeCodec] = {"json": JsonCodec, "csv": CsvCodec}
"""Codec by its name in the configuration."""


class Assembly:
    """Builds the intakes of one edge.

    ``owner``: the other node that a device path belongs to, or None. ``outside``: which rows are
    another node's at their time.
    """

    def __init__(
        self,
        topology: Topology,
        node: NodeConfig,
        engine: Engine,
        quarantine: Quarantine,
        *,
        owner: Callable[[str], str | None] | None = None,
        outside: Outside | None = None,
        stopping: Callable[[], bool] = lambda: False,
        clock_ns: Callable[[], int] = time.time_ns,
        rng: random.Random | None = None,
    ) -> None:
        self._topology = topology
        self._node = node
        self._engine = engine
        self._quarantine = quarantine
        self._owner = owner
        self._outside = outside
        self._stopping = stopping
        self._clock_ns = clock_ns
        self._rng = rng or random.Random()
        self._limit = DeviceLimit(node.intake.max_new_devices_per_minute)
        self._rules: dict[str, TemplateRules] = {}
        self._tables: dict[str, TableIntake] = {}

    def intakes(self) -> list[Intake]:
        """One intake per collector, not started."""
        return [
            self._intake(number, collector)
            for number, collector in enumerate(self._node.collectors)
        ]

    def fittings(self) -> list[Fitting]:
        """What the intakes of these collectors would be made with, without making them."""
        return [self._fitting(collector) for collector in self._node.collectors]

    def _fitting(self, config: MqttCollectorConfig) -> Fitting:
        subscriptions = [self._subscription(each, config) for each in config.subscriptions]
        return tuple(subscriptions), self._tables

    def _intake(self, number: int, config: MqttCollectorConfig) -> Intake:
        subscriptions, tables = self._fitting(config)
        collector = MqttCollector(
            f"mqtt-{number}",
            mqtt_settings(self._node.id, number, config),
            subscriptions,
            # As many messages as can be in flight: with QoS 1 the broker stops before the queue.
            MessageQueue(config.in_flight, config.queue_bytes),
            protocol=config.protocol,
            rng=self._rng,
            clock_ns=self._clock_ns,
        )
        return Intake(
            collector,
            tables,
            self._quarantine,
            node=self._node.id,
            clock_ns=self._clock_ns,
        )

    def _subscription(
        self, config: SubscriptionConfig, collector: MqttCollectorConfig
    ) -> Subscription:
        table = self._engine.catalog.table(config.template)
        rules = self._rules_of(table)
        when = config.time
        self._table_intake(table, rules)
        return Subscription(
            config.topic,
            rules,
            CODECS[config.codec],
            device=PathPattern(config.device),
            tags={name: Pattern(text) for name, text in config.tags.items()},
            tag_types={tag.name: tag.type for tag in table.template.tags},
            times=TimeReader(
                field=when.field,
                unit=when.unit,
                zone=when.zone,
                source=when.source,
                not_times=rules.source_names,
            ),
            clock=ClockBounds(self._node.clock.past, self._node.clock.future),
            create=config.auto_create,
            message_bytes_max=collector.message_limit,
        )

    def _rules_of(self, table: Table) -> TemplateRules:
        found = self._rules.get(table.name.casefold())
        if found is None:
            configs = {name.casefold(): each for name, each in self._topology.templates.items()}
            config = configs.get(table.name.casefold())
            found = template_rules(table, config)
            self._rules[table.name.casefold()] = found
        return found

    def _table_intake(self, table: Table, rules: TemplateRules) -> None:
        key = table.name.casefold()
        if key in self._tables:
            return
        name = table.name
        self._tables[key] = TableIntake(
            self._engine,
            self._quarantine,
            DeviceMemory(
                rules.deadbands,
                rules.heartbeat_ns,
                lambda devices: self._engine.newest_times(name, devices),
            ),
            DeviceBook(self._engine, name, self._limit, self._owner),
            node=self._node.id,
            template=name,
            clock_ns=self._clock_ns,
            stopping=self._stopping,
            outside=self._outside,
        )


def template_rules(table: Table, config: TemplateConfig | None) -> TemplateRules:
    """What happens to each measurement of a table. One that the configuration does not name (made
    by SQL) is stored as it comes; one that was dropped is not there."""
    configs = {} if config is None else config.measurements
    by_name = {name.casefold(): each for name, each in configs.items()}
    measurements = tuple(
        _measurement_rule(m.id, m.name, m.type, by_name.get(m.name.casefold())) for m in table.shown
    )
    heartbeat_ns = None if config is None else config.expect_every
    return TemplateRules(table.name, measurements, heartbeat_ns or HEARTBEAT_NS)


def _measurement_rule(
    number: int, name: str, kind: ColumnType, config: MeasurementConfig | None
) -> MeasurementRule:
    if config is None:
        return MeasurementRule(number, name, kind, name)
    source = config.source or name
    if not (kind.is_float or kind.is_integer):
        return MeasurementRule(number, name, kind, source)
    linear = None
    factors = (1.0, 0.0)
    if config.source_unit is not None and config.unit is not None:
        factors = conversion(config.source_unit, config.unit)
    linear = combined_linear(config.scale, config.offset, factors)
    low, high = config.range or (None, None)
    return MeasurementRule(number, name, kind, source, linear, low, high, config.deadband)


def mqtt_settings(node: str, number: int, config: MqttCollectorConfig) -> MqttSettings:
    """How to reach the broker. The client id is fixed: the broker keeps the session under it."""
    url = urlsplit(config.url)
    tls = None
    if url.scheme == "mqtts":
        tls = tls_context(config.tls.ca, config.tls.cert, config.tls.key)
    default_id = f"mainstem-{node}" if number == 0 else f"mainstem-{node}-{number}"
    username = config.username or (None if url.username is None else unquote(url.username))
    reveal = getattr(config.password, "reveal", None)
    return MqttSettings(
        host=url.hostname or "127.0.0.1",
        port=url.port or PORTS[url.scheme],
        client_id=config.client_id or default_id,
        topics=tuple(
            dict.fromkeys((each.topic, min(config.qos, 1)) for each in config.subscriptions)
        ),
        keepalive_s=max(1, config.keepalive // SECOND_NS),
        in_flight=config.in_flight,
        username=username,
        password=config.password if reveal is None else reveal(),
        tls=tls,
    )


def publish_action(node: str, configs: Sequence[MqttPublishConfig]) -> MqttPublish:
    """The action ``mqtt.publish`` over the brokers that the configuration names."""
    return MqttPublish([_broker(node, number, config) for number, config in enumerate(configs)])


def _broker(node: str, number: int, config: MqttPublishConfig) -> Broker:
    url = urlsplit(config.url)
    tls = None
    if url.scheme == "mqtts":
        tls = tls_context(config.tls.ca, config.tls.cert, config.tls.key)
    default_id = f"mainstem-{node}-command" + (f"-{number}" if number else "")
    reveal = getattr(config.password, "reveal", None)
    return Broker(
        host=url.hostname or "127.0.0.1",
        port=url.port or PORTS[url.scheme],
        client_id=config.client_id or default_id,
        topics=config.topics,
        username=config.username or (None if url.username is None else unquote(url.username)),
        password=config.password if reveal is None else reveal(),
        tls=tls,
    )
