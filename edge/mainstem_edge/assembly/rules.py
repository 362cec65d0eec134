"""What happens to each measurement of a table, from the topology's words."""

from __future__ import annotations

from mainstem_edge.preprocess import (
    HEARTBEAT_NS,
    MeasurementRule,
    TemplateRules,
    combined_linear,
)
from mainstem_engine.catalog.templates import Table
from mainstem_engine.model import ColumnType
from mainstem_node.config import conversion
from mainstem_node.config.schema import MeasurementConfig, TemplateConfig


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
