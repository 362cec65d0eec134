"""Backups of a running node, into the one place that its configuration allows."""

from __future__ import annotations

import re
from dataclasses import asdict

from aiohttp import web

from mainstem_node.api.route import JSON, Route, json_response, read_json
from mainstem_node.auth import ADMIN, Principal
from mainstem_node.errors import BadRequestError, ForbiddenError
from mainstem_node.node_files import NODE_FILES
from mainstem_node.runtime import Runtime

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
"""One element of a path: a request can name no other place."""


async def backup(runtime: Runtime, request: web.Request, caller: Principal) -> web.Response:
    body = await read_json(request)
    name = body.get("name")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise BadRequestError(
            "name is not the name of a directory", field="name", hint="letters, digits and _ . -"
        )
    directory = runtime.config.backup_dir
    if directory is None:
        raise ForbiddenError(
            "this node writes no backups", field="backup_dir", hint="set backup_dir in its YAML"
        )
    report = await runtime.io_workers.run(runtime.engine.backup, directory / name, NODE_FILES)
    return json_response({**asdict(report), "path": str(report.path)}, status=201)


ROUTES = (Route("POST", "/api/v1/backup", backup, ADMIN, "A backup below backup_dir.", (JSON,)),)
