"""``mainstem rule``: alarm rules of a file, and what they would have said of history."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mainstem_node.commands.arguments import DEFAULT_URL, ConfigFile, Json, TokenFile, Url
from mainstem_node.commands.terminal import (
    USAGE,
    fail,
    moment,
    note,
    result_json,
    result_table,
)

if TYPE_CHECKING:
    from mainstem_node.config.rules import RuleConfig
    from mainstem_node.config.schema import NodeConfig, Topology
    from mainstem_node.shell.source import Source

app = typer.Typer(no_args_is_help=True, help="Alarm rules: what is there, and trying them.")

DAY_NS = 86_400_000_000_000
NS_PER_MS = 1_000_000
CHANGES_MAX = 100_000
"""Shown; a rule that changes more often is told by that already."""

Node = Annotated[str | None, typer.Option(help="Only rules of this edge.")]
Data = Annotated[Path | None, typer.Option(help="A data directory instead of a node.")]


@app.command("list")
def listed(
    config: ConfigFile,
    node: Node = None,
    ask: Annotated[
        bool, typer.Option("--active", help="Ask the node how many are active.")
    ] = False,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """List the rules of a file; with --active, beside the alarms that are raised now."""
    from mainstem_node.config import load_topology
    from mainstem_node.config.rules import condition_text

    active: dict[str, int] = {}
    if ask:
        with _source(None, url, token_file) as source:
            active = _active(source)
    rows = [
        (
            edge.id, rule.name, rule.template, rule.under or "", condition_text(rule),
            rule.severity, active.get(rule.name, 0) if ask else None,
        )
        for edge, rule in _rules(load_topology(config), node, None)
    ]  # fmt: skip
    titles = ("node", "rule", "template", "under", "condition", "severity", "active")
    if as_json:
        result_json({"rules": [dict(zip(titles, row, strict=True)) for row in rows]})
    else:
        result_table(titles, rows)


@app.command("test")
def tried(
    config: ConfigFile,
    rule: Annotated[str | None, typer.Option(help="Only this rule.")] = None,
    node: Node = None,
    since: Annotated[str | None, typer.Option("--from", help="ms, or RFC 3339.")] = None,
    until: Annotated[str | None, typer.Option("--to", help="Default: now.")] = None,
    data: Data = None,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Replay stored rows (default: of a day) through rules, and print what they would have raised.

    Nothing is written. The rows are those that were stored: what filters dropped is not there.
    """
    from mainstem_node.api.times import parse_time_ns
    from mainstem_node.config import load_topology

    end_ns = time.time_ns() if until is None else parse_time_ns(until, "--to")
    start_ns = end_ns - DAY_NS if since is None else parse_time_ns(since, "--from")
    if start_ns >= end_ns:
        fail("--from is not before --to", "exchange them", USAGE)
    topology = load_topology(config)
    rules = [each for _, each in _rules(topology, node, rule)]
    found: list[dict[str, Any]] = []
    with _source(data, url, token_file) as source:
        for name in dict.fromkeys(each.template for each in rules):
            own = [each for each in rules if each.template == name]
            for change in _tried(source, topology, name, own, start_ns, end_ns):
                if len(found) == CHANGES_MAX:
                    note(f"only the first {CHANGES_MAX:,} changes are shown")
                    break
                found.append(change)
    found.sort(key=lambda change: (change["time"], change["device"], change["rule"]))
    raised = sum(change["raised"] for change in found)
    if as_json:
        result_json({"from": start_ns // NS_PER_MS, "to": end_ns // NS_PER_MS, "changes": found})
        return
    result_table(
        ("time", "rule", "device", "change", "value", "message"),
        [
            (moment(each["time"]), each["rule"], each["device"],
             "raised" if each["raised"] else "cleared", each["value"], each["message"])
            for each in found
        ],
    )  # fmt: skip
    note(f"{raised:,} raised, {len(found) - raised:,} cleared, by {len(rules)} rules")


def _tried(
    source: Source,
    topology: Topology,
    template: str,
    configs: list[RuleConfig],
    start_ns: int,
    end_ns: int,
) -> Iterator[dict[str, Any]]:
    from mainstem_edge.alarms.history import History
    from mainstem_edge.alarms.replay import Replay
    from mainstem_edge.alarms.rule import message, value
    from mainstem_edge.assembly.alarms import alarm_rules
    from mainstem_node.config.templates import rule_terms

    declared = {name.casefold(): each for name, each in topology.templates.items()}
    names = dict(enumerate(rule_terms(declared[template.casefold()])))
    rules = alarm_rules(template, names, declared[template.casefold()], configs)
    read = {name.casefold() for rule in rules for name in rule.reads}
    names = {number: name for number, name in names.items() if name.casefold() in read}
    replay = Replay(rules, names)
    for each in History(source, template, names, start_ns, end_ns).changes(replay):
        device = replay.path(each.device)
        yield {
            "time": each.time_ns // NS_PER_MS, "rule": each.rule.name, "device": device,
            "raised": each.raised, "severity": each.rule.severity, "value": value(each),
            "message": message(each, device),
        }  # fmt: skip


def _rules(
    topology: Topology, node: str | None, name: str | None
) -> list[tuple[NodeConfig, RuleConfig]]:
    found = [
        (each, rule)
        for each in topology.nodes
        if node is None or each.id == node
        for rule in each.rules
        if name is None or rule.name.casefold() == name.casefold()
    ]
    if not found:
        fail("there is no such rule in the file", "mainstem rule list -c FILE names them", USAGE)
    return found


def _source(data: Path | None, url: str, token_file: Path | None) -> Source:
    from mainstem_node.commands.sql import source_for

    if data is not None and not data.is_dir():
        fail(f"there is no directory {data}", "name the data directory of a node", USAGE)
    return source_for(data, url, token_file)


def _active(source: Source) -> dict[str, int]:
    """By rule: devices whose newest row in the journal is a raised alarm."""
    found = source.ask(
        "SELECT rule, count(*) FROM (SELECT rule, arg_max(raised, time) AS raised FROM alarms"
        " GROUP BY device, rule) AS newest WHERE raised GROUP BY rule",
        readable_times=False,
    )
    return {str(rule): int(count) for rule, count in found.rows}
