"""Places for statements: by role, in all, and what happens when there is none."""

from __future__ import annotations

import asyncio

import pytest

from mainstem_engine.errors import OverloadedError
from mainstem_node import statement_gate
from mainstem_node.statement_gate import StatementGate

SOON_S = 0.01


async def hold(gate: StatementGate, role: str, end: asyncio.Event) -> None:
    async with gate.entered(role, 30.0):
        await end.wait()


async def test_a_role_that_uses_up_its_places_keeps_none_from_another() -> None:
    gate, end = StatementGate({"read": 1, "admin": 1}, 2), asyncio.Event()
    running = [asyncio.ensure_future(hold(gate, "read", end)) for _ in range(3)]
    await asyncio.sleep(0)
    assert gate.waiting() == 2
    async with gate.entered("admin", SOON_S):
        assert gate.waiting() == 2
    with pytest.raises(OverloadedError, match="no place"):
        async with gate.entered("read", SOON_S):
            pass
    end.set()
    await asyncio.gather(*running)
    assert (gate.waiting(), gate.refused) == (0, 1)


async def test_no_more_run_than_there_are_processes() -> None:
    gate, end = StatementGate({"read": 2, "admin": 2}, 2), asyncio.Event()
    running = [asyncio.ensure_future(hold(gate, "read", end)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError):
        async with gate.entered("admin", SOON_S):
            pass
    end.set()
    await asyncio.gather(*running)
    async with gate.entered("admin", SOON_S), gate.entered("admin", SOON_S):
        pass


async def test_the_queue_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statement_gate, "WAITING_MAX", 1)
    gate, end = StatementGate({"read": 1}, 1), asyncio.Event()
    running = [asyncio.ensure_future(hold(gate, "read", end)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError, match="are waiting"):
        async with gate.entered("read", 30.0):
            pass
    running[1].cancel()
    end.set()
    await asyncio.gather(*running, return_exceptions=True)
    async with gate.entered("read", SOON_S):
        pass
