"""Libraries that only some nodes need: what a part of a configuration asks for, and if it is here.

Looked up, never imported: an edge imports the library of a collector that it has, and no other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec

from mainstem_node.config.schema import Topology
from mainstem_node.errors import MissingExtraError

EXTRAS: Mapping[str, str] = {
    "kafka": "confluent_kafka",
    "modbus": "pymodbus",
    "opcua": "asyncua",
}
"""By a collector's ``type``, which is also the name of the extra: the package that must be here."""


def is_missing(kind: str) -> bool:
    """True for a collector whose library is not installed."""
    return kind in EXTRAS and find_spec(EXTRAS[kind]) is None


def remedy(kind: str) -> str:
    return f'pip install "mainstem[{kind}]"'


def require(kind: str) -> None:
    """Raises MissingExtraError."""
    if is_missing(kind):
        raise MissingExtraError(
            f"a collector {kind} needs {EXTRAS[kind]}, which is not installed", hint=remedy(kind)
        )


def missing_here(topology: Topology) -> Iterator[str]:
    """What the nodes of a file need and this machine lacks, one sentence each. No mistake of the
    file: the nodes may run elsewhere."""
    kinds = {each.type: node.id for node in topology.nodes for each in node.collectors}
    for kind, node in kinds.items():
        if is_missing(kind):
            yield f"{node} needs {EXTRAS[kind]}, which is not installed here: {remedy(kind)}"
