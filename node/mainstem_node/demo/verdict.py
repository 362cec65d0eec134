"""Whether a demo lost anything, and whether every minute is proven.

1. The devices' ledger says how many rows of each device the broker acknowledged, and over which
   time. Every tier that receives the table in full must hold exactly these, by SQL.
2. The accounting sums of every node hold; nothing waits, was parked or lost on any link.
3. Every table is closed through the minute of the last row at the edge that owns it, and every
   node that receives the table has verified it through there.

``judge`` returns reasons, in words; none means that the demo has passed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mainstem_node.demo.factory import DemoError
from mainstem_node.overview import broken_sums

if TYPE_CHECKING:
    from mainstem_node.config import Topology

MINUTE_MS = 60_000

Sql = Callable[[str, str], Sequence[Sequence[Any]]]
"""(node, statement) -> rows."""

Status = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class DeviceLedger:
    """What the broker acknowledged in one run: rows by template and device path."""

    from_ms: int
    to_ms: int
    rows: Mapping[str, Mapping[str, int]]

    @classmethod
    def read(cls, path: Path) -> DeviceLedger:
        """Raises DemoError when the devices left no ledger, or published nothing."""
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DemoError(f"the devices left no ledger ({error})") from None
        if document["from_ms"] is None:
            raise DemoError("the broker acknowledged nothing", hint="see the logs of the demo")
        return cls(document["from_ms"], document["to_ms"], document["rows"])

    @property
    def total(self) -> int:
        return sum(sum(devices.values()) for devices in self.rows.values())

    @property
    def closed_through_ms(self) -> int:
        """The end of the minute in which the last row lies."""
        return (self.to_ms // MINUTE_MS + 1) * MINUTE_MS


@dataclass(frozen=True, slots=True)
class Expectation:
    """A node must hold ``table`` of the origin node ``origin``; raw or rolled up."""

    node: str
    origin: str
    table: str
    raw: bool


def expectations(topology: Topology) -> list[Expectation]:
    """Which node receives which table of which edge, by the export rules of the topology."""
    from mainstem_node.config import duration_name

    parents = {n.id: n.parent.node for n in topology.nodes if n.parent is not None}
    exported = {
        node.id: {
            rule.template
            if rule.mode == "raw"
            else f"{rule.template}_{duration_name(rule.every or 0)}"
            for rule in node.export
        }
        for node in topology.nodes
    }
    found = []
    for edge in topology.nodes:
        held: dict[str, bool] = {}
        for collector in edge.collectors:
            held |= dict.fromkeys(collector.templates, True)
        for rollup in edge.rollups:
            held |= {f"{rollup.template}_{duration_name(every)}": False for every in rollup.every}
        at: str | None = edge.id
        while at is not None:
            found += [Expectation(at, edge.id, table, raw) for table, raw in held.items()]
            held = {table: raw for table, raw in held.items() if table in exported[at]}
            at = parents.get(at)
    return found


def judge(
    wanted: Sequence[Expectation], ledger: DeviceLedger, statuses: Mapping[str, Status], sql: Sql
) -> list[str]:
    """Every reason why the demo has not passed; empty when it has."""
    reasons = [
        *unproven(wanted, ledger, statuses),
        *undelivered(statuses.values()),
        *(f"{problem}" for status in statuses.values() for problem in broken_sums(_alone(status))),
    ]
    # Counting rows costs a scan: only when everything cheaper is in order.
    return reasons or miscounted(wanted, ledger, sql)


def miscounted(wanted: Sequence[Expectation], ledger: DeviceLedger, sql: Sql) -> list[str]:
    """Devices of which a node does not hold exactly what the broker acknowledged."""
    reasons = []
    for node, table in sorted({(each.node, each.table) for each in wanted if each.raw}):
        rows = sql(
            node,
            f"SELECT device, count(*) FROM {table}"
            f" WHERE time >= {ledger.from_ms} AND time <= {ledger.to_ms} GROUP BY device",
        )
        held = {str(device): int(count) for device, count in rows}
        published = ledger.rows.get(table, {})
        for device in sorted(published.keys() | held.keys()):
            count, expected = held.get(device, 0), published.get(device, 0)
            if count != expected:
                reasons.append(
                    f"{node} holds {count} rows of {device}; the broker acknowledged {expected}"
                )
    return reasons


def unproven(
    wanted: Sequence[Expectation], ledger: DeviceLedger, statuses: Mapping[str, Status]
) -> list[str]:
    """Tables that are not closed, or not verified, through the minute of the last row."""
    goal_ms = ledger.closed_through_ms
    stated = {
        (node, str(entry["node"]), str(entry["table"])): entry
        for node, status in statuses.items()
        for entry in status["completeness"]
    }
    reasons = []
    for each in wanted:
        entry = stated.get((each.node, each.origin, each.table))
        if entry is None or entry["state"] == "unknown":
            reasons.append(f"{each.node} knows nothing of {each.table} of {each.origin} yet")
            continue
        through_ms = entry["complete_through"]
        if through_ms is None or through_ms < goal_ms:
            late_s = "" if through_ms is None else f", {(goal_ms - through_ms) / 1000:.0f} s short"
            verb = "closed" if each.node == each.origin else "verified"
            reasons.append(f"{each.node}: {each.table} of {each.origin} is not {verb}{late_s}")
        elif entry["holes"] or entry["lost"]:
            reasons.append(f"{each.node}: {each.table} of {each.origin} has holes")
    return reasons


def undelivered(statuses: Iterable[Status]) -> list[str]:
    """Links on which something waits, was parked or lost."""
    return [
        f"{status['node']}: {sums['forward'][name]} rows of {table} {name}"
        for status in statuses
        for table, sums in sorted(status["accounting"].items())
        for name in ("pending", "parked", "lost")
        if (sums.get("forward") or {}).get(name)
    ]


def _alone(status: Status) -> Status:
    """The node without its children, who are asked themselves."""
    return {**status, "children": ()}


def accounting_rows(statuses: Mapping[str, Status]) -> list[list[Any]]:
    """One line per node and table for print: what came, how, and where it went."""
    lines = []
    for node, status in statuses.items():
        for table, sums in sorted(status["accounting"].items()):
            intake, log, forward = (sums.get(key) or {} for key in ("intake", "log", "forward"))
            store = sums.get("store") or {}
            lines.append(
                [
                    node, table,
                    intake.get("received"), intake.get("accepted"), log.get("derived"),
                    log.get("from_children"), log.get("merged"), log.get("logged"),
                    forward.get("delivered"), forward.get("not_exported"), forward.get("pending"),
                    forward.get("lost"), store.get("live"), store.get("overwritten"),
                ]
            )  # fmt: skip
    return lines


ACCOUNTING_TITLES = (
    "node", "table", "received", "accepted", "derived", "from children", "merged", "logged",
    "delivered", "not exported", "pending", "lost", "live", "overwritten",
)  # fmt: skip
"""Titles of ``accounting_rows``."""
