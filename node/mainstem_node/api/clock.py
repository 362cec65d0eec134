"""The clock by which rows expire: what it says, and an operator who vouches for it."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from mainstem_node.api.route import Route, json_response
from mainstem_node.auth import ADMIN, READ, Principal
from mainstem_node.runtime import Runtime

_NS_PER_MS = 1_000_000


async def shown(runtime: Runtime, request: web.Request, caller: Principal) -> web.Response:
    return json_response(_clock(runtime))


async def confirmed(runtime: Runtime, request: web.Request, caller: Principal) -> web.Response:
    runtime.engine.confirm_clock()
    return json_response(_clock(runtime))


def _clock(runtime: Runtime) -> dict[str, Any]:
    """``paused``: nothing expires, because the wall clock is ``ahead_ms`` of the confirmed time."""
    clock = runtime.engine.statistics().retention_clock
    return {
        "now": clock.now_ns // _NS_PER_MS,
        "paused": clock.paused,
        "ahead_ms": clock.ahead_ns // _NS_PER_MS,
    }


ROUTES = (
    Route("GET", "/api/v1/clock", shown, READ, "The clock by which rows expire."),
    Route("POST", "/api/v1/clock/confirm", confirmed, ADMIN, "This node's wall clock is right."),
)
