"""The seams to those who follow the log: acknowledgements and consumers.

1. A consumer sees every record of its kinds in LSN order, live and again at replay, and must come
   to the same state both times: what it knows may depend on nothing but its snapshot and the
   records.
2. Its snapshot is taken at the LSN of a flush and given back at the next start; replay goes on
   above.
3. ``apply``, ``rows_applied`` and every callback of an Ack run on the log's committer thread. They
   must be quick, and must neither write to the engine nor wait for it.
4. A lock that a consumer takes in ``apply``, ``rows_applied`` or ``snapshot`` must never be held
   while something is written to the engine or defined in it: a flush stops writers and then waits
   for the committer, which would wait for that lock.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from mainstem_engine.deletes import Tombstone
from mainstem_engine.erasures import Erasure
from mainstem_engine.errors import EngineError
from mainstem_engine.images import SliceImage
from mainstem_engine.log.records import Record, RecordKind
from mainstem_engine.model import DeviceIds, Lsns, Origin, Rows, TimesNs

log = logging.getLogger(__name__)


class Ack:
    """The promise that a record becomes durable and visible. ``lsn`` is its place in the log.

    ``held_bytes``: of the head's share of memory, taken for its rows until they are in the head.
    """

    __slots__ = (
        "_callbacks", "_done", "_error", "_lock", "_waiters", "decoded", "held_bytes", "lsn",
    )  # fmt: skip

    def __init__(self, lock: threading.Lock, decoded: object = None) -> None:
        self.lsn = 0
        self.decoded = decoded
        self.held_bytes = 0
        self._lock = lock
        self._done = False
        self._waiters: list[threading.Lock] | None = None
        self._error: EngineError | None = None
        self._callbacks: list[Callable[[Ack], None]] | None = None

    def done(self) -> bool:
        """True once the record is durable and applied, or has failed."""
        return self._done

    def exception(self) -> EngineError | None:
        """Why the record will not become durable; None while unknown and after success."""
        return self._error

    def wait(self, timeout_s: float | None = None) -> None:
        """Returns when the record is durable and its rows are visible.

        Raises LogFailedError when it cannot become so, TimeoutError when ``timeout_s`` is over.
        """
        if not self._done:
            self._wait(-1 if timeout_s is None else max(0.0, timeout_s))
            if not self._done:
                raise TimeoutError(f"LSN {self.lsn} is not durable after {timeout_s} s")
        if self._error is not None:
            raise self._error

    def _wait(self, timeout_s: float) -> None:
        """Waits on a lock of its own: the thread is woken once, and by no other record."""
        waiter = threading.Lock()
        waiter.acquire()
        with self._lock:
            if self._done:
                return
            if self._waiters is None:
                self._waiters = []
            self._waiters.append(waiter)
        if not waiter.acquire(timeout=timeout_s):
            with self._lock:
                if self._waiters is not None:
                    self._waiters.remove(waiter)

    def add_done_callback(self, function: Callable[[Ack], None]) -> None:
        """Calls ``function(ack)`` once done: now, or later on the committer thread."""
        with self._lock:
            if not self._done:
                if self._callbacks is None:
                    self._callbacks = []
                self._callbacks.append(function)
                return
        function(self)


class Completion:
    """Completes acknowledgements in batches; one lock serves all of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def ack(self, decoded: object = None) -> Ack:
        return Ack(self._lock, decoded)

    def complete(self, acks: Sequence[Ack], error: EngineError | None = None) -> None:
        """Marks them done and runs their callbacks; a callback that fails is logged."""
        callbacks: list[tuple[Callable[[Ack], None], Ack]] = []
        waiters: list[threading.Lock] = []
        with self._lock:
            for ack in acks:
                ack._done = True  # noqa: SLF001 - Ack and Completion are two halves of one thing
                ack._error = error  # noqa: SLF001
                ack.decoded = None
                waiting = ack._callbacks  # noqa: SLF001
                if ack._waiters is not None:  # noqa: SLF001
                    waiters += ack._waiters  # noqa: SLF001
                    ack._waiters = None  # noqa: SLF001
                if waiting:
                    callbacks.extend((function, ack) for function in waiting)
                    ack._callbacks = None  # noqa: SLF001
        for waiter in waiters:
            waiter.release()
        for function, ack in callbacks:
            try:
                function(ack)
            except Exception:
                log.exception("a callback of LSN %d failed", ack.lsn)


@dataclass(frozen=True, slots=True)
class AppliedRows:
    """Rows that have just entered the head.

    ``origin`` is the index of their origin; ``lsn`` the LSN at that origin, one for all rows or
    uint64[n]; ``local_lsn`` the LSN of the local record that brought them.
    """

    table: str
    origin: int
    device: DeviceIds
    time: TimesNs
    lsn: int | Lsns
    local_lsn: int


@dataclass(frozen=True, slots=True)
class AppliedDelete:
    """A delete, or the replacement of a slice, that has just taken effect on ``table``.

    ``spans`` int64[k, 2] ns: the ranges [start, end) of time in which its owner found rows.
    """

    table: str
    tombstone: Tombstone
    spans: npt.NDArray[np.int64]


@runtime_checkable
class DeleteFollower(Protocol):
    """A consumer that also wants to know what is deleted. Called as ``rows_applied`` is."""

    def rows_deleted(self, deleted: AppliedDelete) -> None:
        """Rows have gone, of this node or through a sink."""


class RowSink(Protocol):
    """Where a consumer puts what it found inside a record."""

    def add(self, table: str, origin: Origin, rows: Rows, lsn: int | Lsns) -> None:
        """Adds rows with local device and measurement ids and times in ns to the head.

        ``lsn``: of the origin's log record, one for all or uint64[n]. The arrays must not be
        changed afterwards. Template and devices must exist.
        """

    def delete(self, origin: Origin, erasure: Erasure) -> None:
        """Deletes rows of ``origin``: ``erasure`` with local table, device and measurement ids, and
        as_of an LSN of the origin. Rows that it covers and that arrive later are left out."""

    def replace_slice(self, image: SliceImage) -> None:
        """Replaces what came before of the image's origin in its slice; ids are local. Whoever
        logs it has made sure that it is not older than what was received of the slice."""


class LogConsumer(Protocol):
    """Follows the log. See the rules above."""

    name: str
    kinds: frozenset[RecordKind]

    def apply(self, record: Record, decoded: Any, sink: RowSink) -> None:
        """One record of ``kinds``. ``decoded``: Points for PTS; for other kinds what was given to
        Engine.append, or None at replay."""

    def rows_applied(self, batch: AppliedRows) -> None:
        """A batch of rows entered the head, of this node or through a sink."""

    def snapshot(self) -> bytes:
        """The state after the last record applied."""

    def restore(self, data: bytes) -> None:
        """Back to a snapshot; called before any record, and not at all when there is none."""
