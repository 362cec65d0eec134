"""How long a flash card bears what the node writes.

Flash is worn by writing. A cheap eMMC or SD card is good for about a thousand erasures of each
cell, and where rows are synced a few at a time its controller erases some four times what it is
given: it has been worn out when it was written over some 250 times. An SSD or an industrial card
bears several times that, so this errs towards a warning.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mainstem_node.config.schema import SECOND_NS, NodeConfig
from mainstem_node.doctor.finding import FINE, WARNING, Finding

CHECK = "flash wear"
CYCLES = 1000
AMPLIFICATION = 4
YEARS_MIN = 5
"""What a plant expects of an edge before somebody climbs to it with a screwdriver."""
DAYS_PER_YEAR = 365
FLUSH_EVERY_NS = 600 * SECOND_NS
"""Parts are made less often than this only where rows come slowly; longer gains little."""


def bearable_bytes_per_day(disk_bytes: int) -> int:
    """What a cheap card of this size bears each day of YEARS_MIN."""
    return disk_bytes * CYCLES // AMPLIFICATION // (YEARS_MIN * DAYS_PER_YEAR)


def judged(node: NodeConfig, status: Mapping[str, Any] | None, disk_bytes: int) -> Finding:
    """``disk_bytes``: the size of the disk below the data directory."""
    per_day = 0 if status is None else int(status["buffer"]["written_bytes_per_day"])
    bearable = bearable_bytes_per_day(disk_bytes)
    limit = f"a cheap card of {_size(disk_bytes)} bears {_size(bearable)} a day for {YEARS_MIN} y"
    if not per_day:
        return Finding(node.id, CHECK, FINE, f"{limit}; what is written is known while it runs")
    found = f"{_size(per_day)} are written a day; {limit}"
    if per_day <= bearable:
        return Finding(node.id, CHECK, FINE, found)
    years = YEARS_MIN * bearable / per_day
    return Finding(
        node.id, CHECK, WARNING, f"{found}: this lasts {years:.1f} y if it is eMMC or SD",
        f"{'; '.join(remedies(node))}; or take an SSD",
    )  # fmt: skip


def remedies(node: NodeConfig) -> list[str]:
    """What writes less, the strongest first."""
    found = []
    if node.storage.durability == "always":
        found.append(
            "`storage: {durability: interval:1s}` (a power cut may then take the last second)"
        )
    if node.storage.flush_every < FLUSH_EVERY_NS:
        found.append("`storage: {flush_every: 10m}`")
    return [*found, "store fewer rows: a `deadband` per measurement, rollups instead of raw rows"]


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count < 1e12 else f"{count / 1e12:.1f} TB"
