"""What was refused, why, and what to do with it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from aiohttp import web

from mainstem_node.api.route import JSON, Route, json_response, query_int, read_json
from mainstem_node.auth import ADMIN, READ, Principal
from mainstem_node.errors import BadRequestError, MissingError
from mainstem_node.runtime import Runtime
from mainstem_sync.receiving.quarantine_pages import Question

ITEMS_MAX = 10_000
RETRIES_MAX = 1_000
"""Items of one request to retry: each may write, and wait for the disk."""
ANSWER_S = 10.0
"""Two tiers answer in four seconds as a rule; one that is silent must not hold the others up."""
ANSWER_POLL_S = 0.2
DEPTH_MAX = 16
"""Tiers of a tree; a deeper one is a status object that contains itself."""


async def listed(runtime: Runtime, request: web.Request, caller: Principal) -> web.Response:
    """A page: this node's items, then with below=1 those of each node below. ``next`` is what to
    give as ``after`` for the page behind it, null when there is none; ``unheard`` names nodes below
    that did not answer in time, and of which the newest items are shown."""
    limit = query_int(request, "limit", 100, low=1, high=ITEMS_MAX)
    node, table = request.query.get("node"), request.query.get("table")
    after = _cursor(request.query.get("after"))
    own = runtime.config.id
    store = runtime.federation.quarantine
    found = await runtime.io_workers.run(
        store.items, limit=limit + 1, node=node, table=table, after=after.get(own)
    )
    pages: dict[str, tuple[list[dict[str, Any]], bool]] = {own: (found[:limit], len(found) > limit)}
    total, unheard = store.statistics().bytes, []
    if request.query.get("below") == "1":
        question = runtime.federation.quarantine_pages.ask(
            limit, after, node=node or "", table=table or ""
        )
        answers = await _answers(runtime, question)
        status = await runtime.io_workers.run(runtime.status)
        for name, below in _below(status):
            total += _bytes(below)
            page = answers.get(name)
            if page is None:
                unheard.append(name)
                first = [] if name in after else _chosen(below, node, table)
                pages[name] = (first, False)
            else:
                pages[name] = (_chosen(page, node, table), bool(page.get("more")))
    items: list[dict[str, Any]] = []
    more = False
    for name, (some, has_more) in pages.items():
        shown = some[: limit - len(items)]
        items += shown
        more = more or has_more or len(shown) < len(some)
        if shown:
            after[name] = str(shown[-1].get("id"))
    following = json.dumps(after, separators=(",", ":")) if more else None
    return json_response({"items": items, "bytes": total, "next": following, "unheard": unheard})


async def _answers(runtime: Runtime, question: Question) -> dict[str, dict[str, Any]]:
    """The pages of the nodes below that are heard of, as soon as all are there."""
    federation = runtime.federation
    until = time.monotonic() + ANSWER_S
    while True:
        answers = federation.quarantine_pages.pages(question)
        children = await runtime.io_workers.run(federation.children)
        waiting = [name for name in _heard(children) if name not in answers]
        if not waiting or time.monotonic() > until:
            return answers
        await asyncio.sleep(ANSWER_POLL_S)


def _heard(children: Iterable[Any], depth: int = 0) -> Iterator[str]:
    """Names of the nodes below that can answer."""
    for child in children:
        if not isinstance(child, dict) or depth >= DEPTH_MAX:
            continue
        if child.get("state") in ("live", "lagging") and "quarantine" in child:
            yield str(child.get("node"))
            yield from _heard(child.get("children") or (), depth + 1)


def _chosen(said: Mapping[str, Any], node: str | None, table: str | None) -> list[dict[str, Any]]:
    return [
        item
        for item in said.get("items", ())
        if isinstance(item, dict)
        and (node is None or item.get("node") == node)
        and (table is None or item.get("table") == table)
    ]


def _cursor(value: str | None) -> dict[str, str]:
    """By node the last item that was shown."""
    if not value:
        return {}
    try:
        found = json.loads(value)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(each, str) for each in found.values()):
        raise BadRequestError(
            "after is not a page", field="after", hint="give `next` of the page before"
        )
    return {str(name): item for name, item in found.items()}


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


def _below(status: Mapping[str, Any], depth: int = 0) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What every node below last said of its quarantine."""
    for child in status.get("children") or ():
        if not isinstance(child, dict) or depth >= DEPTH_MAX:
            continue
        said = child.get("quarantine")
        if isinstance(said, dict):
            yield str(child.get("node")), said
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
