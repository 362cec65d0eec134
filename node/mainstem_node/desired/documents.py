"""What one node needs of a topology, as a document: small, complete, and without a secret.

A document is a topology of its own: the section of its node as it was written, the templates that
it uses, and of the other nodes no more than names, paths and databases. ``${NAME}`` stays as it is,
and is looked up where the document is used; secrets stand in files or in the environment there.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from mainstem_node.config.loader import load_topology
from mainstem_node.config.plain import plain_topology
from mainstem_node.config.schema import Topology
from mainstem_node.declare import nodes_below, templates_of
from mainstem_node.errors import BadRequestError

HASH_BYTES = 16
DOCUMENT_BYTES_MAX = 4 << 20
"""Of the text, unpacked: as a topology file."""

SHARED_KEYS = ("id", "tier", "listen", "data_dir", "paths", "databases", "parent")
"""What a node needs of others: what they own, and how times are kept below it."""

BELOW_KEYS = (*SHARED_KEYS, "rollups", "export")
"""Of the nodes below it also what they send: only that can be handed on."""

LOCAL_KEYS = ("data_dir", "backup_dir")
"""Where things lie on a machine is the machine's own business."""

NEW_LINK_KEYS = ("parent", "link", "tls", "listen")
"""Whoever changes these may cut the line over which the change came."""

Document = Mapping[str, Any]


def documents_of(topology: Topology) -> dict[str, dict[str, Any]]:
    """The document of every node of a topology file. Raises ConfigError."""
    whole = plain_topology(topology.file)
    return {node.id: _document(topology, whole, node.id) for node in topology.nodes}


def document_of(topology: Topology, node_id: str) -> dict[str, Any]:
    """The document of one node of a topology file. Raises ConfigError, KeyError."""
    return _document(topology, plain_topology(topology.file), node_id)


def _document(topology: Topology, whole: Mapping[str, Any], node_id: str) -> dict[str, Any]:
    config = topology.node(node_id)
    sections = {str(section["id"]): section for section in whole["nodes"]}
    own = {key: value for key, value in sections[node_id].items() if key not in LOCAL_KEYS}
    if config.parent is not None:
        own["parent"] = {**own["parent"], "url": list(config.parent.url)}
    wanted = set(templates_of(topology, config))
    templates = {
        name: body for name, body in (whole.get("templates") or {}).items() if name in wanted
    }
    below = {other.id for other in nodes_below(topology, config)}
    others = [
        {key: section[key] for key in _keys(name in below) if key in section}
        for name, section in sections.items()
        if name != node_id
    ]
    return {
        "federation": topology.federation,
        "templates": templates,
        "nodes": [{**own, "data_dir": "data"}, *({**o, "data_dir": o["id"]} for o in others)],
    }


def _keys(is_below: bool) -> tuple[str, ...]:
    return BELOW_KEYS if is_below else SHARED_KEYS


def hash_of(document: Document) -> str:
    """Equal for documents that say the same, whatever the order of keys. 32 hex digits."""
    return hashlib.blake2b(_canonical(document), digest_size=HASH_BYTES).hexdigest()


def packed(document: Document) -> bytes:
    """For an order or a word."""
    return zlib.compress(_canonical(document), 9)


def unpacked(data: object) -> dict[str, Any]:
    """Raises BadRequestError: it may come from another machine."""
    if not isinstance(data, bytes):
        raise BadRequestError("a document is not bytes", field="document")
    decoder = zlib.decompressobj()
    try:
        text = decoder.decompress(data, DOCUMENT_BYTES_MAX + 1)
        found = json.loads(text) if decoder.eof else None
    except (zlib.error, ValueError, RecursionError) as error:
        raise BadRequestError(f"a document cannot be read: {error}", field="document") from None
    if not isinstance(found, dict):
        raise BadRequestError("a document is not a mapping, or too large", field="document")
    return found


def _canonical(document: Document) -> bytes:
    return json.dumps(
        document, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False
    ).encode()


def text_of(document: Document, node_id: str, data_dir: Path, backup_dir: Path | None) -> bytes:
    """The document as a topology file on the machine of its node. Raises BadRequestError if it is
    another node's."""
    nodes = document.get("nodes")
    own = nodes[0] if isinstance(nodes, list) and nodes else None
    if not isinstance(own, dict) or own.get("id") != node_id:
        raise BadRequestError(f"the document is not one of {node_id}", field="nodes")
    local = {"data_dir": str(data_dir)}
    if backup_dir is not None:
        local["backup_dir"] = str(backup_dir)
    content = {**document, "nodes": [{**own, **local}, *nodes[1:]]}  # type: ignore[index]
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120).encode()


def load_text(path: Path, base_dir: Path, node_id: str) -> Topology:
    """A document that ``text_of`` wrote, checked as every topology is. Raises ConfigError."""
    topology = load_topology(path, base_dir)
    topology.node(node_id)
    return topology


def differences(before: Document | None, after: Document) -> Iterator[str]:
    """What changes, one line each, such as ``templates.pump.keep: 30d -> 90d``. ``before`` None:
    nothing is known."""
    if before is None:
        yield "(nothing is known of what it has now)"
        return
    yield from _changes("", _named(before), _named(after))


def _named(document: Document) -> dict[str, Any]:
    """Nodes by name: a list of them has no order that means anything."""
    nodes = list(document.get("nodes") or ())
    own = {key: value for key, value in nodes[0].items() if key not in ("id", "data_dir")}
    return {
        "federation": document.get("federation"),
        "templates": document.get("templates") or {},
        **own,
        "others": {
            str(node.get("id")): {k: v for k, v in node.items() if k not in ("id", "data_dir")}
            for node in nodes[1:]
        },
    }


def _changes(where: str, before: Any, after: Any) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in [*after, *(k for k in before if k not in after)]:
            inside = f"{where}.{key}" if where else str(key)
            if key not in before:
                yield f"+ {inside}: {_short(after[key])}"
            elif key not in after:
                yield f"- {inside}: {_short(before[key])}"
            else:
                yield from _changes(inside, before[key], after[key])
    elif before != after:
        yield f"~ {where}: {_short(before)} -> {_short(after)}"


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value
    return text if len(text) <= 200 else text[:197] + "..."
