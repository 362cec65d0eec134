"""One poll of one device: its blocks are read, and what they bring is one row.

1. The row has one time, that of its first request.
2. What a device refuses because it does not have it is cut down to the values that it has; a value
   that it does not have is asked for again after a minute. Its quality is bad, as is that of a
   number that is none (NaN).
3. A device that does not answer the first request is not asked for the rest. The block that was not
   answered goes to the end, so that one which is never answered does not hide the others.
4. Where nothing was read there is no row; where qualities are stored there is one, when it begins:
   stale for a device that does not answer, bad for one that refuses everything.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mainstem_edge.decode.interface import DEVICE_KEY
from mainstem_edge.modbus.blocks import Block, blocks_of
from mainstem_edge.modbus.errors import (
    ILLEGAL_ADDRESS,
    ILLEGAL_FUNCTION,
    ILLEGAL_VALUE,
    RefusedError,
    SilentError,
)
from mainstem_edge.modbus.line import Line
from mainstem_edge.modbus.register import Register, Words
from mainstem_edge.modbus.unit import Unit
from mainstem_node.config.templates import QUALITY_SUFFIX

REFUSED_S = 60.0
"""What a device does not have is looked for so often: it may be given another program."""
NOT_THERE = (ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE)
BUSY = 6
TIME_KEY = "time"
BAD, STALE = "bad", "stale"


@dataclass(slots=True)
class Outcome:
    """``row``: what is to be stored, None for nothing. ``problems``: of single blocks."""

    row: dict[str, Any] | None = None
    problems: list[str] = field(default_factory=list)


class Device:
    """One device of a line.

    ``path`` and ``tags`` stand in its rows (tags under the keys given). ``qualities``: names whose
    quality is stored.
    """

    def __init__(
        self,
        path: str,
        unit: Unit,
        registers: Sequence[Register],
        *,
        every_ns: int,
        timeout_s: float,
        tags: Mapping[str, str] | None = None,
        qualities: frozenset[str] = frozenset(),
        retries: int = 1,
        gap: int = 0,
        registers_max: int = 125,
        clock_ns: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = path
        self.unit = unit
        self.every_ns = every_ns
        self.timeout_s = timeout_s
        self.polls = self.errors = 0
        self.problem = ""
        """What was wrong at the last poll; empty when nothing was."""
        self.answered_ns: int | None = None
        self._registers = tuple(registers)
        self._named = {DEVICE_KEY: path, **(tags or {})}
        self._qualities = qualities
        self._retries = retries
        self._gap, self._registers_max = gap, registers_max
        self._clock_ns = clock_ns
        self._monotonic = monotonic
        self._without_value = ""
        self._blocks: list[Block] = []
        self._refused: dict[Block, float] = {}
        self.begin()

    def begin(self) -> None:
        """A new connection: what was refused may be there now."""
        self._blocks = blocks_of(self._registers, self._gap, self._registers_max)
        self._refused = {}

    @property
    def requests(self) -> int:
        """How many a poll takes."""
        return len(self._blocks)

    @property
    def refused(self) -> list[str]:
        """Measurements that the device does not have."""
        return [each.name for block in self._refused for each in block.registers]

    def poll(self, line: Line) -> Outcome:
        """Reads all blocks. Raises LineError."""
        outcome = Outcome()
        time_ns = self._clock_ns()
        values: dict[str, Any] = {}
        answered = asked = 0
        waiting = list(reversed(self._blocks))
        while waiting:
            block = waiting.pop()
            if self._refused.get(block, 0.0) > self._monotonic():
                continue
            asked += 1
            try:
                words = self._read(line, block, retries=self.unit.is_alive)
            except SilentError as error:
                outcome.problems.append(f"{error}: {block}")
                self._blocks.remove(block)
                self._blocks.append(block)
                if not answered:
                    break
                continue
            except RefusedError as error:
                answered += 1  # it is there
                parts = block.parts() if error.exception in NOT_THERE else ()
                if parts:
                    place = self._blocks.index(block)
                    self._blocks[place : place + 1] = parts
                    waiting += reversed(parts)
                    continue
                if error.exception in NOT_THERE:
                    self._refused[block] = self._monotonic() + REFUSED_S
                outcome.problems.append(f"{error}: {block}")
                continue
            answered += 1
            self._refused.pop(block, None)
            values.update(block.values(words))
        self._judge(outcome, bool(answered) or not asked, time_ns)
        outcome.row = self._row(time_ns, values, STALE if not self.unit.is_alive else BAD)
        return outcome

    def gone(self) -> dict[str, Any] | None:
        """The row that says that the device cannot be read any more; None when that was said."""
        return self._row(self._clock_ns(), {}, STALE)

    def _read(self, line: Line, block: Block, retries: bool) -> Words:
        left = self._retries if retries else 0
        while True:
            try:
                return line.read(
                    self.unit.number, block.table, block.address, block.count, self.timeout_s
                )
            except SilentError:
                if not left:
                    raise
            except RefusedError as error:
                if not left or error.exception != BUSY:
                    raise
            left -= 1

    def _judge(self, outcome: Outcome, answered: bool, time_ns: int) -> None:
        self.polls += 1
        self.errors += len(outcome.problems)
        self.problem = outcome.problems[0] if outcome.problems else ""
        if answered:
            self.unit.answered()
            self.answered_ns = time_ns
        else:
            self.unit.failed(self._monotonic())

    def _row(self, time_ns: int, values: Mapping[str, Any], quality: str) -> dict[str, Any] | None:
        found = {name: value for name, value in values.items() if value is not None}
        without = "" if found else quality
        if without and (without == self._without_value or not self._qualities):
            return None
        self._without_value = without
        stated = {
            each.name + QUALITY_SUFFIX: quality
            for each in self._registers
            if each.name not in found and each.name in self._qualities
        }
        return {**self._named, TIME_KEY: time_ns, **found, **stated}
