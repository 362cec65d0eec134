"""``POST /collect/v1/<name>``: what senders post, given to the collector of that name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from aiohttp import web

from mainstem_edge.collectors.http_push import HttpPushCollector
from mainstem_edge.collectors.interface import Collector
from mainstem_node.api.influx import credential
from mainstem_node.api.route import (
    Route,
    json_response,
    read_body,
    refuse_other_sites,
    require_caller,
)
from mainstem_node.auth import WRITE, Principal
from mainstem_node.errors import ForbiddenError, MissingError
from mainstem_node.runtime import Runtime

PATHS = ("/collect/v1/{name}", "/collect/v1/{name}/{rest:.*}")


def push_routes(collectors: Callable[[], Sequence[Collector]]) -> list[Route]:
    """``collectors``: those that run now."""

    async def post(runtime: Runtime, request: web.Request, caller: Principal) -> web.Response:
        name = request.match_info["name"]
        found = [
            each
            for each in collectors()
            if isinstance(each, HttpPushCollector) and each.path == name
        ]
        if not found:
            raise MissingError(
                f"nothing is collected under {name!r}",
                hint="see `name` of the collectors of type http_push",
            )
        await _take(runtime, request, found[0])
        return json_response({"stored": True})

    summary = "What devices post, for the collector http_push of that name; 200 when durable."
    return [Route("POST", path, post, None, summary) for path in PATHS]


async def _take(runtime: Runtime, request: web.Request, collector: HttpPushCollector) -> None:
    refuse_other_sites(request)  # a browser would add a password that it knows
    proof = collector.proof
    if proof is None:
        _require_writer(runtime, request)
    elif not proof.needs_body:
        collector.require_proof(request.headers, b"")
    with collector.admitted():
        topic = collector.place.topic(
            request.match_info.get("rest", ""), request.query, request.headers
        )
        body = await read_body(request, collector.body_bytes_max)
        if proof is not None and proof.needs_body:
            collector.require_proof(request.headers, body)
    key = request.headers.get("Idempotency-Key")
    await runtime.idempotent.once(topic, key, body, lambda: collector.take(topic, body))


def _require_writer(runtime: Runtime, request: web.Request) -> None:
    caller = require_caller(runtime, request, credential)
    if not caller.may(WRITE):
        raise ForbiddenError(
            f"a {caller.role} credential does not allow this",
            hint=f"use one with the role {WRITE}",
        )
