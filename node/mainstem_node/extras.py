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
    "statistics": "river",
}
"""By the name of the extra, which is a collector's ``type`` or STATISTICS: the package that must be
here."""
STATISTICS = "statistics"
"""What rules with `deviation` need."""


def is_missing(kind: str) -> bool:
    """True for an extra whose library is not installed."""
    return kind in EXTRAS and find_spec(EXTRAS[kind]) is None


def remedy(kind: str) -> str:
    return f'pip install "mainstem[{kind}]"'


def require(kind: str, who: str | None = None) -> None:
    """Raises MissingExtraError. ``who`` asks for it; default: a collector of that kind."""
    if is_missing(kind):
        raise MissingExtraError(
            f"{who or f'a collector {kind}'} needs {EXTRAS[kind]}, which is not installed",
            hint=remedy(kind),
        )


def missing_here(topology: Topology) -> Iterator[str]:
    """What the nodes of a file need and this machine lacks, one sentence each. No mistake of the
    file: the nodes may run elsewhere."""
    kinds: dict[str, str] = {}
    for node in topology.nodes:
        kinds |= {each.type: node.id for each in node.collectors}
        if any(rule.deviation is not None for rule in node.rules):
            kinds[STATISTICS] = node.id
    for kind, name in kinds.items():
        if is_missing(kind):
            yield f"{name} needs {EXTRAS[kind]}, which is not installed here: {remedy(kind)}"
