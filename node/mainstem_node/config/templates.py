"""From a template of the topology to the engine's template."""

from __future__ import annotations

from mainstem_engine.model import Measurement, Tag, Template
from mainstem_node.config.schema import TemplateConfig


def engine_template(name: str, config: TemplateConfig) -> Template:
    """The engine's schema of a configured template. The engine gives the permanent ids."""
    return Template(
        name=name,
        measurements=tuple(
            Measurement(
                id=position,
                name=measurement_name,
                type=measurement.type,
                encoding=measurement.encoding,
                compression=measurement.compression,
                unit=measurement.unit,
            )
            for position, (measurement_name, measurement) in enumerate(config.measurements.items())
        ),
        tags=tuple(Tag(tag, kind) for tag, kind in config.tags.items()),
    )
