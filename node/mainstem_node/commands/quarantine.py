"""``mainstem quarantine``: what was refused, why, and what to do with it."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from mainstem_node.commands.arguments import DEFAULT_URL, Json, TokenFile, Url, client_for
from mainstem_node.commands.terminal import FAILED, moment, note, result, result_json, result_table
from mainstem_node.overview import size

app = typer.Typer(no_args_is_help=True, help="What was refused, why, and what to do with it.")

VALUE_CHARACTERS = 60
"""Of a refused value in the table; --json shows all of it."""
LISTED_MAX = 10_000
RETRIED_AT_ONCE = 500
PAGE = 500
"""Items that are asked for at a time: what a node below answers with at most."""

Below = Annotated[bool, typer.Option("--below", help="Of all nodes below too.")]
Node = Annotated[str | None, typer.Option(help="Only of this node.")]
Table = Annotated[str | None, typer.Option(help="Only of this table.")]
COLUMNS = ("id", "node", "table", "device", "time", "measurement", "reason", "value", "at")


@app.command("list")
def listed(
    limit: Annotated[int, typer.Option(min=1, max=LISTED_MAX, help="The newest N.")] = 100,
    node: Node = None,
    table: Table = None,
    below: Below = False,
    after: Annotated[str | None, typer.Option(help="What the page before named.")] = None,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """List the newest refused rows and values, page by page."""
    client = client_for(url, token_file)
    answer = client.quarantine(limit=limit, node=node, table=table, below=below, after=after)
    if as_json:
        result_json(answer)
        return
    result_table(
        ("id", "at", "node", "table", "device", "measurement", "reason", "value"),
        [
            (each["id"], moment(each["at"]), each["node"], each["table"], each["device"],
             each["measurement"], each["reason"], shortened(each["value"]))
            for each in answer["items"]
        ],
    )  # fmt: skip
    note(f"{len(answer['items']):,} shown; {size(answer['bytes'])} in all")
    if answer.get("unheard"):
        note(f"only the newest of {', '.join(answer['unheard'])}: no answer")
    if answer.get("next"):
        note(f"more with --after '{answer['next']}'")


@app.command()
def show(
    item: Annotated[str, typer.Argument(metavar="ID", help="As `list` shows it.")],
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Show one item with its whole value."""
    found = client_for(url, token_file).quarantine_item(item)
    if as_json:
        result_json(found)
        return
    for name in COLUMNS:
        value = moment(found[name]) if name in ("time", "at") and found[name] else found[name]
        result(f"{name:12} {value if isinstance(value, str) else json.dumps(value)}")


@app.command()
def retry(
    items: Annotated[list[str] | None, typer.Argument(metavar="ID...")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All items that match.")] = False,
    node: Node = None,
    table: Table = None,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Try items again once the reason is removed; ends with 1 when one stays.

    What was written since stands. What came from a child is asked of its owner again.
    """
    client = client_for(url, token_file)
    ids = list(items or ())
    if bool(ids) == everything:
        raise typer.BadParameter("name items, or give --all")
    if everything:
        found = client.quarantine(limit=LISTED_MAX, node=node, table=table)
        ids = [each["id"] for each in found["items"]]
    results: list[dict[str, Any]] = []
    for start in range(0, len(ids), RETRIED_AT_ONCE):
        results += client.retry_quarantine(ids[start : start + RETRIED_AT_ONCE])
    if as_json:
        result_json({"results": results})
    else:
        result_table(
            ("id", "state", "message"),
            [(each["id"], each["state"], each["message"]) for each in results],
        )
    if any(each["state"] == "kept" for each in results):
        raise typer.Exit(FAILED)


@app.command()
def drop(
    items: Annotated[list[str], typer.Argument(metavar="ID...")],
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Forget items for good."""
    client = client_for(url, token_file)
    dropped = [client.drop_quarantine(item) for item in items]
    if as_json:
        result_json({"results": dropped})
    else:
        result(f"{len(dropped):,} dropped")


@app.command()
def export(
    file: Annotated[Path | None, typer.Argument(help="Default: standard output.")] = None,
    form: Annotated[str, typer.Option("--format", help="jsonl or csv.")] = "jsonl",
    limit: Annotated[int, typer.Option(min=1, max=LISTED_MAX)] = LISTED_MAX,
    node: Node = None,
    table: Table = None,
    below: Below = False,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Write items to a file, one a line, the newest first."""
    if form not in ("jsonl", "csv"):
        raise typer.BadParameter("write jsonl or csv", param_hint="--format")
    client = client_for(url, token_file)
    found: list[dict[str, Any]] = []
    after: str | None = None
    while len(found) < limit:
        page = client.quarantine(
            limit=min(PAGE, limit - len(found)), node=node, table=table, below=below, after=after
        )
        found += page["items"]
        after = page.get("next")
        if after is None or not page["items"]:
            break
    if file is None:
        _write(sys.stdout, found, form)
        return
    with file.open("w", encoding="utf-8", newline="") as target:
        _write(target, found, form)
    if as_json:
        result_json({"file": str(file), "items": len(found)})
    else:
        note(f"{len(found):,} items in {file}")


def _write(target: TextIO, items: Sequence[Mapping[str, Any]], form: str) -> None:
    if form == "jsonl":
        for item in items:
            target.write(json.dumps(item, ensure_ascii=False) + "\n")
        return
    rows = csv.writer(target)
    rows.writerow(COLUMNS)
    for item in items:
        cells = [item[name] for name in COLUMNS]
        rows.writerow([c if isinstance(c, str | int | float) else json.dumps(c) for c in cells])


def shortened(value: object) -> str:
    """A value on one line."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = " ".join(text.split())
    return text if len(text) <= VALUE_CHARACTERS else text[: VALUE_CHARACTERS - 3] + "..."
