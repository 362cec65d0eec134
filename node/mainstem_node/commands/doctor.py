"""``mainstem doctor``: what makes a node fail later, found now."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mainstem_node.commands.arguments import Json, TokenFile, client_for
from mainstem_node.commands.terminal import (
    FAILED,
    USAGE,
    fail,
    note,
    result,
    result_json,
    result_table,
)

if TYPE_CHECKING:
    from mainstem_node.config.schema import NodeConfig, Topology
    from mainstem_node.doctor.finding import Finding


def doctor(
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="The topology file.", metavar="FILE")
    ] = None,
    node: Annotated[
        list[str] | None, typer.Option("--node", help="Only these; again for more.")
    ] = None,
    outage: Annotated[
        str | None, typer.Option(help="Is the disk large enough for so long without the parent?")
    ] = None,
    bundle: Annotated[
        bool, typer.Option("--bundle", help="Write a support bundle, without secrets.")
    ] = False,
    url: Annotated[
        str | None,
        typer.Option(envvar="MAINSTEM_URL", help="Of the running node; default its `listen`."),
    ] = None,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Look at ports, disk, memory, clock, certificates, parent and brokers; 1 if one is bad."""
    from dataclasses import asdict

    from mainstem_node.doctor.finding import BAD

    path = config or _only_file()
    topology = _loaded(path)
    outage_ns = None if outage is None else _duration(outage)
    findings: list[Finding] = []
    answers: dict[str, str] = {}
    for each in topology.nodes:
        if node and each.id not in node:
            continue
        findings += _of_node(topology, each, url, token_file, outage_ns, answers)
    if node and not findings:
        known = ", ".join(each.id for each in topology.nodes)
        fail(f"{path} has no node {node[0]!r}", f"it has {known}", USAGE)
    if bundle:
        _bundle(path, findings, answers)
    if as_json:
        result_json({"findings": [asdict(each) for each in findings]})
    else:
        result_table(
            ("node", "check", "state", "what", "remedy"),
            [(f.node, f.check, f.state, f.message, f.remedy) for f in findings],
        )
    if any(each.state == BAD for each in findings):
        raise typer.Exit(FAILED)


def _only_file() -> Path:
    """Where no file is named: the one of `mainstem init` in this directory."""
    found = [Path(name) for name in ("edge.yaml", "platform.yaml", "group.yaml", "topology.yaml")]
    present = [path for path in found if path.is_file()]
    if len(present) != 1:
        fail("no topology file is named", "mainstem doctor -c FILE", USAGE)
    return present[0]


def _loaded(path: Path) -> Topology:
    from mainstem_node.config import load_topology

    if not path.is_file():
        fail(f"there is no file {path}", "check the path", USAGE)
    return load_topology(path)


def _duration(text: str) -> int:
    from mainstem_node.config.units import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter("; ".join(map(str, error.args)), param_hint="--outage") from None


def _of_node(
    topology: Topology,
    node: NodeConfig,
    url: str | None,
    token_file: Path | None,
    outage_ns: int | None,
    answers: dict[str, str],
) -> list[Finding]:
    from mainstem_node.doctor import outage
    from mainstem_node.doctor.disk import existing
    from mainstem_node.doctor.examination import examine

    said = _asked(url or node.url, token_file, node.id)
    status = said.get("status.json")
    answers |= {f"{node.id}/{name}": _text(answer) for name, answer in said.items()}
    found = list(examine(topology, node, status))
    if outage_ns is not None:
        free = shutil.disk_usage(existing(node.data_dir)).free
        found.append(outage.judged(node, status, outage_ns, free))
    return found


def _asked(url: str, token_file: Path | None, node: str) -> dict[str, Any]:
    """What the running node says; nothing if it does not run, or is another one."""
    from mainstem_node.errors import ApiError

    client = client_for(url, token_file)
    try:
        status = client.status()
        if status.get("node") != node:
            return {}
        return {
            "status.json": status,
            "alarms.json": client.alarms(),
            "metrics.txt": client.metrics(),
        }
    except ApiError as error:
        if error.status != 503:
            note(f"{node} at {url}: {error.message}")
        return {}


def _text(answer: Any) -> str:
    return answer if isinstance(answer, str) else json.dumps(answer, indent=2)


def _bundle(path: Path, findings: list[Finding], answers: dict[str, str]) -> None:
    from mainstem_node.doctor import bundle

    target = Path(f"mainstem-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}.zip")
    try:
        bundle.write(target, path, findings, answers)
    except OSError as error:
        fail(f"{target} cannot be written: {error.strerror}", "change to another directory")
    result(str(target))
