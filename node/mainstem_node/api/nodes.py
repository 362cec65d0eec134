"""The children of this node: invite, join, list, revoke."""

from __future__ import annotations

import re
from typing import Any

from aiohttp import web

from mainstem_node.api.route import JSON, Route, json_response, read_json
from mainstem_node.api.times import NS_PER_MS, parse_time_ns
from mainstem_node.auth import ADMIN, READ, Principal
from mainstem_node.errors import BadRequestError
from mainstem_node.runtime import Runtime


async def listed(runtime: Runtime, request: web.Request, caller: Principal) -> web.Response:
    nodes = runtime.authenticator.nodes.list()
    return json_response({"nodes": [entry.public() for entry in nodes]})


async def add(runtime: Runtime, request: web.Request, caller: Principal) -> web.Response:
    body = await read_json(request)
    node_id = _text(body, "id")
    paths = body.get("paths", body.get("path", []))
    paths = [paths] if isinstance(paths, str) else paths
    if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths) or not paths:
        raise BadRequestError(
            "a node needs at least one path", field="path", hint='send {"path": "root.plant.line"}'
        )
    registry = runtime.authenticator.nodes
    entry, token = await runtime.io_workers.run(registry.add, node_id, paths)
    runtime.ownership.learn(entry.id, entry.paths)
    return json_response(
        {**entry.public(), "join_token": token, "expires": entry.join_expires_ms}, status=201
    )


async def join(runtime: Runtime, request: web.Request, caller: Principal) -> web.Response:
    body = await read_json(request)
    token, uuid = _text(body, "token"), _text(body, "uuid")
    if not re.fullmatch(r"[0-9a-f]{32}", uuid):
        raise BadRequestError("uuid is not 32 hex digits", field="uuid")
    registry = runtime.authenticator.nodes
    entry, link_token = await runtime.io_workers.run(registry.join, token, uuid)
    return json_response(
        {
            "id": entry.id,
            "paths": list(entry.paths),
            "token": link_token,
            "parent": runtime.config.id,
            "federation": runtime.topology.federation,
        }
    )


async def revoke(runtime: Runtime, request: web.Request, caller: Principal) -> web.Response:
    registry = runtime.authenticator.nodes
    entry = await runtime.io_workers.run(registry.revoke, request.match_info["id"])
    return json_response(entry.public())


async def retire(runtime: Runtime, request: web.Request, caller: Principal) -> web.Response:
    body = await read_json(request)
    since = body.get("from") if isinstance(body, dict) else None
    from_ms = None if since is None else parse_time_ns(str(since), "from") // NS_PER_MS
    registry = runtime.authenticator.nodes
    entry = await runtime.io_workers.run(registry.retire, request.match_info["id"], from_ms)
    return json_response(entry.public())


async def replace(runtime: Runtime, request: web.Request, caller: Principal) -> web.Response:
    registry = runtime.authenticator.nodes
    entry, token = await runtime.io_workers.run(registry.replace, request.match_info["id"])
    return json_response({**entry.public(), "join_token": token, "expires": entry.join_expires_ms})


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise BadRequestError(f"{name} is missing", field=name)
    return value


ROUTES = (
    Route("GET", "/api/v1/nodes", listed, READ, "The enrolled children."),
    Route("POST", "/api/v1/nodes", add, ADMIN, "Invite a child: a join token, once.", (JSON,)),
    Route(
        "POST", "/api/v1/nodes/join", join, None,
        "At the child: exchange the join token for the link credential.", (JSON,),
    ),
    Route(
        "POST", "/api/v1/nodes/{id}/replace", replace, ADMIN,
        "A child has a new disk: the next one of its name is it. A join token, once.", (JSON,),
    ),
    Route(
        "POST", "/api/v1/nodes/{id}/retire", retire, ADMIN,
        "A child is gone for good: nothing of it is expected from then on.", (JSON,),
    ),
    Route("DELETE", "/api/v1/nodes/{id}", revoke, ADMIN, "Refuse a child from now on."),
)  # fmt: skip
