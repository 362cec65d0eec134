"""``mainstem alarm``: the alarms of rules, and that somebody has seen one."""

from __future__ import annotations

from typing import Annotated

import typer

from mainstem_node.commands.arguments import DEFAULT_URL, Json, TokenFile, Url, client_for
from mainstem_node.commands.terminal import moment, note, result, result_json, result_table

app = typer.Typer(no_args_is_help=True, help="Alarms of rules: how they stand, and who saw them.")


@app.command("list")
def listed(
    state: Annotated[
        str,
        typer.Option(
            help="open, active, acknowledged, unacknowledged, cleared, all, or one state by name."
        ),
    ] = "open",
    severity: Annotated[str | None, typer.Option(help="info, warning or critical.")] = None,
    since: Annotated[
        str | None, typer.Option("--from", metavar="T", help="Changed since: ms, or RFC 3339.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="The newest N.")] = 50,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """List alarms of rules, the newest change first; default: those that need somebody."""
    found = client_for(url, token_file).rule_alarms(
        state=state, severity=severity, start=since, limit=limit
    )
    if as_json:
        result_json(found)
        return
    result_table(
        ("id", "state", "severity", "since", "changed", "message", "seen by", "comment"),
        [
            (each["id"], each["state"], each["severity"], moment(each["since"]),
             moment(each["changed"]), each["message"], each["acknowledged_by"], each["comment"])
            for each in found["alarms"]
        ],
    )  # fmt: skip
    if found["total"] > len(found["alarms"]):
        note(f"{found['total']:,} in all: --limit")


@app.command()
def ack(
    alarm: Annotated[str, typer.Argument(metavar="ID", help="As `list` shows it.")],
    comment: Annotated[str, typer.Option("--comment", "-m", help="What was seen or done.")] = "",
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Say that somebody has seen an alarm. At a tier above, its node is told."""
    found = client_for(url, token_file).acknowledge_alarm(alarm, comment)
    if as_json:
        result_json(found)
        return
    order = found["command"]
    if order is None:
        result(f"{found['alarm']['id']}: {found['alarm']['state']}")
    else:
        result(f"{found['alarm']['id']}: {order['node']} is told")
        note(f"mainstem command list --target {found['alarm']['id']}")
