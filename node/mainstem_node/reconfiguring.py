"""A configuration that changes while its node runs: which keys can, and what is done about each.

1. Templates with all that they say of quality, databases, retention, rollups, exports, the budget
   of the link, the bounds of clocks, and what is said of other nodes are changed in the running
   node: nothing is closed, and rows come and go meanwhile. Every other key takes a start.
2. First the store learns what is new, then whoever computes, then what goes up: a row never meets a
   rule whose table is not there.
3. It runs between two rounds of the maintenance, on its thread. What raises half-way leaves a part
   done; the host starts the node with the configuration before.
"""

from __future__ import annotations

import msgspec

from mainstem_engine.engine import Engine
from mainstem_engine.rollup import Rollups
from mainstem_node.config.rules import ALARMS
from mainstem_node.config.schema import NodeConfig, Topology
from mainstem_node.config.units import duration_name
from mainstem_node.declare import declare, rollup_definitions, table_lateness_ns
from mainstem_node.declared import DeclaredBefore
from mainstem_node.link_budget import link_rates
from mainstem_sync import Export, Federation

LIVE_KEYS = ("databases", "clock", "rollups", "export", "link")
"""Of a node's own section. What is said of templates and of other nodes is not part of it."""


def takes_no_start(before: Topology, after: Topology, node_id: str) -> bool:
    """True if a node that runs with one configuration can go on with the other.

    Export rules are judged anew by reading the log, where only what is synced can be read: with a
    durability that lets rows wait for that they take a start.
    """
    old, new = before.node(node_id), after.node(node_id)
    if old.export != new.export and old.storage.durability != "always":
        return False
    changed = {key: getattr(new, key) for key in LIVE_KEYS}
    return before.federation == after.federation and msgspec.structs.replace(old, **changed) == new


def reconfigure(
    topology: Topology,
    config: NodeConfig,
    engine: Engine,
    rollups: Rollups,
    federation: Federation,
) -> None:
    """See 2. Blocks. Raises SchemaError and what the log raises."""
    declare(engine, topology, config, DeclaredBefore(config.data_dir))
    rollups.redefine(rollup_definitions(config))
    federation.change_lateness(table_lateness_ns(config))
    federation.change_exports(exports_of(config))
    federation.budget.change(*link_rates(config.link))
    federation.tell_status()  # by the link as it is now, so that somebody sees whether it works


def exports_of(config: NodeConfig) -> list[Export]:
    """What goes to the parent."""
    return [
        Export(
            rule.template,
            rule.mode,
            None if rule.every is None else duration_name(rule.every),
            rule.under,
            urgent=rule.template == ALARMS,
        )
        for rule in config.export
    ]
