"""One HTTP connection to a node: requests, server-sent events, and errors as exceptions.

Blocking, from the standard library alone, so that the command line starts at once. A request is
repeated only when it asks (GET) and a kept connection turned out to be closed.
"""

from __future__ import annotations

import http.client
import json
import re
import ssl
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from mainstem_node.errors import (
    ApiError,
    BadRequestError,
    ConflictError,
    ForbiddenError,
    MissingError,
    TooLargeError,
    UnauthorizedError,
    UnavailableError,
)

_HOST_AND_PORT = re.compile(r"[A-Za-z0-9.-]+:\d+")
_ERRORS: dict[int, type[ApiError]] = {
    400: BadRequestError,
    401: UnauthorizedError,
    403: ForbiddenError,
    404: MissingError,
    409: ConflictError,
    413: TooLargeError,
    503: UnavailableError,
}


class Transport:
    """A connection, opened with the first request and kept. For one thread at a time."""

    def __init__(
        self, url: str, token: str | None, timeout_s: float, tls: ssl.SSLContext | None = None
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            meant = url if _HOST_AND_PORT.fullmatch(url) else "127.0.0.1:8400"
            raise BadRequestError(
                f"{url!r} is not the address of a node", hint=f"write http://{meant}"
            )
        self.url = f"{parts.scheme}://{parts.netloc}"
        self._prefix = parts.path.rstrip("/")
        self._host, self._port = parts.hostname, parts.port
        self._token = token
        self._timeout_s = timeout_s
        self._tls = tls
        if tls is None and parts.scheme == "https":
            self._tls = ssl.create_default_context()
        self._connection: http.client.HTTPConnection | None = None

    def close(self) -> None:
        """Closes the connection; the next call opens a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> bytes:
        """One request; the answer's body. ``body``: bytes as they are, else sent as JSON."""
        response = self._open(method, path, body, headers or {}, timeout_s or self._timeout_s)
        try:
            data = response.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise self._unreachable(error) from None
        if not 200 <= response.status < 300:
            raise _error(response.status, data)
        return data

    def _open(
        self, method: str, path: str, body: object, headers: Mapping[str, str], timeout_s: float
    ) -> http.client.HTTPResponse:
        sent = {"Accept": "application/json", **headers}
        if self._token is not None:
            sent["Authorization"] = f"Bearer {self._token}"
        data = body if isinstance(body, bytes) else None
        if body is not None and data is None:
            data = json.dumps(body, allow_nan=False).encode()
            sent["Content-Type"] = "application/json"
        fresh = self._connection is None
        try:
            return self._exchange(method, path, data, sent, timeout_s)
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError) as error:
            self.close()
            # The node closes idle connections; a request that asks only may be sent again.
            if fresh or method != "GET":
                raise self._unreachable(error) from None
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise self._unreachable(error) from None
        try:
            return self._exchange(method, path, data, sent, timeout_s)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise self._unreachable(error) from None

    def _exchange(
        self,
        method: str,
        path: str,
        data: bytes | None,
        headers: Mapping[str, str],
        timeout_s: float,
    ) -> http.client.HTTPResponse:
        if self._connection is None:
            if self._tls is None:
                self._connection = http.client.HTTPConnection(self._host, self._port)
            else:
                self._connection = http.client.HTTPSConnection(
                    self._host, self._port, context=self._tls
                )
        connection = self._connection
        connection.timeout = timeout_s
        if connection.sock is not None:
            connection.sock.settimeout(timeout_s)
        connection.request(method, self._prefix + path, body=data, headers=dict(headers))
        return connection.getresponse()

    def events(self, path: str) -> Iterator[Any]:
        """The data of server-sent events, over a connection of their own."""
        own = Transport(self.url + self._prefix, self._token, self._timeout_s, self._tls)
        try:
            response = own._open(
                "GET", path, None, {"Accept": "text/event-stream"}, self._timeout_s
            )
            if response.status != 200:
                raise _error(response.status, response.read())
            for line in response:
                if line.startswith(b"data: "):
                    yield json.loads(line[6:])
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from None
        finally:
            own.close()

    def _unreachable(self, error: Exception) -> UnavailableError:
        text = str(error) or type(error).__name__
        return UnavailableError(
            f"no answer from {self.url} ({text})",
            code="UNREACHABLE",
            hint="is the node running? see --url and MAINSTEM_URL",
        )


def _error(status: int, data: bytes) -> ApiError:
    try:
        found = json.loads(data)
        error = found.pop("error")
        message, code = str(error["message"]), str(error["code"])
    except (ValueError, KeyError, TypeError, AttributeError):
        found, error = {}, {}
        message, code = f"the node answered {status}", "HTTP"
    return _ERRORS.get(status, ApiError)(
        message,
        code=code,
        field=error.get("field"),
        hint=error.get("hint"),
        status=status,
        detail=found,
    )
