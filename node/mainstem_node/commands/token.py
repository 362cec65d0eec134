"""``mainstem token``: credentials for programs and people."""

from __future__ import annotations

from typing import Annotated

import typer

from mainstem_node.commands.arguments import DEFAULT_URL, Json, TokenFile, Url, client_for
from mainstem_node.commands.terminal import moment, note, result, result_json, result_table

app = typer.Typer(no_args_is_help=True, help="Create, list and revoke API tokens.")


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Whose token it is, for the list.")],
    role: Annotated[str, typer.Option(help="read, write or admin.")] = "read",
    expires: Annotated[
        str | None, typer.Option(help="Life, such as 90d; default for ever.")
    ] = None,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Make a token; it is shown this once."""
    answer = client_for(url, token_file).create_token(name, role, expires)
    if as_json:
        result_json(answer)
        return
    result(answer["token"])
    note(f"id {answer['id']}, role {answer['role']}; it is not shown again")


@app.command("list")
def listed(url: Url = DEFAULT_URL, token_file: TokenFile = None, as_json: Json = False) -> None:
    """List the tokens, without their values."""
    tokens = client_for(url, token_file).tokens()
    if as_json:
        result_json({"tokens": tokens})
        return
    result_table(
        ("id", "name", "role", "created", "expires"),
        [
            (each["id"], each["name"], each["role"], moment(each["created"]),
             moment(each["expires"]) or "never")
            for each in tokens
        ],
    )  # fmt: skip


@app.command()
def revoke(
    token_id: Annotated[str, typer.Argument(metavar="ID")],
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Refuse a token from now on."""
    answer = client_for(url, token_file).revoke_token(token_id)
    if as_json:
        result_json(answer)
    else:
        result(f"{token_id} ({answer['name']}) is revoked")
