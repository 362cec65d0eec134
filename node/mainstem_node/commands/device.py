"""``mainstem device``: devices are moved between the nodes at or below a node."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from mainstem_node.commands.arguments import DEFAULT_URL, Json, TokenFile, Url, client_for
from mainstem_node.commands.terminal import FAILED, moment, note, result, result_json, result_table

app = typer.Typer(no_args_is_help=True, help="Move devices between nodes.")

POLL_S = 0.2


@app.command()
def move(
    device: Annotated[str, typer.Argument(help="A device path.")],
    to: Annotated[str, typer.Option(help="The node that its rows are of from then on.")],
    at: Annotated[
        str | None,
        typer.Option(help="ms, or RFC 3339; the next end of all windows of its rollups."),
    ] = None,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for all nodes.")] = 0.0,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Move a device: rows of event times from then on are the other node's.

    With --wait, ends with 1 unless every node that has or had the device has carried it out. A node
    that is away does it when it is back; until then its parents put its rows of later times aside.
    """
    client = client_for(url, token_file)
    found = client.move_device(device, to, at)
    deadline = time.monotonic() + wait
    while not is_over(found) and time.monotonic() < deadline:
        time.sleep(POLL_S)
        found = next(each for each in client.moves(found["device"]) if each["id"] == found["id"])
    if as_json:
        result_json(found)
    else:
        result(f"{found['device']} is of {found['to']} from {moment(found['at'])} on")
        for told in found["nodes"]:
            note(f"{told['node']}: {told['state']}" + (f": {e}" if (e := told["error"]) else ""))
    failed = any(told["state"] == "FAILED" for told in found["nodes"])
    if failed or (wait and not is_over(found)):
        raise typer.Exit(FAILED)


@app.command()
def moves(
    device: Annotated[str | None, typer.Argument(help="Only of this device.")] = None,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """List the moves of devices, oldest first."""
    found = client_for(url, token_file).moves(device)
    if as_json:
        result_json({"moves": found})
        return
    result_table(
        ("device", "from", "to", "at", "by", "nodes"),
        [
            (each["device"], each["from"], each["to"], moment(each["at"]), each["by"],
             ", ".join(f"{told['node']} {told['state']}" for told in each["nodes"]))
            for each in found
        ],
    )  # fmt: skip


def is_over(move: Mapping[str, Any]) -> bool:
    """True when nobody has anything left to do."""
    return all(told["state"] in ("DONE", "FAILED") for told in move["nodes"])
