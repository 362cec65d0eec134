"""From a template of the topology to the engine's template."""

from __future__ import annotations

from mainstem_engine.model import ColumnType, Measurement, Tag, Template
from mainstem_node.config.schema import TemplateConfig

QUALITY_SUFFIX = "_quality"
"""Of the columns that say how good the values of a measurement are."""


def engine_template(name: str, config: TemplateConfig) -> Template:
    """The engine's schema of a configured template. The engine gives the permanent ids."""
    measurements = [
        Measurement(
            id=position,
            name=measurement_name,
            type=measurement.type,
            encoding=measurement.encoding,
            compression=measurement.compression,
            unit=measurement.unit,
        )
        for position, (measurement_name, measurement) in enumerate(config.measurements.items())
    ]
    if config.quality:
        measurements += [
            Measurement(len(measurements) + at, each.name + QUALITY_SUFFIX, ColumnType.UINT8)
            for at, each in enumerate(tuple(measurements))
        ]
    return Template(
        name=name,
        measurements=tuple(measurements),
        tags=tuple(Tag(tag, kind) for tag, kind in config.tags.items()),
    )


def terms_of(config: TemplateConfig) -> dict[str, bool]:
    """What an expression of the template may read: measurements that are sent and are numbers or
    BOOLEAN, and which of them are BOOLEAN."""
    return {
        name: each.type is ColumnType.BOOLEAN
        for name, each in config.measurements.items()
        if not each.is_computed
        and (each.type is ColumnType.BOOLEAN or each.type.is_float or each.type.is_integer)
    }


def rule_terms(config: TemplateConfig) -> dict[str, bool]:
    """What the expression of a rule may read: numbers and conditions that devices send or that are
    derived, and which of them are BOOLEAN. Increments and previous values are made later."""
    return {
        name: each.type is ColumnType.BOOLEAN
        for name, each in config.measurements.items()
        if (each.type is ColumnType.BOOLEAN or each.type.is_float or each.type.is_integer)
        and each.increment_of is None
        and each.previous_of is None
    }
