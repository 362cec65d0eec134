"""The federation of one node: everything that a tier needs of this package, behind one object.

Use, in this order:

1. ``Federation(...)``; give ``federation.consumers`` to ``Engine.open``; then ``bind(engine)``.
2. Serve ``receiver`` (http_server) if the node has children, drive ``sender`` (http_client) if it
   has a parent.
3. Call ``run_manifests`` and ``run_verification`` from a worker thread about once a second.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mainstem_sync.exports import Export

LATENESS_NS = 30 * 1_000_000_000
"""A slice closes this long after its end, unless the table says otherwise."""


class Federation:
    """One node's part in the federation. All methods may be called from any thread.

    ``paths``: what the node owns. ``exports``: what goes to the parent. ``parent``: False for a
    node without one (the group). ``data_dir``: the node's data directory (for the quarantine).
    ``lateness_ns``: per node, ``table_lateness_ns`` per table. ``status``: the node's own status
    object, sent with every heartbeat; may be set later (``federation.status = ...``).
    ``clock_ns`` wall clock, ``monotonic`` seconds, ``rng`` for jitter and tokens.
    """

    def __init__(
        self,
        *,
        node: str,
        paths: Sequence[str] = (),
        exports: Sequence[Export] = (),
        parent: bool = False,
        data_dir: Path,
        lateness_ns: int = LATENESS_NS,
        table_lateness_ns: Mapping[str, int] | None = None,
        quarantine_bytes_max: int = 200_000_000,
        status: Callable[[], Mapping[str, Any]] | None = None,
        clock_ns: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ) -> None:
        raise NotImplementedError

    # consumers: tuple[LogConsumer, ...]       for Engine.open(..., consumers=federation.consumers)
    # quarantine: QuarantineStore              collectors put their rejects here too
    # receiver: Receiver                       .hello(child, body) / .batches(child, body)
    # sender: Sender | None                    None without a parent; for http_client.Uplink
    # status: Callable[[], Mapping] | None

    def bind(self, engine: Any) -> None:
        """Connect to the opened engine. Appends a BOOT record. Call once, before anything else."""
        raise NotImplementedError

    def close(self) -> None:
        """Release files. The engine is closed by its owner, after this."""
        raise NotImplementedError

    def run_manifests(
        self,
        frontier_ns: int,
        now_ns: int | None = None,
        *,
        missing_sources: Mapping[str, Sequence[str]] | None = None,
        collector_gaps: Mapping[str, Sequence[tuple[int, int]]] | None = None,
    ) -> int:
        """Close slices whose end + lateness is at or before the frontier; returns how many.

        Run rollups with the same frontier first, so that their rows are part of the statement.
        ``missing_sources``: table to device paths; ``collector_gaps``: table to [from, to) ns.
        """
        raise NotImplementedError

    def run_verification(self, now_ns: int | None = None) -> int:
        """Compare received manifests with the stored rows; returns how many slices were scanned."""
        raise NotImplementedError

    def completeness(
        self,
        tables: Sequence[str] | None = None,
        start_ns: int | None = None,
        end_ns: int | None = None,
    ) -> list[dict[str, Any]]:
        """The contract's completeness objects (times in ms), one per origin node and table."""
        raise NotImplementedError

    def verify(self, start_ns: int | None = None, end_ns: int | None = None) -> dict[str, Any]:
        """``{"from","to","judged","verified","slices":[...]}`` over the slices that are due."""
        raise NotImplementedError

    @property
    def holes(self) -> list[dict[str, Any]]:
        """Every range of due slices that is not verified: node, table, from, to, state, count."""
        raise NotImplementedError

    def delivery(self) -> dict[str, Any] | None:
        """``{"acked_lsn","applied_lsn","head_lsn","pending_rows","pending_bytes",
        "oldest_pending_ms"}``; None without a parent."""
        raise NotImplementedError

    def link(self) -> dict[str, Any] | None:
        """State of the uplink: ``{"state","error","lag_ms","last_contact_ms"}``; None without."""
        raise NotImplementedError

    def accounting(self) -> dict[str, Any]:
        """Table to the contract's sums, as one snapshot. ``accounting.check`` judges it."""
        raise NotImplementedError

    def children(self) -> list[dict[str, Any]]:
        """The children's status objects (theirs inside), with state and delivery as seen here."""
        raise NotImplementedError

    def drops(self) -> dict[str, int]:
        """What was not stored or delivered, by reason."""
        raise NotImplementedError
