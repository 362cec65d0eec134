"""The system's certificates are read when a connection first needs them, not at every start.

1. aiohttp reads them twice when it is imported: for requests that verify, and for requests that do
   not. That is 2 MB, which an edge that calls nobody by TLS holds as long as it lives.
2. Both contexts are replaced by one that verifies as the first did, and has no certificates until
   it is first used. What cannot read them then trusts nobody: the connection fails.
3. Here no request goes unverified, and none can after this: it would be verified.
4. Where aiohttp has other names for its contexts, nothing is done.
"""

from __future__ import annotations

import ssl
import threading
from typing import Any

from aiohttp import connector

_VERIFIED = "_SSL_CONTEXT_VERIFIED"
_UNVERIFIED = "_SSL_CONTEXT_UNVERIFIED"


class LateContext(ssl.SSLContext):
    """A context of a client, which reads the system's certificates at its first connection.

    That is some 20 ms, once in a process, in the thread that connects.
    """

    @classmethod
    def like(cls, model: ssl.SSLContext) -> LateContext:
        """With the rules of ``model``, for HTTP/1.1, and none of its certificates."""
        context = cls(ssl.PROTOCOL_TLS_CLIENT)
        context.options = model.options
        context.verify_flags = model.verify_flags
        context.minimum_version = model.minimum_version
        context.maximum_version = model.maximum_version
        context.set_alpn_protocols(["http/1.1"])  # all that aiohttp speaks
        return context

    def __init__(self, protocol: int) -> None:
        super().__init__()  # the protocol went to __new__
        self._reading = threading.Lock()
        self._read = False

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:
        self._ensure_read()
        return super().wrap_bio(*args, **options)

    def wrap_socket(self, *args: Any, **options: Any) -> ssl.SSLSocket:
        self._ensure_read()
        return super().wrap_socket(*args, **options)

    def _ensure_read(self) -> None:
        with self._reading:
            if not self._read:
                self.load_default_certs(ssl.Purpose.SERVER_AUTH)
                self._read = True


def put_off() -> None:
    """Gives back what aiohttp has read. Before all else is imported that takes the room: what is
    freed later lies between what stays."""
    contexts = vars(connector)
    verified = contexts.get(_VERIFIED)
    if not isinstance(verified, ssl.SSLContext) or _UNVERIFIED not in contexts:
        return
    if not isinstance(verified, LateContext):
        contexts[_VERIFIED] = contexts[_UNVERIFIED] = LateContext.like(verified)
