"""``mainstem device``: devices are moved between nodes, and unknown ones adopted or ignored."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from mainstem_node.commands.arguments import DEFAULT_URL, Json, TokenFile, Url, client_for
from mainstem_node.commands.terminal import FAILED, moment, note, result, result_json, result_table

app = typer.Typer(no_args_is_help=True, help="Move devices between nodes; unknown ones.")

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


@app.command()
def inbox(url: Url = DEFAULT_URL, token_file: TokenFile = None, as_json: Json = False) -> None:
    """List devices that data speaks of and that are not there, with the template that would fit."""
    found = client_for(url, token_file).inbox()
    if as_json:
        result_json(found)
        return
    result_table(
        ("id", "name", "rows", "last seen", "why", "template", "score"),
        [
            (each["id"], each["name"], f"{each['rows']:,}", moment(each["last_seen"]),
             ", ".join(each["reasons"]), each["suggestion"]["template"],
             f"{each['suggestion']['score']:.2f}" if each["suggestion"]["exists"] else "new")
            for each in found["devices"]
        ],
    )  # fmt: skip
    if found["more"]:
        note("there are more: adopt or ignore some of these")
    for each in found["ignored"]:
        note(f"ignored: {each['id']} {each['name']}, {each['rows']:,} rows since")
    new = [each["suggestion"]["yaml"] for each in found["devices"]]
    for text in dict.fromkeys(text for text in new if text):
        note(f"for the file:\n{text.rstrip()}")


@app.command()
def adopt(
    key: Annotated[str, typer.Argument(metavar="ID", help="As `inbox` shows it.")],
    template: Annotated[
        str | None, typer.Option(help="One that is there, or a new name; default: as suggested.")
    ] = None,
    path: Annotated[
        str | None, typer.Option("--as", metavar="PATH", help="Default: as suggested.")
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE")] = None,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Make an unknown device one, and store what was kept of it; ends with 1 if something stays."""
    tags = {}
    for each in tag or ():
        name, equals, value = each.partition("=")
        if not name or not equals:
            raise typer.BadParameter("write NAME=VALUE", param_hint="--tag")
        tags[name] = value
    client = client_for(url, token_file)
    found = client.adopt(key, template=template, device=path, tags=tags)
    if as_json:
        result_json(found)
    else:
        made = " (new)" if found["template_made"] else ""
        result(f"{found['device']} of {found['template']}{made}: {found['rows']:,} rows stored")
        if found["left"]:
            note(f"{found['left']:,} cannot be read any more: see mainstem quarantine list")
    if found["left"]:
        raise typer.Exit(FAILED)


@app.command()
def ignore(
    key: Annotated[str, typer.Argument(metavar="ID", help="As `inbox` shows it.")],
    undo: Annotated[bool, typer.Option("--undo", help="Keep its rows again.")] = False,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Keep no rows of an unknown device any more: they are counted, and what was kept is gone."""
    found = client_for(url, token_file).ignore(key, ignore=not undo)
    if as_json:
        result_json(found)
    elif undo:
        result(f"{key}: its rows are kept again")
    else:
        result(f"{found['name']} is ignored; {found['forgotten']:,} rows forgotten")


def is_over(move: Mapping[str, Any]) -> bool:
    """True when nobody has anything left to do."""
    return all(told["state"] in ("DONE", "FAILED") for told in move["nodes"])
