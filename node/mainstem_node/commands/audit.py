"""``mainstem audit``: who did what at a node, and whether the record of it is whole."""

from __future__ import annotations

import typer

from mainstem_node.commands.arguments import DEFAULT_URL, Json, TokenFile, Url, client_for
from mainstem_node.commands.terminal import FAILED, result, result_json

app = typer.Typer(no_args_is_help=True, help="Who did what at a node.")


@app.callback()
def audit() -> None:
    """Who did what at a node."""


@app.command()
def verify(url: Url = DEFAULT_URL, token_file: TokenFile = None, as_json: Json = False) -> None:
    """Check the hash chain of the audit; ends with 1, and names the line, where it is broken."""
    found = client_for(url, token_file).verify_audit()
    if as_json:
        result_json(found)
    else:
        for problem in found["problems"]:
            result(f"{problem['file']}:{problem['line']}: {problem['problem']}")
        if not found["problems"]:
            result(f"{found['lines']:,} lines, whole; newest hash {found['head']}")
    if found["problems"]:
        raise typer.Exit(FAILED)
