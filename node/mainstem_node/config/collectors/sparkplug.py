"""Sparkplug B: the edge nodes of some groups at a broker, as a host application; and commands."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct, field

from mainstem_node.config.collectors.broker import MIB, BrokerConfig
from mainstem_node.config.kinds import Name, SizeBytes, Text


class SparkplugCollectorConfig(BrokerConfig, frozen=True, kw_only=True):
    """A Sparkplug B 3.0 host application: says that it is there, and asks for births."""

    type: Literal["sparkplug"]
    host_id: Text
    """Its STATE is spBv1.0/STATE/<host_id>: edge nodes with this primary host wait for it."""
    groups: tuple[Text, ...] = ()
    """Empty: all groups of the broker."""
    device: Text = "root.{group}.{node}.{device}"
    """The devices' path. Of an edge node itself: without the elements that name {device}."""
    template: dict[Text, Name] = field(default_factory=dict)
    """By a pattern of group/node/device (`*`: any text); the first that fits. What fits none is of
    a template of its own where `intake.auto_template` allows it."""
    definitions: dict[Text, Name] = field(default_factory=dict)
    """Template by the name of a Sparkplug template: an instance is a device of its own."""
    auto_create: bool = True
    client_id: Text | None = None
    """Default mainstem-<node id>-sparkplug-<number>."""
    message_limit: SizeBytes = 4 * MIB
    """A larger message is put aside: a birth names all metrics of an edge node."""

    @property
    def templates(self) -> tuple[str, ...]:
        """The templates whose rows it brings, as far as they are named."""
        return tuple(dict.fromkeys([*self.template.values(), *self.definitions.values()]))


class SparkplugCommandConfig(Struct, frozen=True, kw_only=True):
    """Commands may write to metrics of edge nodes that a collector `sparkplug` hears."""

    type: Literal["sparkplug.dcmd"]
    host_id: Text
    """Of the collector."""
    metrics: tuple[Text, ...]
    """Patterns (`*`: any text) of group/node/device/metric, of an edge node's own metrics
    group/node/metric."""
