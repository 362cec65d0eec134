"""When free memory goes back: near the limit, after enough was let go of, and not before."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from mainstem_engine.allocator import Allocator, anonymous_bytes
from mainstem_engine.memory import MemoryBudget

LIMIT = 1000


class Process:
    """Counts trims; ``anonymous`` is what it holds, of which a trim gives ``free`` back."""

    def __init__(self) -> None:
        self.anonymous = 5000
        self.free = 0
        self.allocator = Allocator(LIMIT, anonymous=lambda: self.anonymous, trim=self.trim)

    def trim(self) -> None:
        self.anonymous -= self.free
        self.free = 0


def test_memory_goes_back_near_the_limit_and_not_before() -> None:
    process = Process()
    process.allocator.let_go(500)
    process.anonymous += 600
    process.allocator.tidy()
    assert process.allocator.trims == 0, "there is room yet"
    process.anonymous, process.free = 5800, 600
    process.allocator.tidy()
    assert (process.allocator.trims, process.anonymous) == (1, 5200)


def test_what_other_people_hold_does_not_make_it_try_again_and_again() -> None:
    process = Process()
    process.anonymous += 10 * LIMIT
    for _ in range(100):
        process.allocator.let_go(10)
        process.allocator.tidy()
    assert process.allocator.trims == 7, "once for each 125 that were let go of"


def test_a_writer_gives_memory_back_itself_when_little_is_left() -> None:
    process = Process()
    process.allocator.let_go(100)
    process.anonymous, process.free = 5650, 300
    process.allocator.relieve(100)
    assert process.allocator.trims == 0, "enough is left"
    process.anonymous = 5700
    process.allocator.tidy()
    assert process.allocator.trims == 0, "too little was let go of for the one that looks after it"
    process.allocator.relieve(100)
    assert (process.allocator.trims, process.anonymous) == (1, 5400)
    process.anonymous = 5990
    process.allocator.let_go(30)
    process.allocator.relieve(100)
    assert process.allocator.trims == 1, "nothing worth it was let go of since"


def test_a_writer_of_little_does_not_ask_the_system_each_time() -> None:
    asked: list[int] = []

    def anonymous() -> int:
        asked.append(1)
        return 0

    allocator = Allocator(1280, anonymous=anonymous, trim=lambda: None)
    allocator.let_go(1280)
    asked.clear()
    for _ in range(100):
        allocator.relieve(1)
    assert len(asked) == 10, "once for each 10 that were taken, a 128th of the limit"


def test_memory_is_given_back_before_more_is_admitted() -> None:
    process = Process()
    budget = MemoryBudget(LIMIT, allocator=process.allocator)
    budget.admit("head", 200, lambda: None)
    budget.give_back("head", 200)
    process.anonymous, process.free = 5900, 500
    budget.admit("head", 100, lambda: None)
    assert (process.allocator.trims, process.anonymous) == (1, 5400)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_freed_arrays_leave_the_process() -> None:
    allocator = Allocator(1 << 20)
    before = anonymous_bytes()
    arrays = [np.ones(8_000) for _ in range(1_000)]  # 64 KB each: from the heap
    held = arrays[::100]
    full = anonymous_bytes()
    assert full - before > 40 << 20
    del arrays
    allocator.let_go(1 << 20)
    allocator.tidy()
    assert allocator.trims == 1
    assert anonymous_bytes() - before < 16 << 20
    assert len(held) == 10
