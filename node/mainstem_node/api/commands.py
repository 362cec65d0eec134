"""Commands to devices and nodes: sent from here or from above, listed with their states."""

from __future__ import annotations

import dataclasses
import uuid
from typing import Any

from aiohttp import web

from mainstem_node.alarms import action as alarm_ack
from mainstem_node.api.route import JSON, Route, json_response, query_int, read_json
from mainstem_node.auth import READ, WRITE, Principal
from mainstem_node.commanding.command import (
    KIND,
    Command,
    is_command,
    mode_of,
    not_after_ms,
    shown,
)
from mainstem_node.errors import BadRequestError, ConflictError, MissingError
from mainstem_node.runtime import Runtime
from mainstem_sync.wire.order import ID_CHARS_MAX, Order

LISTED_MAX = 10_000


async def listed(runtime: Runtime, request: web.Request, caller: Principal) -> web.Response:
    limit = query_int(request, "limit", 100, low=1, high=LISTED_MAX)
    state, target = request.query.get("state"), request.query.get("target")
    found = await runtime.io_workers.run(_commands, runtime)
    found = [
        each
        for each in found
        if (state is None or each["state"] == state.upper())
        and (target is None or each["target"] == target)
    ]
    return json_response({"commands": found[:limit]})


async def one(runtime: Runtime, request: web.Request, caller: Principal) -> web.Response:
    identity = request.match_info["id"]
    standing = runtime.federation.down.orders.find(identity)
    if standing is None or not is_command(standing.order):
        raise MissingError(f"there is no command {identity!r} here", hint="GET /api/v1/commands")
    return json_response(shown(standing, runtime.clock_ns() // 1_000_000))


async def sent(runtime: Runtime, request: web.Request, caller: Principal) -> web.Response:
    body = await read_json(request)
    unknown = set(body) - {
        "id", "target", "action", "arguments", "mode", "not_after", "expires_in", "precondition",
    }  # fmt: skip
    if unknown:
        raise BadRequestError(f"{sorted(unknown)[0]!r} is unknown", field=sorted(unknown)[0])
    order = _order(runtime, body, caller)
    known = runtime.federation.down.orders.find(order.id)
    if known is not None and (known.order.body != order.body or known.order.to != order.to):
        raise ConflictError(f"there is another command {order.id!r}", field="id")
    if known is None:
        await runtime.write_workers.run(_give, runtime, order, caller)
    standing = runtime.federation.down.orders.find(order.id)
    if standing is None:
        raise MissingError(f"the command {order.id!r} is forgotten already")
    return json_response(shown(standing, runtime.clock_ns() // 1_000_000), status=202)


def _give(runtime: Runtime, order: Order, caller: Principal) -> None:
    runtime.audit.note(caller.name, "command", {"id": order.id, "node": order.to, **order.body})
    runtime.federation.down.give(order).wait()


def _order(runtime: Runtime, body: dict[str, Any], caller: Principal) -> Order:
    command = Command.from_body(body)
    if command.action == alarm_ack.NAME:
        own = alarm_ack.in_own_name(command.arguments, caller.name)
        command = dataclasses.replace(command, arguments=own)
    now_ms = runtime.clock_ns() // 1_000_000
    identity = body.get("id", uuid.uuid4().hex)
    if not isinstance(identity, str) or not 0 < len(identity) <= ID_CHARS_MAX:
        raise BadRequestError(f"id is not a text of 1 to {ID_CHARS_MAX} characters", field="id")
    return Order(
        identity,
        KIND,
        _node_of(runtime, command),
        command.to_body(),
        now_ms,
        runtime.config.id,
        caller.name,
        mode_of(body),
        not_after_ms(body, now_ms),
    )


def _node_of(runtime: Runtime, command: Command) -> str:
    """The node that carries it out. Raises MissingError for one that nobody knows here."""
    device, here = command.device, runtime.config.id
    if device is None:
        node = command.target.removeprefix("node:")
        if node != here and runtime.federation.route(node) is None:
            enrolled = {entry.id for entry in runtime.authenticator.nodes.list()}
            if node not in enrolled:
                raise MissingError(f"no node {node!r} is known at or below {here}", field="target")
        return node
    found = runtime.federation.owner_of(device) or runtime.ownership.owner(device)
    if found is None:
        raise MissingError(
            f"nobody at or below {here} is known to own {device}",
            field="target",
            hint="send it to node:ID, or check the path",
        )
    return found


def _commands(runtime: Runtime) -> list[dict[str, Any]]:
    """All, newest first."""
    now_ms = runtime.clock_ns() // 1_000_000
    found = [s for s in runtime.federation.down.orders.all() if is_command(s.order)]
    return [shown(standing, now_ms) for standing in reversed(found)]


ROUTES = (
    Route("GET", "/api/v1/commands", listed, READ, "Commands with their states, newest first."),
    Route("GET", "/api/v1/commands/{id}", one, READ, "One command."),
    Route(
        "POST", "/api/v1/commands", sent, WRITE,
        "Command a device or node at or below this one; durable when answered.", (JSON,),
    ),
)  # fmt: skip
