"""Answers to the parent's questions over HTTP: ``POST /sync/v1/results``, one piece at a time.

1. One request is under way, so that an answer never has more than a piece on the link.
2. A piece waits while the link owes something: what live rows and history may not use, answers may
   not use either, and what they sent is counted like everything else.
3. The address and the lease are those of the connection that the question came over.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl as ssl_module
from collections.abc import Callable

import aiohttp

from mainstem_sync.down.answers import Answers, Sending
from mainstem_sync.http.client import CONNECT_TIMEOUT_S, REQUEST_TIMEOUT_S, whole_body
from mainstem_sync.wire.messages import LEASE_HEADER, RESULTS_PATH

BUDGET_LOOK_S = 1.0
"""The debt of a link may be paid off sooner than it seems: windows open."""

RETRY_S = 0.5
REPLY_BYTES_MAX = 64 << 10


class ResultsUplink:
    """Sends what ``answers`` has. ``owed_s``: seconds until the link may carry something;
    ``sent``: so many bytes went out."""

    def __init__(
        self,
        answers: Answers,
        address: Callable[[], tuple[str, str] | None],
        *,
        owed_s: Callable[[], float],
        sent: Callable[[int], None],
        ssl: ssl_module.SSLContext | None = None,
    ) -> None:
        self._answers = answers
        self._address = address
        self._owed_s = owed_s
        self._sent = sent
        self._ssl = ssl

    async def run(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the node is stopping
                loop.call_soon_threadsafe(ready.set)

        self._answers.on_ready = wake
        ready.set()
        async with aiohttp.ClientSession(auto_decompress=False) as session:
            while True:
                await ready.wait()
                ready.clear()
                while (sending := self._answers.next_sending()) is not None:
                    owed_s = self._owed_s()
                    if owed_s > 0:
                        await asyncio.sleep(min(owed_s, BUDGET_LOOK_S))
                        continue
                    await self._post(session, sending)

    async def _post(self, session: aiohttp.ClientSession, sending: Sending) -> None:
        address = self._address()
        try:
            if address is None:
                raise OSError("there is no parent")
            self._sent(len(sending.body))
            status, body = await self._exchange(session, *address, sending)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            self._answers.failed(sending)
            await asyncio.sleep(RETRY_S)
            return
        self._answers.sent(sending, status, body)

    async def _exchange(
        self, session: aiohttp.ClientSession, url: str, bearer: str, sending: Sending
    ) -> tuple[int, bytes]:
        headers = {"Authorization": f"Bearer {bearer}", LEASE_HEADER: sending.pending.lease}
        timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S, sock_connect=CONNECT_TIMEOUT_S)
        async with session.post(
            url + RESULTS_PATH,
            data=sending.body,
            headers=headers,
            allow_redirects=False,
            timeout=timeout,
            ssl=self._ssl if self._ssl is not None else True,
        ) as response:
            return response.status, await whole_body(response, REPLY_BYTES_MAX)
