"""Rollups in a simulation: edges compute them and send them up beside the rows, or instead of them.

1. What an edge has computed is what its rows say: per device and minute as many values.
2. Every tier above has what the edge computed, but for what it declares.
"""

from __future__ import annotations

from collections import Counter

from mainstem_engine.errors import NotFoundError
from mainstem_engine.rollup import RollupDefinition
from mainstem_sync.state.exports import Export
from mainstem_sync.testing.claims import content_of, require
from mainstem_sync.testing.memory_nodes import MemoryNode
from mainstem_sync.testing.real_nodes import RealNode
from mainstem_sync.testing.truth import SLICE_MS, TABLE, Key, Truth

Node = MemoryNode | RealNode

NS_PER_MS = 1_000_000
NAME = "1m"
ROLLED = f"{TABLE}_{NAME}"
RAW_AND_ROLLED = (Export(TABLE), Export(TABLE, "rollup", NAME))


def definition(lateness_ns: int) -> RollupDefinition:
    """A minute of the table that all nodes write to."""
    return RollupDefinition(TABLE, SLICE_MS * NS_PER_MS, NAME, lateness_ns)


def run_rollups(node: Node, frontier_ns: int) -> None:
    """Compute what is closed; nothing at a node without rollups."""
    if isinstance(node, MemoryNode) and node.rolling is not None:
        node.rolling.run(frontier_ns, frontier_ns)


def check_computed(node: Node, truth: Truth, through_ms: int) -> None:
    """Rule 1, of column ``a``; windows that end by ``through_ms``."""
    wanted = Counter[Key]()
    for (device, time), values in truth.rows.items():
        if "a" in values and time < through_ms:
            wanted[device, time // SLICE_MS * SLICE_MS] += 1
    require(counts_of(node) == wanted, f"{node.name}: {ROLLED} is not what its rows say")


def counts_of(node: Node) -> Counter[Key]:
    """How many values of column ``a`` each window has, of those that have some."""
    found = Counter[Key]()
    try:
        rows = node.engine.scan_rows(ROLLED)
    except NotFoundError:
        return found
    measurements = node.engine.catalog.table(ROLLED).template.measurements
    count = next(m.id for m in measurements if m.name[0] == "a" and m.name.endswith("_count"))
    if count not in rows.columns:
        return found  # there is no row
    devices = node.engine.catalog.devices
    column = rows.columns[count]
    for device, time, value in zip(
        rows.device.tolist(), rows.time.tolist(), column.values.tolist(), strict=True
    ):
        if value:
            found[devices.path(device), time // NS_PER_MS] += value
    return found


def check_above(node: Node, edge: Node, below: str) -> None:
    """Rule 2."""
    lost = [
        (each["from"], each["to"])
        for item in node.federation.completeness([ROLLED])
        if item["node"] == edge.name
        for each in item["lost"]
    ]
    pair = [content_of(each, ROLLED, below) for each in (node, edge)]
    here, there = (
        {row for row in rows if not any(a <= row[1] < b for a, b in lost)} for rows in pair
    )
    require(
        here == there,
        f"{node.name}, {ROLLED} of {edge.name}: lacks {sorted(there - here, key=repr)[:2]}, has "
        f"{sorted(here - there, key=repr)[:2]}",
    )
