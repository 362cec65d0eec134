"""Which changes of alarms still have to be told to whom. It is kept in the log of the node.

1. A change is a row of the table of alarms, so what is to be told is durable with it: this book
   reads both from the log, live and at replay, and its state is part of the checkpoint.
2. To whom it was told is a record, too (EVT, ``op`` MARK): how far one has come, in the order of
   the log. What a crash takes of it is told again, with the same id.
3. At most NOTICES_MAX wait. Then the oldest go, counted for each that had not been told.
4. Somebody who is new is told what comes from then on.

Nothing is appended to the log under the lock, which the committer takes (consumers.py, rule 4).
Who is told of a change is not in the log but in the rules of now: what a replay drops, before
``bind``, counts for everybody.
"""

from __future__ import annotations

import bisect
import itertools
import logging
import threading
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import msgpack

from mainstem_edge.notices.notice import Key, Notice, plain_values
from mainstem_engine.consumers import AppliedRows, RowSink
from mainstem_engine.filesystem import byte_view
from mainstem_engine.log.records import Record, RecordKind, decode_payload
from mainstem_engine.points import Points
from mainstem_node.config.rules import ALARMS

if TYPE_CHECKING:
    from mainstem_engine.engine import Engine

log = logging.getLogger("mainstem.notices")

NOTICES_MAX = 5_000
"""Some 2 MB in memory, and in a checkpoint while so many wait."""
MARK = "notified"
"""``op`` of the EVT record; ``to``, and ``lsn`` and ``row`` up to which it was told."""
ROW_MAX = (1 << 32) - 1
_NOTHING: Key = (0, -1)


@dataclass(slots=True)
class _Progress:
    """Of one receiver: up to where it was told, as the log says (``mark``) and as this process
    knows (``told``); how many it was never told because too many waited."""

    mark: Key = _NOTHING
    told: Key = _NOTHING
    dropped: int = 0

    @property
    def at(self) -> Key:
        return max(self.mark, self.told)


class NoticeBook:
    """A consumer of the log; see the module. Thread-safe."""

    name = "notices"
    kinds = frozenset({RecordKind.PTS, RecordKind.EVT})

    def __init__(self, waiting_max: int = NOTICES_MAX) -> None:
        self._waiting_max = waiting_max
        self._changed = threading.Condition()
        self._notices: list[Notice] = []
        self._progress: dict[str, _Progress] = {}
        self._engine: Engine | None = None
        self._addressees: Callable[[int], frozenset[str]] | None = None
        self._closed = False

    def bind(
        self,
        engine: Engine,
        names: Collection[str],
        addressees: Callable[[int], frozenset[str]],
    ) -> None:
        """``names``: who is told from now on; who is no more is waited for no longer.
        ``addressees(device)``: who is told of the alarm that a device of the table is."""
        with self._changed:
            self._engine, self._addressees = engine, addressees
            self._notices = [replace(n, to=addressees(n.device)) for n in self._notices]
            for name in [name for name in self._progress if name not in names]:
                left = sum(1 for _ in self._owed(name, self._progress[name].at))
                if left:
                    log.warning("%d changes of alarms were not told to %s, who is gone", left, name)
                del self._progress[name]
            now = (engine.applied_lsn, ROW_MAX)
            new = [name for name in names if name not in self._progress]
            for name in new:
                self._progress[name] = _Progress(told=now)
            self._trim()
        for name in new:
            self.mark(name)

    # For who tells

    def next(self, name: str) -> Notice | None:
        """The oldest that was not told to ``name``."""
        with self._changed:
            return next(self._owed(name, self._progress[name].at), None)

    def waiting(self, name: str) -> int:
        with self._changed:
            return sum(1 for _ in self._owed(name, self._progress[name].at))

    def dropped(self, name: str) -> int:
        """How many it was not told because too many waited."""
        with self._changed:
            return self._progress[name].dropped

    def passed(self, name: str, key: Key) -> None:
        """It was told up to here; durable with ``mark``."""
        with self._changed:
            self._progress[name].told = key

    def mark(self, name: str) -> None:
        """Writes down how far it has come. Does not wait: what is lost of it is told again."""
        with self._changed:
            engine, progress = self._engine, self._progress[name]
            key, is_known = progress.told, progress.told <= progress.mark
        if engine is not None and not is_known:
            engine.append(RecordKind.EVT, {"op": MARK, "to": name, "lsn": key[0], "row": key[1]})

    def wait(self, name: str, seconds: float) -> None:
        """Returns when there is something to tell, when it is closed, or after ``seconds``."""
        with self._changed:
            progress = self._progress[name]
            self._changed.wait_for(
                lambda: self._closed or any(True for _ in self._owed(name, progress.at)), seconds
            )

    def close(self) -> None:
        """Nobody waits any more. It still follows the log."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    # As a consumer

    def apply(self, record: Record, decoded: Any, sink: RowSink) -> None:
        if record.kind == RecordKind.PTS:
            if isinstance(decoded, Points) and decoded.table == ALARMS:
                self._add(record.lsn, decoded)
            return
        header, _ = decode_payload(byte_view(record.payload))
        if header.get("op") == MARK:
            key = (int(header["lsn"]), int(header["row"]))
            with self._changed:
                progress = self._progress.setdefault(str(header["to"]), _Progress())
                progress.mark = max(progress.mark, key)
                self._trim()

    def rows_applied(self, batch: AppliedRows) -> None:
        """Rows are taken where their values are."""

    def snapshot(self) -> bytes:
        with self._changed:
            state = {
                "notices": [[*n.key, n.device, n.time_ns, dict(n.values)] for n in self._notices],
                "marks": {name: each.mark for name, each in self._progress.items()},
                "dropped": {name: each.dropped for name, each in self._progress.items()},
            }
        packed: bytes = msgpack.packb(state)
        return packed

    def restore(self, data: bytes) -> None:
        state = msgpack.unpackb(data, strict_map_key=False)
        with self._changed:
            self._notices = [
                Notice((lsn, row), device, time_ns, values)
                for lsn, row, device, time_ns, values in state["notices"]
            ]
            self._progress = {
                name: _Progress(mark=(lsn, row), dropped=state["dropped"][name])
                for name, (lsn, row) in state["marks"].items()
            }

    def _add(self, lsn: int, points: Points) -> None:
        rows, addressees = points.rows, self._addressees
        found = []
        pairs = zip(rows.device.tolist(), rows.time.tolist(), strict=True)
        for row, (device, time_ns) in enumerate(pairs):
            to = None if addressees is None else addressees(device)
            if to is None or to:
                values = plain_values(rows.columns, row)
                found.append(Notice((lsn, row), device, time_ns, values, to))
        with self._changed:
            self._notices += found
            over = len(self._notices) - self._waiting_max
            if over > 0:
                self._drop(over)
            self._changed.notify_all()

    def _drop(self, count: int) -> None:
        oldest = self._notices[:count]
        for name, progress in self._progress.items():
            progress.dropped += sum(n.key > progress.at and n.concerns(name) for n in oldest)
        del self._notices[:count]

    def _trim(self) -> None:
        """Without what nobody waits for any more, by what the log says."""
        first = (next(self._owed(name, each.mark), None) for name, each in self._progress.items())
        needed = min((n.key for n in first if n is not None), default=None)
        if needed is None:
            self._notices.clear()
        else:
            del self._notices[: bisect.bisect_left(self._notices, needed, key=_key)]

    def _owed(self, name: str, at: Key) -> Iterator[Notice]:
        """What comes after ``at``, the oldest first. The lock is held."""
        place = bisect.bisect_right(self._notices, at, key=_key)
        return (n for n in itertools.islice(self._notices, place, None) if n.concerns(name))


def _key(notice: Notice) -> Key:
    return notice.key
