"""``mainstem run``: one node of a topology in the foreground.

With plain options it does not come by here: see ``running.py``.
"""

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
    logs: Annotated[
        str | None, typer.Option(help="json or text, where the topology leaves it open.")
    ] = None,
    until_stdin_ends: Annotated[bool, typer.Option("--until-stdin-ends", hidden=True)] = False,
) -> None:
    """Run one node in the foreground until Ctrl-C or SIGTERM."""
    from mainstem_node.running import RunError, RunOrder, run_order

    order = RunOrder(config, node, directory, logs, until_stdin_ends=until_stdin_ends)
    try:
        raise typer.Exit(run_order(order))
    except RunError as error:
        fail(error.message, error.hint, USAGE)
