"""What was refused, and why."""

from __future__ import annotations

from aiohttp import web

from mainstem_node.api.route import Route, json_response, query_int
from mainstem_node.auth import READ, Principal
from mainstem_node.runtime import Runtime

ITEMS_MAX = 10_000


async def listed(runtime: Runtime, request: web.Request, caller: Principal) -> web.Response:
    limit = query_int(request, "limit", 100, low=1, high=ITEMS_MAX)
    node, table = request.query.get("node"), request.query.get("table")
    store = runtime.federation.quarantine
    items = await runtime.io_workers.run(store.items, limit=limit, node=node, table=table)
    return json_response({"items": items, "bytes": store.statistics().bytes})


ROUTES = (Route("GET", "/api/v1/quarantine", listed, READ, "The newest refused values and rows."),)
