"""A session at a server: security, credentials, and what went wrong in words that name a remedy.

1. With a security policy only the server certificate that the configuration names is taken; the
   library would take any.
2. The library reconnects by itself if asked to; here the collector does, so that there is one
   place that decides when, and one that knows what was missed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asyncua import Client, ua
from asyncua.crypto import security_policies
from asyncua.crypto.uacrypto import CertProperties
from cryptography import x509

logging.getLogger("asyncua").setLevel(logging.CRITICAL)
"""Whatever goes wrong is raised, and told by the collector once; the library logs it with every
attempt, and its debug level shows passwords."""

REQUEST_S_MAX = 10.0
"""For an answer to one request; a small controller takes seconds for a handshake with RSA."""
SESSION_MS = 60_000
"""A server frees the session of an edge that died after this: many allow only a few."""
LEAVE_S_MAX = 1.0
"""For saying goodbye: a node has little time to stop."""

REMEDIES = {
    "BadUserAccessDenied": "check `username` and `password`",
    "BadIdentityTokenRejected": "check `username` and `password`",
    "BadIdentityTokenInvalid": "check `username` and `password`",
    "BadSecurityChecksFailed": "accept this edge's certificate at the server",
    "BadCertificateUntrusted": "accept this edge's certificate at the server",
    "BadCertificateUriInvalid": "make a certificate with the URI of this application",
    "BadCertificateTimeInvalid": "a certificate has expired, or a clock is wrong",
    "BadTooManySessions": "the server allows no more sessions: end others",
    "BadSecurityPolicyRejected": "choose a `security` that the server offers",
}


@dataclass(frozen=True, slots=True)
class OpcuaSettings:
    """How to reach a server. ``password`` stays out of every message."""

    url: str
    client_name: str
    security: str = "None"
    mode: str = "sign_and_encrypt"
    cert: Path | None = None
    key: Path | None = None
    server_cert: Path | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    request_s: float = REQUEST_S_MAX
    watchdog_s: float = 15.0


OnLost = Callable[[Exception], Coroutine[Any, Any, None]]


@contextlib.asynccontextmanager
async def session(settings: OpcuaSettings, on_lost: OnLost | None = None) -> AsyncIterator[Client]:
    """A connected client, left in the end. ``on_lost`` is told of a connection that broke. Raises
    ConnectionError."""
    client = Client(
        settings.url, timeout=settings.request_s, watchdog_intervall=settings.watchdog_s / 3
    )
    client.name = client.description = settings.client_name
    client.application_uri = f"urn:{settings.client_name}"
    client.session_timeout = SESSION_MS
    client.connection_lost_callback = on_lost
    if settings.username is not None:
        client.set_user(settings.username)
        client.set_password(settings.password or "")
    try:
        with in_words(settings.url):
            await _secure(client, settings)
            await client.connect()
        yield client
    finally:
        await _leave(client)


async def endpoints(settings: OpcuaSettings) -> list[ua.EndpointDescription]:
    """What the server offers, asked without security. Raises ConnectionError."""
    client = Client(settings.url, timeout=settings.request_s)
    with in_words(settings.url):
        return list(await client.connect_and_get_server_endpoints())


async def _leave(client: Client) -> None:
    """Says goodbye, if anybody listens; the socket is closed in any case. (The library leaves it
    open when its own watchdog found the server silent.)"""
    protocol = client.uaclient.protocol
    transport = None if protocol is None else protocol.transport
    try:
        async with asyncio.timeout(LEAVE_S_MAX):
            await client.disconnect()
    except (TimeoutError, OSError, ua.UaError):
        pass
    finally:
        client.disconnect_socket()
        if transport is not None:
            transport.abort()


async def _secure(client: Client, settings: OpcuaSettings) -> None:
    if settings.security == "None":
        return
    files = (settings.cert, settings.key, settings.server_cert)
    own, key, server = await asyncio.to_thread(lambda: [_read(each) for each in files])
    client.application_uri = application_uri(own) or client.application_uri
    sign = settings.mode == "sign"
    await client.set_security(
        getattr(security_policies, f"SecurityPolicy{settings.security}"),
        own,
        key,
        server_certificate=server,
        mode=ua.MessageSecurityMode.Sign if sign else ua.MessageSecurityMode.SignAndEncrypt,
    )


def _read(path: Path | None) -> CertProperties:
    """A file in PEM or DER, whatever it is called."""
    if path is None:
        raise ConnectionError("`cert`, `key` and `server_cert` are needed")
    octets = path.read_bytes()
    return CertProperties(octets, "pem" if octets.lstrip().startswith(b"-----") else "der")


def application_uri(own: CertProperties) -> str | None:
    """The one that the certificate was made for: servers compare."""
    octets = own.path_or_content
    assert isinstance(octets, bytes)
    is_pem = own.extension == "pem"
    load = x509.load_pem_x509_certificate if is_pem else x509.load_der_x509_certificate
    try:
        names = load(octets).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None
    return next(iter(names.get_values_for_type(x509.UniformResourceIdentifier)), None)


@contextlib.contextmanager
def in_words(where: str, *, files: bool = True) -> Iterator[None]:
    """Errors of the library and of the network as one ConnectionError; with ``files`` also those
    of certificates and keys."""
    try:
        yield
    except ua.UaStatusCodeError as error:
        name = ua.StatusCode(error.code).name
        hint = REMEDIES.get(name)
        raise ConnectionError(f"{where}: {name}" + (f"; {hint}" if hint else "")) from error
    except ua.UaError as error:
        raise ConnectionError(f"{where}: {error}") from error
    except TimeoutError as error:
        raise ConnectionError(f"{where}: no answer in time") from error
    except OSError as error:
        place = error.filename or where
        raise ConnectionError(f"{place}: {error.strerror or error}") from error
    except ValueError as error:  # a certificate or key that is none
        if not files:
            raise
        raise ConnectionError(f"{where}: {error.args[0]}; check `cert` and `key`") from error
