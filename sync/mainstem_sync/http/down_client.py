"""The taking end of the way down over HTTP: drives a Taker with aiohttp, for ever.

1. The taker says what to ask and when; this file only asks. What is taken is written to the log on
   a worker thread, never on the event loop.
2. The address is the one that the uplink uses: whoever gave the lease is asked.
3. A question may take as long as it lets the parent wait, and ten seconds more. One that was asked
   under a lease that is over is given up by the parent, which answers with a refusal.
"""

from __future__ import annotations

import asyncio
import logging
import ssl as ssl_module
from collections.abc import Callable

import aiohttp

from mainstem_sync.down.taker import Poll, Taker
from mainstem_sync.http.client import CONNECT_TIMEOUT_S, whole_body
from mainstem_sync.wire.frames import REQUEST_BYTES_MAX
from mainstem_sync.wire.messages import DOWN_PATH, LEASE_HEADER, LINE_HEADER

logger = logging.getLogger(__name__)

SLACK_S = 10.0
LOOK_S = 0.5
"""How often one looks whether there is a lease: it is taken by another task, seconds after a link
is back."""


class Downlink:
    """Keeps one node informed of its parent's orders. ``address``: (base address, bearer token) of
    the parent as the uplink uses it, None before its first HELLO."""

    def __init__(
        self,
        taker: Taker,
        address: Callable[[], tuple[str, str] | None],
        *,
        ssl: ssl_module.SSLContext | None = None,
    ) -> None:
        self._taker = taker
        self._address = address
        self._ssl = ssl

    async def run(self) -> None:
        """Until cancelled."""
        async with aiohttp.ClientSession(auto_decompress=False) as session:
            while True:
                address = self._address()
                poll = None if address is None else self._taker.next_poll()
                if poll is None or address is None:
                    await asyncio.sleep(min(LOOK_S, self._taker.wait_s() or LOOK_S))
                    continue
                await self._exchange(session, address, poll)

    async def _exchange(
        self, session: aiohttp.ClientSession, address: tuple[str, str], poll: Poll
    ) -> None:
        try:
            status, body = await self._get(session, *address, poll)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as exc:
            self._taker.failed(poll, f"{type(exc).__name__}: {exc}")
            return
        except asyncio.CancelledError:
            self._taker.failed(poll, "stopped")
            raise
        try:
            await asyncio.to_thread(self._taker.took, poll, status, body)
        except Exception as exc:
            # Without this the question would count as under way for ever.
            logger.exception("an answer of the parent cannot be taken in")
            self._taker.failed(poll, type(exc).__name__)

    async def _get(
        self, session: aiohttp.ClientSession, url: str, bearer: str, poll: Poll
    ) -> tuple[int, bytes]:
        ask = poll.ask
        headers = {"Authorization": f"Bearer {bearer}", LEASE_HEADER: ask.lease}
        if ask.line is not None:
            headers[LINE_HEADER] = f"{ask.line[0]}:{ask.line[1]}"
        params = {"cursor": str(ask.cursor[0]), "id": ask.cursor[1], "wait": f"{poll.wait_s:.0f}s"}
        if ask.after is not None:
            params["questions"] = str(ask.after)
        timeout = aiohttp.ClientTimeout(total=poll.wait_s + SLACK_S, sock_connect=CONNECT_TIMEOUT_S)
        async with session.get(
            url + DOWN_PATH,
            params=params,
            headers=headers,
            allow_redirects=False,
            timeout=timeout,
            ssl=self._ssl if self._ssl is not None else True,
        ) as response:
            return response.status, await whole_body(response, REQUEST_BYTES_MAX)
