"""What the watchdog asks of an edge: a committer or an intake that really stands still is told, and
a disk that is slow and goes on is not."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.edge.test_node import connected_edge, eventually, publish, rows

from mainstem_edge.node import EdgeNode
from mainstem_engine.filesystem import AppendFile
from mainstem_node.broker import EmbeddedBroker
from mainstem_node.service_manager import STEPS_MAX, STUCK_S, Progress

GATE_TIMEOUT_S = 60.0


class Disk:
    """Syncs of the node's log wait for a turn while it is held."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._turns = threading.Semaphore(0)
        self._held = threading.Event()
        self.waiting = threading.Event()

    def sync(self, file: AppendFile) -> None:
        if self._held.is_set() and file.path.is_relative_to(self._place):
            self.waiting.set()
            assert self._turns.acquire(timeout=GATE_TIMEOUT_S), "no turn was given"
        _sync(file)

    def hold(self) -> None:
        self._held.set()

    def give_a_turn(self) -> None:
        self.waiting.clear()
        self._turns.release()

    def let_go(self) -> None:
        self._held.clear()
        self._turns.release(1000)


_sync = AppendFile.sync


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    held = Disk(tmp_path / "data" / "log")
    monkeypatch.setattr(AppendFile, "sync", lambda file: held.sync(file))
    yield held
    held.let_go()


@pytest.fixture
async def running(
    tmp_path: Path, disk: Disk
) -> AsyncIterator[tuple[EdgeNode, EmbeddedBroker, Clock]]:
    async with connected_edge(tmp_path) as (node, broker):
        clock = Clock()
        node._progress = Progress(monotonic=clock)
        yield node, broker, clock
        disk.let_go()


Running = tuple[EdgeNode, EmbeddedBroker, Clock]


async def test_a_committer_whose_disk_hangs_is_stuck_until_the_disk_is_back(
    running: Running, disk: Disk
) -> None:
    node, broker, clock = running
    assert node.stuck() == ""
    disk.hold()
    await asyncio.to_thread(publish, broker, 1)
    await eventually(disk.waiting.is_set, "the sync hangs")
    assert node.stuck() == ""
    clock.now += STUCK_S
    assert node.stuck() == "", "not before a minute"
    clock.now += 1
    name = node._intakes[0].collector.name
    # The message waits for the committer, so its intake does not get on either.
    assert node.stuck() == f"committer, intake of {name}"
    disk.let_go()
    await eventually(lambda: rows(node) == 1, "stored")
    await eventually(lambda: node.stuck() == "", "it goes on")


async def test_an_intake_that_hangs_is_stuck_and_the_committer_is_not(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, broker, clock = running
    (intake,) = node._intakes
    back, store = threading.Event(), intake._read_and_store

    def hangs(*arguments: Any) -> Any:
        assert back.wait(GATE_TIMEOUT_S)
        return store(*arguments)

    monkeypatch.setattr(intake, "_read_and_store", hangs)
    await asyncio.to_thread(publish, broker, 1)
    await eventually(lambda: intake.oldest_waiting_ns() is not None, "it waits")
    try:
        assert node.stuck() == ""
        clock.now += STUCK_S + 1
        found = node.stuck()
        # What others write is no progress of this one.
        for number in range(STEPS_MAX + 1):
            ack = node.engine.write("pump", "root.plant.other", [number], {"count": [number]})
            await asyncio.to_thread(ack.wait)
        again = node.stuck()
    finally:
        back.set()
    assert found == again == f"intake of {intake.collector.name}"
    await eventually(lambda: rows(node) == STEPS_MAX + 2, "stored")
    clock.now += STUCK_S + 1
    await eventually(lambda: node.stuck() == "", "it goes on")


async def test_an_intake_that_hangs_with_messages_in_its_hand_is_stuck(running: Running) -> None:
    """They have left the queue, and are no batch yet: here a change of the rules does not end."""
    node, broker, clock = running
    (intake,) = node._intakes
    with intake._fitted:
        await asyncio.to_thread(publish, broker, 1)
        await eventually(lambda: intake.oldest_waiting_ns() is not None, "it has come")
        await eventually(lambda: len(intake.collector.queue) == 0, "it is taken")
        assert node.stuck() == ""
        clock.now += STUCK_S + 1
        found = node.stuck()
    assert found == f"intake of {intake.collector.name}"
    await eventually(lambda: rows(node) == 1, "stored")
    clock.now += STUCK_S + 1
    await eventually(lambda: node.stuck() == "", "it goes on")


async def test_a_slow_disk_that_goes_on_is_not_stuck(running: Running, disk: Disk) -> None:
    """Something waits all the time, for minutes; each sync takes nearly one, and a message of a new
    device waits for two of them."""
    node, broker, clock = running
    disk.hold()
    await asyncio.to_thread(publish, broker, 1)
    await eventually(disk.waiting.is_set, "the first sync")
    for _ in range(6):
        await asyncio.to_thread(publish, broker, 1)
        assert node.stuck() == ""
        clock.now += STUCK_S - 5
        assert node.stuck() == ""
        commits = node.engine.log.statistics().commits
        disk.give_a_turn()
        await eventually(partial(has_committed, node, commits), "a commit")
        await eventually(disk.waiting.is_set, "the next sync")
        (intake,) = node._intakes
        assert intake.oldest_waiting_ns() is not None
    disk.let_go()


def has_committed(node: EdgeNode, before: int) -> bool:
    return node.engine.log.statistics().commits > before
