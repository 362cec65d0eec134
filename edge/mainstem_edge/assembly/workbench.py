"""What the parts of an edge are made with: rules, subscriptions and intakes of tables."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from functools import partial

from msgspec import structs

from mainstem_edge.assembly.alarms import alarm_book
from mainstem_edge.assembly.rules import template_rules
from mainstem_edge.auto_reader import AUTO, AutoReader
from mainstem_edge.decode.csv_codec import CsvCodec
from mainstem_edge.decode.json_codec import JsonCodec
from mainstem_edge.decode.line_codec import LineCodec
from mainstem_edge.decode.msgpack_codec import MsgpackCodec
from mainstem_edge.decode.payload_map import PayloadMap
from mainstem_edge.decode.raw_codec import RawCodec
from mainstem_edge.device_book import DeviceBook, DeviceLimit
from mainstem_edge.device_memory import DeviceMemory
from mainstem_edge.inbox_reader import InboxReader
from mainstem_edge.last_stored import LastStored
from mainstem_edge.patterns import PathPattern, Pattern
from mainstem_edge.payload_time import TimeReader
from mainstem_edge.preprocess import TemplateRules
from mainstem_edge.reader import Reader
from mainstem_edge.row_checks import ClockBounds
from mainstem_edge.subscription import MakeCodec, Subscription
from mainstem_edge.table_intake import Outside, Quarantine, TableIntake
from mainstem_edge.value_memory import ValueMemory
from mainstem_engine.catalog.templates import Table
from mainstem_engine.engine import Engine
from mainstem_node.auto_templates import AutoTemplates
from mainstem_node.config.collectors.subscription import SubscriptionConfig
from mainstem_node.config.schema import NodeConfig, TemplateConfig, Topology
from mainstem_node.inbox import Adopted, InboxBook

CODECS: Mapping[str, MakeCodec] = {
    "json": JsonCodec,
    "csv": CsvCodec,
    "msgpack": MsgpackCodec,
    "line_protocol": LineCodec,
    "raw": RawCodec,
}
"""Codec by its name in the configuration."""
MAPPED: Mapping[str, type[JsonCodec | MsgpackCodec]] = {"json": JsonCodec, "msgpack": MsgpackCodec}
"""Those that can have a map."""
ADOPTED_BYTES_MAX = 1 << 20
"""Of a message of a topic that was adopted: the default of ``message_limit``."""
LAST_LEVEL = "{topic[-1]}"
"""Where senders of single values have the name."""


class Workbench:
    """Makes the parts of one edge's intakes, each once.

    ``tables`` fills up with the intakes of the tables that readers were made for, by casefolded
    name. ``owner``: the other node that a device path belongs to, or None. ``outside``: which rows
    are another node's at their time.
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
        auto_templates: AutoTemplates | None = None,
        inbox: InboxBook | None = None,
    ) -> None:
        self.inbox = inbox or InboxBook()
        self.auto_templates = auto_templates or AutoTemplates(engine)
        self.declared = {name.casefold() for name in topology.templates}
        self.node = node
        self.engine = engine
        self.quarantine = quarantine
        self.clock_ns = clock_ns
        self.rng = rng or random.Random()
        self.tables: dict[str, TableIntake] = {}
        self._topology = topology
        self._owner = owner
        self._outside = outside
        self._stopping = stopping
        self._limit = DeviceLimit(node.intake.max_new_devices_per_minute)
        self._rules: dict[str, tuple[int, TemplateRules]] = {}

    def subscription(
        self, config: SubscriptionConfig, message_bytes_max: int, *, knows_quality: bool = False
    ) -> Reader:
        """A reader whose rows are all of one template."""
        if config.codec != AUTO:
            return self._subscription(config, message_bytes_max, knows_quality)
        tried = {name: structs.replace(config, codec=name) for name in CODECS}
        return AutoReader(
            {
                name: self._subscription(each, message_bytes_max, knows_quality)
                for name, each in tried.items()
            }
        )

    def _subscription(
        self, config: SubscriptionConfig, message_bytes_max: int, knows_quality: bool
    ) -> Subscription:
        assert config.template is not None
        assert config.device is not None  # the checks of the configuration see to both
        table = self.engine.catalog.table(config.template)
        rules = self.collected(table)
        when = config.time
        return Subscription(
            config.topic,
            rules,
            _codec(config),
            device=PathPattern(config.device),
            measurement=_measurement(config),
            tags={name: Pattern(text) for name, text in config.tags.items()},
            tag_types={tag.name: tag.type for tag in table.template.tags},
            times=TimeReader(
                field=when.field,
                unit="ns" if when.unit == "auto" and config.codec == "line_protocol" else when.unit,
                zone=when.zone,
                source=when.source,
                not_times=rules.source_names,
                clock_field=when.clock_field,
                notation=when.format,
            ),
            clock=self.clock,
            create=config.auto_create,
            message_bytes_max=message_bytes_max,
            knows_quality=knows_quality,
            decimal=config.decimal,
            inbox=self.inbox,
        )

    def around(self, config: SubscriptionConfig) -> Reader:
        """A reader of topics that are not known, for the inbox."""
        return InboxReader(config.topic, self.inbox, self.adopted)

    def adopted(self, topic: Adopted) -> Reader:
        """A reader of a topic that became a device."""
        config = SubscriptionConfig(
            topic=topic.name, codec="auto", template=topic.template, device=topic.device
        )
        return self.subscription(config, ADOPTED_BYTES_MAX)

    @property
    def clock(self) -> ClockBounds:
        """Which times collectors take."""
        return ClockBounds(self.node.clock.past, self.node.clock.future)

    def rules(self, template: str) -> TemplateRules:
        """What happens to the values of a template's rows."""
        table = self.engine.catalog.table(template)
        key, revision = table.name.casefold(), table.template.revision
        found = self._rules.get(key)
        if found is None or found[0] != revision:  # data may have added columns
            found = self._rules[key] = (revision, template_rules(table, self._template(key)))
        return found[1]

    def _template(self, name: str) -> TemplateConfig | None:
        configs = {name.casefold(): each for name, each in self._topology.templates.items()}
        return configs.get(name.casefold())

    def expect_devices(self) -> None:
        """Makes the intakes of the tables whose silent devices a rule names: those whose devices
        stay silent are read by nobody yet."""
        for rule in self.node.rules:
            if rule.missing is not None:
                self.collected(self.engine.catalog.table(rule.template))

    def collected(self, table: Table) -> TemplateRules:
        """The rules of a table, whose rows can be stored from now on."""
        rules = self.rules(table.name)
        self._table_intake(table, rules)
        return rules

    def watching(self, table: Table) -> TableIntake | None:
        """The intake of a table whose rows are watched, whoever brings them; None if nobody asks
        for them."""
        key = table.name.casefold()
        if any(rule.template.casefold() == key for rule in self.node.rules):
            self.collected(table)
        found = self.tables.get(key)
        return found if found is not None and found.watches else None

    def _table_intake(self, table: Table, rules: TemplateRules) -> None:
        key = table.name.casefold()
        if key in self.tables:
            return
        name = table.name
        made = TableIntake(
            self.engine,
            self.quarantine,
            DeviceMemory(
                ValueMemory(rules.filters, rules.heartbeat_ns, LastStored(self.engine, name)),
                lambda devices: self.engine.newest_times(name, devices),
            ),
            DeviceBook(self.engine, name, self._limit, self._owner, self.inbox),
            node=self.node.id,
            template=name,
            clock_ns=self.clock_ns,
            stopping=self._stopping,
            outside=self._outside,
            inbox=self.inbox,
            alarms=alarm_book(
                self.engine,
                table,
                self._template(name),
                self.node.rules,
                owner=self._owner,
                clock_ns=self.clock_ns,
            ),
        )
        self.tables.setdefault(key, made)  # another thread may have been first


def _codec(config: SubscriptionConfig) -> MakeCodec:
    if config.map is None:
        return CODECS[config.codec]
    found = PayloadMap(config.map.rows, config.map.columns, config.map.fields, config.map.spread)
    return partial(MAPPED[config.codec], payload_map=found)


def _measurement(config: SubscriptionConfig) -> Pattern | None:
    if config.codec == "raw":
        return Pattern(config.measurement or LAST_LEVEL)
    named = config.measurement is not None and config.codec in MAPPED
    return Pattern(config.measurement or "") if named else None
