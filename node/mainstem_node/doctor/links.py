"""The way to the parent: reachable, trusted, and with a credential."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mainstem_node.auth import require_link_token
from mainstem_node.config.schema import NodeConfig, ParentConfig, Topology
from mainstem_node.doctor.finding import BAD, FINE, WARNING, Finding
from mainstem_node.errors import CredentialError, MissingError, UnavailableError
from mainstem_node.server import client_context
from mainstem_node.transport import Transport

TIMEOUT_S = 5.0


def parent(
    topology: Topology, node: NodeConfig, config: ParentConfig, status: Mapping[str, Any] | None
) -> Iterator[Finding]:
    try:
        require_link_token(topology, node.id)
    except CredentialError as error:
        yield Finding(node.id, "credential", BAD, error.message, error.hint or "")
    else:
        yield Finding(node.id, "credential", FINE, "the link's credential is there")
    link = None if status is None else status.get("link")
    if link is not None and link["state"] == "connected":
        yield Finding(node.id, "parent", FINE, "connected")
        return
    reached = [_reached(url, config) for url in config.url]
    if any(problem is None for problem in reached):
        state, why = (FINE, "answers") if status is None else (WARNING, "answers, not connected")
        yield Finding(
            node.id, "parent", state, f"{config.url[reached.index(None)]} {why}",
            "" if status is None else str((link or {}).get("error") or "look into the node's log"),
        )  # fmt: skip
        return
    for url, problem in zip(config.url, reached, strict=True):
        yield Finding(
            node.id, "parent", BAD, f"{url}: {problem}",
            "start it, open the port in the firewall, or correct `parent.url`",
        )  # fmt: skip


def _reached(url: str, config: ParentConfig) -> str | None:
    """None if it answers, else why not."""
    try:
        context = None
        if url.startswith("https:"):
            context = client_context(config.ca, config.cert, config.key)
        transport = Transport(url, None, TIMEOUT_S, context)
        try:
            transport.request("GET", "/health")
        finally:
            transport.close()
    except (UnavailableError, CredentialError, MissingError) as error:
        return error.message
    return None
