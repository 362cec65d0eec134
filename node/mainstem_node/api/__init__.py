"""The HTTP routes of every tier, one file per resource."""

from __future__ import annotations

from mainstem_node.api import (
    alarms,
    audit,
    backups,
    clock,
    commands,
    config,
    console,
    devices,
    health,
    inbox,
    influx,
    live,
    moves,
    nodes,
    openapi,
    quarantine,
    series,
    sql,
    status,
    templates,
    tokens,
    write,
)
from mainstem_node.api.route import Route

ROUTES: tuple[Route, ...] = (
    *health.ROUTES,
    *sql.ROUTES,
    *write.ROUTES,
    *influx.ROUTES,
    *series.ROUTES,
    *live.ROUTES,
    *status.ROUTES,
    *templates.ROUTES,
    *devices.ROUTES,
    *inbox.ROUTES,
    *nodes.ROUTES,
    *moves.ROUTES,
    *tokens.ROUTES,
    *quarantine.ROUTES,
    *alarms.ROUTES,
    *commands.ROUTES,
    *config.ROUTES,
    *audit.ROUTES,
    *backups.ROUTES,
    *clock.ROUTES,
    *openapi.ROUTES,
    *console.ROUTES,
)
