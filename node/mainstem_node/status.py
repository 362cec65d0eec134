"""The status object of a node, exactly as the contract names it.

One function makes it for everybody: the HTTP route, the events, the metrics, and the heartbeats to
the parent. It never raises for a part that fails: status is read when things go wrong.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from mainstem_node.config.schema import NodeConfig
from mainstem_node.disk_writes import written_bytes

if TYPE_CHECKING:
    from mainstem_engine.engine import Engine
    from mainstem_engine.statistics import EngineStatistics
    from mainstem_sync import Federation

LAGGING_MS = 10_000
"""Data that waits longer than this for the parent is worth a look; the link may still be up."""
QUARANTINE_SHOWN = 20
"""Items that a status carries: a few kB, however many there are."""
RATE_WINDOW_S = 600.0
"""Bytes written per day are projected from the last ten minutes, or since somebody last asked."""
ROWS_MIN = 10_000
"""Fewer rows in data files do not say what a row takes there."""
_DAY_S = 86_400
_NS_PER_MS = 1_000_000


class WriteRate:
    """What there is more a day of, projected from a sliding window of totals."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        # One entry a second at most: bounded by the window. The last before it stays: where status
        # is asked for seldom, that is what the projection goes by.
        self._totals: deque[tuple[float, int]] = deque()

    def per_day(self, total: int) -> int:
        """Takes the total so far; returns the projection, 0 in the first second."""
        with self._lock:
            now = self._monotonic()
            if not self._totals or now - self._totals[-1][0] >= 1.0:
                self._totals.append((now, total))
            while len(self._totals) > 1 and now - self._totals[1][0] > RATE_WINDOW_S:
                self._totals.popleft()
            started, first = self._totals[0]
            elapsed = now - started
            return int((total - first) / elapsed * _DAY_S) if elapsed >= 1.0 else 0


class StatusReporter:
    """Makes the status object. Thread-safe."""

    def __init__(
        self,
        config: NodeConfig,
        engine: Engine,
        federation: Federation,
        *,
        more: Callable[[], Mapping[str, Any]],
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._config = config
        self._engine = engine
        self._federation = federation
        self._more = more
        self._clock_ns = clock_ns
        self._rate, self._row_rate = WriteRate(), WriteRate()
        self._rate.per_day(written_bytes(0))  # the first question has something to go by
        self._quarantined: tuple[int, dict[str, Any]] = (-1, {})

    def build(self) -> dict[str, Any]:
        """The status object; all times are ms since the epoch."""
        delivery = self._federation.delivery()
        link = self._federation.link()
        error = self.log_error()
        accounting = self._federation.accounting()
        status: dict[str, Any] = {
            "node": self._config.id,
            "tier": self._config.tier,
            "path": self._config.paths[0] if self._config.paths else "root",
            "paths": list(self._config.paths),
            "state": _state(delivery, link, error),
            "now": self._clock_ns() // _NS_PER_MS,
            "lag_ms": 0 if link is None else link.get("lag_ms"),
            "delivery": delivery,
            "completeness": self._federation.completeness(),
            "accounting": accounting,
            "clock_offset_ms": None if link is None else link.get("clock_offset_ms"),
            "config_rev": 0,
            "buffer": self._buffer(sum(sums["log"]["logged"] for sums in accounting.values())),
            "durability": self._config.storage.durability,
            "last_fsync_error": error,
            "drops": self._federation.drops(),
            "quarantine": self._quarantine(),
            "alarms": len(self._federation.alarms()),
            "children": self._federation.children(),
            "link": link,
        }
        status.update(self._more())
        return status

    def _quarantine(self) -> dict[str, Any]:
        """``bytes``, and the newest items, so that a parent can show those of all nodes below."""
        store = self._federation.quarantine
        revision, shown = self._quarantined
        if revision != store.revision:
            revision = store.revision
            shown = {
                "bytes": store.statistics().bytes,
                "items": store.items(limit=QUARANTINE_SHOWN),
            }
            self._quarantined = (revision, shown)
        page = self._federation.quarantine_pages.page()
        return shown if page is None else {**shown, "page": page}

    def log_error(self) -> str | None:
        """Why the log failed, or None. A failed log takes nothing more until the node restarts."""
        return self._engine.log.statistics().error

    def _buffer(self, rows_logged: int) -> dict[str, Any]:
        statistics = self._engine.statistics()
        written = written_bytes(statistics.log.written_bytes)
        return {
            "used_bytes": statistics.log.bytes + statistics.part_bytes,
            "limit_bytes": self._config.disk.limit,
            "written_bytes": written,
            "written_bytes_per_day": self._rate.per_day(written),
            "rows_per_day": self._row_rate.per_day(rows_logged),
            "bytes_per_row": _bytes_per_row(statistics),
        }


def _bytes_per_row(statistics: EngineStatistics) -> float | None:
    """Of data files; None where there are too few rows to say."""
    rows = sum(table.part_rows for table in statistics.tables.values())
    return round(statistics.part_bytes / rows, 2) if rows >= ROWS_MIN else None


def _state(
    delivery: Mapping[str, Any] | None, link: Mapping[str, Any] | None, error: str | None
) -> str:
    """live | lagging | stale | offline, as this node sees itself."""
    if error is not None:
        return "stale"
    if link is not None and link["state"] != "connected":
        return "offline"
    oldest_ms = (delivery or {}).get("oldest_pending_ms") or 0
    return "lagging" if oldest_ms > LAGGING_MS else "live"
