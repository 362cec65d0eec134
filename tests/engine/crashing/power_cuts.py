"""Cutting the power in a life, and judging what is left.

1. ``drawn`` enumerates the disks that a cut may leave, all of them or a sample.
2. ``judge`` puts one of them on a real disk: a check calls it whole, an engine opens without help,
   shows what was acknowledged by then (or that and the step under way) and nothing else, has
   accounts that add up and every device, and leaves nothing for a second start to do.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random

from mainstem_engine import NotFoundError
from mainstem_engine.backup_files import BACKUP_NAME
from mainstem_engine.check import check_directory
from mainstem_engine.restore import restore
from mainstem_engine.testing.crash_states import CrashState, crash_states
from mainstem_engine.testing.faulty_filesystem import FaultyFilesystem, Operation

from .life import BACKUP, DATA, Life, rows_of

STATES_MIN = 500
"""Of each procedure: fewer would say that it was cut too coarsely."""

TEARS = 28
"""A write is torn at so many places; a log of its own has tests that tear it at every byte."""

TEARS_OF_APPENDS = 48

SEED = int(os.environ.get("MAINSTEM_SEED", "7"))
"""Of what is drawn at random: mixtures of files and of names. Every night has its own."""

STRIDE = int(os.environ.get("MAINSTEM_STATES_STRIDE", "1"))
"""All states where none are sampled, or every so many-th: on a machine with much else to do."""


def drawn(
    journal: Sequence[Operation],
    start: Mapping[str, bytes],
    promise: Callable[[int], object],
    *,
    tears: int = TEARS,
) -> list[CrashState]:
    """All crash states of a journal."""
    return list(crash_states(journal, start, promise=promise, seed=SEED, tears=tears))


def sampled(states: list[CrashState], count: int | None) -> list[CrashState]:
    """``count`` of the states, spread over them; None: all, but for STRIDE."""
    return states[:: STRIDE if count is None else max(1, len(states) // count)]


def spread(states: list[CrashState]) -> list[CrashState]:
    """All states in another order: one after each operation, then another one after each."""
    random = Random(0)  # the same every night, for it says how soon something is found
    keyed = [(random.random(), state) for state in states]
    turns: Counter[int] = Counter()
    ordered = []
    for _, state in sorted(keyed, key=lambda pair: pair[0]):
        turns[state.operations] += 1
        ordered.append((turns[state.operations], state))
    return [state for _, state in sorted(ordered, key=lambda pair: pair[0])]


def judge(lived: Life, state: CrashState, after: Path) -> bool:
    """Raises AssertionError if a promise is broken; True if a backup was restored from it."""
    shutil.rmtree(after, ignore_errors=True)
    after.mkdir()
    state.write(after)
    label = (state.operations, state.label)
    try:
        report = check_directory(after / DATA)
        assert report.whole, (label, report.damages)
    except NotFoundError:
        pass  # not even its identity was there
    shows_what_was_promised(lived, after, DATA, state)
    if not (after / BACKUP / BACKUP_NAME).is_file():
        return False
    restore(after / BACKUP, after / "restored")
    shows_what_was_promised(lived, after, "restored", state)
    return True


def shows_what_was_promised(lived: Life, root: Path, name: str, state: CrashState) -> None:
    """One start of the engine, and another."""
    label = (state.operations, state.label)
    fs = FaultyFilesystem(root)
    engine = lived.open(fs, root / name)
    try:
        found = rows_of(engine)
        least = lived.promised(state.operations)
        if name == DATA:
            assert found in lived.expected[least : least + 2], label
            devices = engine.catalog.devices
            assert len(devices) >= lived.devices[least], label
            assert len(set(devices.paths(range(len(devices))))) == len(devices), label
        else:
            assert found in lived.expected, label
        assert all(counts.balanced for counts in engine.store_accounting().values()), label
        assert engine.log.recovery.damages == (), label
    finally:
        engine.abandon()
    assert check_directory(root / name).whole, label
    seen = len(fs.journal)
    again = lived.open(fs, root / name)
    done = [op for op in fs.journal[seen:] if not (op.kind in _USUAL and op.path.endswith(".log"))]
    assert done == [], (label, "a second start found something to do", done)
    assert rows_of(again) == found, label
    assert again.log.recovery.torn_bytes == again.log.recovery.carried_records == 0, label
    again.abandon()


_USUAL = frozenset({"write", "sync"})
"""What every start does to the log: it notes itself there."""
