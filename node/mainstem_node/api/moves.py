"""Devices that are moved between nodes at or below this one."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from mainstem_node.api.route import JSON, Route, json_response, read_json
from mainstem_node.api.times import parse_time_ns
from mainstem_node.auth import ADMIN, READ, Principal
from mainstem_node.errors import BadRequestError
from mainstem_node.runtime import Runtime


async def listed(runtime: Runtime, request: web.Request, caller: Principal) -> web.Response:
    device = request.query.get("device")
    moving = runtime.federation.moving
    return json_response({"moves": await runtime.io_workers.run(moving.listed, device)})


async def move(runtime: Runtime, request: web.Request, caller: Principal) -> web.Response:
    body = await read_json(request)
    device, to, at = body.get("device"), body.get("to"), body.get("at")
    for name, value in (("device", device), ("to", to)):
        if not isinstance(value, str) or not value:
            raise BadRequestError(f"{name} is missing", field=name)
    from_ns = None if at is None else parse_time_ns(str(at), "at")
    return json_response(
        await runtime.write_workers.run(_move, runtime, str(device), str(to), from_ns, caller),
        status=202,
    )


def _move(
    runtime: Runtime, device: str, to: str, from_ns: int | None, caller: Principal
) -> dict[str, Any]:
    moving = runtime.federation.moving
    given = moving.move(device, to, from_ns, by=caller.name)
    runtime.audit.note(
        caller.name,
        "move",
        {"id": given.id, "device": given.device, "to": to, "from": given.source},
    )
    return next(each for each in moving.listed(given.device) if each["id"] == given.id)


ROUTES = (
    Route("GET", "/api/v1/moves", listed, READ, "Devices that were moved, and who knows: device."),
    Route(
        "POST", "/api/v1/moves", move, ADMIN,
        "Move a device to another node: its rows from a time on are that one's.", (JSON,),
    ),
)  # fmt: skip
