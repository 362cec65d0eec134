"""``mainstem run``: one node of a topology in the foreground."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mainstem_node.commands.arguments import ConfigFile
from mainstem_node.commands.terminal import USAGE, fail

if TYPE_CHECKING:
    from mainstem_node.config import Topology

LOG_FORMATS = ("json", "text")


def run(
    config: ConfigFile,
    node: Annotated[str | None, typer.Option(help="Which one; default: the only one.")] = None,
    directory: Annotated[
        Path | None, typer.Option("--dir", help="Base of relative data and secret paths.")
    ] = None,
    logs: Annotated[
        str | None, typer.Option(help="json or text, where the topology leaves it open.")
    ] = None,
    until_stdin_ends: Annotated[bool, typer.Option("--until-stdin-ends", hidden=True)] = False,
) -> None:
    """Run one node in the foreground until Ctrl-C or SIGTERM."""
    from mainstem_node.config import load_topology

    topology = load_topology(config, directory)
    names = [each.id for each in topology.nodes]
    if node is None and len(names) > 1:
        fail(f"{config} has {len(names)} nodes", f"name one with --node: {', '.join(names)}", USAGE)
    chosen = node or names[0]
    if chosen not in names:
        fail(f"{config} has no node {chosen!r}", f"it has {', '.join(names)}", USAGE)
    if logs is not None:
        topology = with_log_format(topology, chosen, logs)
    # The whole node is imported only when there is one to run.
    from mainstem_node.host import run_node

    raise typer.Exit(run_node(topology, chosen, until_stdin_ends=until_stdin_ends))


def with_log_format(topology: Topology, node_id: str, wanted: str) -> Topology:
    """The topology with that format of logs for a node that leaves it open."""
    from msgspec.structs import replace

    if wanted not in LOG_FORMATS:
        fail(f"--logs {wanted!r} is unknown", f"use {' or '.join(LOG_FORMATS)}", USAGE)
    nodes = (
        replace(node, logs=replace(node.logs, format=wanted))
        if node.id == node_id and node.logs.format == "auto"
        else node
        for node in topology.nodes
    )
    return replace(topology, nodes=tuple(nodes))
