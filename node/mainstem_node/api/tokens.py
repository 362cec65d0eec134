"""API tokens: list, create, revoke."""

from __future__ import annotations

from aiohttp import web

from mainstem_node.api.route import JSON, Route, json_response, read_json
from mainstem_node.auth import ADMIN, READ, Principal
from mainstem_node.config.units import parse_duration
from mainstem_node.errors import BadRequestError
from mainstem_node.runtime import Runtime

_NS_PER_MS = 1_000_000


async def listed(runtime: Runtime, request: web.Request, caller: Principal) -> web.Response:
    tokens = runtime.authenticator.tokens.list()
    return json_response({"tokens": [entry.public() for entry in tokens]})


async def create(runtime: Runtime, request: web.Request, caller: Principal) -> web.Response:
    body = await read_json(request)
    name, role, expires = body.get("name"), body.get("role", READ), body.get("expires")
    if not isinstance(name, str) or not isinstance(role, str):
        raise BadRequestError("name and role must be texts", field="name")
    life_ms = None
    if expires is not None:
        try:
            life_ms = parse_duration(str(expires)) // _NS_PER_MS
        except ValueError as error:
            raise BadRequestError(error.args[0], field="expires", hint=error.args[1]) from None
    store = runtime.authenticator.tokens
    entry, token = await runtime.io_workers.run(store.create, name, role, life_ms=life_ms)
    return json_response({**entry.public(), "token": token}, status=201)


async def revoke(runtime: Runtime, request: web.Request, caller: Principal) -> web.Response:
    store = runtime.authenticator.tokens
    entry = await runtime.io_workers.run(store.revoke, request.match_info["id"])
    return json_response(entry.public())


ROUTES = (
    Route("GET", "/api/v1/tokens", listed, ADMIN, "The API tokens, without their values."),
    Route(
        "POST", "/api/v1/tokens", create, ADMIN,
        "A new token {name, role, expires}; its value is shown this once.", (JSON,),
    ),
    Route("DELETE", "/api/v1/tokens/{id}", revoke, ADMIN, "Refuse a token from now on."),
)  # fmt: skip
