"""How long the log waits for the parent: its oldest records are owed as slices in the end.

1. When the log is larger than its cap, what would have to go of it, and is in parts, is owed as
   slices by a COVER record per origin. When that is durable nothing asks for the log any more, and
   the next flush releases it.
   Records that need nothing are passed over in it: an outage leaves them without acknowledgement.
2. What the parent lost although it had it, and whose log is gone here, is owed in the same way.
3. So is history that other export rules than before let go up (widening.py).
4. While a range is looked through, its records are neither sent nor counted as delivered (frozen):
   what the COVER record says about them is true when it is applied.

``run`` about once a second, from one thread.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt

from mainstem_engine.consumers import Ack
from mainstem_engine.engine import Engine
from mainstem_engine.log.records import RecordKind
from mainstem_sync.origins.origin_state import OriginState
from mainstem_sync.sending.announce import announce_devices
from mainstem_sync.sending.released import Released
from mainstem_sync.sending.widening import Widening
from mainstem_sync.slices.loss import LOG_DAMAGED, Loss
from mainstem_sync.slices.owed import Owed
from mainstem_sync.slices.wants import Ref
from mainstem_sync.state.follower import Follower
from mainstem_sync.state.forward import Forward
from mainstem_sync.wire.messages import OriginKey
from mainstem_sync.wire.ranges import LSN_MAX, RangeSet

logger = logging.getLogger(__name__)

LOG_BYTES_MAX = 256 << 20
"""The least that is kept: some hours of a busy edge, and few enough to read through at once."""

NOTHING = RangeSet()
"""Never changed."""

DURABLE_S = 60.0
"""A log that cannot commit for this long has failed or is about to say so."""


class LogCap:
    """See the module. ``bytes_max``: the cap, None for none. ``parent_has``: R of an origin at the
    parent, as it said at HELLO; None before. ``sending``: the lock that it takes, and that is never
    taken after the federation's: whoever needs both at once takes it first (``_still``)."""

    def __init__(
        self,
        engine: Engine,
        follower: Follower,
        forward: Forward,
        *,
        bytes_max: int | None,
        parent_has: Callable[[OriginKey], RangeSet | None],
        sending: threading.RLock,
    ) -> None:
        self._engine = engine
        self._follower = follower
        self._forward = forward
        self._bytes_max = bytes_max
        self._parent_has = parent_has
        self._sending = sending
        self._lock: threading.RLock = follower.lock
        self._holes: dict[OriginKey, RangeSet] = {}
        self._released = Released(follower, forward.classifier)

    def run(self) -> int:
        """Owe what has to be; returns how many records of the log that are."""
        with self._still():
            self._forward.settle(self._forward.owing.arrived(self._parent_has))
        self._widen()
        self._mend()
        return self._recover() + self._shrink()

    def _widen(self) -> None:
        """What other export rules than before let go up."""
        with self._lock:
            rules = self._forward.rules
        policy = self._forward.classifier.policy.fingerprint
        if rules == policy:
            return
        if rules is None:
            # The first of this log: what comes later is told from them, after a crash, too.
            first = Owed(None, RangeSet(), self._engine.log.appended_lsn, policy=policy)
            self._engine.append(RecordKind.EXP, first.to_header()).wait(DURABLE_S)
            return
        # What was pending was judged anew. A start by yet other rules must not find it as it was
        # before, beside records that are written from now on.
        self._engine.checkpoint()
        found = Widening(self._engine, self._follower, self._forward, rules).owed()
        ack = None
        for owed in reversed(found):  # the rules are in force when all of it is said
            ack = self._engine.append(RecordKind.EXP, owed.to_header())
        if ack is not None:
            ack.wait(DURABLE_S)

    def _shrink(self) -> int:
        """What is beyond the cap."""
        log = self._engine.log
        if self._bytes_max is None:
            return 0
        excess = log.excess(self._bytes_max, self._engine.checkpoint_lsn)
        if excess is None:
            return 0
        if self._forward.withdrawn:
            # A replay must find these rows pending, where the record that owes them finds them now.
            self._forward.withdrawn = False
            self._engine.checkpoint()
        with self._lock:
            owed = self._forward.owed(excess[1])
            passed = self._forward.unasked(log.first_lsn, excess[1])
            self._forward.frozen.update(owed)
        if not owed and not passed:
            return 0
        if owed:
            logger.warning(
                "the log is larger than %d bytes: records %d to %d will go to the parent as slices",
                self._bytes_max, next(iter(owed))[0], owed.last,
            )  # fmt: skip
        try:
            found = self._released.read(log, owed)
            own = next((each for each in found if each.target is None), None)
            if own is None:
                own = Owed(None, RangeSet(), 0)
                found.append(own)
            own.passed = passed
            announce_devices(self._engine, self._own_tables())
            self._log(found)
        finally:
            with self._lock:
                for first, last in owed:
                    self._forward.frozen.remove(first, last)
        return owed.count()

    def _own_tables(self) -> dict[str, list[npt.NDArray[np.uint32]]]:
        """Definitions in what was read that this node has to say again. Of a child's template it
        does when somebody asks."""
        templates = self._engine.catalog.templates
        found = self._released.defined.items()
        return {name: ids for name, ids in found if (t := templates.get(name)) and not t.foreign}

    def _recover(self) -> int:
        """What the parent lost."""
        with self._lock:
            missing = self._forward.missing.copy()
            if not missing:
                return 0
            records = self._forward.owing.records
            said_of_own = self._forward.owing.said_in(missing, None)
            old = self._forward.owing.spoken_for(said_of_own)
            states = list(self._follower.origins)
            said = [state for state in states if self._forward.owing.said_in(missing, state.key)]
        gaps = [(state, self._gap(state, missing)) for state in states]
        found = [self._relayed(state, gap, missing) for state, gap in gaps if gap or state in said]
        for lsn in said_of_own:
            missing.update(records[lsn].ranges)
        found.append(self._released.own(self._engine, missing, old))
        logger.warning("the parent lost %d records: they will go to it as slices", missing.count())
        self._log(found)
        return missing.count()

    def _mend(self) -> None:
        """Of a node below, the parent lacks records although nothing is owed: damage took them from
        the log here. What it lacks for two rounds is not on its way."""
        with self._lock:
            busy = bool(self._forward.owed(self._forward.applied_lsn) or self._forward.missing)
            states = [] if busy else list(self._follower.origins)
        seen = self._holes
        self._holes = {}
        for state in states:
            if self._parent_has(state.key) is None:
                continue
            gap = self._gap(state)
            if gap and gap == seen.get(state.key):
                logger.error("the log lost records of %s: %s", state.key.name, list(gap))
                self._log([self._relayed(state, gap)])
            elif gap:
                self._holes[state.key] = gap

    def _gap(self, state: OriginState, gone: RangeSet = NOTHING) -> RangeSet:
        """LSNs of another node that are here, and neither at the parent nor in the log. ``gone``:
        own records that are in neither."""
        with self._still():
            received = state.received.copy()
            owed = self._forward.owing.owed_by_others(state.key, self._is_known, gone)
            received = received.difference(owed)
        return received.difference(self._parent_has(state.key) or RangeSet())

    @contextmanager
    def _still(self) -> Iterator[None]:
        """Neither what the parent has nor what is here changes meanwhile."""
        with self._sending, self._lock:
            yield

    def _is_known(self, ref: Ref) -> bool:
        """True if the parent has this record of a node below."""
        has = self._parent_has(OriginKey(ref[0], ref[1], ""))
        return has is not None and ref[2] in has

    def _relayed(self, state: OriginState, gap: RangeSet, gone: RangeSet = NOTHING) -> Owed:
        """What the parent lacks of a node below, whoever owed it before."""
        owed = self._released.relayed(self._engine, state, gap)
        with self._still():
            said = self._forward.owing.said_in(gone, state.key)
            owed.old = self._forward.owing.spoken_for(said)
            for lsn in said:
                owed.take(self._forward.owing.records[lsn])
            owed.others = self._forward.owing.handed_of(state.key, self._is_known)
        return owed

    def _log(self, found: list[Owed]) -> None:
        ack: Ack | None = None
        for owed in found:
            ack = self._engine.append(RecordKind.COVER, owed.to_header())
        if ack is not None:
            ack.wait(DURABLE_S)

    def declare_damage(self) -> None:
        """At a start: what damage took from the log, above what is in parts or below it, and the
        parent is not known to have. Nothing was written since: so it is known what it was."""
        damages = RangeSet((d.first_lsn, d.last_lsn) for d in self._engine.log.damages)
        if damages:
            # What was found under a running process, which still had the rows, is said once more.
            self.lose(damages, RangeSet(damages.within(self._engine.checkpoint_lsn + 1, LSN_MAX)))

    def lose(self, lsns: RangeSet, gone: RangeSet | None = None) -> None:
        """Records that damage took from the log before the parent had them. Returns when it is
        declared and counted. ``gone``: those of which no row is left, whoever has them."""
        rows, size = dict[str, int](), 0
        with self._lock:
            lsns = lsns.difference(self._forward.frozen).difference(self._forward.held)
            if lsns:
                self._forward.frozen.update(lsns)
                rows, size = self._forward.loss_of(lsns, self._engine.log)
        if lsns:
            logger.error("the log lost %s before the parent had them", list(lsns))
        lsns.update(gone or RangeSet())
        if not lsns:
            return
        loss = Loss(LOG_DAMAGED, lsns, rows, (), size, parts_lsn=self._engine.checkpoint_lsn)
        self._engine.append(RecordKind.LOSS, loss.to_header()).wait(DURABLE_S)
