"""Whose template it is says first what its columns are called.

Own rows may be of a child's template, which then goes up as this node's too. A parent that heard of
a new name from this node before it heard of it from the child would take it for a new column, and
keep both. So this node's definition of such a template waits until the parent has the children's,
as of the revision that is here. In the log they come in this order anyway, but batches may overtake
each other, and a log may have been given up.

What the parent was told is forgotten with the lease. Guarded by its owner's lock, which is taken
before the federation's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from mainstem_engine.engine import Engine
from mainstem_sync.origins.origin_state import OriginState
from mainstem_sync.sending.outgoing_images import relayed_definitions
from mainstem_sync.sending.outside_ranges import OutsideDraft
from mainstem_sync.wire.batch import Acknowledgement
from mainstem_sync.wire.messages import AckCode, OriginKey

Place = tuple[OriginKey, str]
"""An origin, and what it calls a table."""


class Naming:
    """See the module. ``relayed``: the lines below; ``lock``: the federation's."""

    def __init__(
        self,
        engine: Engine,
        relayed: Callable[[], Sequence[OriginState]],
        lock: threading.RLock,
    ) -> None:
        self._engine = engine
        self._relayed = relayed
        self._lock = lock
        self._told: dict[Place, int] = {}
        self._flying: dict[Place, int] = {}
        self._waiting: list[OutsideDraft] = []

    def reset(self) -> None:
        """A new lease."""
        self._told.clear()
        self._flying.clear()
        self._waiting.clear()

    def __bool__(self) -> bool:
        """True if there is something to send."""
        return bool(self._waiting)

    def take(self) -> list[OutsideDraft]:
        """What is to be sent now."""
        taken, self._waiting = self._waiting, []
        return taken

    def owners_told(self, name: str) -> bool:
        """True if this node may say what its table ``name`` is; if not, those who come first are
        ready to be sent, or on their way."""
        table = self._engine.catalog.templates.get(name)
        if table is None or not table.foreign:
            return True
        told = True
        with self._lock:
            states = [(state, state.local_table(table.name)) for state in self._relayed()]
        for state, mapped in states:
            if mapped is None or self._told.get((state.key, mapped.name), 0) >= mapped.revision:
                continue
            told = False
            place = state.key, mapped.name
            if self._flying.get(place, 0) < mapped.revision:
                self._flying[place] = mapped.revision
                found = relayed_definitions(
                    self._engine.catalog, mapped, state.maps, state.definitions, []
                )
                lsn = state.received.last
                draft = OutsideDraft.defining(state.key, ((lsn, each) for each in found))
                draft.names = (mapped.name, mapped.revision)
                self._waiting.append(draft)
        return told

    def judged(self, draft: OutsideDraft, answer: Acknowledgement | None) -> None:
        """What became of a batch. A parent that will not have it is not asked again."""
        name, revision = draft.names
        place = draft.origin, name
        self._flying.pop(place, None)
        if answer is not None and answer.code in (AckCode.OK, AckCode.REJECTED):
            self._told[place] = max(revision, self._told.get(place, 0))
