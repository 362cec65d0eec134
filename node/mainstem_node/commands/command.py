"""``mainstem command``: commands to devices and nodes, sent and listed."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any

import typer

from mainstem_node.commands.arguments import DEFAULT_URL, Json, TokenFile, Url, client_for
from mainstem_node.commands.terminal import FAILED, moment, note, result, result_json, result_table

app = typer.Typer(no_args_is_help=True, help="Command devices and nodes at or below a node.")

POLL_S = 0.2
FINAL = ("DONE", "FAILED", "EXPIRED", "UNKNOWN")


@app.command()
def send(
    target: Annotated[str, typer.Argument(help="A device path, or node:ID.")],
    action: Annotated[str, typer.Argument(help="Such as mqtt.publish.")],
    argument: Annotated[
        list[str] | None, typer.Option("--arg", help="NAME=VALUE; VALUE may be JSON.")
    ] = None,
    mode: Annotated[
        str, typer.Option(help="actuate: never done twice; idempotent: again when in doubt.")
    ] = "actuate",
    expires_in: Annotated[str, typer.Option(help="Not begun after this time.")] = "10m",
    only_if: Annotated[
        str | None, typer.Option(help='JSON: {"measurement": "running", "eq": true}.')
    ] = None,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for its end.")] = 0.0,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Send a command; with --wait, ends with 1 unless it is DONE."""
    client = client_for(url, token_file)
    body: dict[str, Any] = {
        "target": target,
        "action": action,
        "arguments": dict(map(_argument, argument or ())),
        "mode": mode,
        "expires_in": expires_in,
    }
    if only_if is not None:
        body["precondition"] = _value(only_if)
    found = client.send_command(body)
    deadline = time.monotonic() + wait
    while found["state"] not in FINAL and time.monotonic() < deadline:
        time.sleep(POLL_S)
        found = client.command(found["id"])
    if as_json:
        result_json(found)
    else:
        result(found["id"])
        note(f"{found['state']} at {found['node']}" + (f": {e}" if (e := found["error"]) else ""))
    if wait and found["state"] != "DONE":
        raise typer.Exit(FAILED)


@app.command("list")
def listed(
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="The newest N.")] = 50,
    state: Annotated[str | None, typer.Option(help="Only of this state.")] = None,
    target: Annotated[str | None, typer.Option(help="Only to this device or node.")] = None,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """List commands, newest first."""
    found = client_for(url, token_file).commands(limit=limit, state=state, target=target)
    if as_json:
        result_json({"commands": found})
        return
    result_table(
        ("id", "at", "target", "action", "mode", "state", "changed", "error"),
        [
            (each["id"], moment(each["at"]), each["target"], each["action"], each["mode"],
             each["state"] + (" (overdue)" if each["overdue"] else ""), moment(each["changed"]),
             each["error"] or "")
            for each in found
        ],
    )  # fmt: skip


def _argument(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise typer.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--arg")
    return name, _value(value)


def _value(text: str) -> Any:
    """JSON where it is JSON, else the text."""
    try:
        return json.loads(text)
    except ValueError:
        return text
