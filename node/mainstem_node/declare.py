"""What the configuration declares, made in the engine at start. All of it may exist already.

1. Databases: the node's own as written; of the nodes below it only precision and partition length,
   so that a time means the same at every tier. How long to keep is each tier's own decision.
2. Templates: at an edge those that it collects, rolls up or exports, or all when it names none; at
   a platform or group all, which then come from its children with the same content.
3. Rollup tables of this node's own rollups.
4. How long to keep each. A file that says nothing of it leaves what SQL has set.

A template that exists with other measurements gets the new ones. A wider type widens the stored
one; where that was widened already, the narrower type of the file stays unheeded. Any other type is
an error.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from mainstem_engine.errors import SchemaError
from mainstem_engine.model import Template
from mainstem_engine.rollup import RollupDefinition
from mainstem_node.config.schema import NodeConfig, Topology
from mainstem_node.config.templates import engine_template
from mainstem_node.config.units import duration_name
from mainstem_node.logs import fields

if TYPE_CHECKING:
    from mainstem_engine.engine import Engine

log = logging.getLogger("mainstem.declare")


def declare(engine: Engine, topology: Topology, node: NodeConfig) -> None:
    """Makes databases, templates and rollup tables. SchemaError names a definition that changed."""
    _databases(engine, topology, node)
    for name in _templates_of(topology, node):
        _template(engine, engine_template(name, topology.templates[name]))
        keep_ns = topology.templates[name].keep
        if keep_ns is not None:
            engine.set_keep(name, keep_ns)
    for definition in rollup_definitions(node):
        if engine.catalog.templates.get(definition.table) is not None:
            engine.create_rollup(definition.table, definition.name, definition.every_ns)
            if definition.keep_ns is not None:
                engine.set_keep(definition.target, definition.keep_ns)


def rollup_definitions(node: NodeConfig) -> list[RollupDefinition]:
    """The rollups of a node. Above the edge they cover the rows of every child."""
    return [
        RollupDefinition(
            rollup.template,
            every_ns,
            duration_name(every_ns),
            rollup.lateness,
            all=node.tier != "edge",
            keep_ns=rollup.keep.get(every_ns),
        )
        for rollup in node.rollups
        for every_ns in sorted(rollup.every)
    ]


def table_lateness_ns(node: NodeConfig) -> dict[str, int]:
    """Per table of a rollup and its source: how long after its end a slice closes."""
    lateness: dict[str, int] = {}
    for rollup in node.rollups:
        names = [rollup.template]
        names += [f"{rollup.template}_{duration_name(every)}" for every in rollup.every]
        for name in names:
            lateness[name] = max(rollup.lateness, lateness.get(name, 0))
    return lateness


def _databases(engine: Engine, topology: Topology, node: NodeConfig) -> None:
    for path, config in node.databases.items():
        engine.create_database(
            path,
            keep_ns=config.keep,
            duration_ns=config.duration,
            precision=config.precision,
            if_not_exists=True,
        )
        known = engine.catalog.databases.get(path)
        if config.keep is not None and known is not None and known.keep_ns != config.keep:
            engine.alter_database(path, keep_ns=config.keep)
    for other in _below(topology, node):
        for path, config in other.databases.items():
            if path not in node.databases:
                engine.create_database(
                    path,
                    duration_ns=config.duration,
                    precision=config.precision,
                    if_not_exists=True,
                )


def _below(topology: Topology, node: NodeConfig) -> list[NodeConfig]:
    found: list[NodeConfig] = []
    waiting = list(topology.children(node.id))
    while waiting:
        child = waiting.pop()
        found.append(child)
        waiting += topology.children(child.id)
    return found


def _templates_of(topology: Topology, node: NodeConfig) -> list[str]:
    if node.tier != "edge":
        return list(topology.templates)
    used = {s.template for collector in node.collectors for s in collector.subscriptions}
    used |= {rollup.template for rollup in node.rollups}
    used |= {export.template for export in node.export}
    return [name for name in topology.templates if name in used or not used]


def _template(engine: Engine, wanted: Template) -> None:
    known = engine.catalog.templates.get(wanted.name)
    if known is None:
        engine.create_template(wanted)
        return
    new = [m for m in wanted.measurements if known.measurement(m.name) is None]
    widen = {}
    for measurement in wanted.measurements:
        present = known.measurement(measurement.name)
        if present is None or measurement.type.widens_to(present.type):
            continue
        if present.type.widens_to(measurement.type):
            widen[present.name] = measurement.type
        elif present.type is not measurement.type:
            raise SchemaError(
                f"template {wanted.name}: {measurement.name} is stored as {present.type.name}, "
                f"the configuration says {measurement.type.name}",
                field=f"templates.{wanted.name}.measurements.{measurement.name}.type",
                hint="a type can only become wider; give the measurement another name",
            )
    if new or widen:
        engine.alter_template(wanted.name, add=new, widen=widen)
        log.info(
            "template altered",
            extra=fields(template=wanted.name, new=[m.name for m in new], wider=list(widen)),
        )
