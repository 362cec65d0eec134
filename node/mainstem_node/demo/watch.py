"""What the nodes of a demo say of themselves, asked once a second, and how a terminal shows it.

A node that does not answer has no status; its line says so. How far a link lags is taken from the
child, which knows what it still owes while the link is cut; how complete everything is, from the
group.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import aiohttp

from mainstem_node.demo.factory import DemoFactory
from mainstem_node.overview import NodeLine, flatten, logged_rows, tree_table
from mainstem_node.supervisor import rank_of

if TYPE_CHECKING:
    from rich.console import RenderableType

    from mainstem_node.config import Topology

ASK_TIMEOUT_S = 5.0
RATE_SPAN_S = 10.0
"""Rows a second are counted over this long: a tick of the devices must not show as a peak."""

Status = Mapping[str, Any]


class Watch:
    """The newest status of every node. ``ask`` refreshes them all at once."""

    def __init__(self, topology: Topology, factory: DemoFactory) -> None:
        self.topology = topology
        self.factory = factory
        self.statuses: dict[str, Status] = {}
        self._session: aiohttp.ClientSession | None = None
        self._counts: dict[str, list[tuple[float, int]]] = {}

    async def ask(self) -> dict[str, Status]:
        """The status of every node that answers."""
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=ASK_TIMEOUT_S)
            self._session = aiohttp.ClientSession(timeout=timeout)
        session = self._session
        nodes = self.topology.nodes
        found = await asyncio.gather(*(self._ask_one(session, node.url) for node in nodes))
        self.statuses = {
            node.id: status for node, status in zip(nodes, found, strict=True) if status is not None
        }
        now = time.monotonic()
        for name, status in self.statuses.items():
            counts = self._counts.setdefault(name, [])
            counts.append((now, logged_rows(status)))
            while counts[0][0] < now - RATE_SPAN_S and len(counts) > 2:
                counts.pop(0)
        return self.statuses

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    @staticmethod
    async def _ask_one(session: aiohttp.ClientSession, url: str) -> Status | None:
        try:
            async with session.get(f"{url}/api/v1/status") as answer:
                if answer.status != 200:
                    return None
                status: Status = await answer.json()
                return status
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return None

    def rates(self) -> dict[str, float]:
        """Rows a second that each node logs."""
        found = {}
        for name, counts in self._counts.items():
            (first_at, first), (last_at, last) = counts[0], counts[-1]
            span_s = last_at - first_at
            found[name] = max(0.0, (last - first) / span_s) if span_s > 0 else 0.0
        return found

    def lines(self) -> list[NodeLine]:
        """One line per node, parents before their children."""
        top = next(node.id for node in self.topology.nodes if node.parent is None)
        seen = {line.node: line for line in flatten(self.statuses[top])} if self._has(top) else {}
        return [self._line(name, depth, seen.get(name)) for name, depth in self._order(top, 0)]

    def _has(self, name: str) -> bool:
        return name in self.statuses

    def _order(self, name: str, depth: int) -> list[tuple[str, int]]:
        found = [(name, depth)]
        for child in self.topology.children(name):
            found += self._order(child.id, depth + 1)
        return found

    def _line(self, name: str, depth: int, seen: NodeLine | None) -> NodeLine:
        own = self.statuses.get(name)
        relay = self.factory.relays.get(name)
        cut = relay is not None and relay.is_cut
        if own is None:
            node = self.topology.node(name)
            blank = NodeLine(
                name, node.tier, rank_of(self.topology, node), "", None, None, None, None, None, 0,
                0, None, None,
            )  # fmt: skip
            return replace(seen or blank, depth=depth, state="not running")
        line = flatten({**own, "children": ()})[0]
        judged = seen or line
        return replace(
            line,
            depth=depth,
            state="link cut" if cut else judged.state,
            lag_ms=judged.lag_ms,
            complete_through_ms=judged.complete_through_ms,
            holes=judged.holes,
            clock_offset_ms=judged.clock_offset_ms,
        )

    def summary(self) -> str:
        """One sentence, for output that is not a terminal."""
        edges = sum(
            logged_rows(status)
            for name, status in self.statuses.items()
            if self.topology.node(name).tier == "edge"
        )
        pending = sum(
            int((status.get("delivery") or {}).get("pending_rows") or 0)
            for status in self.statuses.values()
        )
        top = next(node.id for node in self.topology.nodes if node.parent is None)
        held = logged_rows(self.statuses[top]) if self._has(top) else 0
        running = f"{len(self.statuses)} of {len(self.topology.nodes)} nodes answer"
        return f"{running}; {edges:,} rows at the edges, {held:,} at the group, {pending:,} pending"

    def picture(self, heading: str) -> RenderableType:
        """The live view."""
        from rich.console import Group
        from rich.text import Text

        now_ms = time.time_ns() // 1_000_000
        hints = Text(self.hints(), style="dim")
        return Group(Text(heading), "", tree_table(self.lines(), now_ms, self.rates()), "", hints)

    def hints(self) -> str:
        """What to type in a second terminal."""
        top = next(node for node in self.topology.nodes if node.parent is None)
        place, url = self.factory.directory, top.url
        cut = [name for name, relay in self.factory.relays.items() if relay.is_cut]
        change = f"restore {cut[0]}" if cut else f"cut {next(iter(self.factory.relays))}"
        return (
            "Ctrl-C stops everything. In a second terminal:\n"
            f"  mainstem demo {change} --dir {place}\n"
            f'  mainstem sql --url {url} "SELECT count(*), max(tonnage) FROM press_machine"'
        )
