"""Node ids between their text and the library's objects."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from asyncua import ua

from mainstem_node.config.node_ids import node_id_parts

KINDS = {
    "i": ua.NodeIdType.Numeric,
    "s": ua.NodeIdType.String,
    "g": ua.NodeIdType.Guid,
    "b": ua.NodeIdType.ByteString,
}


def node_id(text: str, namespaces: Sequence[str]) -> ua.NodeId:
    """``namespaces``: the server's, for ``nsu=``. Raises ValueError(problem, remedy)."""
    parts = node_id_parts(text)
    index = parts.namespace
    if isinstance(index, str):
        if index not in namespaces:
            raise ValueError(
                f"the server has no namespace {index!r}", f"it has {', '.join(namespaces)}"
            )
        index = namespaces.index(index)
    if parts.kind == "i":  # the library chooses the shortest form on the wire
        return ua.NodeId(parts.identifier, index)
    return ua.NodeId(parts.identifier, index, KINDS[parts.kind])


def text_of(found: ua.NodeId) -> str:
    """As a configuration names it."""
    identifier = found.Identifier
    if found.NodeIdType == ua.NodeIdType.String:
        text = f"s={identifier}"
    elif found.NodeIdType == ua.NodeIdType.Guid:
        text = f"g={identifier}"
    elif found.NodeIdType == ua.NodeIdType.ByteString:
        octets = identifier if isinstance(identifier, bytes) else str(identifier).encode()
        text = f"b={base64.b64encode(octets).decode()}"
    else:
        text = f"i={identifier}"
    return f"ns={found.NamespaceIndex};{text}" if found.NamespaceIndex else text
