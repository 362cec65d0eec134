"""``mainstem verify``: every slice that is due, compared with what its owner stated."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from mainstem_node.commands.arguments import DEFAULT_URL, Json, TokenFile, Url, client_for
from mainstem_node.commands.terminal import FAILED, moment, note, result, result_json, result_table

ASK_AGAIN_S = 1.0


def verify(
    since: Annotated[str | None, typer.Option("--from", help="ms, or RFC 3339.")] = None,
    until: Annotated[str | None, typer.Option("--to", help="Default: now.")] = None,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for the rest.")] = 0.0,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """List every due slice that is not verified; ends with 1 if there is one."""
    client = client_for(url, token_file)
    deadline = time.monotonic() + wait
    rescan = True
    while True:
        answer: dict[str, Any] = client.verify(since, until, rescan=rescan)
        rescan = not answer.get("rescanned", True)
        if not answer["slices"] or time.monotonic() >= deadline:
            break
        time.sleep(min(ASK_AGAIN_S, max(0.0, deadline - time.monotonic())))
    if as_json:
        result_json(answer)
    else:
        if answer["slices"]:
            result_table(
                ("node", "table", "from", "to", "state", "rows", "reason"),
                [
                    (each["node"], each["table"], moment(each["from"]), moment(each["to"]),
                     each["state"], each["count"], each["reason"])
                    for each in answer["slices"]
                ],
            )  # fmt: skip
        if not answer.get("rescanned", True):
            note("not all stored rows were looked at again; give --from and --to, or --wait")
        result(f"{answer['verified']:,} of {answer['judged']:,} due slices are verified")
    if answer["slices"]:
        raise typer.Exit(FAILED)
