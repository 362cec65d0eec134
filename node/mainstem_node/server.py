"""The HTTP server of a node: aiohttp with the limits and headers that every answer needs.

1. Half-sent headers and idle connections are closed after ``IDLE_S_MAX``, half-sent bodies after
   ``route.RECEIVE_S_MAX``. Request bodies are never unpacked by the parser, only by ``read_body``.
2. Every answer carries headers that keep a browser from guessing types, framing the page, or
   running a script that is not a file of this node. There is no CORS: other sites cannot read.
3. Every request is counted under its route's pattern.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Iterable
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from mainstem_node.api.openapi import SERVED
from mainstem_node.api.route import MIB, Route, bind, error_response
from mainstem_node.config.kinds import Listen
from mainstem_node.config.schema import TlsConfig
from mainstem_node.credentials import require_private
from mainstem_node.errors import CredentialError, NodeError
from mainstem_node.runtime import Runtime

log = logging.getLogger("mainstem.server")

IDLE_S_MAX = 30.0
"""A connection that has sent no whole request header by then is closed."""
SHUTDOWN_S_MAX = 3.0
"""What requests in progress may still take when the node stops; of ten seconds in all."""
CLIENT_BYTES_MAX = 32 * MIB
"""aiohttp's own bound, the largest of all routes."""
CONNECTIONS_BACKLOG = 512

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def build_application(
    runtime: Runtime, routes: Iterable[Route], more: Iterable[web.RouteDef] = ()
) -> web.Application:
    """The application of a node. ``more``: routes with an authentication of their own."""
    application = web.Application(
        middlewares=[_answer_everything(runtime)], client_max_size=CLIENT_BYTES_MAX
    )
    application[SERVED] = tuple(routes)
    for route in application[SERVED]:
        handler = bind(route, runtime)
        if route.method == "GET":
            application.router.add_get(route.path, handler)
        else:
            application.router.add_route(route.method, route.path, handler)
    application.router.add_routes(list(more))
    application.on_response_prepare.append(_add_headers)
    return application


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers["Server"] = "mainstem"


def _answer_everything(runtime: Runtime) -> Middleware:
    @web.middleware
    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        loop = asyncio.get_running_loop()
        started = loop.time()
        status = 500
        try:
            response = await handler(request)
            status = response.status
        except (asyncio.CancelledError, ConnectionResetError):
            status = 499  # the client went away; nobody reads an answer
            raise
        except Exception as error:
            response = error_response(error)
            status = response.status
        finally:
            resource = request.match_info.route.resource
            pattern = resource.canonical if resource is not None else "none"
            method = request.method if request.method in _METHODS else "other"
            runtime.metrics.observe_request(method, pattern, status, loop.time() - started)
        return response

    return answer


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})


class Server:
    """Listens for one node. ``port`` is the real one when the configuration says 0."""

    def __init__(self, application: web.Application, listen: Listen, tls: TlsConfig | None) -> None:
        self._application = application
        self._listen = listen
        self._tls = tls
        self._runner: web.AppRunner | None = None
        self.port = listen.port

    async def start(self) -> None:
        """Begin to listen. NodeError when the address cannot be used."""
        context = None if self._tls is None else server_context(self._tls)
        runner = web.AppRunner(
            self._application,
            access_log=None,  # requests are counted, not logged: URLs may name devices
            keepalive_timeout=IDLE_S_MAX,
            auto_decompress=False,
            handle_signals=False,
            shutdown_timeout=SHUTDOWN_S_MAX,
        )
        await runner.setup()
        self._runner = runner
        site = web.TCPSite(
            runner,
            self._listen.host,
            self._listen.port,
            ssl_context=context,
            backlog=CONNECTIONS_BACKLOG,
        )
        try:
            await site.start()
        except OSError as error:
            await runner.cleanup()
            self._runner = None
            raise NodeError(
                f"cannot listen on {self._listen} ({error.strerror or error})",
                field="listen",
                hint="choose another address, or stop what uses it",
            ) from None
        addresses = runner.addresses
        if addresses:
            self.port = int(addresses[0][1])

    async def stop(self) -> None:
        """Stop listening; requests in progress may finish within SHUTDOWN_S_MAX."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()


def server_context(tls: TlsConfig) -> ssl.SSLContext:
    """TLS 1.2 or newer, with the node's certificate. CredentialError names the file at fault."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    for path in (tls.cert, tls.key, tls.client_ca):
        _require_file(path)
    require_private(tls.key)
    try:
        context.load_cert_chain(tls.cert, tls.key)
    except (ssl.SSLError, OSError) as error:
        raise CredentialError(
            f"certificate {tls.cert} and key {tls.key} cannot be used ({error})",
            hint="both must be PEM files that belong together",
        ) from None
    if tls.client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        _load_ca(context, tls.client_ca)
    return context


def client_context(
    ca: Path | None, cert: Path | None = None, key: Path | None = None
) -> ssl.SSLContext:
    """TLS towards a parent: the server's certificate and name are always verified."""
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca is not None:
        _require_file(ca)
        _load_ca(context, ca)
    if cert is not None:
        _require_file(cert)
        try:
            context.load_cert_chain(cert, key)
        except (ssl.SSLError, OSError) as error:
            raise CredentialError(f"certificate {cert} cannot be used ({error})") from None
    return context


def _load_ca(context: ssl.SSLContext, path: Path) -> None:
    try:
        context.load_verify_locations(path)
    except (ssl.SSLError, OSError) as error:
        raise CredentialError(
            f"authority {path} cannot be used ({error})", hint="it must be a PEM file"
        ) from None


def _require_file(path: Path | None) -> None:
    if path is not None and not path.is_file():
        raise CredentialError(f"file {path} does not exist", hint="check the path under `tls`")
