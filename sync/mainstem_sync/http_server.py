"""The receiving end over HTTP: aiohttp handlers for ``/sync/v1/hello`` and ``/sync/v1/batches``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

Authenticate = Callable[[web.Request], Awaitable[Any]]
"""request -> receiver.Child(name, paths); raises web.HTTPException to refuse."""


def sync_routes(receiver: Any, authenticate: Authenticate) -> list[web.RouteDef]:
    """Routes to add to the node's application. Body limits are checked here, before decoding."""
    raise NotImplementedError
