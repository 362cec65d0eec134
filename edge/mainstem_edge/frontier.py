"""The frontier: the event time that every collector has passed. What lies before it may close.

1. A collector that has *caught up* is at now, or at the arrival of the oldest message that is not
   durable yet: input that waits here is never overtaken.
2. After each subscription it has caught up once a row within ``lateness`` of now came in, or once
   nothing waits and nothing came for SILENCE_NS. Until then, and while it is not connected, it
   stays where it was when it had last caught up: the broker holds what is missing.
3. It waits no longer than TIMEOUT_NS. From then on it follows now at that distance, and the time
   from where it stood until it has caught up is a *gap*, which is stated with the slices.
4. The frontier is the least of all collectors, never beyond now, and never goes back. A collector
   that *asks* (a page, a register) is not among them while it has not caught up: nothing older
   waits for it there, so only its own tables wait, as in 2 and 3, and only what waits here counts.

Pure: times come in with every call.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

SECOND_NS = 1_000_000_000
SILENCE_NS = 30 * SECOND_NS
"""A broker that has a backlog delivers it at once; half a minute of nothing is no backlog."""
TIMEOUT_NS = 300 * SECOND_NS
"""Summaries do not wait longer for a source that is down."""
GAPS_MAX = 100
"""Gaps kept, the newest: what a manifest can carry."""


@dataclass(frozen=True, slots=True)
class CollectorView:
    """One collector now; times in ns, None for "there is none".

    ``connected_ns``: since when it is subscribed, None while it is not. ``last_arrival_ns`` and
    ``newest_event_ns``: of this connection. ``oldest_waiting_ns``: arrival of the oldest message
    that is not durable. ``asks``: nothing comes that it did not ask for.
    """

    connected_ns: int | None
    last_arrival_ns: int | None = None
    newest_event_ns: int | None = None
    oldest_waiting_ns: int | None = None
    asks: bool = False


@dataclass(frozen=True, slots=True)
class Gap:
    """A collector was not caught up from ``start_ns`` to ``end_ns``."""

    collector: str
    start_ns: int
    end_ns: int


@dataclass(slots=True)
class _Source:
    position_ns: int | None = None
    """Where it stood when it had last caught up; None: never."""
    behind_since_ns: int | None = None
    connection_ns: int | None = None
    caught_up: bool = False


@dataclass(slots=True)
class Frontier:
    """The frontier of one node. ``lateness_ns``: how far behind now a live row may be.

    Calls are serialised by the caller.
    """

    lateness_ns: int
    silence_ns: int = SILENCE_NS
    timeout_ns: int = TIMEOUT_NS
    _sources: dict[str, _Source] = field(default_factory=dict)
    _gaps: list[Gap] = field(default_factory=list)
    _held: dict[str, int] = field(default_factory=dict)
    _frontier_ns: int = 0

    def advance(self, now_ns: int, collectors: Mapping[str, CollectorView]) -> int:
        """The frontier at ``now_ns``, given every collector by name. 0 while it is not known."""
        self._held = {}
        positions = []
        for name, view in collectors.items():
            position_ns = self._position(now_ns, name, view)
            if view.asks and not self.caught_up(name):
                self._held[name] = position_ns
                position_ns = _durable_ns(now_ns, view)
            positions.append(position_ns)
        self._frontier_ns = max(self._frontier_ns, min(positions, default=now_ns))
        return self._frontier_ns

    def held(self) -> Mapping[str, int]:
        """Collectors that ask and had not caught up at the last advance: how far their own tables
        are held, in ns."""
        return self._held

    def gaps(self, now_ns: int) -> list[Gap]:
        """Gaps that are over, and those that are still open, up to now."""
        still = [
            Gap(name, self._gap_start(source), now_ns)
            for name, source in self._sources.items()
            if self._is_overdue(source, now_ns)
        ]
        return (self._gaps + still)[-GAPS_MAX:]

    def caught_up(self, name: str) -> bool:
        """True when that collector has caught up."""
        return name in self._sources and self._sources[name].caught_up

    def _position(self, now_ns: int, name: str, view: CollectorView) -> int:
        source = self._sources.setdefault(name, _Source())
        if view.connected_ns != source.connection_ns:  # lost, or a new connection
            source.connection_ns = view.connected_ns
            source.caught_up = False
        if not source.caught_up and self._catches_up(now_ns, view):
            if self._is_overdue(source, now_ns):
                self._gaps = [*self._gaps, Gap(name, self._gap_start(source), now_ns)][-GAPS_MAX:]
            source.caught_up = True
            source.behind_since_ns = None
        if source.caught_up:
            source.position_ns = _durable_ns(now_ns, view)
            return source.position_ns
        if source.behind_since_ns is None:
            source.behind_since_ns = now_ns
        held = source.position_ns or 0
        if not self._is_overdue(source, now_ns):
            return held
        return max(held, now_ns - self.timeout_ns)

    def _catches_up(self, now_ns: int, view: CollectorView) -> bool:
        if view.connected_ns is None:
            return False
        if view.newest_event_ns is not None and (view.newest_event_ns >= now_ns - self.lateness_ns):
            return True
        quiet_since = max(view.connected_ns, view.last_arrival_ns or 0)
        return view.oldest_waiting_ns is None and now_ns - quiet_since >= self.silence_ns

    def _is_overdue(self, source: _Source, now_ns: int) -> bool:
        since = source.behind_since_ns
        return since is not None and now_ns - since >= self.timeout_ns

    @staticmethod
    def _gap_start(source: _Source) -> int:
        """Where it stood; a collector that never caught up stood where the node started."""
        return source.position_ns or source.behind_since_ns or 0


def _durable_ns(now_ns: int, view: CollectorView) -> int:
    """Now, or the arrival of the oldest message that is not durable yet."""
    waiting = view.oldest_waiting_ns
    return now_ns if waiting is None else min(now_ns, waiting)
