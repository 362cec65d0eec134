"""``mainstem node``: the children of a node are invited, listed and revoked."""

from __future__ import annotations

from typing import Annotated

import typer

from mainstem_node.commands.arguments import DEFAULT_URL, Json, TokenFile, Url, client_for
from mainstem_node.commands.terminal import moment, note, result, result_json, result_table

app = typer.Typer(no_args_is_help=True, help="Enrol the children of a node.")


@app.command()
def add(
    node: Annotated[str, typer.Argument(metavar="ID", help="The child's id in its topology.")],
    path: Annotated[list[str], typer.Option(help="A path that it owns; may be given again.")],
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Invite a child: prints a join token, valid once and for 24 hours."""
    answer = client_for(url, token_file).add_node(node, path)
    if as_json:
        result_json(answer)
        return
    result(answer["join_token"])
    note(
        f"put this into a file at {node}; there: mainstem join -c FILE --token-file F"
        f" (valid once, until {moment(answer['expires'])})"
    )


@app.command("list")
def listed(url: Url = DEFAULT_URL, token_file: TokenFile = None, as_json: Json = False) -> None:
    """List the children."""
    nodes = client_for(url, token_file).nodes()
    if as_json:
        result_json({"nodes": nodes})
        return
    result_table(
        ("id", "state", "paths", "uuid", "since"),
        [
            (each["id"], each["state"], " ".join(each["paths"]), each["uuid"],
             moment(each["created"]))
            for each in nodes
        ],
    )  # fmt: skip


@app.command()
def revoke(
    node: Annotated[str, typer.Argument(metavar="ID")],
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Refuse a child from now on; what it delivered stays."""
    answer = client_for(url, token_file).revoke_node(node)
    if as_json:
        result_json(answer)
    else:
        result(f"{node} is revoked")


@app.command()
def replace(
    node: Annotated[str, typer.Argument(metavar="ID")],
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """A child has a new disk: prints a join token; what its old disk delivered stays."""
    answer = client_for(url, token_file).replace_node(node)
    if as_json:
        result_json(answer)
        return
    result(answer["join_token"])
    note(
        f"the next data directory that says it is {node} is {node}; the old one is refused. With"
        " the link token of the old machine it may start at once, else put this into a file there:"
        f" mainstem join -c FILE --token-file F (valid once, until {moment(answer['expires'])})"
    )


@app.command()
def retire(
    node: Annotated[str, typer.Argument(metavar="ID")],
    since: Annotated[str | None, typer.Option("--from", help="ms, or RFC 3339; now.")] = None,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """A child is gone for good: refused, and nothing of it is expected from then on."""
    answer = client_for(url, token_file).retire_node(node, since)
    if as_json:
        result_json(answer)
    else:
        result(f"{node} is retired from {moment(answer['retired'])} on")
