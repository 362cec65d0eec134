"""What SHOW NODES, STREAMS, QUARANTINE and JOBS list, beside what the engine knows itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mainstem_engine.rollup import Rollups
    from mainstem_engine.sql.listings.listings import NodeListing
    from mainstem_node.jobs import JobStatistics
    from mainstem_sync import Federation

QUARANTINE_ROWS_MAX = 10_000
"""The newest; all of them are listed by `mainstem quarantine`."""


def node_listings(
    *,
    status: Callable[[], Mapping[str, Any]],
    federation: Federation,
    rollups: Rollups,
    jobs: Callable[[], Iterable[JobStatistics]],
) -> dict[str, NodeListing]:
    """The rows of each subject, made when asked. The functions may be called from any thread."""
    return {
        "NODES": lambda: node_rows(status()),
        "QUARANTINE": lambda: map(
            _quarantine_row, federation.quarantine.items(limit=QUARANTINE_ROWS_MAX)
        ),
        "STREAMS": lambda: stream_rows(rollups),
        "JOBS": lambda: [
            {"job": job.name, "runs": job.runs, "failures": job.failures, "error": job.error}
            for job in jobs()
        ],
    }


def node_rows(status: Mapping[str, Any], parent: str | None = None) -> Iterator[Mapping[str, Any]]:
    """A node and all below it, from its status object."""
    delivery = status.get("delivery") or {}
    yield {
        "node": status.get("node"),
        "tier": status.get("tier"),
        "parent": parent,
        "path": status.get("path"),
        "state": status.get("state"),
        "lag_ms": status.get("lag_ms"),
        "pending_rows": delivery.get("pending_rows"),
    }
    for child in status.get("children") or ():
        yield from node_rows(child, status.get("node"))


def stream_rows(rollups: Rollups) -> Iterable[Mapping[str, Any]]:
    """The rollups that this node computes."""
    from mainstem_engine.sql.times import duration_text

    return [
        {
            "stream": f"{definition.table}_{definition.name}",
            "lateness": duration_text(definition.lateness_ns),
        }
        for definition in rollups.definitions
    ]


def _quarantine_row(item: Mapping[str, Any]) -> Mapping[str, Any]:
    value = item["value"]
    return {**item, "value": value if value is None else str(value)}
