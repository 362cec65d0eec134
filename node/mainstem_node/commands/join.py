"""``mainstem join``: exchanges a join token for the link's long-lived credential."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mainstem_node.commands.arguments import ConfigFile, Json, read_credential
from mainstem_node.commands.terminal import USAGE, fail, note, result, result_json


def join(
    config: ConfigFile,
    token_file: Annotated[Path, typer.Option(help="File with the join token.", metavar="FILE")],
    node: Annotated[str | None, typer.Option(help="Which node; default: the only child.")] = None,
    directory: Annotated[
        Path | None, typer.Option("--dir", help="Base of relative data and secret paths.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Enrol a node at its parent, with the token that `mainstem node add` printed there."""
    from mainstem_engine.filesystem import Filesystem
    from mainstem_engine.identity import ensure_identity
    from mainstem_node.auth import prepare_data_dir
    from mainstem_node.client import connect
    from mainstem_node.config import load_topology
    from mainstem_node.credentials import write_token
    from mainstem_node.errors import UnavailableError

    topology = load_topology(config, directory)
    children = [each for each in topology.nodes if each.parent is not None]
    chosen = [each for each in children if node is None or each.id == node]
    if len(chosen) != 1:
        names = ", ".join(each.id for each in children) or "none"
        fail(f"{config} has {len(chosen)} nodes to join", f"name one with --node: {names}", USAGE)
    child = chosen[0]
    parent = child.parent
    if parent is None or parent.token_file is None or not parent.url:
        fail(f"node {child.id} has no parent to join", "add its `parent`", USAGE)
    join_token = read_credential(token_file)
    prepare_data_dir(child.data_dir)
    # The parent binds the name to this number; it is the one that the node will run under.
    uuid = ensure_identity(Filesystem(), child.data_dir)
    problem: UnavailableError | None = None
    for url in parent.url:
        try:
            answer = connect(url).join(join_token, uuid)
        except UnavailableError as error:
            problem = error
            continue
        if answer["id"] != child.id:
            fail(
                f"the token is for {answer['id']}, not for {child.id}",
                "use the token of this node, or correct its `id`",
            )
        write_token(parent.token_file, answer["token"])
        if as_json:
            result_json({"id": child.id, "parent": answer["parent"], "paths": answer["paths"],
                         "token_file": str(parent.token_file)})  # fmt: skip
        else:
            result(f"{child.id} is enrolled at {answer['parent']} for {' '.join(answer['paths'])}")
        note(f"the credential is in {parent.token_file}; start it: mainstem run -c {config}")
        return
    if problem is not None:
        raise problem
