"""``mainstem trace``: one point, from its source to here."""

from __future__ import annotations

from typing import Annotated

import typer

from mainstem_node.commands.arguments import DEFAULT_URL, Json, TokenFile, Url, client_for
from mainstem_node.commands.terminal import FAILED, moment, note, result, result_json, result_table


def trace(
    device: Annotated[str, typer.Argument(help="The path of the device.")],
    measurement: Annotated[str, typer.Argument()],
    at: Annotated[str, typer.Option("--at", help="Its time: ms, or RFC 3339.")],
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Show where a point comes from; ends with 1 when there is none at that time.

    Its versions (the last is what a query reads), through which tiers it went, when it was
    acknowledged, and which windows of rollups it fed.
    """
    found = client_for(url, token_file).trace(device, measurement, at)
    if as_json:
        result_json(found)
    else:
        result(f"{found['device']}.{found['measurement']} at {moment(found['time'])}")
        result_table(
            ("node", "epoch", "LSN", "value"),
            [(v["node"], v["epoch"], v["lsn"], v["value"]) for v in found["versions"]],
        )
        result_table(
            ("went through", "received", "acknowledged"),
            [(h["node"], _when(h["received"]), _when(h["acked"])) for h in found["hops"]],
        )
        if found["rollups"]:
            result_table(
                ("fed", "from", "to"),
                [(r["table"], moment(r["from"]), moment(r["to"])) for r in found["rollups"]],
            )
    if not found["versions"]:
        note("no value is stored at that time")
        raise typer.Exit(FAILED)


def _when(at_ms: int | None) -> str:
    return "" if at_ms is None else moment(at_ms)
