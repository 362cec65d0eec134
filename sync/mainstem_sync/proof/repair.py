"""What a parent asks its children for: slices, as images.

1. Owed slices (backlog.py) are asked for until they are here, newest first; slices that differ from
   their owner's manifest although all has arrived (or that somebody asks for, see ``want``) are
   asked for in the same way, between growing pauses.
2. Nothing is remembered of what was asked: an answer that is lost is asked for again. What a child
   was told to be done is not told it again for a while.
3. What a question found missing is not waited for (``missed``).
4. A statement may be lost to a parent that was restored, or with the owner's log. Of a slice that
   nobody speaks of for a while although its rows are all here, a new one is asked for; so it is of
   one that is not closed, although later ones are.
5. What defines a table may have been said beyond a fork, and nobody says it again: rows that were
   received need it no more. Without it nothing can be compared with a statement, so one slice is
   asked for: its definition travels with the image.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from mainstem_sync.origins.origin_state import Origins, OriginState
from mainstem_sync.proof.prover import DamagedSlice
from mainstem_sync.slices.wants import REPAIRS_MAX, Ref, Want, encode_want
from mainstem_sync.wire.messages import OriginKey

UNSTATED_S = 60.0
"""A statement follows its rows within a second or two, through every relay."""

UNSTATED_EVERY_S = 10.0
"""How often it is looked for what nobody speaks of, in every table that is due."""

ORIGINS_PER_REPLY_MAX = 16
"""A reply is a message of so many frames; with the next one the others have their turn."""


DONE_AGAIN_S = 60.0
"""How often it is said again what is done. A reply that is lost ends the lease, and in the next one
everything is told anew: this is for a second reply to the same request, which nobody waits for."""


@dataclass(slots=True)
class _Told:
    """What a child was told in one lease: the entries done, and when, by origin of which nothing
    more was said; and how many answers had come by then. Replies may pass each other: whoever goes
    on answering has not heard that nothing is wanted."""

    lease: str
    done: dict[OriginKey, tuple[list[Ref], int, float]] = field(default_factory=dict)
    turn: int = 0
    """The origin whose turn it is, where not all can be told at once."""

    def is_behind(self, state: OriginState) -> bool:
        """True if answers came since it was told that nothing is wanted."""
        known = self.done.get(state.key)
        return state.repairs.answers != (0 if known is None else known[1])


class Repair:
    """The receiving half of one node. ``lock``: the federation's; ``lease`` of a child."""

    def __init__(
        self,
        origins: Origins,
        lock: threading.RLock,
        lease: Callable[[str], str],
        monotonic: Callable[[], float],
    ) -> None:
        self._origins = origins
        self._lease = lease
        self._told: dict[str, _Told] = {}
        self._lock = lock
        self._monotonic = monotonic
        self._unstated: dict[tuple[OriginKey, str], dict[int, float]] = {}
        self._looked_at = float("-inf")

    def want(self, origin: OriginKey, table: str, keys: Iterable[int], since: int = 0) -> int:
        """Ask the owner for slices (by index) of ``table`` (its name here); returns how many were
        not asked for yet. Not durable: whoever needs it asks again."""
        with self._lock:
            state = self._origins.get(origin)
            return 0 if state is None else state.repairs.want(table, keys, since)

    def missed(self, node: str, table: str, spans: Iterable[tuple[int, int]]) -> None:
        """Somebody asked for rows of a node in ``spans`` ([start, end) ns) of ``table`` that are
        not proven here, although they are sent up. What would be asked for after a while of these
        slices (a statement that was missed, an image that did not help before) is asked for now.
        What is on its way, or owed, comes by itself."""
        now = self._monotonic()
        with self._lock:
            for state in self._origins.lines():
                watch = state.watches.get(table) if state.key.name == node else None
                if watch is None:
                    continue
                unstated = self._unstated.get((state.key, table), {})
                for start_ns, end_ns in spans:
                    first, end = start_ns // watch.slice_ns, -(-end_ns // watch.slice_ns)
                    says = sorted(key for key in unstated if first <= key < end)
                    state.repairs.want(table, says, say=True)
                    state.repairs.hurry(table, first, end, now)

    def look(self, damaged: Iterable[DamagedSlice]) -> int:
        """Ask for every slice of ``damaged`` (all that there are); returns how many are new."""
        found: dict[tuple[OriginKey, str, bool], tuple[set[int], int]] = {}
        for item in damaged:
            with self._lock:
                state = self._origins.get(item.origin)
                watch = None if state is None else state.watches.get(item.table)
            if watch is not None:
                keys, _ = found.setdefault((item.origin, item.table, item.summed), (set(), 0))
                first, end = item.start_ns // watch.slice_ns, item.end_ns // watch.slice_ns
                keys.update(range(first, min(end, first + REPAIRS_MAX)))
        fresh = 0
        with self._lock:
            unstated = self._unstated_for_long()
            for place, keys in self._undefined().items():
                found.setdefault((*place, False), (set(), 0))[0].update(keys)
            asking = [
                *self._origins.due.asking,
                *(k for k, _, _ in found),
                *(k for k, _ in unstated),
            ]
            for key in dict.fromkeys(asking):
                state = self._origins.get(key)
                if state is None:
                    continue
                for table in state.watches:
                    for say in (False, True):
                        keys, _ = found.get((state.key, table, say), (set(), 0))
                        if say:
                            keys |= unstated.get((state.key, table), set())
                        state.repairs.forget(table, keys, say=say)
                        fresh += state.repairs.want(table, sorted(keys), say=say) if keys else 0
                if not state.repairs:
                    self._origins.due.asked(key)
        return fresh

    def _undefined(self) -> dict[tuple[OriginKey, str], set[int]]:
        """One slice by origin and table of each table that is stated, and of which nothing is
        defined: with its image the definition comes."""
        found: dict[tuple[OriginKey, str], set[int]] = {}
        for state, table, watch in self._origins.due_watches():
            if state.line is not None or watch.dropped_lsn or state.local_table(table) is not None:
                continue
            keys = watch.candidates(state.received).keys
            if len(keys):
                found[state.key, table] = {int(keys[-1])}
        return found

    def _unstated_for_long(self) -> dict[tuple[OriginKey, str], set[int]]:
        """Slices by origin and table."""
        now = self._monotonic()
        if now >= self._looked_at + UNSTATED_EVERY_S:
            self._looked_at, before = now, self._unstated
            self._unstated = {}
            for state, table, watch in self._origins.due_watches():
                if state.line is not None:
                    continue
                keys = watch.unstated(state.received.watermark)[:REPAIRS_MAX].tolist()
                if len(state.received) == 1:  # nothing is on its way
                    keys += watch.passed_over(REPAIRS_MAX - len(keys))
                known = before.get((state.key, table), {})
                if keys:
                    since = {key: known.get(key, now) for key in keys}
                    self._unstated[state.key, table] = since
        return {
            place: {key for key, at in since.items() if now >= at + UNSTATED_S}
            for place, since in self._unstated.items()
        }

    def frames(self, child: str) -> bytes:
        """WANT frames for a child, of the origins behind it with something open, in turn."""
        now, lease = self._monotonic(), self._lease(child)
        with self._lock:
            told = self._told.get(child)
            if told is None or told.lease != lease:
                told = self._told[child] = _Told(lease)
            behind = self._origins.behind(child)
            some = [
                state for state in behind if state.backlog or state.repairs or told.is_behind(state)
            ]
            if len(some) > ORIGINS_PER_REPLY_MAX:
                turn = told.turn % len(some)
                told.turn = turn + ORIGINS_PER_REPLY_MAX
                some = [*some[turn:], *some[:turn]][:ORIGINS_PER_REPLY_MAX]
            return b"".join(self._frame(state, told, now) for state in some)

    def _frame(self, state: OriginState, told: _Told, now: float) -> bytes:
        wants: list[Want] = []
        says: list[Want] = []
        for table, watch in state.watches.items():
            for say, found in ((False, wants), (True, says)):
                since, slices = state.repairs.due(table, now, say=say)
                if slices:
                    found.append(Want(state.name_of(table), watch.slice_ns, since, slices))
        # Of what is owed the newest first, whatever record it is owed by.
        wants += sorted(state.backlog.wants(), key=lambda want: -want.slices.last * want.slice_ns)
        done = list(state.backlog.done)
        if done:
            # What a record owes of a closed epoch is asked for apart: it is done when both are.
            lines = self._origins.of(state.key.uuid)
            still = {entry.ref for each in lines for entry in each.backlog.entries}
            done = [ref for ref in done if ref not in still]
        if wants or says:
            told.done.pop(state.key, None)
        else:
            before, answers, at = told.done.get(state.key, (None, 0, 0.0))
            if (before, answers) == (done, state.repairs.answers) and now < at + DONE_AGAIN_S:
                return b""
            told.done[state.key] = done, state.repairs.answers, now
        return encode_want(state.key, done, wants, says)
