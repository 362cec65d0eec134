"""A web server on loopback that takes notices."""

from __future__ import annotations

import asyncio
import json
import ssl
from contextlib import AsyncExitStack

from aiohttp import web

TURNS = 20
"""Of the loop: from a connection that was opened, and closed again, to the end of its transport."""


async def _take_all() -> None:
    """A server that is closed before it has seen a connection leaves the socket open."""
    for _ in range(TURNS):
        await asyncio.sleep(0)


class Hook:
    """Answers by ``answers``, then 204; or with a body that does not end; or not at all.
    ``options``: what it answers to OPTIONS; aiohttp's 405 where it is None."""

    def __init__(
        self,
        *answers: web.Response,
        endless: bool = False,
        silent: bool = False,
        options: int | None = None,
    ) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.asked: list[dict[str, str]] = []
        self._options = options
        self._answers = list(answers)
        self._endless, self._silent = endless, silent
        self._ended = asyncio.Event()

    async def start(
        self, stack: AsyncExitStack, tls: ssl.SSLContext | None = None, port: int = 0
    ) -> str:
        application = web.Application()
        application.router.add_post("/hooks/{key}", self._handle)
        if self._options is not None:
            application.router.add_options("/hooks/{key}", self._say_options)
        runner = web.AppRunner(application, access_log=None)
        stack.push_async_callback(runner.cleanup)
        stack.push_async_callback(_take_all)
        stack.callback(self._ended.set)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls).start()
        scheme = "http" if tls is None else "https"
        return f"{scheme}://127.0.0.1:{runner.addresses[0][1]}/hooks/T0K3N"

    @property
    def changes(self) -> list[str]:
        return [json.loads(body)["change"] for _, body in self.got]

    async def _say_options(self, request: web.Request) -> web.Response:
        self.asked.append(dict(request.headers))
        return web.Response(status=self._options or 204)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.got.append((dict(request.headers), await request.read()))
        if self._silent:
            await self._ended.wait()
        if self._endless:
            answer = web.StreamResponse()
            await answer.prepare(request)
            await answer.write(b"x" * 1000)
            await self._ended.wait()
            return answer
        return self._answers.pop(0) if self._answers else web.Response(status=204)
