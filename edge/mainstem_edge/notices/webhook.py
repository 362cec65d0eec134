"""A receiver that takes JSON by POST.

1. ``Idempotency-Key`` is the id of the change. With a secret, ``Mainstem-Signature`` is
   ``t=SECONDS,v1=DIGEST``: the time of this try (Unix), and in hexadecimal digits the HMAC-SHA256
   of ``SECONDS.BODY``. A receiver that refuses old times cannot be sent a recorded request.
2. 2xx: it has it. 408, 425, 429 and 5xx, and no answer in time: it is tried again, not before
   Retry-After; so are 401, 403 and 404, which a correction of a key or a path mends. Any other
   status is a refusal of this change, for good. A redirection is one, too, and never followed: the
   secrets are for the server of the file.
3. The certificate of an https server is always verified. Of an answer only the head is read.
4. Neither path and query of the URL nor a header is in any error or the status: keys stand there.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ssl
import time
from collections.abc import Callable, Mapping

import aiohttp
from yarl import URL

from mainstem_edge.collectors.page import connection_problem, retry_after_s
from mainstem_edge.notices.courier import DoubtError, RefusedError, SendError
from mainstem_edge.notices.notice import Telling

SIGNATURE = "Mainstem-Signature"
COME_AGAIN = frozenset({408, 425, 429})
"""Of 4xx those that say: later."""
TO_BE_MENDED = {
    401: "check `secret_headers`, and keys in `url`",
    403: "check `secret_headers`, and keys in `url`",
    404: "check the path of `url`",
}
"""What says nothing about the change: a key is mistyped, or the receiver is being deployed."""
SECOND_NS = 1_000_000_000


class Webhook:
    """See the module. ``headers`` may be secret. Used by one thread, which runs its loop."""

    def __init__(
        self,
        url: str,
        *,
        secret: str | None = None,
        headers: Mapping[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
        timeout_s: float = 10.0,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._url = URL(url)
        self._secret = None if secret is None else secret.encode()
        self._headers = dict(headers or {})
        self._tls = tls
        self._timeout_s = timeout_s
        self._clock_ns = clock_ns
        self._runner: asyncio.Runner | None = None
        self._session: aiohttp.ClientSession | None = None

    @property
    def shown(self) -> str:
        return str(self._url.origin())

    def send(self, telling: Telling) -> None:
        if self._runner is None:
            self._runner = asyncio.Runner()
        self._runner.run(self._post(telling))

    def greet(self) -> None:
        """Asks what the path takes (OPTIONS), with the headers of a notice and without one. HEAD
        would set off what some services set off by GET."""
        asyncio.run(self._greet())

    def rest(self) -> None:
        runner, self._runner = self._runner, None
        if runner is not None:
            with runner:
                runner.run(self._close())

    async def _post(self, telling: Telling) -> None:
        if self._session is None:
            self._session = self._new_session()
        about = {"Content-Type": "application/json", "Idempotency-Key": telling.id}
        self._judge(*await self._ask(self._session, "POST", telling.body, about))

    async def _greet(self) -> None:
        async with self._new_session() as session:
            status, _ = await self._ask(session, "OPTIONS", b"", {})
        if 300 <= status < 400:
            raise DoubtError(f"it answers {status}: redirections are not followed")
        if status in TO_BE_MENDED:
            raise DoubtError(f"it answers {status}: {TO_BE_MENDED[status]}")

    async def _ask(
        self, session: aiohttp.ClientSession, method: str, body: bytes, headers: Mapping[str, str]
    ) -> tuple[int, str | None]:
        """Its status and Retry-After."""
        headers = {"User-Agent": "mainstem", **headers, **self._signed(body), **self._headers}
        try:
            async with session.request(
                method, self._url, data=body, headers=headers, allow_redirects=False
            ) as answer:
                return answer.status, answer.headers.get("Retry-After")
        except TimeoutError:
            raise SendError(f"no answer within {self._timeout_s:g} s") from None
        except aiohttp.ClientError as error:
            raise SendError(connection_problem(error)) from None

    def _new_session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=1, ssl=self._tls or True),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=self._timeout_s),
        )

    def _signed(self, body: bytes) -> dict[str, str]:
        if self._secret is None:
            return {}
        seconds = str(self._clock_ns() // SECOND_NS)
        digest = hmac.new(self._secret, seconds.encode() + b"." + body, hashlib.sha256).hexdigest()
        return {SIGNATURE: f"t={seconds},v1={digest}"}

    def _judge(self, status: int, after: str | None) -> None:
        if 200 <= status < 300:
            return
        if status >= 500 or status in COME_AGAIN:
            raise SendError(f"it answers {status}", retry_after_s(after, self._clock_ns()))
        if status in TO_BE_MENDED:
            problem = f"it answers {status}: {TO_BE_MENDED[status]}"
            raise SendError(problem, retry_after_s(after, self._clock_ns()))
        if 300 <= status < 400:
            raise RefusedError(f"it answers {status}: redirections are not followed")
        raise RefusedError(f"it answers {status}")

    async def _close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()
