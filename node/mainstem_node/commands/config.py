"""``mainstem config``: validates a topology file, and prints the JSON Schema for editors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mainstem_node.commands.arguments import Json
from mainstem_node.commands.terminal import FAILED, USAGE, fail, result, result_json

app = typer.Typer(no_args_is_help=True, help="Check topology files.")


@app.command()
def check(
    file: Annotated[Path | None, typer.Argument(help="The topology file.")] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="The same, as an option.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Report everything that is wrong with a topology, with file, line, field and remedy."""
    from dataclasses import asdict

    from mainstem_node.config import check as check_file
    from mainstem_node.config import load_topology

    path = file or config
    if path is None:
        fail("no file is given", "mainstem config check FILE", USAGE)
    if not path.is_file():
        fail(f"there is no file {path}", "check the path", USAGE)
    problems = check_file(path)
    if as_json:
        result_json({"file": str(path), "problems": [asdict(each) for each in problems]})
    else:
        for problem in problems:
            result(str(problem))
    if problems:
        raise typer.Exit(FAILED)
    if not as_json:
        topology = load_topology(path)
        count = len(topology.nodes)
        nodes = ", ".join(node.id for node in topology.nodes[:10]) + (", ..." if count > 10 else "")
        result(f"{path}: fine: {count} node{'' if count == 1 else 's'} ({nodes})")


@app.command()
def schema() -> None:
    """Print the JSON Schema of topology files."""
    from mainstem_node.config import config_schema

    result_json(config_schema())
