"""A web hook with a mistyped key or path, or one that is being deployed: nothing is lost by it."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack

import pytest
from aiohttp import web
from tests.edge.notices.hook import Hook
from tests.edge.notices.site import S, Site

from mainstem_edge.notices.courier import Courier
from mainstem_edge.notices.webhook import Webhook

KEYS = {"Authorization": "Bearer not-for-everybody"}


async def turn(courier: Courier) -> float | None:
    return await asyncio.to_thread(courier.turn)


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_it_is_told_all_in_order_once_it_is_mended(
    site: Site, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    async with AsyncExitStack() as stack:
        hook, neighbour = Hook(*(web.Response(status=status) for _ in range(3))), Hook()
        webhook = Webhook(await hook.start(stack), headers=KEYS)
        site.crash("ops", "other")
        other = site.courier(Webhook(await neighbour.start(stack)), "other")
        courier = site.courier(webhook, "ops")
        site.change(1)
        site.change(2, raised=False)
        pauses = [await turn(courier) for _ in range(3)]
        assert await turn(other) is None
        assert neighbour.changes == ["raised", "cleared"]
        waiting, told = courier.status(), hook.changes
        assert await turn(courier) is None
    assert [pause is not None and pause >= 0.75 * 2**n for n, pause in enumerate(pauses)] == (
        [True] * 3
    )
    assert told == ["raised"] * 3
    assert hook.changes[3:] == ["raised", "cleared"]
    assert (waiting["pending"], waiting["failed"], waiting["refused"]) == (2, 3, 0)
    assert f"it answers {status}" in waiting["problem"]
    assert courier.status()["problem"] is None
    said = [each.getMessage() for each in caplog.records if "ops cannot be" in each.getMessage()]
    assert len(said) == 1
    assert str(status) in said[0]
    assert not [text for text in ("T0K3N", KEYS["Authorization"]) if text in json.dumps(waiting)]
    assert not [text for text in ("T0K3N", KEYS["Authorization"]) if text in caplog.text]
    assert site.alarms() == []


async def test_one_that_is_never_mended_is_told_for_so_long(site: Site) -> None:
    async with AsyncExitStack() as stack:
        hook = Hook(web.Response(status=404))
        courier = site.courier(Webhook(await hook.start(stack)), expire_ns=10 * S)
        site.change(1)
        assert await turn(courier) is not None
        site.now_s = 12.0
        site.change(11)
        assert await turn(courier) is None
    assert [json.loads(body)["time"] for _, body in hook.got] == [1000, 11_000]
    status = courier.status()
    assert (status["expired"], status["refused"], status["delivered"]) == (1, 0, 1)
    (alarm,) = site.alarms()
    assert alarm["code"] == "NOTICES_LOST"
