"""``mainstem run``: one node of a topology in the foreground."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mainstem_node.commands.arguments import ConfigFile
from mainstem_node.commands.terminal import USAGE, fail


def run(
    config: ConfigFile,
    node: Annotated[str | None, typer.Option(help="Which one; default: the only one.")] = None,
    directory: Annotated[
        Path | None, typer.Option("--dir", help="Base of relative data and secret paths.")
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
    # The whole node is imported only when there is one to run.
    from mainstem_node.node import run_node

    raise typer.Exit(run_node(topology, chosen, until_stdin_ends=until_stdin_ends))
