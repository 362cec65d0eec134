"""``mainstem verify``: every slice that is due, compared with what its owner stated."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mainstem_node.commands.arguments import DEFAULT_URL, Json, TokenFile, Url, client_for
from mainstem_node.commands.terminal import FAILED, moment, note, result, result_json, result_table

if TYPE_CHECKING:
    from mainstem_node.client import Client

ASK_AGAIN_S = 1.0
NAMING_S = 10.0
"""A child asks for work every two seconds, and answers within a few more."""


def verify(
    since: Annotated[str | None, typer.Option("--from", help="ms, or RFC 3339.")] = None,
    until: Annotated[str | None, typer.Option("--to", help="Default: now.")] = None,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for the rest.")] = 0.0,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """List every due slice that is not verified; ends with 1 if there is one.

    Of slices that differ, the points that do follow within seconds, if their owner can be asked.
    """
    client = client_for(url, token_file)
    deadline = time.monotonic() + wait
    rescan = True
    while True:
        answer: dict[str, Any] = client.verify(since, until, rescan=rescan)
        rescan = not answer.get("rescanned", True)
        if not answer["slices"] or time.monotonic() >= deadline:
            break
        time.sleep(min(ASK_AGAIN_S, max(0.0, deadline - time.monotonic())))
    if any(each["state"] == "MISMATCH" for each in answer["slices"]):
        answer["points"] = _named(client, since, until, answer)
    if as_json:
        result_json(answer)
    else:
        _show(answer)
    if answer["slices"]:
        raise typer.Exit(FAILED)


def _named(
    client: Client, since: str | None, until: str | None, answer: dict[str, Any]
) -> list[dict[str, Any]]:
    """The points that differed. Their owner says which, some seconds later, unless it is away."""
    known = len(answer.get("points", ()))
    deadline = time.monotonic() + NAMING_S
    while True:
        found: list[dict[str, Any]] = client.verify(since, until).get("points", [])
        if len(found) > known or time.monotonic() >= deadline:
            return found
        time.sleep(ASK_AGAIN_S)


def _show(answer: dict[str, Any]) -> None:
    if answer["slices"]:
        result_table(
            ("node", "table", "from", "to", "state", "rows", "reason"),
            [
                (each["node"], each["table"], moment(each["from"]), moment(each["to"]),
                 each["state"], each["count"], each["reason"])
                for each in answer["slices"]
            ],
        )  # fmt: skip
    if answer.get("points"):
        result_table(
            ("node", "table", "device", "measurement", "time", "was", "here", "at its owner"),
            [
                (each["node"], each["table"], each["device"], each["measurement"],
                 moment(each["time"]), each["what"], each["here"], each["owner"])
                for each in answer["points"]
            ],
        )  # fmt: skip
    if not answer.get("rescanned", True):
        note("not all stored rows were looked at again; give --from and --to, or --wait")
    result(f"{answer['verified']:,} of {answer['judged']:,} due slices are verified")
