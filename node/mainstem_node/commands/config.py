"""``mainstem config``: checks topology files, and brings them into a running federation."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mainstem_node.commands.arguments import (
    DEFAULT_URL,
    ConfigFile,
    Json,
    TokenFile,
    Url,
    client_for,
)
from mainstem_node.commands.terminal import (
    FAILED,
    USAGE,
    fail,
    moment,
    note,
    result,
    result_json,
    result_table,
)

if TYPE_CHECKING:
    from mainstem_node.client import Client

app = typer.Typer(
    no_args_is_help=True, help="Check topology files, and bring them into a running federation."
)


@app.command()
def check(
    file: Annotated[Path | None, typer.Argument(help="The topology file.")] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="The same, as an option.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Report everything that is wrong with a topology, with file, line, field and remedy."""
    from dataclasses import asdict

    from mainstem_node.config import check as check_file
    from mainstem_node.config import load_topology
    from mainstem_node.extras import missing_here

    path = file or config
    if path is None:
        fail("no file is given", "mainstem config check FILE", USAGE)
    if not path.is_file():
        fail(f"there is no file {path}", "check the path", USAGE)
    problems = check_file(path)
    if as_json:
        result_json({"file": str(path), "problems": [asdict(each) for each in problems]})
    else:
        for problem in problems:
            result(str(problem))
    if problems:
        raise typer.Exit(FAILED)
    if not as_json:
        topology = load_topology(path)
        count = len(topology.nodes)
        nodes = ", ".join(node.id for node in topology.nodes[:10]) + (", ..." if count > 10 else "")
        result(f"{path}: fine: {count} node{'' if count == 1 else 's'} ({nodes})")
        for lack in missing_here(topology):
            note(lack)


@app.command()
def schema() -> None:
    """Print the JSON Schema of topology files."""
    from mainstem_node.config import config_schema

    result_json(config_schema())


POLL_S = 0.3
WAIT_S = 150.0
"""A configuration that cuts the link takes 120 s to come back."""

FINAL = ("DONE", "FAILED", "EXPIRED", "UNKNOWN")
Nodes = Annotated[list[str] | None, typer.Option("--node", help="Only these; again for more.")]
Wait = Annotated[float, typer.Option(min=0, help="Seconds to wait for the nodes.")]


@app.command()
def plan(
    config: ConfigFile,
    node: Nodes = None,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Show what a topology file would change at a running node and all below it."""
    changes = _changes(client_for(url, token_file), config, node)
    if as_json:
        result_json({"nodes": changes})
        return
    for change in changes:
        _print(change)
    if not changes:
        result("nothing changes")


@app.command()
def apply(
    config: ConfigFile,
    node: Nodes = None,
    wait: Wait = WAIT_S,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Bring what a topology file changes to a running node and all below; 1 if one refuses."""
    client = client_for(url, token_file)
    changes = [each for each in _changes(client, config, node) if each["known"]]
    if not changes:
        result_json({"orders": []}) if as_json else result("nothing changes")
        return
    if not as_json:
        for change in changes:
            _print(change)
    orders = client.apply_config(
        {each["node"]: each["document"] for each in changes},
        {each["node"]: each["rev"] for each in changes},
    )
    _finish(client, orders, wait, as_json)


@app.command()
def rollback(
    node: Annotated[list[str], typer.Option("--node", help="Which; again for more.")],
    to: Annotated[
        int | None, typer.Option(min=1, help="A revision; default the one before.")
    ] = None,
    wait: Wait = WAIT_S,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Take nodes back to an earlier configuration; ends with 1 if one cannot."""
    client = client_for(url, token_file)
    _finish(client, client.roll_config_back(node, to), wait, as_json)


def _changes(client: Client, path: Path, wanted: Iterable[str] | None) -> list[dict[str, Any]]:
    """Per node that would change: its lines, its revision and its new document."""
    from mainstem_node.config import load_topology
    from mainstem_node.desired.documents import differences, documents_of, hash_of

    documents = documents_of(load_topology(path))
    names = set(wanted or documents)
    if names - set(documents):
        unknown = ", ".join(sorted(names - set(documents)))
        fail(f"{path} has no node {unknown}", f"it has {', '.join(documents)}", USAGE)
    known = {each["node"]: each for each in client.configurations(documents=True)}
    found = []
    for name in documents:
        now = known.get(name)
        if name not in names or (now is not None and now["hash"] == hash_of(documents[name])):
            continue
        before = None if now is None else now["document"]
        found.append(
            {
                "node": name,
                "rev": None if now is None else now["rev"],
                "at": None if now is None else now["at"],
                "known": now is not None,
                "changes": list(differences(before, documents[name])),
                "document": documents[name],
            }
        )
    return found


def _print(change: Mapping[str, Any]) -> None:
    if not change["known"]:
        result(f"{change['node']}: not known at or below this node; left as it is")
        return
    result(f"{change['node']}: revision {change['rev']}, as of {moment(change['at'])}")
    for line in change["changes"]:
        result(f"  {line}")


def _finish(client: Client, orders: list[dict[str, Any]], wait: float, as_json: bool) -> None:
    """Waits for the nodes. The one that is asked stops for a moment: that is no failure."""
    from mainstem_node.errors import UnavailableError

    deadline = time.monotonic() + wait
    found = {order["id"]: order for order in orders}
    while time.monotonic() < deadline:
        waiting = [ident for ident, order in found.items() if order["state"] not in FINAL]
        if not waiting:
            break
        time.sleep(POLL_S)
        for ident in waiting:
            try:
                found[ident] = client.config_order(ident)
            except UnavailableError:
                break
    if as_json:
        result_json({"orders": list(found.values())})
    else:
        result_table(
            ("node", "state", "revision", "error"),
            [
                (each["node"], each["state"], str((each["result"] or {}).get("rev", "")),
                 each["error"] or "")
                for each in found.values()
            ],
        )  # fmt: skip
        if any(each["state"] not in FINAL for each in found.values()):
            note("some have not said a word yet; they get it when they are back")
    if any(each["state"] in FINAL and each["state"] != "DONE" for each in found.values()):
        raise typer.Exit(FAILED)
