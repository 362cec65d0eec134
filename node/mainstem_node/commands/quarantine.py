"""``mainstem quarantine``: what was refused, and why."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from mainstem_node.commands.arguments import DEFAULT_URL, Json, TokenFile, Url, client_for
from mainstem_node.commands.terminal import moment, note, result_json, result_table
from mainstem_node.overview import size

app = typer.Typer(no_args_is_help=True, help="What was refused, and why.")

VALUE_CHARACTERS = 60
"""Of a refused value in the table; --json shows all of it."""


@app.command("list")
def listed(
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="The newest N.")] = 100,
    node: Annotated[str | None, typer.Option(help="Only of this node.")] = None,
    table: Annotated[str | None, typer.Option(help="Only of this table.")] = None,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """List the newest refused rows and values."""
    answer = client_for(url, token_file).quarantine(limit=limit, node=node, table=table)
    if as_json:
        result_json(answer)
        return
    result_table(
        ("at", "node", "table", "device", "measurement", "reason", "value"),
        [
            (moment(each["at"]), each["node"], each["table"], each["device"], each["measurement"],
             each["reason"], shortened(each["value"]))
            for each in answer["items"]
        ],
    )  # fmt: skip
    note(f"{len(answer['items']):,} shown; {size(answer['bytes'])} in all")


def shortened(value: object) -> str:
    """A value on one line."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = " ".join(text.split())
    return text if len(text) <= VALUE_CHARACTERS else text[: VALUE_CHARACTERS - 3] + "..."
