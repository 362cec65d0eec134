"""What the traced process does: everything that changes files, once, in a fixed order.

1. Life one: tables, devices with tags, writes over several log segments, deletes, rows and images
   of another node, flushes, alterations, a merge of the catalog, compactions, retention, a backup.
   Life two opens the directory again and goes on.
2. What is tried and what is acknowledged goes to a journal outside the directory, as in the kill
   tests, whose operations these are.
3. A step may fail where the disk fails. Then it says so, and either nothing of it was done and
   all goes on, or the log failed: then nothing more is acknowledged in that life.
4. After each failure, and at the end of each life, what the engine shows is compared with what was
   acknowledged.
"""

from __future__ import annotations

import json
import logging
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.engine.killing.child import Journal, options
from tests.engine.killing.history import History, fitting, measurements_of, shown_by
from tests.engine.killing.operations import SHARED, YEAR_MS, Operation, Receiver, carry_out

from mainstem_engine import CorruptionError, Engine, EngineError, LogFailedError

logger = logging.getLogger(__name__)

BASE_MS = 1_700_000_000_000
"""November 2023: rows a year older are beyond the keep of one table, and none is in the future."""
KEPT = "kept"
OPENINGS_MAX = 2
"""One fault makes one opening fail."""
GIVEN = [(0, "d0", "DOUBLE"), (1, "i0", "INT16"), (2, "f0", "FLOAT"), (3, "t0", "TEXT")]
WHERE_IT_MAY_FAIL = (OSError, EngineError, MemoryError)

Step = tuple[str, Operation]
"""Who does it, and what."""


def write(who: str, first: int, seed: int, **changed: Any) -> Step:
    """Rows of two devices, or of those given."""
    op = {
        "op": "write", "table": SHARED, "devices": [f"root.{who}.a", f"root.{who}.b"], "count": 40,
        "first": BASE_MS + first, "step": 1, "seed": seed, "columns": GIVEN, **changed,
    }  # fmt: skip
    return who, op


def delete(who: str, start: int, end: int, **changed: Any) -> Step:
    op = {
        "op": "delete", "table": SHARED, "devices": [f"root.{who}.a"], "start": BASE_MS + start,
        "end": BASE_MS + end, "columns": None, "below": None, **changed,
    }  # fmt: skip
    return who, op


def receive(op: str, lsn: int, first: int, **changed: Any) -> Step:
    """Something of another node."""
    devices = ["root.child.c0", "root.child.c1"]
    fields = {
        "op": op, "table": SHARED, "devices": devices, "count": 20, "first": BASE_MS + first,
        "step": 1, "seed": 5000 + lsn, "columns": GIVEN[:1], "lsn": lsn, **changed,
    }  # fmt: skip
    return "child", fields


def create(who: str, names: str, count: int) -> Step:
    devices = [f"root.{who}.{names}{n}" for n in range(count)]
    return who, {"op": "create", "table": SHARED, "devices": devices, "place": f"hall {names}"}


def step(op: str, **fields: Any) -> Step:
    return "tidy", {"op": op, **fields}


def first_life(backups: Path) -> Iterator[Step]:
    """What changes files, all of it."""
    yield "w0", {"op": "table", "table": SHARED}
    yield create("w0", "n", 25)
    yield create("child", "c", 2)
    yield write("w0", 0, 1)
    yield write("w0", 30, 2, devices=["root.w0.a"], count=1)
    yield receive("receive", 1, 0)
    yield step("flush")
    yield write("w0", 20, 3)  # late rows, and rows over others
    yield delete("w0", 5, 9)
    yield from alterations()
    wider = [*GIVEN[:1], (1, "whole", "INT32"), *GIVEN[2:], (4, "added", "TEXT")]
    yield write("w0", 60, 4, columns=wider)
    yield receive("image", 2, 10, start=BASE_MS + 8, end=BASE_MS + 40)
    yield step("flush")
    yield create("w0", "o", 5)
    yield step("merge")
    yield delete("child", 12, 15, op="retract", lsn=3, devices=["root.child.c0"])
    yield delete("w0", 62, 90, below=4.02)
    yield step("compact")
    yield from retention()
    yield step("backup", to=str(backups / "backup"))
    yield write("w0", 100, 6, columns=wider)


def alterations() -> Iterator[Step]:
    yield "alter", {"op": "add", "name": "added", "kind": "TEXT", "id": 4}
    yield "alter", {"op": "rename", "old": "i0", "name": "whole", "id": 1}
    yield "alter", {"op": "widen", "name": "whole", "kind": "INT32", "id": 1}


def retention() -> Iterator[Step]:
    """A table whose older rows go when it gets a rule."""
    old = {"table": KEPT, "devices": ["root.keep.k"]}
    yield "keep", {"op": "table", "table": KEPT}
    yield write("keep", -3 * YEAR_MS, 7, **old)
    yield write("keep", 10, 8, **old)
    yield step("flush")
    # Kept from a moment between both writes on.
    cutoff_ms = BASE_MS - YEAR_MS
    keep_ns = time.time_ns() - cutoff_ms * 1_000_000
    yield "keep", {"op": "keep", "table": KEPT, "keep_ns": keep_ns, "cutoff": cutoff_ms}
    yield step("expire")


def second_life() -> Iterator[Step]:
    """After a clean end or a failure: nothing that needs to know what became of a change."""
    yield "w1", {"op": "table", "table": SHARED}
    yield write("w1", 200, 9, columns=GIVEN[:1])
    yield step("flush")
    yield delete("w1", 210, 215)
    yield write("w1", 190, 10, columns=GIVEN[:1], devices=["root.w1.a"])
    yield step("compact")


class Procedure:
    """Carries the steps out and notes what becomes of them."""

    def __init__(self, directory: Path, journal: Path) -> None:
        self.directory = directory
        self.journal = Journal(str(journal))
        self.expected = History()
        self.engine: Engine

    def run(self) -> None:
        """Both lives. What must not be goes to the journal too."""
        try:
            self.live(first_life(self.directory.parent), segment_bytes=4 << 10)
            self.live(second_life(), segment_bytes=64 << 10)
        except BaseException:
            self.journal.note("f", "procedure", json.dumps(traceback.format_exc()))

    def live(self, steps: Iterator[Step], segment_bytes: int) -> None:
        self.engine = self.open(segment_bytes)
        for who, op in steps:
            if not self.carry_out(who, op):
                break
        self.compare()
        try:
            self.engine.close()
        except WHERE_IT_MAY_FAIL as error:
            logger.info("closing: %s", error)

    def open(self, segment_bytes: int) -> Engine:
        chosen = options(background=False, vnodes=1, log_segment_bytes=segment_bytes)
        for _ in range(OPENINGS_MAX - 1):
            try:
                return Engine.open(self.directory, chosen, consumers=[Receiver()])
            except WHERE_IT_MAY_FAIL as error:
                logger.info("opening: %s", error)
        return Engine.open(self.directory, chosen, consumers=[Receiver()])

    def carry_out(self, who: str, op: Operation) -> bool:
        """One step; False when nothing more may be acknowledged."""
        number = self.journal.tried(who, op)
        self.expected.read(f"t {who} {number} {json.dumps(op)}\n")
        try:
            ack = carry_out(self.engine, op)
            if ack is not None:
                ack.wait()
        except WHERE_IT_MAY_FAIL as error:
            if self.engine.log.error is not None:
                if not isinstance(error, LogFailedError):
                    raise
                return False
            self.note("n", who, number)
            self.compare()
            return True
        self.note("a", who, number)
        return True

    def note(self, kind: str, who: str, number: int) -> None:
        self.journal.note(kind, who, number)
        self.expected.read(f"{kind} {who} {number}\n")

    def compare(self) -> None:
        """What is visible is what was acknowledged, and perhaps what failed with the log."""
        try:
            shown = shown_by(self.engine, sorted(self.expected.tables))
        except CorruptionError as error:
            if isinstance(error.__cause__, OSError):
                return  # a part that the disk did not give when it was opened: no answer is right
            raise
        measurements = measurements_of(self.engine)
        for who, written in self.expected.certain.items():
            tried = self.expected.pending.get(who, {}).values()
            fitting(who, written, tried, shown.get(who, {}), measurements)
