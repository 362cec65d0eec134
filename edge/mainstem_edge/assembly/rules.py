"""What happens to each measurement of a table, from the topology's words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mainstem_edge.preprocess import (
    HEARTBEAT_NS,
    MeasurementRule,
    TemplateRules,
    combined_linear,
)
from mainstem_edge.value_memory import ValueFilter
from mainstem_engine.catalog.templates import Table
from mainstem_engine.model import ColumnType, Measurement
from mainstem_node.config import conversion
from mainstem_node.config.schema import MeasurementConfig, TemplateConfig
from mainstem_node.config.templates import QUALITY_SUFFIX, terms_of
from mainstem_node.expressions import parse


def template_rules(table: Table, config: TemplateConfig | None) -> TemplateRules:
    """What happens to each measurement of a table. One that the configuration does not name (made
    by SQL) is stored as it comes; one that was dropped is not there."""
    if config is None:
        rules = [MeasurementRule(m.id, m.name, m.type, m.name) for m in table.shown]
        return TemplateRules(table.name, tuple(rules))
    by_name = {name.casefold(): each for name, each in config.measurements.items()}
    ids = {m.name.casefold(): m for m in table.shown}
    measurements = tuple(
        _measurement_rule(m, by_name.get(m.name.casefold()), config, ids) for m in table.shown
    )
    return TemplateRules(table.name, measurements, config.expect_every or HEARTBEAT_NS)


Shown = Mapping[str, Measurement]
"""The measurements of a table by casefolded name."""


def _measurement_rule(
    measurement: Measurement,
    config: MeasurementConfig | None,
    template: TemplateConfig,
    all_: Shown,
) -> MeasurementRule:
    number, name, kind = measurement.id, measurement.name, measurement.type
    if config is None:
        is_quality = (
            template.quality
            and name.casefold().endswith(QUALITY_SUFFIX)
            and (name.casefold().removesuffix(QUALITY_SUFFIX) in all_)
        )
        return MeasurementRule(number, name, kind, name, computed=is_quality)
    source = config.source or name
    quality = all_.get(f"{name}{QUALITY_SUFFIX}".casefold()) if template.quality else None
    rule = MeasurementRule(
        number,
        name,
        kind,
        source,
        filter=_filter(name, config, template, all_),
        derive=None if config.derive is None else parse(config.derive, terms_of(template)),
        quality=None if quality is None else quality.id,
        computed=config.is_computed,
    )
    if not (kind.is_float or kind.is_integer) or config.is_computed:
        return rule
    factors = (1.0, 0.0)
    if config.source_unit is not None and config.unit is not None:
        factors = conversion(config.source_unit, config.unit)
    linear = combined_linear(config.scale, config.offset, factors)
    low, high = config.range or (None, None)
    return replace(rule, linear=linear, low=low, high=high)


def _filter(
    name: str, config: MeasurementConfig, template: TemplateConfig, all_: Shown
) -> ValueFilter | None:
    """What is done with its values; None for nothing."""
    band = config.deadband
    found = ValueFilter(
        band=0.0 if config.on_change else None if band is None else band.width,
        relative=band is not None and band.is_relative,
        door=config.swinging_door,
        max_rate=config.max_rate,
        increment=_fed(name, "increment_of", template, all_),
        rollover=config.rollover,
        previous=_fed(name, "previous_of", template, all_),
    )
    return None if found == ValueFilter(rollover=config.rollover) else found


def _fed(
    name: str, key: str, template: TemplateConfig, all_: Shown
) -> tuple[int, ColumnType] | None:
    """The measurement that is computed from this one, and its type."""
    for other, config in template.measurements.items():
        text = getattr(config, key)
        found = all_.get(other.casefold())
        if text is not None and text.casefold() == name.casefold() and found is not None:
            return found.id, found.type
    return None
