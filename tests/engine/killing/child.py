"""The process that is killed: writers, deletes, alterations, backups and more on one engine.

Before each operation a line goes to the journal that says what it is, and one after it was
acknowledged: ``t`` tried, ``a`` acknowledged, ``n`` refused, so nothing was done. ``o`` the engine
is about to open, ``r`` it is open, ``f`` something failed that must not.

In some rounds the disk fails now and then, but for the log: flushes, compactions,
backups and expiry may fail then, and nothing else.

Run as a module:
<directory> <journal> <seed> <base time in ms> <round> <first LSN of the child> <durability>
<1 if the disk fails now and then> <process id of who kills it>.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import random
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mainstem_engine import Engine, EngineError, EngineOptions, NotFoundError, OverloadedError
from mainstem_engine.errors import OutOfRetentionError
from mainstem_engine.filesystem import Filesystem
from mainstem_engine.options import MIB
from mainstem_engine.testing.faulty_filesystem import FaultyFilesystem

from .operations import SHARED, YEAR_MS, Operation, Receiver, carry_out, columns_of

KINDS = ("INT16", "INT32", "INT64")
MEASUREMENTS_MAX = 12
OLD_MS = 2 * YEAR_MS
FAULTY_EVERY = 4
"""Of so many rounds one has a disk that fails."""
MAY_FAIL = ("flush", "merge", "compact", "backup", "expire")
FAULTS = (".part", ".part", ".ckpt", "catalog", "snapshot", "backup", "part-list")
"""Pieces of paths. The log is not among them: nothing goes on after it has failed."""


def options(**changed: Any) -> EngineOptions:
    """Small enough that everything happens within a second."""
    return EngineOptions(
        **{
            "vnodes": 3,
            "flush_bytes": 256 << 10,
            "flush_every_ns": 300_000_000,
            "memory_limit_bytes": 24 * MIB,
            "log_segment_bytes": 256 << 10,
            "block_rows": 256,
            **changed,
        }
    )


class Journal:
    """Lines that survive the process."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._lock = threading.Lock()
        self._number = 0

    def note(self, *words: object) -> None:
        """One line."""
        os.write(self._file, (" ".join(map(str, words)) + "\n").encode())

    def tried(self, writer: str, op: Operation) -> int:
        """The number of what is about to be done."""
        with self._lock:
            self._number += 1
            number = self._number
        self.note("t", writer, number, json.dumps(op))
        return number


class Failures(logging.Handler):
    """What the engine logs as an error is one here."""

    def __init__(self, journal: Journal, *, faulty: bool) -> None:
        super().__init__(logging.ERROR)
        self._journal = journal
        self._faulty = faulty

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.exc_info:
            text += "".join(traceback.format_exception(*record.exc_info))
        if self._faulty and ("injected" in text or "re-open" in text):
            return
        self._journal.note("f", "log", json.dumps(text))


class Writer:
    """A thread with devices of its own."""

    def __init__(
        self, name: str, engine: Engine, journal: Journal, seed: str, base_ms: int
    ) -> None:
        self.name = name
        self.engine = engine
        self.journal = journal
        self.base_ms = base_ms
        self.random = random.Random(f"{seed} {name}")
        self.round = int(seed.split()[1])
        self.steps = 0

    def run(self, step: Callable[[Writer], None]) -> None:
        try:
            while True:
                self.steps += 1
                step(self)
        except BaseException:
            self.journal.note("f", self.name, json.dumps(traceback.format_exc()))

    @property
    def seed(self) -> int:
        """A number that no other operation of this writer has."""
        return self.round * 100_000 + self.steps

    def do(self, *operations: Operation) -> None:
        """One after the other, without waiting in between for what is not durable yet."""
        waiting = []
        for op in operations:
            number = self.journal.tried(self.name, op)
            try:
                waiting.append((number, carry_out(self.engine, op)))
            except (OverloadedError, NotFoundError, OutOfRetentionError):
                self.journal.note("n", self.name, number)
            except (OSError, EngineError) as error:
                is_fault = "injected" in str(error) or "re-open" in str(error)
                if not (is_fault and self.round % FAULTY_EVERY == 2 and op["op"] in MAY_FAIL):
                    raise
                self.journal.note("n", self.name, number)
        for number, ack in waiting:
            if ack is not None:
                ack.wait()
            self.journal.note("a", self.name, number)

    def device(self) -> str:
        """One of a few that every round writes to, or one of many."""
        if self.random.random() < 0.5:
            return f"root.{self.name}.all{self.random.randrange(4)}"
        some = self.random.randrange(self.round + 1)
        return f"root.{self.name}.r{some}n{self.random.randrange(40)}"

    def columns(self, table: str) -> list[Any]:
        """The first, which is always there, and some of the others."""
        known = columns_of(self.engine, table)
        return [known[0], *(c for c in known[1:] if self.random.random() < 0.6)]

    def write(self, table: str, **changed: Any) -> Operation:
        """Rows of one device: new, late, or over others."""
        first = self.random.choice([self.round * 50 + self.steps, self.random.randrange(3000)])
        return {
            "op": "write", "table": table, "devices": [self.device()], "count": 1,
            "first": self.base_ms + first, "step": self.random.choice([1, 1, 3]),
            "seed": self.seed, "columns": self.columns(table), **changed,
        }  # fmt: skip

    def delete(self, table: str, devices: list[str] | None, **changed: Any) -> Operation:
        start = self.base_ms + self.random.randrange(3000)
        end = start + self.random.choice([1, 50, 1000])
        return {
            "op": "delete", "table": table, "devices": devices, "start": start, "end": end,
            "columns": None, "below": None, **changed,
        }  # fmt: skip


def write_and_delete(me: Writer) -> None:
    """Rows and deletes in the table of all, and in one that this writer has for itself."""
    own = f"own_{me.name}"
    if me.steps == 1:
        me.do({"op": "table", "table": own})
    table, what = me.random.choice([SHARED, own]), me.random.random()
    suffix = "" if table == SHARED else "_own"
    devices = [me.device() + suffix]
    if what < 0.35:
        me.do(me.write(table, devices=devices))
    elif what < 0.5:
        burst = me.write(table, devices=devices)
        first = burst["first"]
        me.do(*({**burst, "first": first + n, "seed": burst["seed"] + n / 16} for n in range(8)))
    elif what < 0.62:
        me.do(me.write(table, devices=devices, count=1000))
    elif what < 0.72:
        new = [f"root.{me.name}.r{me.round}x{me.steps}y{n}{suffix}" for n in range(20)]
        me.do(me.write(table, devices=new, count=2))
    elif what < 0.78:
        new = [f"root.{me.name}.r{me.round}c{me.steps}y{n}{suffix}" for n in range(30)]
        me.do({"op": "create", "table": table, "devices": new, "place": f"hall {me.steps % 3}"})
    elif what < 0.88:
        chosen = None if table == own and me.random.random() < 0.5 else sorted({*devices})
        me.do(me.delete(table, chosen))
    elif what < 0.94:
        limit = me.random.randrange(me.round * 100_000 + me.steps + 1)
        me.do(me.delete(table, devices if table == SHARED else None, below=limit))
    else:
        known = columns_of(me.engine, table)
        columns = [(m, name) for m, name, _ in me.random.sample(known, 2)]
        me.do(me.delete(table, devices, columns=columns))


def receive(me: Writer, lsn: int) -> None:
    """Rows, deletes and slice images of another node."""
    unique = columns_of(me.engine, SHARED)[:1]
    devices = [f"root.{me.name}.c{n}" for n in sorted(me.random.sample(range(12), 3))]
    start = me.base_ms + me.random.randrange(3000)
    op = {
        "op": "receive", "table": SHARED, "devices": devices, "count": 40, "first": start,
        "step": 1, "seed": me.seed, "columns": unique, "lsn": lsn,
    }  # fmt: skip
    if me.steps == 1:
        every = [f"root.{me.name}.c{n}" for n in range(12)]
        me.do({"op": "create", "table": SHARED, "devices": every, "place": "hall 9"})
    what = me.random.random()
    if what < 0.6:
        me.do(op)
    elif what < 0.75:
        me.do(me.delete(SHARED, devices, op="retract", lsn=lsn))
    else:
        end = start + me.random.choice([40, 400])
        me.do({**op, "op": "image", "start": start - me.random.choice([0, 30]), "end": end})


def alter(me: Writer) -> None:
    """Columns of the table of all come, get other names and wider types."""
    known = columns_of(me.engine, SHARED)
    chosen = me.random.choice(known[1:])
    kind = chosen[2]
    if len(known) < MEASUREMENTS_MAX and me.random.random() < 0.3:
        kind = me.random.choice(["INT16", "FLOAT", "TEXT"])
        me.do({"op": "add", "name": f"m{me.round}_{me.steps}", "kind": kind, "id": len(known)})
    elif me.random.random() < 0.2 and kind in ("INT16", "INT32", "FLOAT"):
        wider = "DOUBLE" if kind == "FLOAT" else KINDS[KINDS.index(kind) + 1]
        me.do({"op": "widen", "name": chosen[1], "kind": wider, "id": chosen[0]})
    else:
        name = f"n{me.round}_{me.steps}"
        me.do({"op": "rename", "old": chosen[1], "name": name, "id": chosen[0]})
    threading.Event().wait(0.02)  # the others shall write in between


def forget(me: Writer) -> None:
    """A table gets old and new rows, then a rule by which the old ones go."""
    table = f"kept_r{me.round}_{me.steps}"
    device = [f"root.{me.name}.r{me.round}s{me.steps}"]
    me.do({"op": "table", "table": table})
    old = me.write(table, devices=device, count=50, first=me.base_ms - OLD_MS)
    me.do(old, me.write(table, devices=device, count=20, first=me.base_ms, seed=me.seed + 0.5))
    if me.random.random() < 0.5:
        me.do({"op": "flush"})
    cutoff = me.base_ms - YEAR_MS
    me.do({"op": "keep", "table": table, "keep_ns": YEAR_MS * 1_000_000, "cutoff": cutoff})
    number = me.journal.tried(me.name, old)
    try:
        carry_out(me.engine, old)
    except OutOfRetentionError:
        me.journal.note("n", me.name, number)
    else:
        raise AssertionError("rows beyond their keep were stored")
    me.do({"op": "expire"})
    threading.Event().wait(0.1)


def tidy(me: Writer, place: Path) -> None:
    """What an operator and a timer ask for."""
    threading.Event().wait(me.random.random() / 20)
    what = me.random.random()
    if what < 0.3:
        me.do({"op": "flush"})
    elif what < 0.5:
        me.do({"op": "merge"})
    elif what < 0.8:
        me.do({"op": "compact"})
    else:
        me.do({"op": "backup", "to": str(place / f"backup_r{me.round}_{me.steps}")})


def break_the_disk(me: Writer, fs: FaultyFilesystem) -> None:
    """Something on disk fails once or for a while."""
    fs.fail(
        path_part=me.random.choice(FAULTS),
        skip=me.random.randrange(8),
        error=me.random.choice([errno.ENOSPC, errno.EIO]),
        partial_bytes=me.random.choice([0, 20]),
        times=me.random.choice([1, 5]),
    )
    threading.Event().wait(me.random.random() / 5)
    fs.heal()
    threading.Event().wait(me.random.random() / 5)


def main() -> None:
    """Works until it is killed, or left alone."""
    directory, path, seed, base_ms, turn, first_lsn, durability, faulty, parent = sys.argv[1:]
    journal = Journal(path)
    is_faulty = faulty == "1"
    fs = FaultyFilesystem(Path(directory).parent) if is_faulty else Filesystem()
    logging.getLogger("mainstem_engine").addHandler(Failures(journal, faulty=is_faulty))
    journal.note("o")
    try:
        vnodes = 3 if int(turn) % 4 else 2
        chosen = options(vnodes=vnodes, durability=durability)
        engine = Engine.open(directory, chosen, consumers=[Receiver()], fs=fs)
        journal.note("r")
    except BaseException:
        journal.note("f", "open", json.dumps(traceback.format_exc()))
        raise
    lsn = iter(range(int(first_lsn), sys.maxsize))
    steps: dict[str, Callable[[Writer], None]] = {
        "w0": write_and_delete,
        "w1": write_and_delete,
        "w2": write_and_delete,
        "child": lambda me: receive(me, next(lsn)),
        "alter": alter,
        "keep": forget,
        "tidy": lambda me: tidy(me, Path(directory).parent),
    }
    if isinstance(fs, FaultyFilesystem):
        steps["disk"] = lambda me: break_the_disk(me, fs)
    writers = [Writer(name, engine, journal, f"{seed} {turn}", int(base_ms)) for name in steps]
    writers[0].do({"op": "table", "table": SHARED})
    threads = [
        threading.Thread(target=writer.run, args=[steps[writer.name]], daemon=True)
        for writer in writers
    ]
    for thread in threads:
        thread.start()
    # Whoever should kill it may have died first.
    while os.getppid() == int(parent):
        threading.Event().wait(1)
    os._exit(1)


if __name__ == "__main__":
    main()
