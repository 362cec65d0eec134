"""From which state of the rows an answer was made: a stamp that changes when an answer might.

1. Of own rows: the greatest LSN that touched the range, which is what their manifests speak of.
2. Of received rows: what their owners stated of every slice of the range, by count and digest. Only
   where all that is here is verified: of anything else there is no stamp.
3. Deletes and slice images of a table count wherever they are, and so does the line of the log.
4. A stamp that is taken before rows are read may be older than they are, never younger: a record
   touches its slices when its rows can be read, and before it is acknowledged.
5. Where rows may be about to expire there is none: time alone changes the answer.
6. Stamps of another start of this process are different ones.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable

from mainstem_engine.columns import TIME_MIN_NS
from mainstem_sync.slices.rolled import WHOLE
from mainstem_sync.slices.slice_states import VERIFIED_
from mainstem_sync.slices.watch import TableWatch
from mainstem_sync.state.follower import Follower

STAMP_BYTES = 16
"""Two states with one stamp: not in the life of a machine."""

_STATED = ("count", "d1", "d2")


class Stamps:
    """See the module. Thread-safe. ``line``: (uuid, epoch) of this node's log now."""

    def __init__(self, follower: Follower, line: Callable[[], tuple[str, int]]) -> None:
        self._follower = follower
        self._line = line
        self._start = os.urandom(STAMP_BYTES)

    def of(
        self,
        table: str,
        spans: Iterable[tuple[int, int]],
        more: Iterable[bytes] = (),
        *,
        visible_ns: int = TIME_MIN_NS,
    ) -> bytes | None:
        """The stamp of the rows of a table in [start, end) ns of ``spans``, with ``more`` that the
        answer depends on; None where there is none. Rows before ``visible_ns`` have expired: there
        is none where others may be next."""
        hashed, spans = hashlib.blake2b(self._start, digest_size=STAMP_BYTES), list(spans)
        lock = self._follower.lock
        expires = min((start for start, _ in spans), default=visible_ns) < visible_ns
        with lock:
            oldest = self._follower.manifests.oldest_ns(table)
            if expires and oldest is not None and oldest < visible_ns:
                return None
            cleared = self._follower.cleared.get(table, 0)
            hashed.update(repr((self._line(), table, cleared)).encode())
            newest = self._follower.manifests.newest_touch
            for start_ns, end_ns in spans:
                hashed.update(repr((start_ns, end_ns, newest(table, start_ns, end_ns))).encode())
            watches = [
                (state.key, watch)
                for state in self._follower.origins
                if (watch := state.watches.get(table)) is not None
            ]
        if expires and watches:
            return None
        for key, watch in watches:
            for start_ns, end_ns in spans:
                with lock:  # a parent has a thousand of them: each by itself
                    stated = _stated(watch, start_ns, end_ns)
                if stated is None:
                    return None
                hashed.update(repr(key).encode())
                hashed.update(stated)
        for part in more:
            hashed.update(len(part).to_bytes(8, "little") + part)
        return hashed.digest()


def _stated(watch: TableWatch, start_ns: int, end_ns: int) -> bytes | None:
    """What is known of the slices that a span touches, all of them verified; None if not."""
    watch.merge()
    first, end = start_ns // watch.slice_ns, -(-end_ns // watch.slice_ns)
    inside = watch.slices.range(first, end)
    if bool((watch.slices["state"][inside] != VERIFIED_).any()):
        return None
    parts = [watch.slices.keys[inside].tobytes()]
    parts += [watch.slices[name][inside].tobytes() for name in _STATED]
    for level in watch.rolled.levels:
        sums = level.table.range(first // level.per, -(-end // level.per))
        if bool((level.table["state"][sums] != WHOLE).any()):
            return None
        parts.append(level.table.keys[sums].tobytes())
        parts += [level.table[name][sums].tobytes() for name in _STATED]
    return b"".join(len(part).to_bytes(8, "little") + part for part in parts)
