"""``mainstem run``, without the library of the command line.

1. A node lives for months with what its process has imported. ``mainstem run`` with its plain
   options is therefore read here; whatever else is typed, and every mistake, goes to the command
   line (``cli.py``), which explains itself.
2. A file that cannot be run is a RunError with its remedy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mainstem_engine.errors import MainstemError

if TYPE_CHECKING:
    from mainstem_node.config import Topology

LOG_FORMATS = ("json", "text")

_VALUES = {
    "--config": "config",
    "-c": "config",
    "--node": "node",
    "--dir": "directory",
    "--logs": "logs",
}
_FLAGS = {"--until-stdin-ends": "until_stdin_ends"}


class RunError(MainstemError, ValueError):
    """No node of the file can be run as it was asked for."""

    code = "BAD_REQUEST"


@dataclass(frozen=True, slots=True)
class RunOrder:
    """What was asked for. ``node``: None means the only one of the file."""

    config: Path
    node: str | None = None
    directory: Path | None = None
    logs: str | None = None
    until_stdin_ends: bool = False


def plain_order(words: Sequence[str]) -> RunOrder | None:
    """The order that ``words`` after ``mainstem`` are; None if they are anything but plain."""
    if not words or words[0] != "run":
        return None
    found: dict[str, str] = {}
    flags: set[str] = set()
    rest = list(words[1:])
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        if name in _FLAGS and not equals:
            flags.add(_FLAGS[name])
            continue
        if name not in _VALUES or (equals and not name.startswith("--")):
            return None
        if not equals:
            if not rest or rest[0].startswith("-"):
                return None
            value = rest.pop(0)
        found[_VALUES[name]] = value
    if not found.get("config"):
        return None
    directory = found.get("directory")
    return RunOrder(
        Path(found["config"]),
        found.get("node"),
        None if directory is None else Path(directory),
        found.get("logs"),
        until_stdin_ends="until_stdin_ends" in flags,
    )


def run_order(order: RunOrder) -> int:
    """Runs the node until it is asked to stop; its exit code. Raises MainstemError."""
    from mainstem_node.config import load_topology

    topology = load_topology(order.config, order.directory)
    names = [each.id for each in topology.nodes]
    if order.node is None and len(names) > 1:
        raise RunError(
            f"{order.config} has {len(names)} nodes",
            hint=f"name one with --node: {', '.join(names)}",
        )
    chosen = order.node or names[0]
    if chosen not in names:
        raise RunError(f"{order.config} has no node {chosen!r}", hint=f"it has {', '.join(names)}")
    if order.logs is not None:
        topology = with_log_format(topology, chosen, order.logs)
    # The whole node is imported only when there is one to run, and takes the room of certificates.
    from mainstem_node.late_certificates import put_off

    put_off()
    from mainstem_node.host import run_node

    return run_node(topology, chosen, until_stdin_ends=order.until_stdin_ends)


def with_log_format(topology: Topology, node_id: str, wanted: str) -> Topology:
    """The topology with that format of logs for a node that leaves it open."""
    from msgspec.structs import replace

    if wanted not in LOG_FORMATS:
        raise RunError(f"--logs {wanted!r} is unknown", hint=f"use {' or '.join(LOG_FORMATS)}")
    nodes = (
        replace(node, logs=replace(node.logs, format=wanted))
        if node.id == node_id and node.logs.format == "auto"
        else node
        for node in topology.nodes
    )
    return replace(topology, nodes=tuple(nodes))
