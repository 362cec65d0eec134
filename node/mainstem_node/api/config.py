"""The configurations of this node and all below: what each has, and new ones for them."""

from __future__ import annotations

import uuid
from typing import Any

from aiohttp import web

from mainstem_node.api.route import JSON, Route, json_response, read_body
from mainstem_node.api.route import decode_json as decode
from mainstem_node.auth import ADMIN, READ, Principal
from mainstem_node.desired.agent import KIND, SLOT, STATEMENT
from mainstem_node.desired.documents import hash_of, packed, unpacked
from mainstem_node.errors import BadRequestError, ForbiddenError, MissingError
from mainstem_node.order_view import order_view
from mainstem_node.runtime import Runtime
from mainstem_sync.down.orders import Standing
from mainstem_sync.wire.order import BODY_BYTES_MAX, Order

BODY_MAX = 16 << 20
"""Documents of a thousand nodes."""


async def listed(runtime: Runtime, request: web.Request, caller: Principal) -> web.Response:
    with_documents = request.query.get("documents") == "1"
    if with_documents and not caller.may(ADMIN):
        raise ForbiddenError("documents are for admins", field="documents")
    found = await runtime.io_workers.run(_nodes, runtime, with_documents)
    return json_response({"nodes": found})


def _nodes(runtime: Runtime, with_documents: bool) -> list[dict[str, Any]]:
    """What every node says of itself, by name; this node first."""
    orders = runtime.federation.down.orders
    newest: dict[str, Standing] = {}
    for standing in orders.all():
        if standing.order.kind == KIND:
            newest[standing.order.to] = standing
    here = runtime.config.id
    said = orders.statements(STATEMENT)
    found = []
    for node in sorted({*said, *newest}, key=lambda name: (name != here, name)):
        word = said.get(node)
        item: dict[str, Any] = {
            "node": node,
            "rev": None if word is None else word.result.get("rev"),
            "hash": None if word is None else word.result.get("hash"),
            "by": None if word is None else word.result.get("by"),
            "at": None if word is None else word.at_ms,
            "last_order": None if node not in newest else order_view(newest[node]),
        }
        if with_documents:
            document = None if word is None else word.result.get("document")
            item["document"] = None if document is None else unpacked(document)
        found.append(item)
    return found


async def applied(runtime: Runtime, request: web.Request, caller: Principal) -> web.Response:
    body = decode(await read_body(request, BODY_MAX))
    documents = body.get("documents") if isinstance(body, dict) else None
    base = body.get("base", {}) if isinstance(body, dict) else None
    if not isinstance(documents, dict) or not documents or not isinstance(base, dict):
        raise BadRequestError(
            "documents is a mapping of node to document", field="documents",
            hint="mainstem config apply makes them of a topology",
        )  # fmt: skip
    bodies = {}
    for node, document in documents.items():
        if not isinstance(document, dict):
            raise BadRequestError(f"the document of {node} is not an object", field="documents")
        small = packed(document)
        bodies[node] = {"document": small, "base": _rev(base.get(node), node)}
        if len(small) > BODY_BYTES_MAX - 1024:
            raise BadRequestError(f"the document of {node} is too large", field="documents")
    detail = {node: hash_of(document) for node, document in documents.items()}
    return await _ordered(runtime, caller, bodies, {"documents": detail})


async def rolled_back(runtime: Runtime, request: web.Request, caller: Principal) -> web.Response:
    body = decode(await read_body(request))
    nodes = body.get("nodes") if isinstance(body, dict) else None
    if not isinstance(nodes, list) or not nodes or not all(isinstance(n, str) for n in nodes):
        raise BadRequestError("nodes is a list of names", field="nodes")
    to = body.get("to")
    target = "before" if to is None else _rev(to, "to")
    bodies = {node: {"rollback": target} for node in nodes}
    return await _ordered(runtime, caller, bodies, {"rollback": target, "nodes": nodes})


async def one_order(runtime: Runtime, request: web.Request, caller: Principal) -> web.Response:
    standing = runtime.federation.down.orders.find(request.match_info["id"])
    if standing is None or standing.order.kind != KIND:
        raise MissingError("there is no such order of a configuration here")
    return json_response(order_view(standing))


async def _ordered(
    runtime: Runtime, caller: Principal, bodies: dict[str, dict[str, Any]], detail: dict[str, Any]
) -> web.Response:
    here = runtime.config.id
    for node in bodies:
        if node != here and runtime.federation.route(node) is None:
            raise MissingError(f"no node {node!r} is known at or below {here}", field="nodes")
    now_ms = runtime.clock_ns() // 1_000_000
    orders = [
        Order(uuid.uuid4().hex, KIND, node, body, now_ms, here, caller.name, slot=SLOT)
        for node, body in bodies.items()
    ]
    await runtime.write_workers.run(_give, runtime, caller, orders, detail)
    found = [runtime.federation.down.orders.find(order.id) for order in orders]
    return json_response(
        {"orders": [order_view(each) for each in found if each is not None]}, status=202
    )


def _give(runtime: Runtime, caller: Principal, orders: list[Order], detail: dict[str, Any]) -> None:
    """This node's own comes last: it will stop for a moment."""
    runtime.audit.note(caller.name, "config", detail)
    for order in sorted(orders, key=lambda order: order.to == runtime.config.id):
        runtime.federation.down.give(order).wait()


def _rev(value: object, name: str) -> int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
        raise BadRequestError(f"{name}: {value!r} is no revision", field="base")
    return value


ROUTES = (
    Route("GET", "/api/v1/config", listed, READ, "What this node and all below are configured by."),
    Route(
        "POST", "/api/v1/config", applied, ADMIN,
        "New configurations for nodes at or below this one.", (JSON,), BODY_MAX,
    ),
    Route(
        "POST", "/api/v1/config/rollback", rolled_back, ADMIN,
        "Nodes go back to an earlier revision.", (JSON,),
    ),
    Route("GET", "/api/v1/config/orders/{id}", one_order, READ, "What became of a new one."),
)  # fmt: skip
