"""Collectors that talk to their source in sessions: again for ever, no faster than the intake."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable

import pytest

from mainstem_edge.collectors.message_queue import MessageQueue
from mainstem_edge.collectors.supervised import (
    BACKOFF_S_MAX,
    AsyncCollector,
    SupervisedCollector,
    next_pause_s,
)
from mainstem_edge.testing.parts import NOW_NS


class Scripted(SupervisedCollector):
    """``script``: what each session does; the last one is repeated."""

    kind = "scripted"

    def __init__(self, *script: Callable[[Scripted], None], messages_max: int = 10) -> None:
        queue = MessageQueue(messages_max, 1000)
        super().__init__("s", (), queue, rng=random.Random(1), clock_ns=lambda: NOW_NS)
        self.script = list(script)
        self.sessions = 0
        self.seen = threading.Condition()

    def session(self) -> None:
        do = self.script[min(self.sessions, len(self.script) - 1)]
        with self.seen:
            self.sessions += 1
            self.seen.notify_all()
        do(self)

    def reached(self, sessions: int) -> bool:
        with self.seen:
            return self.seen.wait_for(lambda: self.sessions >= sessions, 20)


def fails(collector: Scripted) -> None:
    raise ValueError("no such thing")


def connects_and_ends(collector: Scripted) -> None:
    collector.health.connected()


def stays(collector: Scripted) -> None:
    collector.health.connected()
    while not collector.wait(5):
        pass


def test_whatever_a_session_raises_the_next_one_begins() -> None:
    collector = Scripted(fails, connects_and_ends, stays)
    collector.start()
    assert collector.reached(3)
    collector.stop(10)
    status = collector.status()
    assert (status["disconnects"], status["state"]) == (2, "stopped")
    assert (status["type"], status["connects"]) == ("scripted", 2)


def test_a_problem_is_shown_while_the_next_session_is_waited_for() -> None:
    collector = Scripted(fails)
    collector.start()
    assert collector.reached(2)
    assert collector.status()["last_error"] == "ValueError: no such thing"
    assert collector.state().connected_ns is None
    collector.stop(10)


def test_pauses_grow_up_to_a_bound_and_begin_anew_after_a_session_in_use() -> None:
    rng = random.Random(1)
    grown, pauses = 0.0, []
    for _ in range(12):
        grown, pause = next_pause_s(grown, False, rng)
        pauses.append(grown)
        assert 0.75 * grown <= pause <= 1.25 * grown
    assert pauses[:3] == [0.2, 0.4, 0.8]
    assert pauses[-1] == BACKOFF_S_MAX
    assert next_pause_s(grown, True, rng)[0] == 0.2


def test_a_full_queue_holds_the_session_up_and_a_stop_lets_it_go() -> None:
    taken: list[bool] = []
    held = threading.Event()

    def pours(collector: Scripted) -> None:
        collector.health.connected()
        taken.append(collector.deliver([collector.message("t", b"1")] * 2))
        held.set()
        taken.append(collector.deliver([collector.message("t", b"2")]))

    collector = Scripted(pours, stays, messages_max=2)
    collector.start()
    assert held.wait(10)
    assert len(collector.queue) == 2
    assert [m.payload for m in collector.queue.take(10, 1000, 5)] == [b"1", b"1"]
    assert [m.payload for m in collector.queue.take(10, 1000, 5)] == [b"2"]
    assert collector.reached(2)
    assert taken == [True, True]
    collector.queue.put([collector.message("t", b"3")] * 2)
    collector.pause()
    assert collector.deliver([collector.message("t", b"4")]) is False
    collector.stop(10)


class Conversing(AsyncCollector):
    """Stays in its session until it is cancelled."""

    kind = "conversing"

    def __init__(self) -> None:
        super().__init__("c", (), MessageQueue(10, 1000), rng=random.Random(1))
        self.began = threading.Event()
        self.cleaned = threading.Event()

    async def converse(self) -> None:
        self.health.connected()
        await self.hand_on([self.message("t", b"x")])
        self.began.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cleaned.set()


@pytest.mark.parametrize("end", ["pause", "stop"])
def test_an_asynchronous_session_is_cancelled_by_a_stop(end: str) -> None:
    collector = Conversing()
    collector.start()
    assert collector.began.wait(10)
    assert collector.status()["messages"] == 1
    if end == "pause":
        collector.pause()
        assert collector.cleaned.wait(10)
    collector.stop(10)
    assert collector.cleaned.is_set()
    assert collector.status()["state"] == "stopped"
    assert collector.status()["disconnects"] == 0
