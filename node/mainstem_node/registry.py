"""The children of a node: who is enrolled, under which paths, with which credential.

1. ``add`` makes a join token, valid once and for 24 hours, for a node of that id.
2. ``join`` exchanges it for the long-lived link token and binds the id to the node's UUID.
3. ``authenticate`` finds the child of a link token; a revoked child is refused from then on.
4. Both ends in one file: ``ensure_link`` keeps the hash of a token that was made beforehand; the
   id is bound to the first UUID that says HELLO.

Kept in ``DATA/nodes.json`` (0600), hashes only.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from mainstem_engine.catalog.names import canonical_path
from mainstem_engine.errors import SchemaError
from mainstem_node.config.kinds import parse_name
from mainstem_node.credentials import new_token, read_store, same_hash, token_hash, write_text
from mainstem_node.errors import BadRequestError, ConflictError, ForbiddenError, MissingError

JOIN_TOKEN_LIFE_MS = 24 * 3600 * 1000
"""Long enough to drive to the workshop, too short to be found in a drawer."""
NODES_MAX = 10_000
"""More children than one parent can serve; bounds the file and the search."""
REPLACED_MAX = 100
"""Machines that one place had: a century of yearly ones."""
FILE_NAME = "nodes.json"
ENROLLED = "enrolled"
"""The state of a child that has its credential."""
NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class Enrolment:
    """One child. Hashes are SHA-256; times ms since the epoch."""

    id: str
    paths: tuple[str, ...]
    created_ms: int
    uuid: str | None = None
    link_hash: str | None = None
    join_hash: str | None = None
    join_expires_ms: int | None = None
    revoked_ms: int | None = None
    retired_ms: int | None = None
    """From then on it sends nothing: what it sent before is complete when that is verified."""
    replaced: tuple[str, ...] = ()
    """UUIDs of the data directories that this id had before; none of them is let in again."""

    @property
    def state(self) -> str:
        if self.retired_ms is not None:
            return "retired"
        if self.revoked_ms is not None:
            return "revoked"
        return ENROLLED if self.link_hash is not None else "invited"

    def public(self) -> dict[str, Any]:
        """What may be shown: everything but the hashes."""
        return {
            "id": self.id,
            "paths": list(self.paths),
            "state": self.state,
            "uuid": self.uuid,
            "created": self.created_ms,
            "join_expires": self.join_expires_ms,
            "revoked": self.revoked_ms,
            "retired": self.retired_ms,
        }


def _text(entry: Enrolment) -> str:
    return json.dumps(asdict(entry), sort_keys=True)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class NodeRegistry:
    """The enrolled children of one node. Thread-safe; every change is durable when it returns."""

    def __init__(self, data_dir: Path, *, clock_ms: Callable[[], int] = _now_ms) -> None:
        self._path = data_dir / FILE_NAME
        self._clock_ms = clock_ms
        self._lock = threading.Lock()
        stored = read_store(self._path).get("nodes", [])
        self._nodes = {
            item["id"]: Enrolment(
                **{
                    **item,
                    "paths": tuple(item["paths"]),
                    "replaced": tuple(item.get("replaced", ())),
                }
            )
            for item in stored
        }
        self._texts = {name: _text(entry) for name, entry in self._nodes.items()}
        """Each as it stands in the file."""
        self._by_link_hash: dict[str, str] = {}
        self._index()

    def list(self) -> list[Enrolment]:
        """All children, by id, revoked ones too."""
        with self._lock:
            return [self._nodes[key] for key in sorted(self._nodes)]

    def add(self, node_id: str, paths: Sequence[str]) -> tuple[Enrolment, str]:
        """Invite a node; returns its entry and the join token, which is shown this once.

        Inviting again renews the token. ConflictError for an enrolled node: revoke it first.
        """
        try:
            parse_name(node_id)
            kept = tuple(canonical_path(path) for path in paths)
        except SchemaError as error:
            raise BadRequestError(error.message, field="path", hint=error.hint) from None
        except ValueError as error:
            raise BadRequestError(str(error.args[0]), field="id", hint=str(error.args[1])) from None
        token = new_token("msj")
        now = self._clock_ms()
        with self._lock:
            known = self._nodes.get(node_id)
            if known is not None and known.state == "enrolled":
                raise ConflictError(
                    f"node {node_id} is enrolled already",
                    field="id",
                    hint=f"revoke it first: mainstem node revoke {node_id}",
                )
            if known is None and len(self._nodes) >= NODES_MAX:
                raise ConflictError(f"there are {NODES_MAX} nodes already", hint="add a platform")
            for other in self._nodes.values():
                shared = set(other.paths) & set(kept)
                if shared and other.id != node_id and other.revoked_ms is None:
                    raise ConflictError(
                        f"{min(shared)} belongs to node {other.id}",
                        field="path",
                        hint="one node owns a path",
                    )
            entry = Enrolment(
                node_id,
                kept,
                now,
                join_hash=token_hash(token),
                join_expires_ms=now + JOIN_TOKEN_LIFE_MS,
            )
            self._put(entry)
        return entry, token

    def join(self, token: str, uuid: str) -> tuple[Enrolment, str]:
        """Exchange a join token for the link token. The join token is worth nothing afterwards."""
        wanted, now = token_hash(token), self._clock_ms()
        link_token = new_token("msl")
        with self._lock:
            for entry in self._nodes.values():
                if entry.join_hash is None or not same_hash(entry.join_hash, wanted):
                    continue
                expired = (entry.join_expires_ms or 0) <= now
                if entry.revoked_ms is not None or expired or uuid in entry.replaced:
                    break
                joined = replace(
                    entry,
                    uuid=uuid,
                    link_hash=token_hash(link_token),
                    join_hash=None,
                    join_expires_ms=None,
                )
                self._put(joined)
                return joined, link_token
        raise ForbiddenError(
            "the join token is unknown, used or expired",
            hint="make a new one at the parent: mainstem node add ID --path PATH",
        )

    def ensure_link(self, node_id: str, paths: Sequence[str], token: str) -> bool:
        """Make ``token`` the link token of a node of the same file; False if it was already.

        A node that was revoked stays revoked.
        """
        wanted = token_hash(token)
        with self._lock:
            known = self._nodes.get(node_id)
            if known is None:
                known = Enrolment(node_id, tuple(paths), self._clock_ms())
            elif known.link_hash == wanted and known.paths == tuple(paths):
                return False
            self._put(replace(known, paths=tuple(paths), link_hash=wanted, join_hash=None))
            return True

    def authenticate(self, token: str) -> Enrolment | None:
        """The child that this link token belongs to, or None; None too once it is revoked."""
        # Looked up by hash: every request of every child comes this way. How long it takes tells
        # nothing about a token, since nobody can choose a token by its hash.
        # Without the lock, which others hold while they write to the disk: both are only replaced.
        wanted = token_hash(token)
        entry = self._nodes.get(self._by_link_hash.get(wanted, ""))
        if entry is None or entry.link_hash is None or not same_hash(entry.link_hash, wanted):
            return None
        return entry if entry.revoked_ms is None else None

    def bind(self, node_id: str, uuid: str) -> bool:
        """Bind an id to a UUID at its first HELLO; False if it is bound to another, or was to this
        one before it was replaced."""
        with self._lock:
            entry = self._nodes.get(node_id)
            if entry is None or uuid in entry.replaced:
                return False
            if entry.uuid is None:
                self._put(replace(entry, uuid=uuid))
                return True
            return entry.uuid == uuid

    def replace(self, node_id: str) -> tuple[Enrolment, str]:
        """The machine of this child is replaced: the next data directory that says its name is its
        own, the one before is refused from now on. Returns its entry and a join token; the link
        token stays good, for a machine that was given it."""
        token = new_token("msj")
        with self._lock:
            entry = self._nodes.get(node_id)
            if entry is None:
                raise MissingError(
                    f"there is no node {node_id!r}", field="id", hint="see mainstem node list"
                )
            if entry.revoked_ms is not None:
                raise ConflictError(
                    f"node {node_id} is {entry.state}",
                    field="id",
                    hint=f"invite it again: mainstem node add {node_id} --path PATH",
                )
            before = () if entry.uuid is None else (entry.uuid,)
            kept = replace(
                entry,
                uuid=None,
                replaced=(*entry.replaced, *before)[-REPLACED_MAX:],
                join_hash=token_hash(token),
                join_expires_ms=self._clock_ms() + JOIN_TOKEN_LIFE_MS,
            )
            self._put(kept)
            return kept, token

    def revoke(self, node_id: str) -> Enrolment:
        """Refuse this child from now on. What it delivered stays."""
        with self._lock:
            entry = self._nodes.get(node_id)
            if entry is None:
                raise MissingError(
                    f"there is no node {node_id!r}", field="id", hint="see mainstem node list"
                )
            revoked = replace(
                entry, revoked_ms=self._clock_ms(), join_hash=None, join_expires_ms=None
            )
            self._put(revoked)
            return revoked

    def retire(self, node_id: str, from_ms: int | None = None) -> Enrolment:
        """This child is gone for good: refused from now on, and nothing of it is expected that is
        later than ``from_ms``, by default now."""
        self.revoke(node_id)
        with self._lock:
            entry = self._nodes[node_id]
            at_ms = self._clock_ms() if from_ms is None else from_ms
            retired = replace(entry, retired_ms=at_ms)
            self._put(retired)
            return retired

    def retired_ns(self, node_id: str) -> int | None:
        """From when on nothing is expected of a child, None for one that goes on."""
        with self._lock:
            entry = self._nodes.get(node_id)
        if entry is None or entry.retired_ms is None:
            return None
        return entry.retired_ms * NS_PER_MS

    def _put(self, entry: Enrolment) -> None:
        """Durable first: a change that could not be written did not happen."""
        nodes = {**self._nodes, entry.id: entry}
        # A thousand that say their first HELLO are a thousand changes of a file with all of them.
        texts = {**self._texts, entry.id: _text(entry)}
        write_text(
            self._path, '{"version": 1, "nodes": [\n' + ",\n".join(texts.values()) + "\n]}\n"
        )
        self._texts, self._nodes = texts, nodes
        self._index()

    def _index(self) -> None:
        self._by_link_hash = {
            entry.link_hash: entry.id for entry in self._nodes.values() if entry.link_hash
        }
