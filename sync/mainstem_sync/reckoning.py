"""What one node has counted: sums of its tables, what the parent acknowledged, what was dropped.

Everything is a snapshot, made of what the log has brought so far.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any

from mainstem_engine.engine import Engine
from mainstem_sync.proof.fork_losses import lost_records
from mainstem_sync.receiving.quarantine import QuarantineStore
from mainstem_sync.receiving.receiver import Receiver
from mainstem_sync.state.accounting import TableSums
from mainstem_sync.state.children import Children
from mainstem_sync.state.follower import Follower
from mainstem_sync.state.forward import ForwardSums

SNAPSHOT_ATTEMPTS = 400
SNAPSHOT_PAUSE_S = 0.0005
"""A snapshot of the sums falls between two records at the first or second try; a fifth of a second
is far more than one record takes. After it, what does not hold is shown as it is."""


class Reckoning:
    """See the module. Thread-safe. ``engine``: once it is bound."""

    def __init__(
        self,
        follower: Follower,
        children: Children,
        receiver: Receiver,
        quarantine: QuarantineStore,
        *,
        engine: Callable[[], Engine],
        clock_ns: Callable[[], int],
    ) -> None:
        self._follower = follower
        self._lock = follower.lock
        self._children = children
        self._receiver = receiver
        self._quarantine = quarantine
        self._engine = engine
        self._clock_ns = clock_ns

    def delivery(self) -> dict[str, Any] | None:
        """What the parent acknowledged; None without a parent."""
        forward = self._follower.forward
        if forward is None:
            return None
        with self._lock:
            acked = forward.acked.watermark
            return {
                "acked_lsn": acked,
                "applied_lsn": acked,
                "head_lsn": forward.applied_lsn,
                "pending_rows": forward.pending_rows,
                "pending_bytes": forward.pending_bytes,
                "oldest_pending_ms": forward.oldest_pending_ms(self._clock_ns()),
            }

    def accounting(self) -> dict[str, Any]:
        """Table to the contract's sums, as one snapshot. ``accounting.check`` judges it.

        The store counts a record's rows just before or after this package does. The sums are taken
        again until both stand after the same record: logged rows only grow, so equal totals mean
        the same prefix of the log.
        """
        for attempt in range(SNAPSHOT_ATTEMPTS):
            with self._lock:
                tables = self._follower.accounts.tables
                sums = {name: dataclasses.replace(s) for name, s in tables.items()}
                forward = self._forward_sums()
            store = {name: _fields(c) for name, c in self._engine().store_accounting().items()}
            names = {*sums, *store}
            logged = {name: sums[name].logged if name in sums else 0 for name in names}
            if all(logged[name] == store.get(name, _NOTHING)["logged"] for name in names):
                break
            if attempt:
                time.sleep(SNAPSHOT_PAUSE_S)
        evicted = self._quarantine.evicted()
        result: dict[str, Any] = {}
        for name in sorted(names):
            table = sums.get(name, TableSums()).to_sections()
            if forward is not None:
                values = _fields(forward.get(name, ForwardSums()))
                table["forward"] = {"logged": logged[name], **values}
            table["store"] = store.get(name, dict(_NOTHING))
            table["quarantine_evicted"] = evicted.get(name, 0)
            result[name] = table
        return result

    def _forward_sums(self) -> dict[str, ForwardSums] | None:
        forward = self._follower.forward
        if forward is None:
            return None
        return {name: dataclasses.replace(s) for name, s in forward.tables.items()}

    def drops(self) -> dict[str, int]:
        """What was not stored or delivered, by reason. Since the start, but for what is durable."""
        found = {f"received_{reason}": n for reason, n in self._receiver.drops.items()}
        found["quarantine_evicted"] = sum(self._quarantine.evicted().values())
        found["fenced_children"] = self._children.fenced
        with self._lock:
            found["lost_by_forks"] = lost_records(self._follower.lines)
        forward = self._follower.forward
        if forward is not None:
            with self._lock:
                found["parked_records"] = forward.parked.count()
                found["released_before_delivery"] = forward.missing.count()
        return {reason: n for reason, n in found.items() if n}


def _fields(counts: Any) -> dict[str, int]:
    """A flat dataclass as a dict."""
    return {field.name: getattr(counts, field.name) for field in dataclasses.fields(counts)}


_NOTHING: Mapping[str, int] = {
    "logged": 0, "live": 0, "unresolved": 0, "overwritten": 0, "deleted": 0, "expired": 0,
    "lost_local": 0,
}  # fmt: skip
