"""How a sender that posts here proves who it is: a token, a user with a password, or a signature.

What is sent is compared in a time that does not depend on how much of it is right. A signature
covers the body and no time: who records a request can send it again. Its rows are then the same
rows, unless they take the time of arrival.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from mainstem_node.api.authorization import basic_of, token_of


class Proof(Protocol):
    """``challenge``: what WWW-Authenticate says to a sender without it. ``needs_body``: it cannot
    be judged before the body is there."""

    @property
    def challenge(self) -> str: ...

    @property
    def needs_body(self) -> bool: ...

    def holds(self, headers: Mapping[str, str], body: bytes) -> bool:
        """True for a sender that knows the secret. ``body`` as it is after decompression."""


@dataclass(frozen=True, slots=True)
class TokenProof:
    """A token: in a header of its own, or under Authorization."""

    token: str = field(repr=False)
    header: str | None = None
    challenge: str = "Bearer"
    needs_body: bool = False

    def holds(self, headers: Mapping[str, str], body: bytes) -> bool:
        if self.header is not None:
            return _same(headers.get(self.header, ""), self.token)
        return _same(token_of(headers.get("Authorization", "")), self.token)


@dataclass(frozen=True, slots=True)
class PasswordProof:
    """Basic, with a user."""

    username: str
    password: str = field(repr=False)
    challenge: str = 'Basic realm="collect", charset="UTF-8"'
    needs_body: bool = False

    def holds(self, headers: Mapping[str, str], body: bytes) -> bool:
        user, password = basic_of(headers.get("Authorization", "")) or ("", "")
        # Both are compared, so that a wrong user costs the same time.
        return _same(user, self.username) & _same(password, self.password)


@dataclass(frozen=True, slots=True)
class SignatureProof:
    """A header with the HMAC of the body. ``hash``: as hashlib calls it."""

    secret: bytes = field(repr=False)
    header: str
    hash: str = "sha256"
    encoding: str = "hex"
    prefix: str = ""
    challenge: str = "Signature"
    needs_body: bool = True

    def holds(self, headers: Mapping[str, str], body: bytes) -> bool:
        sent = headers.get(self.header, "")
        if not sent.startswith(self.prefix):
            return False
        sent = sent.removeprefix(self.prefix).strip()
        digest = hmac.new(self.secret, body, getattr(hashlib, self.hash)).digest()
        if self.encoding == "hex":
            return _same(sent.casefold(), digest.hex())
        return _same(sent, base64.b64encode(digest).decode())


def _same(sent: str, wanted: str) -> bool:
    """False for nothing, too: a secret that is empty by mistake lets nobody in."""
    return bool(wanted) and hmac.compare_digest(
        sent.encode("utf-8", "surrogateescape"), wanted.encode()
    )
