"""Questions of the parent, answered: read only, one read at a time, behind everything else.

1. The caller's role is looked at again: its limits here hold here, and a role that is not known
   here reads nothing.
2. What is not here is asked of the nodes below in turn, with what is left of the time. Waiting for
   them holds up no other question; reading here is done by one thread at a time.
3. Threads that answer have a lower priority than those that take data in and deliver it. Long
   ranges are read in steps: between two one looks whether the answer is still wanted.
4. Every question gets an answer, if only why there is none.
5. An answer has a stamp. Whoever asks with the stamp of the answer that it has is told when that
   still holds; where no node is below, nothing is read for it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from mainstem_engine.engine import Engine
from mainstem_engine.errors import MainstemError
from mainstem_engine.windows import joined, merged
from mainstem_node.auth import ALLOWS, READ, ROLES
from mainstem_node.config.schema import SECOND_NS, SqlConfig, SqlRoleConfig
from mainstem_node.errors import ForbiddenError
from mainstem_node.federated.answer_stamp import stamp_of
from mainstem_node.federated.cut import window_of
from mainstem_node.federated.kept_answers import KeptAnswers
from mainstem_node.federated.packed_columns import pack_newest, pack_pieces
from mainstem_node.federated.packed_rows import pack_rows
from mainstem_node.federated.reading import Reading
from mainstem_node.federated.storage import FederatedStorage, newest_of
from mainstem_node.federated.wish import NEWEST, PIECES, Wish
from mainstem_node.logs import fields
from mainstem_sync import Federation
from mainstem_sync.down.answers import OPEN_MAX, Pending
from mainstem_sync.down.questions import UnansweredError

log = logging.getLogger("mainstem.questions")

THREADS = 8
"""One reads; the others wait for nodes below, or to read. One statement may be two questions."""

NICENESS = 10
"""A thread of the default niceness then gets nine times the processor time."""

CLOSE_S_MAX = 2.0


class QuestionRunner:
    """See the module. ``open()`` takes questions from then on."""

    def __init__(
        self,
        engine: Engine,
        federation: Federation,
        config: SqlConfig,
        *,
        kept: KeptAnswers | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._federation = federation
        self._config = config
        self._kept = KeptAnswers() if kept is None else kept
        self._monotonic = monotonic
        self._queue: queue.Queue[Pending | None] = queue.Queue(OPEN_MAX)
        self.one_reads = threading.Lock()
        """Held by whoever reads the store for a question."""
        self._threads: list[threading.Thread] = []
        self._closing = False
        self.answered = 0
        self.refused = 0

    def open(self) -> None:
        """Starts the threads."""
        for number in range(THREADS):
            thread = threading.Thread(target=self._run, name=f"questions-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()
        self._federation.down.answers.on_question = self._take

    def close(self) -> None:
        """What is under way is called off."""
        answers = self._federation.down.answers
        answers.on_question = None
        self._closing = True
        for pending in answers.open():
            answers.drop(pending)
        for _ in self._threads:
            with contextlib.suppress(queue.Full):
                self._queue.put_nowait(None)
        for thread in self._threads:
            thread.join(CLOSE_S_MAX)

    def _take(self, pending: Pending) -> None:
        try:
            self._queue.put_nowait(pending)
        except queue.Full:
            self._refuse(pending, "BUSY", f"{self._federation.node} is asked too much")

    def _run(self) -> None:
        if hasattr(os, "setpriority"):
            # Of a thread, where the system knows threads by numbers; else of nobody.
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        while not self._closing:
            pending = self._queue.get()
            if pending is None:
                return
            self.answer(pending)

    def answer(self, pending: Pending) -> None:
        """Reads, and gives the answer to whoever sends it."""
        try:
            _require_wanted(pending, self._monotonic())
            wish = Wish.unpack(pending.question.body)
            raw, said = self._found(pending, wish)
        except MainstemError as error:
            self._refuse(pending, error.code, f"{self._federation.node}: {error.message}")
        except Exception as error:
            log.exception("a question could not be answered")
            self._refuse(pending, "INTERNAL", f"{self._federation.node}: {type(error).__name__}")
        else:
            self.answered += 1
            self._federation.down.answers.answer(pending, raw, said)

    def _refuse(self, pending: Pending, code: str, why: str) -> None:
        self.refused += 1
        log.info("refused a question", extra=fields(code=code, why=why))
        self._federation.down.answers.answer(pending, b"", {}, code, why)

    def _found(self, pending: Pending, wish: Wish) -> tuple[bytes, dict[str, Any]]:
        role = self._role(wish)
        now = self._monotonic()
        until = min(pending.until, now + role.timeout / SECOND_NS)
        question = pending.question

        def check() -> None:
            _require_wanted(pending, self._monotonic(), until)

        reading = Reading(
            self._federation,
            wish.role,
            wish.by,
            until,
            check,
            min(question.bytes_max, role.result_limit),
            self._monotonic,
            kept=self._kept,
        )
        pending.on_cancel = reading.cancel
        # Before anything is read: a stamp may be older than the rows, never younger.
        stamp = stamp_of(self._engine, self._federation, wish)
        is_kept = bool(stamp) and stamp == wish.kept and not self._federation.origin_names()
        raw, rows = b"", 0
        if not is_kept:
            read = _Questioned(self._engine, self.one_reads, check)
            raw, rows = _answered(read, reading, wish, role.row_limit)
            stamp = reading.stamp(stamp)
            if stamp and stamp == wish.kept:
                raw, is_kept = b"", True
        said = {
            "stamp": stamp,
            "kept": is_kept,
            "completeness": self._completeness(reading, wish),
            "warnings": reading.warnings[:100],
            "sites": reading.sites,
            "rows": rows,
            "reading": (
                f"{reading.blocks_read} of {reading.blocks} blocks read, "
                f"{(self._monotonic() - now) * 1000:.1f} ms"
            ),
        }
        return raw, said

    def _role(self, wish: Wish) -> SqlRoleConfig:
        if wish.role not in ROLES or READ not in ALLOWS[wish.role]:
            raise ForbiddenError(f"the role {wish.role!r} reads nothing here")
        found: SqlRoleConfig = getattr(self._config, wish.role)
        return found

    def _completeness(self, reading: Reading, wish: Wish) -> list[dict[str, Any]]:
        """Of the nodes that were asked for: what those below said, else what is known here."""
        spans = [span for part in wish.parts for span in part.spans]
        nodes = {node for part in wish.parts for node in part.nodes}
        window = min((a for a, _ in spans), default=0), max((b for _, b in spans), default=0)
        said = {(item["node"], item["table"].casefold()) for item in reading.completeness}
        here = self._federation.completeness([wish.table], *window_of(*window))
        return reading.completeness + [
            item
            for item in here
            if item["node"] in nodes and (item["node"], item["table"].casefold()) not in said
        ]


class _Questioned:
    """The engine, read by one question at a time."""

    def __init__(self, engine: Engine, turn: threading.Lock, check: Callable[[], None]) -> None:
        self._engine = engine
        self._turn = turn
        self._check = check

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def aggregate_pieces(self, *arguments: Any, **options: Any) -> Any:
        with self._turn:
            self._check()
            return self._engine.aggregate_pieces(*arguments, **options)

    def newest_values(self, *arguments: Any) -> Any:
        with self._turn:
            self._check()
            return self._engine.newest_values(*arguments)


def _answered(read: Any, reading: Reading, wish: Wish, row_limit: int) -> tuple[bytes, int]:
    """(the bytes of an answer, its groups or rows)."""
    table = read.catalog.table(wish.table)
    devices = read.catalog.devices
    some = None if wish.devices is None else _known(devices, wish.devices)
    pieces, newest, rows_found = [], [], []
    for part in wish.parts:
        storage = FederatedStorage(read, reading, part.nodes, in_steps=True)
        if wish.kind == NEWEST:
            newest.append(storage.newest_values(wish.table, some)[1])
            continue
        for start, end in part.spans:
            if wish.kind == PIECES:
                found, _ = storage.aggregate_pieces(
                    wish.table,
                    wish.functions,
                    some,
                    start,
                    end,
                    every_ns=wish.every_ns,
                    by_device=wish.by_device,
                    filters=wish.filters,
                    row_times=wish.row_times,
                )
                pieces += [] if found is None else [found]
            else:
                rows_found.append(
                    storage.scan_columns(
                        wish.table, wish.columns, some, start, end, wish.ranges, wish.edge
                    )
                )
    if wish.kind == PIECES:
        whole = merged([joined(pieces)], by_device=wish.by_device) if pieces else None
        raw = pack_pieces(table, devices, whole, paths=wish.by_device)
        return raw, 0 if whole is None else len(whole)
    if wish.kind == NEWEST:
        last = newest_of(newest)
        return pack_newest(table, devices, last), len(last.device)
    precision_ns = read.precision_ns(wish.table)
    return pack_rows(table, rows_found, precision_ns, row_limit, reading.bytes_max)


def _known(devices: Any, paths: tuple[str, ...]) -> Any:
    import numpy as np

    from mainstem_engine.model import NO_DEVICE

    found = devices.lookup(list(paths))
    return np.unique(found[found != np.uint32(NO_DEVICE)])


def _require_wanted(pending: Pending, now: float, until: float | None = None) -> None:
    if pending.cancelled.is_set():
        raise UnansweredError("nobody waits for the answer any more")
    if now >= (pending.until if until is None else until):
        raise UnansweredError("there is no time left for the answer")
