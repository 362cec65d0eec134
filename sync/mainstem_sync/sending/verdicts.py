"""What became of a batch: held by the parent, to be sent again, looked into, or parked.

1. Held is what was acknowledged as such, by its hash, in a signed reply; nothing else is.
2. A batch that needs a schema is sent again, for as long as definitions are under way; then they
   are said once more.
3. A batch that the parent refuses, or whose hash fails again and again, is cut into single records;
   one that is still refused is parked, and the stream goes on.

Guarded by the sender's lock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from mainstem_sync.sending.imagery import Imagery
from mainstem_sync.sending.outbox import Draft
from mainstem_sync.sending.outside_ranges import OutsideDraft
from mainstem_sync.sending.refusals import Refusals
from mainstem_sync.state.forward import Forward
from mainstem_sync.state.upward import Upward
from mainstem_sync.wire.batch import Acknowledgement
from mainstem_sync.wire.messages import AckCode, OriginKey, Queue
from mainstem_sync.wire.ranges import RangeSet

SCHEMA_TRIES_MAX = 200
"""Forty seconds of asking: by then the definition is not on its way, and the batch is parked."""

SCHEMA_PATIENCE = 50
"""So many times longer while definitions are owed: half an hour."""

ANNOUNCE_AFTER = 4
"""A definition still missing after so many tries is not on its way: it is said again."""

BAD_HASH_MAX = 3
"""A batch that fails its hash so often is damaged here or by the same machine on the way."""


class Verdicts:
    """See the module. ``known``: R of each origin at the parent, kept here; its sets are replaced,
    never changed, for it is read without the lock."""

    def __init__(
        self,
        forward: Forward,
        upward: Upward,
        lock: threading.RLock,
        refusals: Refusals,
        known: dict[OriginKey, RangeSet],
        clock_ns: Callable[[], int],
    ) -> None:
        self._forward = forward
        self._upward = upward
        self._state_lock = lock
        self._refusals = refusals
        self._known = known
        self._clock_ns = clock_ns
        self.images: Imagery | None = None

    def judge(self, draft: Draft, answer: Acknowledgement | None) -> AckCode | None:
        """What the parent said about one batch; without an answer it is simply owed again. Returns
        the code if its lane has to pause, and for NEED_EPO to say HELLO again."""
        if isinstance(draft, OutsideDraft):
            if self.images is not None:
                self.images.judged(draft, answer)
            return None
        if answer is None:
            return None
        if answer.code is AckCode.OK:
            self._accepted(draft)
            return None
        if answer.code is AckCode.REJECTED:
            self._refusals.refuse(draft.contents, answer.message)
            return None
        if answer.code is AckCode.BAD_HASH:
            self._refusals.count(draft.contents, BAD_HASH_MAX, answer.message)
            return None
        if answer.code is AckCode.NEED_SCHEMA:
            waits = self._waits_for_another(draft)
            most = SCHEMA_TRIES_MAX * (SCHEMA_PATIENCE if waits else 1)
            tries = self._refusals.count(draft.contents, most, answer.message, waits=waits)
            if tries % ANNOUNCE_AFTER == 0 and self.images is not None:
                self.images.define(draft.origin, draft.contents)
        return answer.code

    def _waits_for_another(self, draft: Draft) -> bool:
        """A definition that rows miss may still be on its way, for minutes on a thin link; or it
        waits for that of another node, on a bad one."""
        with self._state_lock:
            if draft.queue is not Queue.CONTROL and self._forward.control:
                return True
        return self.images is not None and self.images.waits_to_define(draft.origin, draft.contents)

    def _accepted(self, draft: Draft) -> None:
        self.learned(draft.origin, draft.ranges)
        with self._state_lock:
            self._forward.deliver(draft.contents)
            self._forward.note_ack(draft.origin, draft.ranges.last, self._clock_ns() // 1_000_000)
            if self._upward.is_own(draft.origin):
                self._forward.acknowledge(draft.ranges)
                if draft.top is not None:
                    self._upward.note_point(draft.top.lsn, draft.top.chain)
        self._refusals.taken(draft.contents)

    def learned(self, key: OriginKey, ranges: RangeSet) -> None:
        """The parent has these records of an origin now."""
        known = self._known.get(key)
        more = RangeSet() if known is None else known.copy()
        more.update(ranges)
        self._known[key] = more
