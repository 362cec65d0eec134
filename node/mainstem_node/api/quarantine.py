"""What was refused, why, and what to do with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from aiohttp import web

from mainstem_node.api.route import JSON, Route, json_response, query_int, read_json
from mainstem_node.auth import ADMIN, READ, Principal
from mainstem_node.errors import BadRequestError, MissingError
from mainstem_node.runtime import Runtime

ITEMS_MAX = 10_000
RETRIES_MAX = 1_000
"""Items of one request to retry: each may write, and wait for the disk."""
DEPTH_MAX = 16
"""Tiers of a tree; a deeper one is a status object that contains itself."""


async def listed(runtime: Runtime, request: web.Request, caller: Principal) -> web.Response:
    limit = query_int(request, "limit", 100, low=1, high=ITEMS_MAX)
    node, table = request.query.get("node"), request.query.get("table")
    store = runtime.federation.quarantine
    items = await runtime.io_workers.run(store.items, limit=limit, node=node, table=table)
    total = store.statistics().bytes
    if request.query.get("below") == "1":
        status = await runtime.io_workers.run(runtime.status)
        for below in _below(status):
            total += _bytes(below)
            items += [
                item
                for item in below.get("items", ())
                if isinstance(item, dict)
                and (node is None or item.get("node") == node)
                and (table is None or item.get("table") == table)
            ]
        items = items[:limit]
    return json_response({"items": items, "bytes": total})


async def shown(runtime: Runtime, request: web.Request, caller: Principal) -> web.Response:
    identity = request.match_info["id"]
    item = await runtime.io_workers.run(runtime.federation.quarantine.get, identity)
    if item is None:
        raise _missing(identity)
    return json_response(item)


async def retried(runtime: Runtime, request: web.Request, caller: Principal) -> web.Response:
    body = await read_json(request)
    ids = body.get("ids") if isinstance(body, dict) else None
    if not isinstance(ids, list) or not all(isinstance(each, str) for each in ids) or not ids:
        raise BadRequestError("ids is a list of items", field="ids", hint='send {"ids": ["..."]}')
    if len(ids) > RETRIES_MAX:
        raise BadRequestError(f"more than {RETRIES_MAX} items at a time", field="ids")
    results = await runtime.write_workers.run(runtime.federation.retrying.retry, ids)
    return json_response({"results": results})


async def dropped(runtime: Runtime, request: web.Request, caller: Principal) -> web.Response:
    identity = request.match_info["id"]
    if not await runtime.write_workers.run(runtime.federation.quarantine.drop, identity):
        raise _missing(identity)
    return json_response({"id": identity, "state": "dropped"})


def _missing(identity: str) -> MissingError:
    return MissingError(
        f"there is no item {identity!r}", field="id", hint="see mainstem quarantine list"
    )


def _below(status: Mapping[str, Any], depth: int = 0) -> Iterator[Mapping[str, Any]]:
    """What every node below last said of its quarantine."""
    for child in status.get("children") or ():
        if not isinstance(child, dict) or depth >= DEPTH_MAX:
            continue
        said = child.get("quarantine")
        if isinstance(said, dict):
            yield said
        yield from _below(child, depth + 1)


def _bytes(said: Mapping[str, Any]) -> int:
    found = said.get("bytes")
    return found if isinstance(found, int) else 0


ROUTES = (
    Route(
        "GET", "/api/v1/quarantine", listed, READ,
        "The newest refused values and rows; below=1: of all nodes below too.",
    ),
    Route("GET", "/api/v1/quarantine/{id}", shown, READ, "One of them."),
    Route(
        "POST", "/api/v1/quarantine/retry", retried, ADMIN,
        "Try again, once the reason is removed.", (JSON,),
    ),
    Route("DELETE", "/api/v1/quarantine/{id}", dropped, ADMIN, "Forget one for good."),
)  # fmt: skip
