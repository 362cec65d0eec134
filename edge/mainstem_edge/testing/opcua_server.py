"""An OPC UA server in this process, on a loop and a thread of its own: stopped and started again at
the same address, as a controller that gets a new program."""

from __future__ import annotations

import asyncio
import datetime as dt
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from asyncua import Server, ua
from asyncua.crypto.cert_gen import setup_self_signed_certificate
from asyncua.crypto.permission_rules import User, UserRole
from cryptography.x509.oid import ExtendedKeyUsageOID

URI = "urn:mainstem:test"
WAIT_S = 20.0

Outcome = TypeVar("Outcome")
Prepare = Callable[["OpcuaServer"], Coroutine[Any, Any, None]]


class OpcuaServer:
    """A server with namespace 2 (URI). ``prepare`` fills it at each start.

    ``certificate`` and ``key``: with them only signed and encrypted sessions are possible.
    ``users``: name to password; with them nobody is anonymous.
    """

    def __init__(
        self,
        prepare: Prepare,
        *,
        certificate: Path | None = None,
        key: Path | None = None,
        users: Mapping[str, str] | None = None,
    ) -> None:
        self._prepare = prepare
        self._files = None if certificate is None or key is None else (certificate, key)
        self._users = users
        with socket.create_server(("127.0.0.1", 0)) as found:
            self.port = int(found.getsockname()[1])
        self.url = f"opc.tcp://127.0.0.1:{self.port}/test"
        self.server: Server
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self.run(self._make())
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(WAIT_S)
        self._loop.close()

    def run(self, doing: Coroutine[Any, Any, Outcome]) -> Outcome:
        """In the server's loop."""
        return asyncio.run_coroutine_threadsafe(doing, self._loop).result(WAIT_S)

    def start(self) -> None:
        """Begins to listen, with what it had: reading the standard's nodes takes seconds."""
        self.run(self.server.start())

    def stop(self) -> None:
        """Ends all connections and listens no more; what it records of its history goes on."""
        self.run(self._hang_up())

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """It answers nothing, and its connections stay open."""
        going_on = threading.Event()
        self._loop.call_soon_threadsafe(going_on.wait, WAIT_S)
        try:
            yield
        finally:
            going_on.set()

    def write(
        self,
        node: str,
        value: Any,
        *,
        at: dt.datetime | None = None,
        status: int = 0,
        server_at: dt.datetime | None = None,
    ) -> None:
        """A value as equipment gives it. ``value`` may be a Variant."""
        told = _told(value, at, status, server_at)
        self.run(self.server.write_attribute_value(ua.NodeId.from_string(node), told))

    def value(self, node: str) -> Any:
        """What a node has now."""
        found = self.server.read_attribute_value(ua.NodeId.from_string(node))
        return None if found.Value is None else found.Value.Value

    async def _make(self) -> None:
        server = Server(user_manager=None if self._users is None else _Users(self._users))
        await server.init()
        server.set_endpoint(self.url)
        server.disable_clock()
        if self._files is not None:
            await server.load_certificate(str(self._files[0]))
            await server.load_private_key(self._files[1])
            server.set_security_policy([
                ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt,
                ua.SecurityPolicyType.Basic256Sha256_Sign,
                ua.SecurityPolicyType.Aes128Sha256RsaOaep_SignAndEncrypt,
                ua.SecurityPolicyType.Aes256Sha256RsaPss_SignAndEncrypt,
            ])  # fmt: skip
        else:
            server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        if self._users is not None:
            server.set_identity_tokens([ua.UserNameIdentityToken])
        await server.register_namespace(URI)
        self.server = server
        await self._prepare(self)

    async def _end(self) -> None:
        """With what the library leaves of sessions that nobody closed."""
        await self.server.stop()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for each in left:
            each.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _hang_up(self) -> None:
        assert self.server.bserver is not None
        await self.server.bserver.stop()


class _Users:
    def __init__(self, known: Mapping[str, str]) -> None:
        self._known = known

    def get_user(
        self,
        iserver: Any,
        username: str | None = None,
        password: str | None = None,
        certificate: Any = None,
    ) -> User | None:
        if username is not None and self._known.get(username) == password:
            return User(role=UserRole.Admin, name=username)
        return None


def _told(
    value: Any, at: dt.datetime | None, status: int, server_at: dt.datetime | None
) -> ua.DataValue:
    told = ua.DataValue(value if isinstance(value, ua.Variant) else ua.Variant(value))
    told.StatusCode = ua.StatusCode(status)
    told.SourceTimestamp = at
    told.ServerTimestamp = server_at or at
    return told


async def make_certificate(folder: Path, name: str, uri: str) -> tuple[Path, Path]:
    """(certificate in DER, key in PEM), self-signed, for both ends of a connection."""
    certificate, key = folder / f"{name}.der", folder / f"{name}.pem"
    usages = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
    await setup_self_signed_certificate(key, certificate, uri, "localhost", usages, {})
    return certificate, key
