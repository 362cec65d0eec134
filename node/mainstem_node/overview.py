"""Status objects as people read them: one line per node of the tree, and the sums that fail.

``flatten`` walks a status object and its ``children``; nothing here talks to a node, so the same
lines serve ``mainstem status``, the demo, and tests.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

Status = Mapping[str, Any]

STATE_STYLES = {
    "live": "green",
    "lagging": "yellow",
    "stale": "red",
    "offline": "red",
    "quarantined": "magenta",
}

DEPTH_MAX = 16
"""Tiers of a tree; a deeper one is a status object that contains itself."""


@dataclass(frozen=True, slots=True)
class NodeLine:
    """One node of the tree. ``complete_through_ms``: of all tables that come from it, the least
    advanced, as the node that was asked judges it; None before the first manifest."""

    node: str
    tier: str
    depth: int
    state: str
    lag_ms: int | None
    pending_rows: int | None
    pending_bytes: int | None
    oldest_pending_ms: int | None
    complete_through_ms: int | None
    holes: int
    logged_rows: int
    clock_offset_ms: float | None
    config_rev: Any
    alarms: int = 0


def flatten(status: Status) -> list[NodeLine]:
    """The node that was asked, then everything below it, parents before children."""
    judged = list(status.get("completeness") or ())
    return [_line(each, depth, judged) for each, depth in walk(status)]


def walk(status: Status, depth: int = 0) -> Iterator[tuple[Status, int]]:
    """Every status object of the tree with its depth."""
    yield status, depth
    if depth < DEPTH_MAX:
        for child in status.get("children") or ():
            yield from walk(child, depth + 1)


def _line(status: Status, depth: int, judged: Sequence[Mapping[str, Any]]) -> NodeLine:
    delivery = status.get("delivery") or {}
    below = {str(each.get("node")) for each, _ in walk(status)}
    mine = [e for e in judged if e.get("node") in below and e.get("state") != "not_held"]
    stated = [e["complete_through"] for e in mine if e.get("complete_through") is not None]
    return NodeLine(
        node=str(status.get("node")),
        tier=str(status.get("tier") or ""),
        depth=depth,
        state=str(status.get("state") or "unknown"),
        lag_ms=status.get("lag_ms"),
        pending_rows=delivery.get("pending_rows"),
        pending_bytes=delivery.get("pending_bytes"),
        oldest_pending_ms=delivery.get("oldest_pending_ms"),
        complete_through_ms=min(stated) if stated else None,
        holes=sum(len(e.get("holes") or ()) for e in mine),
        logged_rows=logged_rows(status),
        clock_offset_ms=status.get("clock_offset_ms"),
        config_rev=status.get("config_rev"),
        alarms=int(status.get("alarms") or 0),
    )


def logged_rows(status: Status) -> int:
    """Rows of all tables that the node has logged."""
    tables = status.get("accounting") or {}
    return sum(int((sums.get("log") or {}).get("logged") or 0) for sums in tables.values())


def broken_sums(status: Status) -> list[str]:
    """Every accounting sum of the tree that does not hold, each with its node."""
    # Here, because commands that only print sizes and times need not load the protocol.
    from mainstem_sync.state import accounting

    return [
        f"{each.get('node')}: {problem}"
        for each, _ in walk(status)
        if each.get("accounting")
        for problem in accounting.check(each["accounting"])
    ]


def tree_table(
    lines: Sequence[NodeLine], now_ms: int, rates: Mapping[str, float] | None = None
) -> Table:
    """The tree for a terminal. ``rates``: rows a second by node."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    titles = ["node", "state", "lag", "pending rows", "pending", "oldest", "complete through"]
    titles += ["holes", "rows"] + (["rows/s"] if rates is not None else [])
    titles += ["clock", "config", "alarms"]
    for title in titles:
        left = title in ("node", "state", "complete through")
        table.add_column(title, justify="left" if left else "right", no_wrap=True)
    for line in lines:
        style = STATE_STYLES.get(line.state, "")
        cells: list[str | Text] = [
            Text("  " * line.depth + line.node),  # as it is: brackets are no markup
            Text(line.state, style=style),
            duration(line.lag_ms),
            number(line.pending_rows),
            size(line.pending_bytes),
            duration(line.oldest_pending_ms),
            through(line.complete_through_ms, now_ms),
            number(line.holes),
            number(line.logged_rows),
        ]
        if rates is not None:
            cells.append(f"{rates.get(line.node, 0.0):,.0f}")
        cells.append("" if line.clock_offset_ms is None else f"{line.clock_offset_ms:+.0f} ms")
        cells.append("" if line.config_rev is None else Text(str(line.config_rev)))
        cells.append(Text(str(line.alarms), style="red") if line.alarms else "")
        table.add_row(*cells)
    return table


def number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def size(value: int | None) -> str:
    """Bytes with a decimal prefix."""
    if value is None:
        return ""
    amount, unit = float(value), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if amount < 1000 or unit == "TB":
            break
        amount /= 1000
    return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"


def duration(value_ms: float | None) -> str:
    """Milliseconds as the largest unit that leaves a readable number."""
    if value_ms is None:
        return ""
    for unit_ms, unit in ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s")):
        if value_ms >= unit_ms:
            return f"{value_ms / unit_ms:.1f} {unit}"
    return f"{value_ms:.0f} ms"


def through(value_ms: int | None, now_ms: int) -> str:
    """A time as the clock shows it, and how long ago that was."""
    if value_ms is None:
        return "not stated yet"

    moment = dt.datetime.fromtimestamp(value_ms / 1000, dt.UTC)
    near = abs(now_ms - value_ms) < 86_400_000
    text = moment.strftime("%H:%M:%SZ" if near else "%Y-%m-%d %H:%MZ")
    return f"{text} ({duration(max(0, now_ms - value_ms))} ago)"
