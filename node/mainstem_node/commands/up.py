"""``mainstem up``: every node of a topology as a child process of this one."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mainstem_node.commands.arguments import ConfigFile
from mainstem_node.commands.terminal import OK, USAGE, note

if TYPE_CHECKING:
    from mainstem_node.config import Topology


def up(
    config: ConfigFile,
    directory: Annotated[
        Path | None, typer.Option("--dir", help="Base of relative data and secret paths.")
    ] = None,
) -> None:
    """Run every node of a topology; Ctrl-C stops all, children before their parents."""
    from mainstem_node.auth import ensure_link_tokens
    from mainstem_node.config import load_topology
    from mainstem_node.lifecycle import new_event_loop

    topology = load_topology(config, directory)
    for file in ensure_link_tokens(topology):
        note(f"made the link token {file}")
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        raise typer.Exit(runner.run(supervise(topology)))


async def supervise(topology: Topology) -> int:
    """Runs until a signal, or until no node can run as it is configured; the exit code."""
    from mainstem_node.lifecycle import signals_set
    from mainstem_node.supervisor import Supervisor, node_programs

    width = max(len(node.id) for node in topology.nodes)
    # People read text; what is redirected is read by programs.
    style = ("--logs", "text") if sys.stderr.isatty() else ()
    supervisor = Supervisor(
        node_programs(topology, style), lambda name, line: note(f"{name:<{width}} | {line}")
    )
    stop = asyncio.Event()
    with signals_set(stop):
        starting = asyncio.create_task(supervisor.start())
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                for node in topology.nodes:
                    note(f"{node.id:<{width}} | {node.url}")
                if supervisor.misconfigured:
                    return USAGE
                await stop.wait()
        finally:
            starting.cancel()
            stopping.cancel()
            note(f"{'mainstem':<{width}} | stopping")
            await supervisor.stop()
    return OK
