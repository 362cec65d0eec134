"""``mainstem demo``: the example factory on this machine; ``cut`` and ``restore`` of its links."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from mainstem_node.commands.terminal import note, result, result_table

DEFAULT_DIRECTORY = Path("demo-data")

app = typer.Typer(help="Run the example factory: broker, six nodes, sixty devices.")

Directory = Annotated[Path, typer.Option("--dir", help="Where it keeps everything; resumed.")]
SameDirectory = Annotated[Path | None, typer.Option("--dir", help="The running demo's directory.")]
NodeName = Annotated[str, typer.Argument(metavar="NODE", help="The node below the link.")]


@app.callback(invoke_without_command=True)
def demo(
    context: typer.Context,
    directory: Directory = DEFAULT_DIRECTORY,
    seconds: Annotated[
        float | None,
        typer.Option(min=1, help="Publish this long, drain, print the accounting and a verdict."),
    ] = None,
    port_base: Annotated[int, typer.Option(help="Ports from here on.")] = 8400,
    no_open: Annotated[bool, typer.Option("--no-open", help="Do not open the browser.")] = False,
) -> None:
    """Run the example factory until Ctrl-C, or for some seconds with a verdict."""
    context.obj = directory
    if context.invoked_subcommand is not None:
        return
    from mainstem_node.demo.run import Demo
    from mainstem_node.lifecycle import new_event_loop, signals_set

    async def work() -> int:
        stop = asyncio.Event()
        with signals_set(stop):
            running = Demo(directory, port_base, seconds=seconds, note=note, table=show)
            browser = not no_open and sys.stdout.isatty()
            return await running.run(stop, browser=browser)

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        raise typer.Exit(runner.run(work()))


def show(titles: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """The accounting at the end."""
    result_table(titles, rows)


@app.command()
def cut(context: typer.Context, node: NodeName, directory: SameDirectory = None) -> None:
    """Cut the link of a node to its parent."""
    from mainstem_node.demo.control import CUT, change_link

    place = directory or context.obj
    changed = change_link(place, node, CUT)
    result(
        f"the link {node} -> {changed['parent']} is cut: {node} goes on storing, its pending rows"
        f" grow, and above it {node} turns stale"
    )
    again = "" if place == DEFAULT_DIRECTORY else f" --dir {place}"
    note(f"watch:   mainstem status --watch --url http://127.0.0.1:{changed['base']}")
    note(f"restore: mainstem demo restore {node}{again}")


@app.command()
def restore(context: typer.Context, node: NodeName, directory: SameDirectory = None) -> None:
    """Restore a link that was cut."""
    from mainstem_node.demo.control import RESTORE, change_link

    changed = change_link(directory or context.obj, node, RESTORE)
    result(
        f"the link {node} -> {changed['parent']} is restored: {node} connects again within seconds;"
        " new rows flow at once, the backlog drains beside them, and the minutes are verified"
    )
