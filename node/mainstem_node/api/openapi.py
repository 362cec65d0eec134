"""The description of the API for programs: OpenAPI 3.1.

Paths, methods, roles and media types come from the routes themselves, so that none can be missing;
the shapes of bodies and answers are kept here by hand.
"""

from __future__ import annotations

import re
from typing import Any

from aiohttp import web

from mainstem_node.api.route import Route, json_response
from mainstem_node.auth import Principal
from mainstem_node.runtime import Runtime

_TEXT = {"type": "string"}
_NULL_TEXT = {"type": ["string", "null"]}
_WHOLE = {"type": "integer"}
_NULL_WHOLE = {"type": ["integer", "null"]}
_OBJECT = {"type": "object"}


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _object(required: str, **properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": required.split(), "properties": properties}


SCHEMAS: dict[str, dict[str, Any]] = {
    "Error": _object(
        "error",
        error=_object("code message", code=_TEXT, message=_TEXT, field=_NULL_TEXT, hint=_NULL_TEXT),
    ),
    "Completeness": _object(
        "node table state",
        node=_TEXT,
        table=_TEXT,
        state={
            "enum": [
                "complete", "incomplete", "not_held", "forked", "retired", "unknown",
            ]
        },
        as_of=_NULL_WHOLE,
        complete_through=_NULL_WHOLE,
        holes=_list({"type": "array", "prefixItems": [_WHOLE, _WHOLE]}),
        lost=_list(_OBJECT),
        quarantined=_WHOLE,
        missing_sources=_list(_TEXT),
        collector_gaps=_list(_OBJECT),
        held_at=_NULL_TEXT,
        clock_err_ms=_NULL_WHOLE,
    ),
    "Status": _object(
        "node tier state now",
        node=_TEXT,
        tier=_TEXT,
        path=_TEXT,
        state={"enum": ["live", "lagging", "stale", "offline", "quarantined"]},
        now=_WHOLE,
        lag_ms=_NULL_WHOLE,
        delivery={"type": ["object", "null"]},
        completeness=_list({"$ref": "#/components/schemas/Completeness"}),
        accounting=_OBJECT,
        clock_offset_ms={"type": ["number", "null"]},
        config_rev=_WHOLE,
        buffer=_OBJECT,
        durability=_TEXT,
        last_fsync_error=_NULL_TEXT,
        drops=_OBJECT,
        alarms=_WHOLE,
        rule_alarms=_object("active unacknowledged", active=_WHOLE, unacknowledged=_WHOLE),
        children=_list({"$ref": "#/components/schemas/Status"}),
    ),
    "SqlRequest": _object(
        "sql",
        sql=_TEXT,
        params=_list({}),
        database=_NULL_TEXT,
        time_zone=_TEXT,
        on_incomplete={"enum": ["return", "fail", "wait", "fetch"]},
        timeout_ms=_WHOLE,
        time_format={"enum": ["integer", "rfc3339"]},
    ),
    "SqlAnswer": _object(
        "columns rows row_count",
        columns=_list(
            _object("name type", name=_TEXT, type=_TEXT, unit=_NULL_TEXT, zone=_NULL_TEXT)
        ),
        rows=_list(_list({})),
        row_count=_WHOLE,
        elapsed_ms={"type": "number"},
        rows_affected=_NULL_WHOLE,
        warnings=_list(_TEXT),
        completeness=_list({"$ref": "#/components/schemas/Completeness"}),
    ),
    "WriteGroup": _object(
        "template device rows", template=_TEXT, device=_TEXT, tags=_OBJECT, rows=_list(_OBJECT)
    ),
    "WriteAnswer": _object(
        "accepted quarantined warnings lsn",
        accepted=_WHOLE,
        quarantined=_WHOLE,
        rejected=_list(_OBJECT),
        warnings=_list(_TEXT),
        lsn=_WHOLE,
    ),
}  # fmt: skip

_BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("POST", "/api/v1/sql"): {"$ref": "#/components/schemas/SqlRequest"},
    ("POST", "/api/v1/write"): {
        "oneOf": [
            {"$ref": "#/components/schemas/WriteGroup"},
            _list({"$ref": "#/components/schemas/WriteGroup"}),
        ]
    },
    ("POST", "/api/v1/nodes"): _object("id path", id=_TEXT, path=_TEXT),
    ("POST", "/api/v1/nodes/join"): _object("token uuid", token=_TEXT, uuid=_TEXT),
    ("POST", "/api/v1/commands"): _object(
        "target action mode",
        **dict.fromkeys(("id", "target", "action", "mode", "expires_in"), _TEXT),
        arguments=_OBJECT,
        precondition=_OBJECT,
        not_after={"type": "integer"},
    ),
    ("POST", "/api/v1/config"): _object("documents", documents=_OBJECT, base=_OBJECT),
    ("POST", "/api/v1/config/rollback"): _object(
        "nodes", nodes=_list(_TEXT), to={"type": ["integer", "null"]}
    ),
    ("POST", "/api/v1/moves"): _object(
        "device to", device=_TEXT, to=_TEXT, at={"type": ["string", "integer", "null"]}
    ),
    ("POST", "/api/v1/nodes/{id}/replace"): _OBJECT,
    ("POST", "/api/v1/nodes/{id}/retire"): _object(
        "", **{"from": {"type": ["string", "integer", "null"]}}
    ),
    ("POST", "/api/v1/tokens"): _object(
        "name", name=_TEXT, role={"enum": ["read", "write", "admin"]}, expires=_NULL_TEXT
    ),
    ("POST", "/api/v1/backup"): _object("name", name=_TEXT),
    ("POST", "/api/v1/quarantine/retry"): _object("ids", ids=_list(_TEXT)),
    ("POST", "/api/v1/devices/inbox/{id}/adopt"): _object(
        "", template=_NULL_TEXT, device=_NULL_TEXT, tags={"type": ["object", "null"]}
    ),
    ("POST", "/api/v1/devices/inbox/{id}/ignore"): _object("", ignore={"type": "boolean"}),
    ("POST", "/api/v1/alarms/{id}/ack"): _object("", comment=_TEXT, since=_NULL_WHOLE),
    ("POST", "/api/v1/intake"): _object("action", action={"const": "stop"}),
}
_ANSWERS = {
    ("POST", "/api/v1/sql"): "SqlAnswer",
    ("POST", "/api/v1/write"): "WriteAnswer",
    ("GET", "/api/v1/status"): "Status",
    ("GET", "/api/v1/federation"): "Status",
}


SERVED: web.AppKey[tuple[Route, ...]] = web.AppKey("served", tuple)
"""The routes of an application: those of every tier and those of its own."""
_PARAMETER = re.compile(r"\{(\w+)(?::[^{}]*)?\}")


def document(routes: tuple[Route, ...]) -> dict[str, Any]:
    """The whole description; the same for every node of a tier and version."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path = _PARAMETER.sub(r"{\1}", route.path)
        paths.setdefault(path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Mainstem node",
            "version": _version(),
            "description": "Times are integer ms since the epoch, in SQL and rows in the table's"
            " precision. Roles: admin, write, read.",
        },
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    key = (route.method, route.path)
    answer: dict[str, Any] = {"description": "Done."}
    if key in _ANSWERS:
        schema = {"$ref": f"#/components/schemas/{_ANSWERS[key]}"}
        answer["content"] = {"application/json": {"schema": schema}}
    failure = {"$ref": "#/components/schemas/Error"}
    operation: dict[str, Any] = {
        "summary": route.summary,
        "responses": {
            "2XX": answer,
            "default": {
                "description": "Refused; the hint says what to do.",
                "content": {"application/json": {"schema": failure}},
            },
        },
        "security": [] if route.role is None else [{"bearer": []}],
        "x-role": route.role,
    }
    names = _PARAMETER.findall(route.path)
    if names:
        operation["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": _TEXT} for name in names
        ]
    if route.media:
        operation["requestBody"] = {
            "required": True,
            "content": {
                media: {"schema": _BODIES[key] if media.endswith("json") else {}}
                for media in route.media
            },
        }
    return operation


def _version() -> str:
    # Only who asks for the description pays for reading what is installed.
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("mainstem")
    except PackageNotFoundError:
        return "0"


async def openapi(runtime: Runtime, request: web.Request, caller: Principal) -> web.Response:
    return json_response(document(request.app[SERVED]))


ROUTES = (Route("GET", "/api/v1/openapi.json", openapi, None, "This description."),)
