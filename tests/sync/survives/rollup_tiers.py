"""Three tiers of which only the edge has rows: the others get its rollups and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mainstem_engine.rollup import RollupDefinition, Rollups
from mainstem_sync.state.exports import Export
from mainstem_sync.testing.nodes import TestNode
from mainstem_sync.testing.tiers import MINUTE_NS, START_MS, Tiers

ROLLUP = (Export("meters", "rollup", "1m"),)
DEVICES = ("root.p.e.d1", "root.p.e.d2")


@dataclass
class RollupTiers(Tiers):
    """An edge with rollups of its own, a plant and a group that get nothing else."""

    edge_exports: Sequence[Export] = ROLLUP
    plant_exports: Sequence[Export] = ROLLUP
    rollups: Rollups = field(
        default_factory=lambda: Rollups((RollupDefinition("meters", MINUTE_NS, "1m", 0),))
    )

    def __post_init__(self) -> None:
        self.edge_options = {**self.edge_options, "followers": (self.rollups,)}
        super().__post_init__()
        self.edge.engine.create_rollup("meters", "1m", MINUTE_NS)
        self.rollups.bind(self.edge.engine)

    def settle(self, seconds: float = 0) -> None:
        """What the nodes do every second."""
        self.clock.advance(seconds)
        self.rollups.run(self.clock.now_ns, self.clock.now_ns)
        self.edge.federation.run_manifests(self.clock.now_ns)
        self.run(7.2)
        for node in (self.plant, self.group):
            node.federation.run_verification()

    def assert_verified(self, through_minute: int) -> None:
        """The group has what the edge computed, all of it verified, and none of the raw rows."""
        for node in (self.plant, self.group):
            (state,) = node.federation.completeness(["meters_1m"])
            assert state["state"] == "complete", state
            assert state["complete_through"] >= START_MS + through_minute * 60_000
            assert node.federation.verify(rescan=True)["slices"] == []
            assert content(node) == content(self.edge)
            (raw,) = node.federation.completeness(["meters"])
            assert raw["state"] == "not_held"


def content(node: TestNode) -> list[tuple[Any, ...]]:
    columns = ["current_count", "current_sum", "voltage_last"]
    found = node.engine.scan("meters_1m", columns=columns).read_all().to_pydict()
    return list(zip(found["device"], found["time"], *(found[c] for c in columns), strict=True))
