"""The children of a node: who is connected, what they last said of themselves, how they are seen.

1. A lease is a random token, given at HELLO and named by every request. A newer HELLO takes it from
   an older process of the same name, which is then fenced. Leases live in memory: after a restart
   of the parent every child says HELLO again.
2. A child is *stale* after two missed heartbeats and *offline* when nothing can still be under way;
   else it is *lagging* or *live* by the age of what it has not delivered yet.
3. What is shown of a child is its own status, with ``state`` and ``delivery`` as seen from here.
4. A child that announced that it would be silent is lagging as long as it is.
5. A child that is not heard from ages: its lag grows, and nothing below it is shown in a better
   state than its own, because nothing of it is known either.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mainstem_sync.errors import FencedError, LeaseError
from mainstem_sync.state.child_status import TREE_DEPTH_MAX, shaped
from mainstem_sync.state.exports import is_below
from mainstem_sync.wire.frames import pack_header
from mainstem_sync.wire.messages import OFFLINE_AFTER_S, STALE_AFTER_S, STATUS_BYTES_MAX

LAGGING_AFTER_MS = 10_000
"""A child that keeps up delivers within a second; ten tell a backlog from a hiccup."""

SILENCE_SLACK_MS = 60_000
"""Clocks differ, and a child that comes back needs a moment."""

LEASES_REMEMBERED = 16
"""Leases given up per child, to tell a fenced process from one that missed a restart."""


UNHEARD = ("stale", "offline")
"""States of a child that this node knows nothing new of."""


@dataclass(slots=True)
class _Session:
    lease: str = ""
    instance: str = ""
    uuid: str = ""
    old: dict[str, str] = field(default_factory=dict)
    fenced: set[str] = field(default_factory=set)
    contact: float | None = None
    status: dict[str, Any] | None = None
    status_at_ms: int = 0
    behind: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Delivery:
    """What this node has applied of a child's own stream, and acknowledged to it."""

    applied_lsn: int
    acked_lsn: int


class Children:
    """See the module. Thread-safe."""

    def __init__(
        self,
        *,
        monotonic: Callable[[], float],
        clock_ns: Callable[[], int],
        token: Callable[[], str],
    ) -> None:
        self._monotonic = monotonic
        self._clock_ns = clock_ns
        self._token = token
        self._lock = threading.Lock()
        self._sessions: dict[str, _Session] = {}
        self._strangers: list[str] = []
        self.fenced = 0
        """Processes that went on although another one of their name had taken their lease."""

    def new_token(self) -> str:
        """A random token, as leases are."""
        return self._token()

    def is_taken(self, name: str, instance: str) -> bool:
        """True if another process of that name has the lease."""
        with self._lock:
            session = self._sessions.get(name)
            return session is not None and bool(session.lease) and session.instance != instance

    def is_newest(self, name: str, instance: str) -> bool:
        """True for the process that holds the child's lease. FencedError for one before it."""
        with self._lock:
            session = self._sessions.get(name)
            if session is None or instance == session.instance:
                return session is not None and bool(session.lease)
            if instance in session.old.values():
                raise self._fenced(session, name, instance)
            return False

    def admit(self, name: str, uuid: str, instance: str) -> str:
        """A child said HELLO: its new lease. Ask ``is_newest`` before."""
        with self._lock:
            session = self._sessions.setdefault(name, _Session())
            if session.lease:
                session.old[session.lease] = session.instance
                while len(session.old) > LEASES_REMEMBERED:
                    del session.old[next(iter(session.old))]
            session.lease, session.instance, session.uuid = self._token(), instance, uuid
            session.contact = self._monotonic()
            return session.lease

    def check(self, name: str, lease: str) -> str:
        """The child's uuid if the lease is its newest. FencedError, or LeaseError (say HELLO)."""
        with self._lock:
            session = self._sessions.get(name)
            if session is not None and session.lease == lease:
                session.contact = self._monotonic()
                return session.uuid
            instance = None if session is None else session.old.get(lease, session.instance)
            if session is not None and instance is not None and instance != session.instance:
                raise self._fenced(session, name, instance)
            raise LeaseError(f"the lease of {name} is not known here", hint="say HELLO again")

    def require_lease(self, name: str, lease: str) -> None:
        """LeaseError unless the lease is the child's newest. Nothing follows from asking: what asks
        may have waited, and be of a process that is long gone."""
        with self._lock:
            session = self._sessions.get(name)
            if session is None or session.lease != lease:
                raise LeaseError(f"the lease of {name} is not its newest", hint="say HELLO again")

    def contact_age_s(self, name: str) -> float | None:
        """Seconds since a child was heard; None if it was not since the start."""
        with self._lock:
            session = self._sessions.get(name)
            if session is None or session.contact is None:
                return None
            return self._monotonic() - session.contact

    def names(self) -> list[str]:
        """The children that were heard since the start."""
        with self._lock:
            return list(self._sessions)

    def lease_of(self, name: str) -> str:
        """The newest lease of a child; empty before its first HELLO."""
        with self._lock:
            session = self._sessions.get(name)
            return "" if session is None else session.lease

    def suspend(self, name: str) -> None:
        """A child's lease ends. The process that has it may say HELLO, but not once another one has
        been admitted."""
        with self._lock:
            session = self._sessions.get(name)
            if session is not None and session.lease:
                session.old[session.lease] = session.instance
                session.lease = ""

    def expel(self, name: str) -> None:
        """A child has to say HELLO again, and may: what both agreed on has changed."""
        with self._lock:
            session = self._sessions.get(name)
            if session is not None:
                # Leases that this process gave up before are not those of another one.
                running = session.instance
                session.old = {lease: at for lease, at in session.old.items() if at != running}
                session.lease = session.instance = ""

    def said(self, name: str, status: Mapping[Any, Any]) -> None:
        """A child sent its status."""
        status = shaped(status)
        with self._lock:
            session = self._sessions.setdefault(name, _Session())
            session.status = status
            session.status_at_ms = self._clock_ns() // 1_000_000
            session.behind = frozenset(_names_in(status))

    def names_behind(self) -> set[str]:
        """Children and the nodes behind them, as they said since the start."""
        with self._lock:
            behind = [session.behind for session in self._sessions.values()]
            return set(self._sessions).union(*behind)

    def via(self, node: str) -> str | None:
        """The child of that name, or the one that said that the node is behind it."""
        with self._lock:
            if node in self._sessions:
                return node
            return next((name for name, s in self._sessions.items() if node in s.behind), None)

    def statuses(self) -> dict[str, dict[str, Any]]:
        """The last status of each child that sent one."""
        with self._lock:
            return {
                name: session.status
                for name, session in self._sessions.items()
                if session.status is not None
            }

    def show(self, deliveries: Mapping[str, Delivery]) -> list[dict[str, Any]]:
        """Every known child as the contract's status object. ``deliveries``: by child name; a child
        that is only in it (known from the log, not seen since the start) is offline."""
        with self._lock:
            names = sorted({*self._sessions, *deliveries})
            return [self._show(name, deliveries.get(name)) for name in names]

    def _show(self, name: str, delivery: Delivery | None) -> dict[str, Any]:
        session = self._sessions.get(name, _Session())
        shown: dict[str, Any] = {"node": name, "children": []}
        shown.update(session.status or {})
        shown["node"] = name
        reported = shown.get("delivery")
        own = dict(reported) if isinstance(reported, dict) else {}
        if delivery is not None:
            own["applied_lsn"] = delivery.applied_lsn
            own["acked_lsn"] = delivery.acked_lsn
            own.setdefault("head_lsn", delivery.applied_lsn)
        else:
            own.setdefault("applied_lsn", 0)
            own.setdefault("acked_lsn", 0)
        shown["delivery"] = own
        shown["state"] = self._state(session, shown)
        age = None if session.contact is None else self._monotonic() - session.contact
        if shown["state"] in UNHEARD:
            _grow_old(shown, shown["state"], 0 if age is None else int(age * 1000))
        shown["last_contact_ms"] = None if age is None else int(age * 1000)
        shown["status_at"] = session.status_at_ms or None
        return shown

    def _state(self, session: _Session, shown: Mapping[str, Any]) -> str:
        if session.contact is None:
            return "offline"
        age = self._monotonic() - session.contact
        if age > STALE_AFTER_S and self._is_silent(shown):
            return "lagging"
        if age > OFFLINE_AFTER_S:
            return "offline"
        if age > STALE_AFTER_S:
            return "stale"
        lag = shown.get("lag_ms")
        oldest = shown["delivery"].get("oldest_pending_ms")
        worst = max(value for value in (lag, oldest, 0) if isinstance(value, int | float))
        return "lagging" if worst > LAGGING_AFTER_MS else "live"

    def _is_silent(self, shown: Mapping[str, Any]) -> bool:
        """True while the child sends nothing because it said that it would not."""
        link = shown.get("link")
        silence = link.get("silence") if isinstance(link, dict) else None
        if not isinstance(silence, list) or len(silence) != 2:
            return False
        now_ms = self._clock_ns() // 1_000_000
        since, until = silence
        if not (isinstance(since, int) and isinstance(until, int)):
            return False
        return since - SILENCE_SLACK_MS <= now_ms < until + SILENCE_SLACK_MS

    def _fenced(self, session: _Session, name: str, instance: str) -> FencedError:
        """A process that lives on without its lease: a restart alone never comes here."""
        if instance not in session.fenced:
            session.fenced = {*session.fenced, instance} & {*session.old.values()}
            self.fenced += 1
            self._strangers.append(name)
        return FencedError(
            f"another process of {name} has taken over",
            hint="stop this one, or give it an identity of its own",
        )

    def newly_fenced(self) -> list[str]:
        """Children of which two processes live, since this was last asked; once per process."""
        with self._lock:
            found, self._strangers = self._strangers, []
            return found


def _grow_old(shown: dict[str, Any], state: str, silent_ms: int) -> None:
    """What an unheard child said, as old as it is: it and all below are ``state`` at best."""
    lag = shown.get("lag_ms")
    if isinstance(lag, int | float):
        shown["lag_ms"] = lag + silent_ms
    if shown.get("state") != "offline":
        shown["state"] = state
    children = shown.get("children")
    if isinstance(children, list):
        shown["children"] = [dict(child) for child in children if isinstance(child, dict)]
        for child in shown["children"]:
            _grow_old(child, state, silent_ms)


def bounded_status(status: Mapping[str, Any]) -> dict[str, Any]:
    """A status that fits a frame. If it is too large, the accounting of the children goes first,
    then their completeness, then their children; ``truncated`` says so."""
    result = dict(status)
    for field_name in ("", "accounting", "completeness", "children"):
        if field_name:
            result["children"] = [
                {key: value for key, value in child.items() if key != field_name}
                for child in result.get("children", ())
            ]
            result["truncated"] = True
        if len(pack_header(result)) <= STATUS_BYTES_MAX:
            return result
    return {
        key: result[key] for key in ("node", "tier", "path", "state", "now", "delivery")
        if key in result
    } | {"truncated": True, "children": []}  # fmt: skip


def packed_status(status: Mapping[str, Any]) -> bytes:
    """As bounded_status, packed; most fit as they are, and are packed once."""
    packed = pack_header(status)
    return packed if len(packed) <= STATUS_BYTES_MAX else pack_header(bounded_status(status))


def _names_in(status: Mapping[str, Any], depth: int = 0) -> set[str]:
    """The names of all nodes of a status tree, but for its root."""
    found: set[str] = set()
    children = status.get("children")
    for child in children if isinstance(children, list) and depth < TREE_DEPTH_MAX else ():
        if isinstance(child, dict):
            found |= {str(child.get("node")), *_names_in(child, depth + 1)}
    return found


def owner_in(status: Mapping[str, Any], device: str) -> str | None:
    """The node of a status tree with the longest of its ``paths`` above a device; None without."""
    best, found = -1, None
    for node, path in _paths_in(status):
        if len(path) > best and is_below(device, path):
            best, found = len(path), node
    return found


def _paths_in(status: Mapping[str, Any], depth: int = 0) -> Iterator[tuple[str, str]]:
    paths = status.get("paths")
    for path in paths if isinstance(paths, list) else ():
        yield str(status.get("node")), str(path)
    children = status.get("children")
    for child in children if isinstance(children, list) and depth < TREE_DEPTH_MAX else ():
        if isinstance(child, dict):
            yield from _paths_in(child, depth + 1)
