"""Who did what at this node: lines of a hash chain."""

from __future__ import annotations

from dataclasses import asdict

from aiohttp import web

from mainstem_node.api.route import Route, json_response, query_int
from mainstem_node.auth import ADMIN, Principal
from mainstem_node.runtime import Runtime

LISTED_MAX = 10_000


async def listed(runtime: Runtime, request: web.Request, caller: Principal) -> web.Response:
    limit = query_int(request, "limit", 100, low=1, high=LISTED_MAX)
    entries = await runtime.io_workers.run(runtime.audit.newest, limit)
    return json_response({"entries": entries, "head": runtime.audit.head})


async def verified(runtime: Runtime, request: web.Request, caller: Principal) -> web.Response:
    lines, problems = await runtime.io_workers.run(runtime.audit.verify)
    return json_response(
        {"lines": lines, "head": runtime.audit.head, "problems": [asdict(p) for p in problems]}
    )


ROUTES = (
    Route("GET", "/api/v1/audit", listed, ADMIN, "The newest lines of the audit."),
    Route("GET", "/api/v1/audit/verify", verified, ADMIN, "Whether its chain is whole."),
)
