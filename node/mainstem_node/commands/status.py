"""``mainstem status``: the tree below a node, and whether the sums hold."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mainstem_node.commands.arguments import DEFAULT_URL, Json, TokenFile, Url, client_for
from mainstem_node.commands.terminal import FAILED, WIDE, escaped, note, result_json

if TYPE_CHECKING:
    from mainstem_node.client import Client

WATCH_S = 1.0


def status(
    watch: Annotated[bool, typer.Option("--watch", help="Refresh until Ctrl-C.")] = False,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Show state, lag, pending rows and completeness; ends with 1 when a sum does not hold."""
    from mainstem_node.overview import broken_sums

    client = client_for(url, token_file)
    if watch and not as_json:
        # Ctrl-C is how a watch ends; it is not a failure.
        with contextlib.suppress(KeyboardInterrupt):
            follow(client)
        return
    found = client.federation()
    problems = broken_sums(found)
    if as_json:
        result_json({**found, "problems": problems})
    else:
        show(found)
    for problem in problems:
        note(f"a sum does not hold: {problem}")
    if problems:
        raise typer.Exit(FAILED)


def show(found: dict[str, Any]) -> None:
    """The tree, and every table that is not complete."""
    from rich.console import Console

    from mainstem_node.overview import flatten, tree_table

    console = Console(width=None if sys.stdout.isatty() else WIDE, highlight=False)
    console.print(tree_table(flatten(found), found["now"]))
    for line in [*incomplete(found), *collected(found), *put_aside(found)]:
        console.print(line, markup=False, soft_wrap=True)


def incomplete(found: dict[str, Any]) -> list[str]:
    """One line for each table with holes or losses."""
    from mainstem_node.overview import through

    lines = []
    for entry in found["completeness"]:
        if entry["holes"] or entry["lost"]:
            spans = ", ".join(
                f"{through(a, found['now'])} to {through(b, found['now'])}"
                for a, b in entry["holes"][:3]
            )
            more = f" and {len(entry['holes']) - 3} more" if len(entry["holes"]) > 3 else ""
            said = [f"not proven {spans}{more}"] if entry["holes"] else []
            lost: dict[str, int] = {}
            for each in entry["lost"]:
                lost[each["reason"]] = lost.get(each["reason"], 0) + each["rows"]
            said += [f"{rows:,} rows {reason}" for reason, rows in sorted(lost.items())]
            lines.append(f"{entry['table']} of {entry['node']}: {', '.join(said)}")
    return lines


def collected(found: dict[str, Any]) -> list[str]:
    """One line for each collector of the node that was asked: is anything coming?"""
    from mainstem_node.overview import duration

    lines = []
    for each in found.get("collectors") or ():
        last = each.get("last_message_ms")
        came = f"{each['messages']:,} messages"
        if last is not None:
            came += f", the last {duration(max(0, found['now'] - last))} ago"
        said = f"{each['name']}: {each['state']}, {came if each['messages'] else 'no message yet'}"
        trouble = escaped(str(each.get("last_error") or ""))
        lines.append(f"{said}; newest trouble: {trouble}" if trouble else said)
    return lines


def put_aside(found: dict[str, Any]) -> list[str]:
    """A line that says how much of what came here is in no table, and where it is seen."""
    tables = (found.get("accounting") or {}).values()
    rows = sum(int((sums.get("intake") or {}).get("quarantined") or 0) for sums in tables)
    values = sum(int(sums.get("values_quarantined") or 0) for sums in tables)
    if not rows and not values:
        return []
    return [
        f"put aside at {found['node']}: {rows:,} rows or messages, and {values:,} values of rows"
        " that are stored; see `mainstem quarantine list`"
    ]


def follow(client: Client) -> None:
    """Draws the tree anew every second; rows/s from one look to the next."""
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    from mainstem_node.errors import UnavailableError
    from mainstem_node.overview import broken_sums, flatten, logged_rows, tree_table, walk

    before: dict[str, int] = {}
    last = time.monotonic()
    with Live(auto_refresh=False) as live:
        while True:
            try:
                found = client.federation()
            except UnavailableError as error:
                live.update(Text(str(error), style="red"), refresh=True)
                time.sleep(WATCH_S)
                continue
            now = time.monotonic()
            counts = {str(each["node"]): logged_rows(each) for each, _ in walk(found)}
            rates = {
                name: max(0.0, (count - before.get(name, count)) / (now - last))
                for name, count in counts.items()
            }
            before, last = counts, now
            problems = [Text(f"a sum does not hold: {p}", style="red") for p in broken_sums(found)]
            table = tree_table(flatten(found), found["now"], rates)
            live.update(Group(table, *problems), refresh=True)
            time.sleep(WATCH_S)
