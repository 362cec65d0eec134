"""The address a node listens on."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import Any

from mainstem_node.config.schema import NodeConfig
from mainstem_node.doctor.finding import BAD, FINE, Finding

CHECK = "listen"


def listener(node: NodeConfig, status: Mapping[str, Any] | None) -> Finding:
    """Free, or the node's own."""
    where = str(node.listen)
    if status is not None:
        return Finding(node.id, CHECK, FINE, f"the node answers at {where}")
    family = socket.AF_INET6 if ":" in node.listen.host else socket.AF_INET
    try:
        socket.create_server((node.listen.host, node.listen.port), family=family).close()
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        return Finding(
            node.id, CHECK, BAD, f"{where} cannot be used: {reason}",
            "end what uses it, or change `listen`",
        )  # fmt: skip
    return Finding(node.id, CHECK, FINE, f"{where} is free")
