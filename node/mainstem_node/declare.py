"""What the configuration declares, made in the engine at start. All of it may exist already.

1. Databases: the node's own as written; of the nodes below it only precision and partition length,
   so that a time means the same at every tier. How long to keep is each tier's own decision.
2. Templates: at an edge those that it collects, rolls up or exports; all when it names none, when
   data name them (line protocol, the inbox), or when it is the only edge of the file. At a platform
   or group all, which then come from its children with the same content.
3. Rollup tables of this node's own rollups.
4. How long to keep each. A file that says nothing of it leaves what SQL has set.

A template that exists with other measurements or tags gets the new ones; what SQL has dropped or
renamed since the last start is not new (declared.py). A wider type widens the stored one; where
that was widened already, the narrower type of the file stays unheeded. Any other type is an error.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import TYPE_CHECKING

from mainstem_engine.catalog.revisions import TagRevision
from mainstem_engine.errors import SchemaError
from mainstem_engine.model import Template
from mainstem_engine.rollup import RollupDefinition
from mainstem_node.config.schema import CollectorConfig, NodeConfig, Topology
from mainstem_node.config.templates import engine_template
from mainstem_node.config.units import duration_name
from mainstem_node.declared import DeclaredBefore, gone
from mainstem_node.logs import fields

if TYPE_CHECKING:
    from mainstem_engine.engine import Engine

log = logging.getLogger("mainstem.declare")


def declare(
    engine: Engine, topology: Topology, node: NodeConfig, before: DeclaredBefore | None = None
) -> None:
    """Makes databases, templates and rollup tables. SchemaError names a definition that changed.
    ``before``: what the file named at the last start."""
    before = before or DeclaredBefore(None)
    _databases(engine, topology, node)
    for name in templates_of(topology, node):
        wanted = engine_template(name, topology.templates[name])
        before.add(wanted)
        if before.had(name) and engine.catalog.templates.is_dropped(name):
            gone(name, [name])
            continue
        _template(engine, wanted, before.names(name))
        keep_ns = topology.templates[name].keep
        if keep_ns is not None:
            engine.set_keep(name, keep_ns)
    before.keep()
    for definition in rollup_definitions(node):
        if engine.catalog.templates.find(definition.table) is not None:
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
    for other in nodes_below(topology, node):
        for path, config in other.databases.items():
            if path not in node.databases:
                engine.create_database(
                    path,
                    duration_ns=config.duration,
                    precision=config.precision,
                    if_not_exists=True,
                )


def nodes_below(topology: Topology, node: NodeConfig) -> list[NodeConfig]:
    """Children, their children, and so on."""
    found: list[NodeConfig] = []
    waiting = list(topology.children(node.id))
    while waiting:
        child = waiting.pop()
        found.append(child)
        waiting += topology.children(child.id)
    return found


def templates_of(topology: Topology, node: NodeConfig) -> list[str]:
    """Names of the templates that are made at a node: see 2."""
    if node.tier != "edge":
        return list(topology.templates)
    edges = [other for other in topology.nodes if other.tier == "edge"]
    if len(edges) == 1 or any(map(_is_told_by_data, node.collectors)):
        return list(topology.templates)
    used = {name for collector in node.collectors for name in collector.templates}
    used |= {rollup.template for rollup in node.rollups}
    used |= {export.template for export in node.export}
    return [name for name in topology.templates if name in used or not used]


def _is_told_by_data(collector: CollectorConfig) -> bool:
    """True where what comes says of which template it is."""
    subscriptions = getattr(collector, "subscriptions", None)
    if subscriptions is None:
        return not collector.templates
    return any(each.template is None for each in subscriptions)


def _template(engine: Engine, wanted: Template, before: Collection[str]) -> None:
    """``before``: columns that the file named at the last start, in lower case."""
    known = engine.catalog.templates.find(wanted.name)
    if known is None:
        engine.create_template(wanted)
        return
    missing = [m for m in wanted.measurements if known.shown_measurement(m.name) is None]
    no_tags = [tag for tag in wanted.tags if known.tag(tag.name) is None]
    names = [m.name for m in missing] + [tag.name for tag in no_tags]
    gone(wanted.name, [name for name in names if name.casefold() in before])
    new = [m for m in missing if m.name.casefold() not in before]
    new_tags = [tag for tag in no_tags if tag.name.casefold() not in before]
    if new_tags:
        engine.alter_tags(wanted.name, TagRevision(add=new_tags))
    widen = {}
    for measurement in wanted.measurements:
        present = known.shown_measurement(measurement.name)
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
    if new or widen or new_tags:
        added = [m.name for m in new] + [tag.name for tag in new_tags]
        log.info(
            "template altered", extra=fields(template=wanted.name, new=added, wider=list(widen))
        )
