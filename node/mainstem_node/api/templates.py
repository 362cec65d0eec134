"""The templates (tables) that this node holds."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from mainstem_engine.catalog.templates import Table
from mainstem_node.api.route import Route, json_response
from mainstem_node.auth import READ, Principal
from mainstem_node.config.units import duration_name
from mainstem_node.runtime import Runtime


async def listed(runtime: Runtime, request: web.Request, caller: Principal) -> web.Response:
    tables = runtime.engine.catalog.templates.shown()
    return json_response({"templates": [_shown(runtime, table) for table in tables]})


def _shown(runtime: Runtime, table: Table) -> dict[str, Any]:
    template = table.template
    catalog = runtime.engine.catalog
    return {
        "name": template.name,
        "revision": template.revision,
        "own": not table.foreign,
        "rollup_of": template.rollup_of,
        "every": None if template.every_ns is None else duration_name(template.every_ns),
        "precision_ns": catalog.precision_ns(template.name),
        "devices": len(catalog.devices.of_family(table.family)),
        "tags": [{"name": tag.name, "type": tag.type.name} for tag in template.tags],
        "measurements": [
            {
                "id": m.id,
                "name": m.name,
                "type": m.type.name,
                "unit": m.unit,
                "encoding": m.encoding,
                "compression": m.compression,
            }
            for m in table.shown
        ],
    }


ROUTES = (Route("GET", "/api/v1/templates", listed, READ, "The templates held here."),)
