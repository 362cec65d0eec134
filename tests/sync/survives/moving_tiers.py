"""Two edges below one plant, or below two: devices are moved between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mainstem_engine.model import SELF_ORIGIN
from mainstem_engine.rollup import RollupDefinition, Rollups
from mainstem_sync.state.exports import Export
from mainstem_sync.testing.down_link import DownLink
from mainstem_sync.testing.network import Link
from mainstem_sync.testing.nodes import START_NS, TestNode
from mainstem_sync.testing.tiers import METERS, MINUTE_NS, START_MS, Tiers
from mainstem_sync.wire.order import State

DEVICE = "root.p.e.d1"


@dataclass
class MovingTiers(Tiers):
    """``edge`` (root.p.e) and ``paint`` with their ways down. ``far``: paint is below ``second``,
    another plant. ``rolled``: both edges deliver rollups of so many minutes, too."""

    far: bool = False
    rolled: int = 0

    def __post_init__(self) -> None:
        exports = [Export("meters")]
        every = f"{self.rolled}m"
        self.rollups = [
            Rollups((RollupDefinition("meters", self.rolled * MINUTE_NS, every, 0),))
            for _ in range(2 if self.rolled else 0)
        ]
        if self.rolled:
            exports.append(Export("meters", "rollup", every))
            self.edge_exports = self.plant_exports = exports
            self.edge_options = {"followers": self.rollups[:1]}
        super().__post_init__()
        place = "root.q.f" if self.far else "root.p.f"
        self.paint = TestNode(
            "paint", self.base, self.clock, exports=exports, parent=True, paths=[place],
            followers=self.rollups[1:],
        )  # fmt: skip
        self.paint.engine.create_template(METERS)
        for node, rollups in zip((self.edge, self.paint), self.rollups, strict=False):
            node.engine.create_rollup("meters", every, self.rolled * MINUTE_NS)
            rollups.bind(node.engine)
        above = self.plant
        self._more: list[TestNode] = [self.paint]
        self._more_links: list[Link] = []
        if self.far:
            above = self.second = TestNode(
                "second", self.base, self.clock, exports=exports, parent=True, paths=["root.q"]
            )
            self._more.append(above)
            self._more_links.append(above.link_to(self.group, paths=["root.q"]))
            self.down_second = DownLink(above, self.group)
        self.up_paint = self.paint.link_to(above, paths=[place])
        self._more_links.append(self.up_paint)
        self.down_edge = DownLink(self.edge, self.plant)
        self.down_plant = DownLink(self.plant, self.group)
        self.down_paint = DownLink(self.paint, above)
        self.works = True
        """Whether nodes carry orders out."""

    @property
    def nodes(self) -> list[TestNode]:
        return [*super().nodes, *self._more]

    @property
    def links(self) -> list[Link]:
        return [*super().links, *self._more_links]

    @property
    def downs(self) -> list[DownLink]:
        found = [self.down_plant, self.down_edge, self.down_paint]
        return [*found, self.down_second] if self.far else found

    def run(self, seconds: float = 3.0, check: bool = True) -> None:
        for _ in range(int(seconds)):
            super().run(1.0, check)
            for down in self.downs:
                down.step()
            for node in self.nodes:
                if node.up and self.works:
                    self.obey(node)
                    node.federation.moving.look()
                    node.federation.run_verification()

    def obey(self, node: TestNode) -> None:
        """The orders of one node."""
        down = node.federation.down
        for standing in down.unfinished():
            found = node.federation.moving.take(standing.order)
            down.say(standing.order.id, State.DONE, found).wait()

    def settle(self, minutes: int = 10) -> None:
        """So much time passes; every slice is closed, delivered and verified."""
        self.clock.advance(minutes * 60)
        for _ in range(2):
            for rollups in self.rollups:
                rollups.run(self.clock.now_ns, self.clock.now_ns)
            for node in self.nodes:
                if node.up:
                    node.federation.run_manifests(self.clock.now_ns)
            self.run(12)

    def cut(self, node: TestNode) -> None:
        """Nothing goes up or down between an edge and its plant."""
        link, down = self._ways(node)
        link.cut()
        down.up = False

    def mend(self, node: TestNode) -> None:
        link, down = self._ways(node)
        link.restore()
        down.up = True

    def _ways(self, node: TestNode) -> tuple[Link, DownLink]:
        if node is self.edge:
            return self.up, self.down_edge
        return self.up_paint, self.down_paint

    def move(self, minute: int, at: TestNode | None = None, to: str = "paint") -> None:
        (at or self.plant).federation.moving.move(DEVICE, to, time_ns(minute))

    def states(self, at: TestNode | None = None) -> dict[str, str]:
        """How far each node is with the last move, as known at the one who gave it."""
        moves = (at or self.plant).federation.moving.listed(DEVICE)
        return {told["node"]: told["state"] for told in moves[-1]["nodes"]}


def time_ns(minute: int) -> int:
    """The start of a minute of the test."""
    return START_NS - START_NS % MINUTE_NS + minute * MINUTE_NS


def second(minute: int) -> float:
    """The same, in seconds after START."""
    return (time_ns(minute) - START_NS) / 1e9


def by_owner(node: TestNode, device: str = DEVICE) -> dict[str, list[float]]:
    """Node to the seconds of the rows that are stored of it."""
    engine = node.engine
    number = engine.catalog.devices.id_of(device)
    found: dict[str, list[float]] = {}
    for index, origin in enumerate(engine.origins):
        rows = engine.scan_rows("meters", origin=index)
        times = rows.time[rows.device == number] if number is not None else rows.time[:0]
        name = node.name if index == SELF_ORIGIN else origin.node
        if len(times):
            some = [(time // 10**6 - START_MS) / 1000 for time in times.tolist()]
            found[name] = sorted(found.get(name, []) + some)
    return found


def put_aside(node: TestNode) -> list[dict[str, Any]]:
    """What the node has put aside for belonging to another."""
    items = node.federation.quarantine.items()
    return [item for item in items if item["reason"] == "not_owner"]
