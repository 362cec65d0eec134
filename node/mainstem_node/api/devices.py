"""The devices that this node holds, and their newest values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from aiohttp import web

from mainstem_engine.catalog.names import is_below
from mainstem_engine.catalog.templates import Table
from mainstem_node.api.route import Route, json_response, query_int
from mainstem_node.auth import READ, Principal
from mainstem_node.plain import plain_value
from mainstem_node.runtime import Runtime

DEVICES_MAX = 10_000
"""Devices of one answer; ``after`` goes on from the last."""
SEARCHED_MAX = 200_000
"""Paths that one request looks through; a narrower ``under`` finds the rest."""


async def listed(runtime: Runtime, request: web.Request, caller: Principal) -> web.Response:
    limit = query_int(request, "limit", 1000, low=1, high=DEVICES_MAX)
    after = query_int(request, "after", -1, low=-1, high=2**32)
    return json_response(
        await runtime.io_workers.run(
            _devices, runtime, request.query.get("template"), request.query.get("under"),
            request.query.get("filter", ""), after, limit,
        )
    )  # fmt: skip


def _devices(
    runtime: Runtime, template: str | None, under: str | None, text: str, after: int, limit: int
) -> dict[str, Any]:
    catalog = runtime.engine.catalog
    found: list[dict[str, Any]] = []
    more = False
    for table, device, path in _search(runtime, template, under, text, after):
        if len(found) == limit:
            more = True
            break
        found.append(
            {
                "id": device,
                "path": path,
                "template": table.name,
                "own": not catalog.devices.is_foreign(device),
                "tags": catalog.devices.tags(device),
            }
        )
    return {"devices": found, "more": more}


def _search(
    runtime: Runtime, template: str | None, under: str | None, text: str, after: int
) -> Iterator[tuple[Table, int, str]]:
    """Devices by template and id whose path is below ``under`` and contains ``text``."""
    catalog = runtime.engine.catalog
    tables = [catalog.table(template)] if template else catalog.templates.shown()
    wanted = text.casefold()
    searched = 0
    for table in tables:
        if template is None and table.template.rollup_of is not None:
            continue  # a rollup shares the devices of its source
        ids = catalog.devices.of_family(table.family)
        for device in ids[ids > after] if after >= 0 else ids:
            searched += 1
            if searched > SEARCHED_MAX:
                return
            path = catalog.devices.path(int(device))
            if under is not None and not is_below(path, under):
                continue
            if wanted in path.casefold():
                yield table, int(device), path


async def last(runtime: Runtime, request: web.Request, caller: Principal) -> web.Response:
    limit = query_int(request, "limit", 100, low=1, high=DEVICES_MAX)
    return json_response(
        await runtime.io_workers.run(
            last_values, runtime, request.query.get("template"), request.query.get("under"),
            request.query.get("filter", ""), limit,
        )
    )  # fmt: skip


def last_values(
    runtime: Runtime, template: str | None, under: str | None, text: str, limit: int
) -> dict[str, Any]:
    """The newest value of every measurement of at most ``limit`` devices; times in ms."""
    chosen: dict[str, list[int]] = {}
    tables: dict[str, Table] = {}
    more = False
    for count, (table, device, _) in enumerate(_search(runtime, template, under, text, -1)):
        if count == limit:
            more = True
            break
        tables[table.name] = table
        chosen.setdefault(table.name, []).append(device)
    values: list[dict[str, Any]] = []
    for name, devices in chosen.items():
        units = {m.name: m.unit for m in tables[name].shown}
        scale = runtime.engine.precision_ns(name)
        for row in runtime.engine.last_rows(name, np.array(devices, np.uint32)):
            stamp_ms = row["time"] * scale // 1_000_000
            for measurement, unit in units.items():
                if measurement in row:
                    values.append(
                        {
                            "template": name,
                            "device": row["device"],
                            "measurement": measurement,
                            "value": plain_value(row[measurement]),
                            "unit": unit,
                            "time": stamp_ms,
                        }
                    )
    return {"now": runtime.clock_ns() // 1_000_000, "values": values, "more": more}


ROUTES = (
    Route("GET", "/api/v1/devices", listed, READ, "Devices: template, under, filter, after."),
    Route("GET", "/api/v1/last", last, READ, "Newest values: template, under, filter, limit."),
)
