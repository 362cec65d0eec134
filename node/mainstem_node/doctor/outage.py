"""The disk that a node needs while its parent cannot be reached.

What is written stays until the parent has proven it: parts of so many bytes a row, at the rate of
now, and the log up to its cap. Beyond the log's cap nothing is lost: what is released is sent as
slices later.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mainstem_node.config.schema import NodeConfig
from mainstem_node.doctor.finding import BAD, FINE, WARNING, Finding
from mainstem_node.node import log_bytes_max
from mainstem_node.status import ROWS_MIN

DAY_NS = 86_400 * 1_000_000_000


@dataclass(frozen=True, slots=True)
class Forecast:
    """``bytes`` that an outage takes; ``bytes_per_row`` and ``rows_per_day`` are of now."""

    bytes: int
    bytes_per_row: float
    rows_per_day: int
    log_bytes: int


def forecast(node: NodeConfig, status: Mapping[str, Any], outage_ns: int) -> Forecast | None:
    """None while it is not known what the node takes in."""
    buffer = status["buffer"]
    per_row, per_day = buffer.get("bytes_per_row"), buffer.get("rows_per_day")
    if not per_row or not per_day:
        return None
    log = log_bytes_max(node)
    return Forecast(round(per_row * per_day * outage_ns / DAY_NS) + log, per_row, per_day, log)


def judged(
    node: NodeConfig, status: Mapping[str, Any] | None, outage_ns: int, free_bytes: int
) -> Finding:
    days = outage_ns / DAY_NS
    check = f"outage of {days:g} d"
    if node.parent is None:
        return Finding(
            node.id, check, FINE, "it has no parent: nothing waits here to go up",
            "ask again once `parent` and `export` are in the file",
        )  # fmt: skip
    found = None if status is None else forecast(node, status, outage_ns)
    if found is None:
        return Finding(
            node.id, check, WARNING, "it is not known yet what the node takes in",
            f"ask again while it runs, with at least {ROWS_MIN:,} rows in data files",
        )  # fmt: skip
    used = int(status["buffer"]["used_bytes"]) if status is not None else 0
    allowed = node.disk.limit - used if node.disk.limit is not None else free_bytes
    room = min(allowed, free_bytes)
    what = (
        f"{found.bytes / 1e9:.1f} GB for {found.rows_per_day:,} rows a day of"
        f" {found.bytes_per_row:.1f} bytes and {found.log_bytes / 1e9:.1f} GB of log"
    )
    if found.bytes <= room:
        return Finding(node.id, check, FINE, f"{what}; there are {room / 1e9:.1f} GB")
    lasts = max(0.0, (room - found.log_bytes) / (found.bytes_per_row * found.rows_per_day))
    full = (
        "new rows are refused then" if node.disk.when_full == "reject"
        else "the oldest rows give way then, and are declared"
    )  # fmt: skip
    return Finding(
        node.id, check, BAD,
        f"{what}, and there are {room / 1e9:.1f} GB: enough for {lasts:.1f} d; {full}",
        "take a larger disk or disk.limit, or keep fewer rows (deadbands, rollups)",
    )  # fmt: skip
