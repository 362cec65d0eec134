"""What needs somebody who looks: forked and cloned logs, slices that differ for a day."""

from __future__ import annotations

from aiohttp import web

from mainstem_node.api.route import Route, json_response
from mainstem_node.auth import READ, Principal
from mainstem_node.runtime import Runtime


async def listed(runtime: Runtime, request: web.Request, caller: Principal) -> web.Response:
    return json_response(runtime.federation.alarms())


ROUTES = (
    Route("GET", "/api/v1/alarms", listed, READ, "The newest alarms of this node, oldest first."),
)
