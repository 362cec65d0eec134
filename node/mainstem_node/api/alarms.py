"""What needs somebody who looks: what a node found wrong with itself or its children, and the
alarms of rules, which people acknowledge."""

from __future__ import annotations

import uuid
from typing import Any

from aiohttp import web

from mainstem_node.alarms.action import NAME, require_comment
from mainstem_node.alarms.desk import LISTED_MAX, Wanted, require_newest
from mainstem_node.alarms.standing import GROUPS, NS_PER_MS
from mainstem_node.api.route import JSON, Route, json_response, query_int, read_json
from mainstem_node.api.times import query_time_ns
from mainstem_node.auth import READ, WRITE, Principal
from mainstem_node.commanding.command import KIND, Command, shown
from mainstem_node.errors import BadRequestError, MissingError
from mainstem_node.runtime import Runtime
from mainstem_sync.wire.order import Mode, Order

SEVERITIES = ("info", "warning", "critical")
OF_RULES = ("state", "severity", "from", "limit")
EXPIRES_MS = 7 * 86_400_000
"""How long a node that is away may take to hear of it: late it does no harm, for it names what was
seen."""


async def listed(runtime: Runtime, request: web.Request, caller: Principal) -> web.Response:
    source = request.query.get("source", "node")
    if source == "rules":
        found = await runtime.io_workers.run(runtime.alarms.listed, _wanted(request))
        return json_response(found)
    if source != "node":
        raise BadRequestError(f"source={source!r} is unknown", field="source", hint="node or rules")
    for name in OF_RULES:
        if name in request.query:
            raise BadRequestError(
                f"{name} is of alarms of rules", field=name, hint="add source=rules"
            )
    return json_response(runtime.federation.alarms())


def _wanted(request: web.Request) -> Wanted:
    return Wanted(
        GROUPS[_one_of(request, "state", tuple(GROUPS)) or "open"],
        _one_of(request, "severity", SEVERITIES),
        query_time_ns(request, "from"),
        query_int(request, "limit", 100, low=1, high=LISTED_MAX),
    )


def _one_of(request: web.Request, name: str, known: tuple[str, ...]) -> str | None:
    value = request.query.get(name) or None
    if value is not None and value not in known:
        raise BadRequestError(
            f"{name}={value!r} is unknown", field=name, hint=f"one of {', '.join(known)}"
        )
    return value


async def rules(runtime: Runtime, request: web.Request, caller: Principal) -> web.Response:
    found = await runtime.io_workers.run(runtime.alarms.rules, runtime.config.rules)
    return json_response({"rules": found})


async def acknowledged(runtime: Runtime, request: web.Request, caller: Principal) -> web.Response:
    body = await read_json(request)
    for name in set(body) - {"comment", "since"}:
        raise BadRequestError(f"unknown key {name!r}", field=name, hint="comment, since")
    comment, since = require_comment(body.get("comment") or ""), body.get("since")
    if since is not None and (isinstance(since, bool) or not isinstance(since, int)):
        raise BadRequestError("since is no time in ms", field="since", hint="as it is listed")
    alarm, order = await runtime.write_workers.run(
        _acknowledge, runtime, request.match_info["id"], caller, comment, since
    )
    answer = {"alarm": alarm, "command": order}
    return json_response(answer, status=200 if order is None else 202)


def _acknowledge(
    runtime: Runtime, identity: str, caller: Principal, comment: str, since: int | None
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The alarm, and the order to the node that has it; None for this node."""
    alarm, raised_ns, is_elsewhere = runtime.alarms.find(identity)
    if since is not None:
        require_newest(identity, since, alarm["since"])
    runtime.audit.note(
        caller.name, NAME, {"alarm": alarm["id"], "since": alarm["since"], "comment": comment}
    )
    if not is_elsewhere:
        return runtime.alarms.acknowledge(identity, caller.name, comment, raised_ns), None
    owner = runtime.federation.owner_of(identity) or runtime.ownership.owner(identity)
    if owner is None:
        raise MissingError(f"nobody at or below this node is known to own {identity}")
    arguments = {
        "alarm": alarm["id"], "since_ns": raised_ns, "by": caller.name, "comment": comment,
    }  # fmt: skip
    now_ms = runtime.clock_ns() // NS_PER_MS
    body = Command(alarm["id"], NAME, arguments).to_body()
    order = Order(
        uuid.uuid4().hex, KIND, owner, body, now_ms, runtime.config.id, caller.name,
        Mode.IDEMPOTENT, now_ms + EXPIRES_MS,
    )  # fmt: skip
    runtime.federation.down.give(order).wait()
    given = runtime.federation.down.orders.find(order.id)
    return alarm, {"id": order.id} if given is None else shown(given, now_ms)


ROUTES = (
    Route(
        "GET", "/api/v1/alarms", listed, READ,
        "Alarms of this node about nodes, oldest first; source=rules: how those of rules stand.",
    ),
    Route(
        "POST", "/api/v1/alarms/{id}/ack", acknowledged, WRITE,
        "A person has seen this alarm of a rule; 202: the node that has it was told.", (JSON,),
    ),
    Route("GET", "/api/v1/rules", rules, READ, "The alarm rules of this node."),
)  # fmt: skip
