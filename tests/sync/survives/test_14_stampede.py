"""Case 14: a thousand edges reconnect together, and do not arrive together.

``mainstem bench edges`` measures it with a real parent.
"""

from __future__ import annotations

import heapq
import random
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest

from mainstem_sync.receiving import hello_gate
from mainstem_sync.receiving.hello_gate import HelloGate
from mainstem_sync.receiving.receiver import Child, Reply
from mainstem_sync.sending.session import Session
from mainstem_sync.testing.nodes import ManualClock
from mainstem_sync.testing.tiers import Tiers

EDGES = 1000
HELLOS_PER_S_MAX = 200
BACK_WITHIN_S = 40
"""Of the parent's return: the longest pause, and what a thousand greetings take."""


@dataclass(order=True)
class Coming:
    """An edge that comes at a moment; of two at one moment the one with the smaller number."""

    at_s: float
    number: int
    session: Session = field(compare=False)
    clock: ManualClock = field(compare=False)
    rng: random.Random = field(compare=False)


def coming(number: int) -> Coming:
    log: Any = None
    clock = ManualClock(elapsed_s=0.0)
    session = Session(
        log, clock_ns=clock.wall, monotonic=clock.monotonic, rng=random.Random(number)
    )
    session.failed("the parent is down")
    return Coming(session.wait_s(), number, session, clock, random.Random(-number))


@pytest.mark.parametrize("outage_s", [1, 3, 10, 60, 600])
def test_case_14_a_thousand_are_greeted_one_after_another(outage_s: int) -> None:
    """All lose the parent in one instant, and each tries again whenever its pause is over. After a
    short outage all pauses are short: then the parent says who comes later."""
    clock = ManualClock(elapsed_s=0.0)
    gate = HelloGate(clock.monotonic)
    waiting = [coming(number) for number in range(EDGES)]
    heapq.heapify(waiting)
    greeted: list[float] = []
    refused: Counter[int] = Counter()
    while waiting:
        edge = heapq.heappop(waiting)
        edge.clock.elapsed_s = clock.elapsed_s = edge.at_s
        if edge.at_s < outage_s:
            edge.session.failed("the parent is down")
            edge.at_s += edge.session.wait_s()
        elif pause_s := gate.pause_s():
            refused[edge.number] += 1
            edge.at_s += pause_s * edge.rng.uniform(1.0, 2.0)
        else:
            greeted.append(edge.at_s)
            continue
        heapq.heappush(waiting, edge)
    assert len(greeted) == EDGES
    late = greeted[-1] - outage_s
    busiest = max(bisect_left(greeted, at + 1) - n for n, at in enumerate(greeted))
    assert busiest <= HELLOS_PER_S_MAX, "in any second"
    assert late <= BACK_WITHIN_S
    assert max(refused.values(), default=0) <= 5, "nobody waits for ever"
    if outage_s >= 60:
        assert not refused, "pauses of half a minute need no parent"


def test_case_14_a_parent_puts_off_what_it_cannot_greet(
    tiers: Tiers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The refusal says when to come again, and the child does; an answer to a question of the
    parent is never put off. Nothing is lost."""
    tiers.write(rows=5)
    tiers.run(1)
    monkeypatch.setattr(hello_gate, "BURST", 0.0)
    replies: list[Reply] = []
    receiver = tiers.plant.federation.receiver
    original = receiver.hello

    def hello(child: Child, body: bytes) -> Reply:
        replies.append(original(child, body))
        return replies[-1]

    monkeypatch.setattr(receiver, "hello", hello)
    tiers.edge.restart()
    tiers.write(rows=5, start_s=60)
    tiers.run(3)
    assert {reply.status for reply in replies} == {503}
    assert replies[0].retry_after_s == 2, "rounded up from a second and its share"
    assert 1 <= len(replies) <= 3, "it comes when it was told to"
    monkeypatch.undo()
    tiers.run(6)
    assert tiers.values(tiers.group) == tiers.values(tiers.edge)
    assert HelloGate(lambda: 0.0).pause_s(begun=True) == 0.0
