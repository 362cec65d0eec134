"""Is the process up, is the node ready, and the metrics."""

from __future__ import annotations

from aiohttp import web

from mainstem_node.api.route import Route, json_response
from mainstem_node.auth import READ, Principal
from mainstem_node.runtime import Runtime


async def health(runtime: Runtime, request: web.Request, caller: Principal) -> web.Response:
    return json_response({"status": "up", "node": runtime.config.id})


async def ready(runtime: Runtime, request: web.Request, caller: Principal) -> web.Response:
    reasons = runtime.not_ready()
    body = {"status": "not ready" if reasons else "ready", "reasons": reasons}
    return json_response(body, status=503 if reasons else 200)


async def metrics(runtime: Runtime, request: web.Request, caller: Principal) -> web.Response:
    text = await runtime.io_workers.run(runtime.metrics.render)
    return web.Response(
        body=text, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
    )


ROUTES = (
    Route("GET", "/health", health, None, "The process is up."),
    Route("GET", "/ready", ready, None, "The store is open, the log replayed and writable."),
    Route("GET", "/metrics", metrics, READ, "Prometheus metrics."),
)
