"""The status of this node and of the tree below it, and verification of slices."""

from __future__ import annotations

from aiohttp import web

from mainstem_node.api.route import JSON, Route, json_response, read_json
from mainstem_node.api.times import query_time_ns
from mainstem_node.auth import ADMIN, READ, Principal
from mainstem_node.errors import BadRequestError
from mainstem_node.runtime import Runtime


async def status(runtime: Runtime, request: web.Request, caller: Principal) -> web.Response:
    return json_response(await runtime.io_workers.run(runtime.status))


async def completeness(runtime: Runtime, request: web.Request, caller: Principal) -> web.Response:
    tables = [t for t in request.query.get("tables", "").split(",") if t] or None
    start_ns = query_time_ns(request, "from")
    end_ns = query_time_ns(request, "to")
    found = await runtime.io_workers.run(runtime.federation.completeness, tables, start_ns, end_ns)
    return json_response({"completeness": found})


async def verify(runtime: Runtime, request: web.Request, caller: Principal) -> web.Response:
    start_ns = query_time_ns(request, "from")
    end_ns = query_time_ns(request, "to")
    rescan = request.query.get("rescan", "") == "1"
    found = await runtime.io_workers.run(runtime.federation.verify, start_ns, end_ns, rescan=rescan)
    return json_response(found)


async def trace(runtime: Runtime, request: web.Request, caller: Principal) -> web.Response:
    device, measurement = (request.query.get(name, "") for name in ("device", "measurement"))
    at_ns = query_time_ns(request, "at")
    hint = "ask with device, measurement and at"
    for name, value in (("device", device), ("measurement", measurement)):
        if not value:
            raise BadRequestError(f"{name} is missing", field=name, hint=hint)
    if at_ns is None:
        raise BadRequestError("at is missing", field="at", hint=hint)
    found = await runtime.io_workers.run(runtime.federation.trace, device, measurement, at_ns)
    return json_response(found)


async def intake(runtime: Runtime, request: web.Request, caller: Principal) -> web.Response:
    body = await read_json(request)
    if body != {"action": "stop"}:
        raise BadRequestError(
            "the only action is stop", field="action", hint='send {"action": "stop"}'
        )
    await runtime.stop_intake()
    return json_response({"intake": "stopped"})


ROUTES = (
    Route("GET", "/api/v1/status", status, READ, "This node, and its children."),
    Route("GET", "/api/v1/federation", status, READ, "The tree below this node."),
    Route("GET", "/api/v1/completeness", completeness, READ, "How complete the tables are."),
    Route("GET", "/api/v1/verify", verify, READ, "Slices that are due, verified or not."),
    Route("GET", "/api/v1/trace", trace, READ, "Where one point comes from, and what it fed."),
    Route(
        "POST", "/api/v1/intake", intake, ADMIN,
        "Stop the collectors once their queues are empty; they start again with the node.", (JSON,),
    ),
)  # fmt: skip
