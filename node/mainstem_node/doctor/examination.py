"""All that is looked at of a node, before it runs or while it does.

Nothing is changed but a small file that is written and removed in the data directory, nothing is
sent but a greeting, and nothing takes longer than a few seconds.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from typing import Any

from mainstem_node.config.schema import NodeConfig, Topology
from mainstem_node.doctor import certificates, clock, disk, links, memory, ports, wear
from mainstem_node.doctor.finding import BAD, Finding
from mainstem_node.errors import TierError
from mainstem_node.node import tier_class

Status = Mapping[str, Any]


def examine(topology: Topology, node: NodeConfig, status: Status | None) -> Iterator[Finding]:
    """``status``: of the node while it runs, else None."""
    yield ports.listener(node, status)
    yield from disk.room(node, status)
    yield wear.judged(node, status, shutil.disk_usage(disk.existing(node.data_dir)).total)
    yield memory.limits(node)
    yield from clock.offset(node, status)
    yield from certificates.expiry(node)
    if node.parent is not None:
        yield from links.parent(topology, node, node.parent, status)
    try:
        yield from tier_class(node.tier).examine(topology, node)
    except TierError as error:
        yield Finding(node.id, "tier", BAD, error.message, error.hint or "")
