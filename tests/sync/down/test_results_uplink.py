"""Case 25, the budget: a piece of an answer waits while the link owes something, and what went out
is counted."""

from __future__ import annotations

import asyncio
import contextlib
from types import SimpleNamespace
from typing import Any

import pytest

from mainstem_sync.http.results_client import BUDGET_LOOK_S, ResultsUplink
from mainstem_sync.sending.budget import LinkBudget
from mainstem_sync.testing.nodes import ManualClock

BYTES_PER_S = 1000.0
PIECE = b"x" * 4000
DEADLINE_S = 20.0


class Pieces:
    """Answers of a few pieces."""

    def __init__(self, count: int) -> None:
        self.left: list[Any] = [SimpleNamespace(body=PIECE) for _ in range(count)]
        self.on_ready: Any = None
        self.statuses: list[int] = []
        self.failures = 0

    def next_sending(self) -> Any:
        return self.left[0] if self.left else None

    def sent(self, sending: Any, status: int, body: bytes) -> None:
        self.statuses.append(status)
        self.left.remove(sending)

    def failed(self, sending: Any) -> None:
        self.failures += 1


class Recorded(ResultsUplink):
    """Notes when each piece goes out instead of sending it; the first one fails."""

    times: list[float]
    clock: ManualClock

    async def _exchange(self, *_: Any) -> tuple[int, bytes]:
        self.times.append(self.clock.monotonic())
        if len(self.times) == 1:
            raise OSError("cut off")
        return 200, b""


async def test_case_25_an_answer_keeps_to_the_budget_of_the_link(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = ManualClock()
    budget = LinkBudget(BYTES_PER_S, clock_ns=clock.wall, monotonic=clock.monotonic)
    pieces, pauses = Pieces(3), []
    sleep = asyncio.sleep

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        clock.advance(max(seconds, 0.001))  # real time never stands still
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", pause)
    answers: Any = pieces
    uplink = Recorded(
        answers, lambda: ("http://parent", "token"), owed_s=budget.wait_s, sent=budget.sent
    )
    uplink.times, uplink.clock = [], clock
    began = clock.monotonic()
    budget.sent(int(20 * BYTES_PER_S))  # rows have used what was saved, and more
    task = asyncio.create_task(uplink.run())
    async with asyncio.timeout(DEADLINE_S):
        while pieces.left:
            await sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert (pieces.failures, pieces.statuses) == (1, [200, 200, 200])
    waited = uplink.times[0] - began
    assert waited > 1, "not before the debt of others is paid"
    # What failed was on the link, too: each piece takes its four seconds of it.
    gaps = [b - a for a, b in zip(uplink.times, uplink.times[1:], strict=False)]
    assert all(gap >= len(PIECE) / BYTES_PER_S - 0.1 for gap in gaps), gaps
    assert max(pauses) <= BUDGET_LOOK_S, "a window may open meanwhile"
