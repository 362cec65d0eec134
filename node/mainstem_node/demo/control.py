"""How a second terminal cuts and restores links of a running demo.

1. The demo serves two routes on a free loopback port, and writes port, token and process id to
   ``DIR/demo.json`` (0600).
2. ``change_link`` reads that file and asks the demo. The token keeps web pages and other users out.
3. The file is removed at the end, so that a demo that does not run is named as such.
"""

from __future__ import annotations

import hmac
import json
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from aiohttp import web

from mainstem_node.credentials import new_token, read_store, write_store
from mainstem_node.demo.factory import LOOPBACK, DemoError, DemoFactory

FILE_NAME = "demo.json"
REQUEST_TIMEOUT_S = 10.0
CUT, RESTORE = "cut", "restore"


class LinkControl:
    """The demo's side. ``start`` and ``stop`` belong to one event loop."""

    def __init__(self, factory: DemoFactory) -> None:
        self._factory = factory
        self._token = new_token("msa")
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listens on a free port and says where in ``demo.json``."""
        application = web.Application()
        application.router.add_post("/links/{node}/{action:cut|restore}", self._change)
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, LOOPBACK, 0)
        await site.start()
        port = self._runner.addresses[0][1]
        factory = self._factory
        write_store(
            factory.directory / FILE_NAME,
            {"pid": os.getpid(), "port": port, "token": self._token, "base": factory.port_base},
        )

    async def stop(self) -> None:
        (self._factory.directory / FILE_NAME).unlink(missing_ok=True)
        if self._runner is not None:
            await self._runner.cleanup()

    async def _change(self, request: web.Request) -> web.Response:
        wanted = f"Bearer {self._token}"
        given = request.headers.get("Authorization", "")
        if not hmac.compare_digest(given.encode(), wanted.encode()):
            return web.json_response({"error": "not authorised"}, status=401)
        node, action = request.match_info["node"], request.match_info["action"]
        relay = self._factory.relays.get(node)
        if relay is None:
            known = ", ".join(self._factory.relays)
            return web.json_response(
                {"error": f"{node!r} has no link to cut; there are {known}"}, status=404
            )
        if action == CUT:
            relay.cut()
        else:
            relay.restore()
        return web.json_response(
            {"node": node, "parent": self._factory.parents[node], "state": action}
        )


def change_link(directory: Path, node: str, action: str) -> dict[str, Any]:
    """Asks the demo in ``directory`` to cut or restore the link above ``node``.

    Returns ``{"node", "parent", "state", "base"}``. Raises DemoError when no demo runs there or it
    has no such link.
    """
    settings = read_store(directory / FILE_NAME)
    if not settings:
        raise DemoError(
            f"no demo runs in {directory}", hint="start `mainstem demo`, or name its --dir"
        )
    request = urllib.request.Request(
        f"http://{LOOPBACK}:{settings['port']}/links/{node}/{action}",
        method="POST",
        headers={"Authorization": f"Bearer {settings['token']}"},
    )
    try:
        with urllib.request.urlopen(request, timeout=REQUEST_TIMEOUT_S) as answer:
            return {**json.loads(answer.read()), "base": settings["base"]}
    except urllib.error.HTTPError as error:
        with error:
            raise DemoError(json.loads(error.read())["error"]) from None
    except (OSError, ValueError):
        raise DemoError(
            f"the demo in {directory} (process {settings['pid']}) does not answer",
            hint="start `mainstem demo` again; it resumes the directory",
        ) from None
