"""Who may do what: API tokens, roles, the first admin token, link tokens of one file.

Roles: ``admin`` everything; ``write`` reads and writes rows; ``read`` reads; ``link`` is a child's
and opens the federation protocol only, bound to that child's name.

1. The first start makes an admin token, keeps its hash and writes it to ``DATA/admin.token``.
2. A request carries ``Authorization: Bearer``. ``auth: {loopback: open}`` makes a request of this
   very machine an admin's, on a loopback listener only, and only when it is addressed to a
   loopback name: a web page elsewhere that resolves to 127.0.0.1 is refused.
3. Failed attempts cost the same time whether a token exists or not.
"""

from __future__ import annotations

import ipaddress
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mainstem_node.config.schema import Topology
from mainstem_node.credentials import (
    make_private_directory,
    new_token,
    read_store,
    read_token,
    same_hash,
    token_hash,
    write_store,
    write_token,
)
from mainstem_node.errors import BadRequestError, ConflictError, CredentialError, MissingError
from mainstem_node.registry import NodeRegistry

ADMIN, WRITE, READ, LINK = "admin", "write", "read", "link"
ROLES = (ADMIN, WRITE, READ)
"""The roles that an API token may have; ``link`` comes by enrolment only."""

ALLOWS = {
    ADMIN: frozenset({ADMIN, WRITE, READ}),
    WRITE: frozenset({WRITE, READ}),
    READ: frozenset({READ}),
    LINK: frozenset({LINK}),
}
"""Role of the caller -> roles that a route may ask for."""

TOKENS_MAX = 1000
"""Bounds the file and the search; a fleet uses link tokens, not API tokens."""
FILE_NAME = "tokens.json"
ADMIN_FILE_NAME = "admin.token"
_NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class Principal:
    """Who makes a request. ``name`` is the token's name, or the child's id for ``link``."""

    name: str
    role: str
    paths: tuple[str, ...] = ()

    def may(self, role: str) -> bool:
        """True when this caller may use a route that asks for ``role``."""
        return role in ALLOWS[self.role]


@dataclass(frozen=True, slots=True)
class ApiToken:
    """One API token; times ms since the epoch."""

    id: str
    name: str
    role: str
    hash: str
    created_ms: int
    expires_ms: int | None = None

    def public(self) -> dict[str, Any]:
        """What may be shown: everything but the hash."""
        return {
            "id": self.id,
            "name": self.name,
            "role": self.role,
            "created": self.created_ms,
            "expires": self.expires_ms,
        }


def _now_ms() -> int:
    return time.time_ns() // _NS_PER_MS


class TokenStore:
    """The API tokens of one node, in ``DATA/tokens.json``. Thread-safe; changes are durable."""

    def __init__(self, data_dir: Path, *, clock_ms: Callable[[], int] = _now_ms) -> None:
        self._path = data_dir / FILE_NAME
        self._clock_ms = clock_ms
        self._lock = threading.Lock()
        stored = read_store(self._path).get("tokens", [])
        self._tokens = {item["id"]: ApiToken(**item) for item in stored}

    def list(self) -> list[ApiToken]:
        """All tokens, oldest first, expired ones too."""
        with self._lock:
            return sorted(self._tokens.values(), key=lambda token: token.created_ms)

    def create(
        self, name: str, role: str, *, life_ms: int | None = None, prefix: str = "mst"
    ) -> tuple[ApiToken, str]:
        """A new token: its entry, and the token itself, which is shown this once."""
        if role not in ROLES:
            raise BadRequestError(
                f"role {role!r} is unknown", field="role", hint=f"use {', '.join(ROLES)}"
            )
        if not name or len(name) > 100 or not name.isprintable():
            raise BadRequestError(
                "a token needs a name", field="name", hint="1 to 100 printable characters"
            )
        if life_ms is not None and life_ms <= 0:
            raise BadRequestError("the life is not positive", field="expires", hint="write 90d")
        token = new_token(prefix)
        hashed, now = token_hash(token), self._clock_ms()
        # The first digits of the hash: enough to name a token, useless to guess it.
        entry = ApiToken(
            hashed[:12], name, role, hashed, now, None if life_ms is None else now + life_ms
        )
        with self._lock:
            if len(self._tokens) >= TOKENS_MAX:
                raise ConflictError(f"there are {TOKENS_MAX} tokens", hint="revoke unused ones")
            self._save({**self._tokens, entry.id: entry})
        return entry, token

    def revoke(self, token_id: str) -> ApiToken:
        """Refuse a token from now on. ConflictError for the last admin token."""
        with self._lock:
            entry = self._tokens.get(token_id)
            if entry is None:
                raise MissingError(
                    f"there is no token {token_id!r}", field="id", hint="see mainstem token list"
                )
            rest = {key: token for key, token in self._tokens.items() if key != token_id}
            if entry.role == ADMIN and not any(t.role == ADMIN for t in rest.values()):
                raise ConflictError(
                    "this is the last admin token", field="id", hint="create another one first"
                )
            self._save(rest)
            return entry

    def authenticate(self, token: str) -> Principal | None:
        """The caller of this token, or None when it is unknown or expired."""
        wanted, now = token_hash(token), self._clock_ms()
        found: ApiToken | None = None
        with self._lock:
            for entry in self._tokens.values():
                if same_hash(entry.hash, wanted):
                    found = entry
        if found is None or (found.expires_ms is not None and found.expires_ms <= now):
            return None
        return Principal(found.name, found.role)

    @property
    def has_admin(self) -> bool:
        now = self._clock_ms()
        with self._lock:
            return any(
                token.role == ADMIN and (token.expires_ms is None or token.expires_ms > now)
                for token in self._tokens.values()
            )

    def _save(self, tokens: dict[str, ApiToken]) -> None:
        listed = [asdict(token) for token in tokens.values()]
        write_store(self._path, {"version": 1, "tokens": listed})
        self._tokens = tokens


class Authenticator:
    """Finds the caller of a request from its header, peer and host."""

    def __init__(self, tokens: TokenStore, nodes: NodeRegistry, *, loopback_open: bool) -> None:
        self.tokens = tokens
        self.nodes = nodes
        self.loopback_open = loopback_open

    def principal(
        self, authorization: str | None, peer: str | None, host: str | None
    ) -> Principal | None:
        """The caller, or None. A credential that is sent must be valid, even from this machine."""
        if authorization is not None:
            scheme, _, token = authorization.partition(" ")
            token = token.strip()
            if scheme.casefold() != "bearer" or not token:
                return None
            # Children first: they ask by the second, and are found by their hash.
            child = self.nodes.authenticate(token)
            if child is not None:
                return Principal(child.id, LINK, child.paths)
            return self.tokens.authenticate(token)
        if self.loopback_open and is_loopback(peer) and is_loopback(_host_name(host)):
            return Principal("loopback", ADMIN)
        return None


def _host_name(host: str | None) -> str | None:
    """The Host header without its port."""
    if host is None:
        return None
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def is_loopback(name: str | None) -> bool:
    """True for 127.0.0.0/8, ::1 and localhost."""
    if not name:
        return False
    if name.casefold() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def prepare_data_dir(data_dir: Path) -> None:
    """Make the data directory with mode 0700; an existing one keeps its rights."""
    make_private_directory(data_dir)


def ensure_admin_token(data_dir: Path, tokens: TokenStore) -> Path | None:
    """At the first start: make the admin token, and return the file it was written to."""
    if tokens.has_admin:
        return None
    path = data_dir / ADMIN_FILE_NAME
    _, token = tokens.create("admin", ADMIN, prefix="msa")
    write_token(path, token)
    return path


def ensure_link_tokens(topology: Topology) -> list[Path]:
    """Make the link tokens that are missing for links whose two ends are in the file.

    For each such link: the child's ``token_file`` is made if it does not exist, and its hash is
    kept in the parent's ``nodes.json``. Returns the files that were made. Call it while the
    parents are stopped; a running parent does not read its registry again.
    """
    made: list[Path] = []
    registries: dict[str, NodeRegistry] = {}
    for node in topology.nodes:
        link = node.parent
        if link is None or link.node is None or link.token_file is None:
            continue
        parent = next((other for other in topology.nodes if other.id == link.node), None)
        if parent is None:
            continue
        if link.token_file.exists():
            token = read_token(link.token_file)
        else:
            token = new_token("msl")
            write_token(link.token_file, token)
            made.append(link.token_file)
        if parent.id not in registries:
            prepare_data_dir(parent.data_dir)
            registries[parent.id] = NodeRegistry(parent.data_dir)
        registries[parent.id].ensure_link(node.id, node.paths, token)
    return made


def require_link_token(topology: Topology, node_id: str) -> str:
    """The link token of a node. Raises CredentialError with the two enrolment commands."""
    node = topology.node(node_id)
    if node.parent is None or node.parent.token_file is None:
        raise CredentialError(f"node {node_id} has no parent")
    if not node.parent.token_file.exists():
        paths = " ".join(f"--path {path}" for path in node.paths) or "--path PATH"
        raise CredentialError(
            f"token file {node.parent.token_file} does not exist",
            hint="enrol the node:\n"
            f"  at the parent:  mainstem node add {node_id} {paths} --url {node.parent.url[0]}\n"
            f"  here:           mainstem join -c {topology.file} --token-file FILE",
        )
    return read_token(node.parent.token_file)
