"""What a node says when it is ready: where it answers, how durable it is, and what to beware of."""

from __future__ import annotations

import logging

from mainstem_node.config.schema import NodeConfig
from mainstem_node.logs import fields

log = logging.getLogger("mainstem.node")


def announce(config: NodeConfig, *, port: int, seconds: float) -> None:
    """Logs that the node is ready, and every setting that is unsafe."""
    log.info(
        "ready",
        extra=fields(
            node=config.id,
            tier=config.tier,
            listen=f"{config.listen.host}:{port}",
            data_dir=str(config.data_dir),
            durability=config.storage.durability,
            seconds=round(seconds, 3),
        ),
    )
    for warning in warnings_of(config):
        log.warning(warning, extra=fields(node=config.id, listen=str(config.listen)))


def warnings_of(config: NodeConfig) -> list[str]:
    """Settings that an operator should not overlook."""
    found = []
    if config.auth_open:
        found.append("requests from this machine need no credential (auth: {loopback: open})")
    elif config.auth.loopback == "open":
        found.append("auth: {loopback: open} is ignored: the listener is not on loopback")
    if not config.listen.is_loopback and config.tls is None:
        found.append(
            "LISTENING WITHOUT TLS on an address that others reach: tokens and data can be read on"
            " the way; add tls: {cert, key}"
        )
    if config.storage.durability != "always":
        found.append(
            f"durability is {config.storage.durability}: a power cut may lose acknowledged rows"
        )
    return found
