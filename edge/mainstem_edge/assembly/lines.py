"""Line protocol without a template: a reader whose templates are found, and made, as lines come."""

from __future__ import annotations

from mainstem_edge.assembly.workbench import Workbench
from mainstem_edge.line_reader import LineReader
from mainstem_edge.patterns import PathPattern
from mainstem_edge.preprocess import TemplateRules
from mainstem_edge.reader import Reader
from mainstem_engine.catalog.templates import Table
from mainstem_node.config.collectors.subscription import SubscriptionConfig
from mainstem_node.line_protocol.points import Points
from mainstem_node.line_protocol.storing import template_of
from mainstem_node.time_notations import UNITS_NS


def reader(bench: Workbench, config: SubscriptionConfig, message_bytes_max: int) -> Reader:
    """What reads the messages of a subscription."""
    if config.template is not None:
        return bench.subscription(config, message_bytes_max)
    node = bench.node
    create = node.intake.auto_template is not False  # collectors are an edge's

    def table(points: Points) -> tuple[Table, TemplateRules] | None:
        found = template_of(
            points, bench.engine.catalog, bench.auto_templates, create, bench.declared
        )
        if found is None or found.replaces_rows:
            return None
        return found, bench.collected(found)

    def tags(path: str) -> dict[str, object] | None:
        devices = bench.engine.catalog.devices
        device = devices.id_of(path)
        return None if device is None else dict(devices.tags(device))

    unit = config.time.unit
    return LineReader(
        config.topic,
        prefix=PathPattern(config.device or node.prefix),
        table=table,
        tags=tags,
        clock=bench.clock,
        precision_ns=1 if unit == "auto" else UNITS_NS[unit],
        source=config.time.source,
        create=config.auto_create,
        message_bytes_max=message_bytes_max,
    )
