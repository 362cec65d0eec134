"""Measurements that a batch says nothing new of: seen for all their rules at once, in few steps.

Most batches change no alarm, and what they cost is the number of steps, not of rows. So:

1. Measurements whose rows are the same (all of a batch, mostly) are lines of one matrix.
2. A measurement is quiet when no alarm of it is raised or waits, nothing of it is late, and its
   extremes are within what its rules do not look at. Then its rows are remembered, and that is all.
3. Every other one is left as it was, for the exact way (series.py): also where something is not a
   number, and where nothing is known of a device yet. Saying so too often costs time, nothing else.

Not thread-safe.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce

import numpy as np
import numpy.typing as npt

from mainstem_edge.alarms.conditions import Within
from mainstem_edge.alarms.series import NEVER, Batch, Floats, Seen
from mainstem_edge.alarms.watch import RuleWatch
from mainstem_engine.model import Column

Lines = npt.NDArray[np.intp]


class Sweep:
    """``watches``: by measurement, in the order of the lines of ``seen``."""

    def __init__(self, seen: Seen, watches: Mapping[int, Sequence[RuleWatch]]) -> None:
        self._seen = seen
        self._watches = watches
        self._numbers = list(watches)
        within = [reduce(Within.of_both, (w.within for w in own)) for own in watches.values()]
        # One matrix, so that one comparison is enough. Rounding is monotonic: what is as long as
        # ``held_ns`` is not below it as a float either.
        self._limits: Floats = np.array([
            [each.high for each in within],
            [-each.low for each in within],
            [each.slope for each in within],
            [np.nextafter(float(each.held_ns), 0.0) for each in within],
        ])  # fmt: skip
        self._busy: set[int] = set()
        for number in watches:
            self.ask(number)

    def ask(self, number: int) -> None:
        """After rules of a measurement were looked at: do they look at the next values, too?"""
        if any(watch.is_busy for watch in self._watches[number]):
            self._busy.add(number)
        else:
            self._busy.discard(number)

    def settle(self, batch: Batch, columns: Mapping[int, Column]) -> set[int]:
        """Remembers the rows of measurements that are quiet, and says which those are."""
        alike: dict[bytes, list[int]] = {}
        for line, number in enumerate(self._numbers):
            column = columns.get(number)
            if column is not None and number not in self._busy:
                mask = b"" if column.valid is None else column.valid.tobytes()
                alike.setdefault(mask, []).append(line)
        settled: set[int] = set()
        for lines in alike.values():
            numbers = [self._numbers[line] for line in lines]
            own = [columns[number] for number in numbers]
            part = batch.only(own[0].valid)
            if part is not None:
                quiet = self._quiet(part, lines, own)
                settled.update(each for each, yes in zip(numbers, quiet, strict=True) if yes)
        return settled

    def _quiet(self, batch: Batch, lines: list[int], columns: Sequence[Column]) -> list[bool]:
        """Of columns, all of them of the rows of the batch."""
        seen, starts, owners = self._seen, batch.starts, batch.owners
        seen.grow(int(owners[-1]) + 1)
        at = np.array(lines)[:, np.newaxis]
        steps_ns = batch.steps_ns.copy()
        # The newest of all lines: for the others a step is longer, and a change less steep.
        newest = np.maximum.reduce(seen.newest[at, owners])
        steps_ns[starts] = np.where(newest == NEVER, 1, batch.times[starts] - newest)
        if np.minimum.reduce(steps_ns) <= 0:
            return [False] * len(lines)
        values = np.empty((len(lines), batch.count))
        for place, column in enumerate(columns):
            values[place] = column.values[batch.rows]
        found = np.full((4, len(lines)), -np.inf)
        found[0] = np.maximum.reduce(values, 1)
        found[1] = -np.minimum.reduce(values, 1)
        moving = sum(line < len(seen.value) for line in lines)
        if moving:
            own = at[:moving]
            before = seen.begin[own, owners]
            with np.errstate(over="ignore", invalid="ignore"):
                moved = self._moved(batch, own, values[:moving])
                steep = np.abs(moved) / (steps_ns / 1e9)
            found[2, :moving] = np.maximum.reduce(steep, 1)
            found[3, :moving] = np.maximum.reduce(batch.times[batch.ends] - before, 1)
            changes = np.where(moved != 0, batch.times, NEVER)
            begin = np.maximum(np.maximum.reduceat(changes, starts, 1), before)
        quiet = np.logical_and.reduce(found <= self._limits[:, lines])
        every = np.logical_and.reduce(quiet)
        kept = slice(None) if every else quiet
        seen.newest[at[kept], owners] = batch.times[batch.ends]
        if moving:
            kept = slice(None) if every else quiet[:moving]
            seen.value[own[kept], owners] = values[:moving, batch.ends][kept]
            seen.begin[own[kept], owners] = begin[kept]
        return [bool(yes) for yes in quiet]

    def _moved(self, batch: Batch, lines: Lines, values: Floats) -> Floats:
        """By how much each value differs from the one before; NaN where there is none."""
        moved = np.empty_like(values)
        np.subtract(values[:, 1:], values[:, :-1], moved[:, 1:])
        before = self._seen.value[lines, batch.owners]
        moved[:, batch.starts] = values[:, batch.starts] - before
        return moved
