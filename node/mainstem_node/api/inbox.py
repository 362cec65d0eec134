"""Devices that data speaks of and that are not there: shown, adopted, ignored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from mainstem_node.api.route import JSON, Route, json_response, read_json
from mainstem_node.auth import ADMIN, READ, Principal
from mainstem_node.errors import BadRequestError
from mainstem_node.runtime import Runtime

ADOPT_KEYS = {"template": str, "device": str, "tags": dict}
IGNORE_KEYS = {"ignore": bool}


async def listed(runtime: Runtime, request: web.Request, caller: Principal) -> web.Response:
    return json_response(await runtime.io_workers.run(runtime.inbox.listed))


async def adopted(runtime: Runtime, request: web.Request, caller: Principal) -> web.Response:
    body = await _body(request, ADOPT_KEYS)
    key = request.match_info["id"]
    answer = await runtime.write_workers.run(
        runtime.inbox.adopt, key, body.get("template"), body.get("device"), body.get("tags")
    )
    return json_response(answer)


async def ignored(runtime: Runtime, request: web.Request, caller: Principal) -> web.Response:
    body = await _body(request, IGNORE_KEYS)
    key = request.match_info["id"]
    decide = runtime.inbox.ignore if body.get("ignore", True) else runtime.inbox.heed
    return json_response(await runtime.write_workers.run(decide, key))


async def _body(request: web.Request, keys: Mapping[str, type]) -> dict[str, Any]:
    """An object of these keys; all may be left out or null."""
    body = await read_json(request)
    if not isinstance(body, dict):
        raise BadRequestError("expected an object", hint=f"known are {', '.join(keys)}")
    for name, value in body.items():
        if name not in keys:
            raise BadRequestError(
                f"unknown key {name!r}", field=name, hint=f"known are {', '.join(keys)}"
            )
        if value is not None and not isinstance(value, keys[name]):
            raise BadRequestError(f"{name} must be a {keys[name].__name__}", field=name)
    return body


ROUTES = (
    Route(
        "GET", "/api/v1/devices/inbox", listed, READ,
        "Unknown devices, with samples and a suggested template.",
    ),
    Route(
        "POST", "/api/v1/devices/inbox/{id}/adopt", adopted, ADMIN,
        "Make it a device, and store what was kept of it.", (JSON,),
    ),
    Route(
        "POST", "/api/v1/devices/inbox/{id}/ignore", ignored, ADMIN,
        "Count its rows and keep none; ignore=false: keep them again.", (JSON,),
    ),
)  # fmt: skip
