"""OPC UA node ids as text: ``ns=2;s=Press1.Temperature``, ``i=2258``, ``nsu=urn:plc;s=...``.

The whole text is read by one pattern, so that one text is one node: what is allowed by its text is
what is written to. A namespace by URI (``nsu=``) stays right when the server numbers its namespaces
anew.
"""

from __future__ import annotations

import base64
import binascii
import re
import uuid
from dataclasses import dataclass
from typing import Annotated

from mainstem_node.config.kinds import Kind

_NODE_ID = re.compile(r"(?:ns=(\d{1,5});|nsu=([^;]+);)?([isgb])=(.+)", re.DOTALL)
_REMEDY = "write ns=2;s=Press1.Temperature, i=2258 or nsu=URI;s=NAME"
TEXT_CHARS_MAX = 4096
"""What a server must take as an identifier."""


@dataclass(frozen=True, slots=True)
class NodeIdParts:
    """``namespace``: index, or URI. ``kind``: i, s, g or b."""

    namespace: int | str
    kind: str
    identifier: int | str | uuid.UUID | bytes


def node_id_parts(text: str) -> NodeIdParts:
    """Raises ValueError(problem, remedy)."""
    found = _NODE_ID.fullmatch(text)
    if found is None or len(text) > TEXT_CHARS_MAX:
        raise ValueError(f"{text[:80]!r} is not a node id", _REMEDY)
    index, uri, kind, identifier = found.groups()
    namespace = uri if uri is not None else int(index or 0)
    if isinstance(namespace, int) and namespace > 0xFFFF:
        raise ValueError(f"{text[:80]!r}: there is no namespace {namespace}", _REMEDY)
    try:
        return NodeIdParts(namespace, kind, _identifier(kind, identifier))
    except (ValueError, binascii.Error):
        meant = {"i": "a number up to 4294967295", "g": "a GUID", "b": "base64"}[kind]
        raise ValueError(f"{text[:80]!r}: {kind}= is {meant}", _REMEDY) from None


def _identifier(kind: str, text: str) -> int | str | uuid.UUID | bytes:
    if kind == "i":
        number = int(text) if text.isascii() and text.isdigit() else -1
        if not 0 <= number <= 0xFFFFFFFF:
            raise ValueError(text)
        return number
    if kind == "g":
        return uuid.UUID(text)
    if kind == "b":
        return base64.b64decode(text, validate=True)
    return text


def parse_node_id(text: str) -> str:
    """The text, if it is a node id."""
    node_id_parts(text)
    return text


NODE_ID = Kind("node id", parse_node_id, {"type": "string", "examples": ["ns=2;s=Press1.T"]})
NodeIdText = Annotated[str, NODE_ID]
