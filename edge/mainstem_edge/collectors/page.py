"""A page of some server, asked for once.

1. A redirection is not followed: what is sent along (keys, tokens) is for the server that the
   configuration names.
2. An answer is read up to a limit, before and after gzip; no other encoding is asked for.
3. No error carries the query or a header: keys stand there.
"""

from __future__ import annotations

import base64
import datetime
import email.utils
import ssl
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import aiohttp
from yarl import URL

from mainstem_node.moments import MomentText

CHUNK_BYTES = 64 << 10
RETRY_AFTER_S_MAX = 86_400.0
"""A server that asks for longer is asked once a day."""
NOT_MODIFIED = 304
_ELSEWHERE = frozenset({301, 302, 303, 307, 308})
_COME_AGAIN = frozenset({408, 425, 429})
"""Beside 5xx: what may be otherwise in a moment. Any other 4xx is a mistake that stays."""


class PageError(OSError):
    """There is no answer. ``retry_after_s``: what the server asks for, None if it does not say;
    ``soon``: it may answer in a moment."""

    def __init__(
        self, problem: str, *, soon: bool = True, retry_after_s: float | None = None
    ) -> None:
        super().__init__(problem)
        self.soon = soon
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class Page:
    """What to ask. ``secret_query`` and ``secret_headers`` are sent as they are."""

    url: MomentText = field(repr=False)
    method: str = "GET"
    query: Mapping[str, MomentText] = field(default_factory=dict)
    headers: Mapping[str, MomentText] = field(default_factory=dict)
    body: MomentText | None = None
    secret_query: Mapping[str, str] = field(default_factory=dict, repr=False)
    secret_headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    user: tuple[str, str] | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = None
    proxy: str | None = None
    timeout_s: float = 30.0
    answer_bytes_max: int = 16 << 20

    @property
    def shown(self) -> str:
        """Scheme, host and path, for people."""
        return self.url.text.partition("?")[0]

    def address(self, now_ns: int, since_ns: int) -> URL:
        """The whole URL of a request at this time."""
        query = {name: text.at(now_ns, since_ns) for name, text in self.query.items()}
        return URL(self.url.at(now_ns, since_ns)).update_query({**query, **self.secret_query})

    def all_headers(self, now_ns: int, since_ns: int) -> dict[str, str]:
        found = {"User-Agent": "mainstem", "Accept-Encoding": "gzip"}
        if self.user is not None:
            text = base64.b64encode(":".join(self.user).encode()).decode()
            found["Authorization"] = f"Basic {text}"
        found |= {name: text.at(now_ns, since_ns) for name, text in self.headers.items()}
        return found | dict(self.secret_headers)


@dataclass(frozen=True, slots=True)
class Answer:
    """``body`` None: it is as it was (304). ``marks``: headers to ask with the next time."""

    body: bytes | None
    marks: Mapping[str, str]


def new_session(page: Page) -> aiohttp.ClientSession:
    """One connection, no cookies, nothing unpacked. To be closed by the caller."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=1, ssl=True if page.tls is None else page.tls),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=page.timeout_s),
        auto_decompress=False,
    )


async def ask(
    session: aiohttp.ClientSession,
    page: Page,
    now_ns: int,
    since_ns: int,
    marks: Mapping[str, str],
) -> Answer:
    """One request. PageError when it is not answered with 2xx or 304."""
    body = None if page.body is None else page.body.at(now_ns, since_ns).encode()
    try:
        async with session.request(
            page.method,
            page.address(now_ns, since_ns),
            headers={**page.all_headers(now_ns, since_ns), **marks},
            data=body,
            allow_redirects=False,
            proxy=page.proxy,
        ) as response:
            if response.status == NOT_MODIFIED and marks:
                return Answer(None, marks)
            if response.status // 100 != 2:
                raise _refusal(response, now_ns)
            return Answer(await _read(response, page.answer_bytes_max), _marks(response))
    except TimeoutError:
        raise PageError(f"no whole answer within {page.timeout_s:g} s") from None
    except aiohttp.ClientError as error:
        raise PageError(connection_problem(error)) from None


def connection_problem(error: aiohttp.ClientError) -> str:
    """What is wrong with a connection. Not the text of the error: it may have the URL, and that a
    key."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return f"its certificate is refused: {error.certificate_error}"
        case aiohttp.ClientConnectorError():
            return f"cannot connect: {error.os_error or type(error).__name__}"
        case _:
            return f"the connection failed: {type(error).__name__}"


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    encoding = response.headers.get("Content-Encoding", "identity").casefold()
    if encoding not in ("identity", "gzip"):
        raise PageError(f"the answer is encoded as {encoding[:40]}", soon=False)
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_chunked(CHUNK_BYTES):
        size += len(chunk)
        if size > limit:
            raise _too_long(limit)
        chunks.append(chunk)
    body = b"".join(chunks)
    if encoding == "identity":
        return body
    decoder = zlib.decompressobj(wbits=31)
    try:
        body = decoder.decompress(body, limit + 1)
    except zlib.error as error:
        raise PageError(f"the answer is not gzip: {error}") from None
    if len(body) > limit:
        raise _too_long(limit)
    if not decoder.eof:
        raise PageError("the answer is cut off")
    return body


def _too_long(limit: int) -> PageError:
    return PageError(f"the answer is longer than {limit} bytes: see `message_limit`", soon=False)


def _marks(response: aiohttp.ClientResponse) -> dict[str, str]:
    names = (("ETag", "If-None-Match"), ("Last-Modified", "If-Modified-Since"))
    return {asked: response.headers[told] for told, asked in names if told in response.headers}


def _refusal(response: aiohttp.ClientResponse, now_ns: int) -> PageError:
    status = response.status
    if status in _ELSEWHERE:
        return PageError(f"it answers {status}: the page is {_elsewhere(response)}", soon=False)
    after = retry_after_s(response.headers.get("Retry-After"), now_ns)
    soon = status >= 500 or status in _COME_AGAIN
    return PageError(
        f"it answers {status} {response.reason or ''}".rstrip(), soon=soon, retry_after_s=after
    )


def _elsewhere(response: aiohttp.ClientResponse) -> str:
    try:
        place = response.url.join(URL(response.headers.get("Location", "")))
    except ValueError:
        return "somewhere else"
    return f"at {place.with_query(None).with_fragment(None)}"


def retry_after_s(text: str | None, now_ns: int) -> float | None:
    """Seconds of a header Retry-After, a number or a date; None when it says nothing."""
    if text is None:
        return None
    if text.strip().isdigit():
        return min(float(text), RETRY_AFTER_S_MAX)
    try:
        until = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=datetime.UTC)
    return min(max(0.0, until.timestamp() - now_ns / 1e9), RETRY_AFTER_S_MAX)
