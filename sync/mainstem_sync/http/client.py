"""The uplink over HTTP: drives a Sender with aiohttp, for ever.

1. The sender says what to post and when; this file only posts. Its work (log, zstd, hash) runs on
   worker threads, never on the event loop.
2. HELLO tries the parent's addresses in order; the first that answers at all is used until the
   next HELLO.
3. A request has 30 s for everything. With a heartbeat every two seconds a half-open connection is
   noticed within that time. Redirects are not followed: a parent does not redirect.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import random
import ssl as ssl_module
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import aiohttp

from mainstem_sync.sending.flight import Lane
from mainstem_sync.sending.sender import Sender
from mainstem_sync.sending.session import Request
from mainstem_sync.wire.frames import REQUEST_BYTES_MAX
from mainstem_sync.wire.messages import HELLO_PATH

logger = logging.getLogger(__name__)

REQUEST_TIMEOUT_S = 30.0
"""For a whole exchange; the sender keeps requests small enough for the link."""

HELLO_TIMEOUT_S = 10.0
"""It is small, and answered without waiting for the disk. Where a link comes and goes, the next try
must not wait for one that was lost."""

CONNECT_TIMEOUT_S = 10.0
"""A host that drops packets must leave time for the next address."""

DRAIN_POLL_S = 0.05

FAULT_PAUSE_S = 5.0
"""After an error that is not the link's (a log that failed, a fault of ours): it is in the log of
the node, and trying on costs nothing."""

START_JITTER_S = 0.1
"""Nodes of one machine or site that start together do not say HELLO in the same instant."""


THREADS = 4
"""One makes requests of each lane, two take replies in."""

Result = TypeVar("Result")

REQUEST_TIMEOUT = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S, sock_connect=CONNECT_TIMEOUT_S)
HELLO_TIMEOUT = aiohttp.ClientTimeout(total=HELLO_TIMEOUT_S, sock_connect=CONNECT_TIMEOUT_S)


class Uplink:
    """Keeps one node connected to its parent.

    ``urls``: base addresses of the parent, first reachable wins. ``token``: bearer token, or a
    callable that reads it anew for every HELLO. ``rng``: jitter of the first HELLO (the sender has
    its own for what follows). ``ssl``: context for https addresses.
    """

    def __init__(
        self,
        sender: Sender,
        urls: Sequence[str],
        token: str | Callable[[], str],
        *,
        rng: random.Random | None = None,
        ssl: ssl_module.SSLContext | None = None,
    ) -> None:
        self._sender = sender
        self._urls = [url.rstrip("/") for url in urls]
        self._url = self._urls[0]
        self._token = token
        self._bearer = ""
        self._rng = rng or random.Random()
        self._ssl = ssl
        self._wakes = {lane: asyncio.Event() for lane in Lane}
        self._listening = False
        self._threads = ThreadPoolExecutor(THREADS, "uplink")
        self._exchanges: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Until cancelled: HELLO, then batches; reconnects with jittered backoff."""
        loop = asyncio.get_running_loop()
        self._sender.on_work = lambda: self._notified(loop)
        try:
            await asyncio.sleep(self._rng.uniform(0.0, START_JITTER_S))
            async with (
                aiohttp.ClientSession(auto_decompress=False) as session,
                asyncio.TaskGroup() as group,
            ):
                for lane in Lane:
                    group.create_task(self._pump(session, lane))
        finally:
            self._sender.on_work = None
            for exchange in list(self._exchanges):
                exchange.cancel()
            await asyncio.gather(*self._exchanges, return_exceptions=True)

    async def _pump(self, session: aiohttp.ClientSession, lane: Lane) -> None:
        """One lane, until cancelled. That of history is woken by the other one, and by replies."""
        wake = self._wakes[lane]
        while True:
            wake.clear()
            request, wait_s, deaf_s = await self._run(self._next, lane)
            if lane is Lane.LIVE and self._sender.is_behind:
                self._wakes[Lane.HISTORY].set()
            if request is not None:
                exchange = asyncio.create_task(self._exchange(session, request))
                self._exchanges.add(exchange)
                exchange.add_done_callback(self._exchanges.discard)
            else:
                if deaf_s > 0:
                    self._listening = False
                    wait_s = min(wait_s, deaf_s)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await wake.wait()

    async def _run(self, function: Callable[..., Result], *arguments: object) -> Result:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, function, *arguments)

    @property
    def address(self) -> tuple[str, str] | None:
        """Base address and bearer token that the parent answered to; None before."""
        return (self._url, self._bearer) if self._bearer else None

    async def drain(self, timeout_s: float) -> bool:
        """Wait until the parent holds everything that is in the log; False at the deadline."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        while not await asyncio.to_thread(self._sender.is_drained):
            if asyncio.get_running_loop().time() >= deadline:
                return False
            await asyncio.sleep(DRAIN_POLL_S)
        return True

    def _next(self, lane: Lane) -> tuple[Request | None, float, float]:
        """What to post, or how long to wait, and for how long of that new records change nothing.
        A fault in making it must not end the uplink."""
        sender = self._sender
        try:
            if lane is Lane.LIVE:
                self._listening = True
            request = sender.next_request(lane)
            if request is not None:
                return request, 0.0, 0.0
            return None, sender.wait_s(lane), sender.gathers_s() if lane is Lane.LIVE else 0.0
        except Exception:
            logger.exception("nothing can be sent to the parent now")
            return None, FAULT_PAUSE_S, 0.0

    def _notified(self, loop: asyncio.AbstractEventLoop) -> None:
        """From any thread, for every record: wakes the loop once."""
        if self._listening:
            self._listening = False
            with contextlib.suppress(RuntimeError):  # the loop is closed: the node is stopping
                loop.call_soon_threadsafe(self._wakes[Lane.LIVE].set)

    async def _exchange(self, session: aiohttp.ClientSession, request: Request) -> None:
        try:
            if request.path == HELLO_PATH:
                status, body = await self._hello(session, request)
            else:
                status, body = await self._post(session, self._url, request)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as exc:
            why = f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__
            await self._run(self._sender.on_failure, request, f"{self._url}: {why}")
        except Exception as exc:
            # Without this the request would stay in flight for ever.
            logger.exception("a request to the parent failed in an unknown way")
            await self._run(self._sender.on_failure, request, type(exc).__name__)
        else:
            await self._run(self._answered, request, status, body)
        finally:
            for wake in self._wakes.values():
                wake.set()

    def _answered(self, request: Request, status: int, body: bytes) -> None:
        try:
            self._sender.on_reply(request, status, body)
        except Exception as exc:
            logger.exception("an answer of the parent cannot be taken in")
            self._sender.on_failure(request, f"{type(exc).__name__}: {exc}")

    async def _hello(self, session: aiohttp.ClientSession, request: Request) -> tuple[int, bytes]:
        """HELLO at the first address that can be reached."""
        self._bearer = await asyncio.to_thread(self._read_token)
        last = len(self._urls) - 1
        for number, url in enumerate(self._urls):
            self._url = url
            try:
                return await self._post(session, url, request)
            except (aiohttp.ClientConnectionError, TimeoutError) as exc:
                if number == last:
                    raise
                logger.info("%s is not reachable (%s), trying the next address", url, exc)
        raise ValueError("the parent has no address")

    def _read_token(self) -> str:
        return self._token.strip() if isinstance(self._token, str) else self._token().strip()

    async def _post(
        self, session: aiohttp.ClientSession, url: str, request: Request
    ) -> tuple[int, bytes]:
        headers = {
            "Authorization": f"Bearer {self._bearer}",
            "Content-Type": "application/octet-stream",
        }
        async with session.post(
            url + request.path,
            data=io.BytesIO(request.body),  # bytes above 1 MiB would be written in one go
            headers=headers,
            allow_redirects=False,
            timeout=HELLO_TIMEOUT if request.path == HELLO_PATH else REQUEST_TIMEOUT,
            ssl=self._ssl if self._ssl is not None else True,
        ) as response:
            return response.status, await whole_body(response, REQUEST_BYTES_MAX)


async def whole_body(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """The body of an answer. ValueError above ``limit`` bytes, before the rest is read."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > limit:
            raise ValueError(f"an answer of more than {limit} bytes")
    return bytes(body)
