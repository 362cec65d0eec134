"""How this node stands with its parent: its own line, and what both know of the lines below.

1. The key of an own record is its node and the epoch of its LSN; batches are cut at the forks.
2. An epoch that the parent gives is durable in the own log before a record is sent under it.
3. What the parent knows of the lines below and is new here is logged before a child is answered;
   children whose line it changes, or reaches further than they said, have to say HELLO again.
4. ``answered`` and ``failed`` say whether the parent was asked since this start.

The methods that log must not be called with the federation's lock held.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from mainstem_engine.consumers import Ack
from mainstem_engine.engine import Engine
from mainstem_engine.log.records import RecordKind
from mainstem_sync.errors import WireError
from mainstem_sync.lines.epochs import EpochTable
from mainstem_sync.lines.known_lines import Line, Source
from mainstem_sync.origins.origin_state import Origins
from mainstem_sync.state.children import Children
from mainstem_sync.state.line_following import LineFollowing
from mainstem_sync.state.patience import LOG_TIMEOUT_S
from mainstem_sync.wire.messages import OriginKey
from mainstem_sync.wire.ranges import LSN_MAX, RangeSet

ASK_FIRST_S = 5.0
"""A parent that can be reached has answered by then; one that cannot must not keep children out."""


class Upward:
    """See the module. ``lines`` belongs to the follower, under its ``lock``."""

    def __init__(
        self,
        *,
        lines: LineFollowing,
        origins: Origins,
        children: Children,
        lock: threading.RLock,
        has_parent: bool,
        monotonic: Callable[[], float],
    ) -> None:
        self.has_parent = has_parent
        self.answered = False
        self.failed = False
        self._own = lines.own
        self._lines = lines
        self._origins = origins
        self._children = children
        self._lock = lock
        self._monotonic = monotonic
        self._started = monotonic()
        self._resumed = False
        self._first = OriginKey("", 0, "")
        self._bound: Engine | None = None

    def bind(self, engine: Engine, node: str) -> None:
        """The engine is open."""
        with self._lock:
            self._own.uuid, self._own.name = engine.node_uuid, node
            self._first = OriginKey(engine.node_uuid, 0, node)
            self._resumed = bool(self._origins.lines())
        self._bound = engine

    # Who this node is

    @property
    def key(self) -> OriginKey:
        """The own stream in its current epoch."""
        return OriginKey(self._own.uuid, self._own.table.current, self._own.name)

    def key_of(self, lsn: int) -> OriginKey:
        """The origin of an own record."""
        table = self._own.table
        if not table.forks:  # as nearly every node for all its life, and this is asked per record
            return self._first
        return OriginKey(self._own.uuid, table.epoch_of(max(lsn, 1)), self._own.name)

    def is_own(self, key: OriginKey) -> bool:
        """True for this node in any epoch."""
        return key.uuid == self._own.uuid

    def wrote(self, uuid: str, epoch: int, lsn: int) -> bool:
        """True if what the own log had under this LSN in this epoch is still of its line."""
        return uuid == self._own.uuid and lsn <= self._own.table.end_of(epoch)

    def own_line(self) -> Line:
        """A copy of what is known of the own log."""
        with self._lock:
            own = self._own
            return Line(own.uuid, own.name, own.table, own.trail.copy())

    def note_point(self, lsn: int, chain: bytes) -> None:
        """The parent has seen the own chain's value there. Under the lock."""
        self._own.trail.note_point(lsn, chain)

    def relayed(self) -> list[OriginKey]:
        """Every epoch of every node below."""
        with self._lock:
            return [state.key for state in self._origins]

    def statements(self) -> tuple[Line, ...]:
        """What is known here of the lines below, with the orphans that are here."""
        with self._lock:
            return tuple(line.statement(orphans(line, self._origins)) for line in self._lines)

    @property
    def parent(self) -> str:
        """Uuid of the parent that last let this node in."""
        return self._lines.parent

    # What the parent says

    def must_wait(self, acked_lsn: int, table: EpochTable, uuid: str, parent: str) -> bool:
        """True if a child must wait until the parent has been asked. ``acked_lsn``, ``table``: what
        it remembers to have been acknowledged, and its epochs; ``parent``: who let it in last."""
        if not self.has_parent or self.answered:
            return False
        with self._lock:
            state = self._origins.line(uuid)
            held = RangeSet() if state is None else state.received
            behind = acked_lsn > 0 and not held.covers(1, acked_lsn)
            behind = behind or table.current > self._lines.table(uuid).current
            behind = behind or parent not in ("", self._own.uuid)
        if behind:
            return True
        return self._resumed and not self.failed and self._monotonic() - self._started < ASK_FIRST_S

    def let_in(self, parent: str) -> None:
        """A parent gave a lease. A node that comes to another one later says so: if that one was
        wiped, it must not take this node's log for a new one. Does not wait."""
        self.answered = True
        if self._lines.parent != parent:
            line = Line(self._own.uuid, self._own.name, self._own.table)
            self._log(line, own=True, source=Source.HERE, via="", parent=parent)

    def begin_epoch(self, table: EpochTable) -> None:
        """The parent found that the own log forked: write its epochs down. WireError if they do not
        fit what this log knows of itself."""
        with self._lock:
            if table.current <= self._own.table.current:
                raise WireError("the parent gives an epoch that is over")
            line = Line(self._own.uuid, self._own.name, table)
        self._log(line, own=True, source=Source.HERE, via="").wait(LOG_TIMEOUT_S)

    def learn(self, said: Sequence[Line]) -> None:
        """What the parent knows of the lines below."""
        ack = None
        expelled = set()
        for line in said:
            if line.uuid == self._own.uuid:
                continue
            with self._lock:
                state = self._origins.line(line.uuid)
                known = self._lines.open(line.uuid, line.name)
                news = known.would_learn(line, Source.ABOVE)
                newer = line.table.current > known.table.current
                # A child that was let in before this was known may have another log by now.
                newer |= known.goes_beyond(line, Source.ABOVE)
            via = "" if state is None else state.via
            if news:
                ack = self._log(line, own=False, source=Source.ABOVE, via=via)
            if newer and via:
                expelled.add(via)
        if ack is not None:
            ack.wait(LOG_TIMEOUT_S)
        for name in expelled:
            self._children.expel(name)

    def _log(self, line: Line, *, own: bool, source: Source, via: str, parent: str = "") -> Ack:
        assert self._bound is not None
        return log_line(self._bound, line, own=own, source=source, via=via, parent=parent)


def log_line(
    engine: Engine, line: Line, *, own: bool, source: Source, via: str, parent: str = ""
) -> Ack:
    """An EPO record: a statement about a line."""
    header = {"own": own, "source": str(source), "via": via, "line": line.to_wire()}
    if parent:
        header["parent"] = parent
    return engine.append(RecordKind.EPO, header)


def orphans(line: Line, origins: Origins) -> dict[int, RangeSet]:
    """By closed epoch, what is held here of it beyond its end. Under the lock."""
    found = {}
    for state in origins.of(line.uuid):
        end = line.table.end_of(state.key.epoch)
        if end < LSN_MAX:
            beyond = RangeSet(state.received.within(end + 1, LSN_MAX))
            if beyond:
                found[state.key.epoch] = beyond
    return found
