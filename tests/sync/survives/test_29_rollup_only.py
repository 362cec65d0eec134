"""Case 29: only the rollup is exported; then late data comes, then a DELETE. The group is VERIFIED
again each time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mainstem_engine.rollup import RollupDefinition, Rollups
from mainstem_sync.state import accounting
from mainstem_sync.state.exports import Export
from mainstem_sync.testing.nodes import ManualClock, TestNode
from mainstem_sync.testing.tiers import METERS, MINUTE_NS, START_MS

ROLLUP = (Export("meters", "rollup", "1m"),)
DEVICES = ("root.p.e.d1", "root.p.e.d2")


class Tree:
    """An edge with rollups of its own, a plant and a group that get nothing else."""

    def __init__(self, base: Path) -> None:
        self.clock = ManualClock()
        self.rollups = Rollups((RollupDefinition("meters", MINUTE_NS, "1m", 0),))
        self.edge = TestNode(
            "edge", base, self.clock, exports=ROLLUP, parent=True, paths=["root.p.e"],
            followers=(self.rollups,),
        )  # fmt: skip
        self.plant = TestNode("plant", base, self.clock, exports=ROLLUP, parent=True)
        self.group = TestNode("group", base, self.clock)
        self.links = [self.edge.link_to(self.plant), self.plant.link_to(self.group)]
        self.edge.engine.create_template(METERS)
        self.edge.engine.create_rollup("meters", "1m", MINUTE_NS)
        self.rollups.bind(self.edge.engine)

    def write(self, device: str, start_s: float, rows: int, value: float) -> None:
        ids = self.edge.engine.device_ids("meters", [device], create=True)
        times = START_MS + int(start_s * 1000) + np.arange(rows) * 1000
        columns = {"current": np.full(rows, value), "voltage": np.arange(rows, dtype=np.int32)}
        self.edge.engine.write("meters", np.repeat(ids, rows), times, columns).wait()

    def settle(self, seconds: float = 0) -> None:
        """What the nodes do every second."""
        self.clock.advance(seconds)
        self.rollups.run(self.clock.now_ns, self.clock.now_ns)
        self.edge.federation.run_manifests(self.clock.now_ns)
        for _ in range(60):
            self.clock.advance(0.12)
            for link in self.links:
                link.step()
            for node in (self.edge, self.plant, self.group):
                assert accounting.check(node.federation.accounting()) == []
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


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    made = Tree(tmp_path)
    yield made
    for node in (made.edge, made.plant, made.group):
        node.stop()


def test_case_29_late_data_then_a_delete(tree: Tree) -> None:
    for device in DEVICES:
        tree.write(device, 0, 180, 1.0)
    tree.settle(400)
    tree.assert_verified(3)
    assert len(content(tree.group)) == 6
    tree.write(DEVICES[0], 30.5, 1, 100.0)
    tree.settle(90)
    tree.assert_verified(5)
    assert content(tree.group)[0][2:4] == (61, 160.0)
    # A part of one window, then the whole of another: the emptied one is a delete.
    engine = tree.edge.engine
    engine.delete("meters", devices=DEVICES[0], start=START_MS, end=START_MS + 10_000).ack.wait()
    engine.delete(
        "meters", devices=DEVICES[1], start=START_MS + 60_000, end=START_MS + 120_000
    ).ack.wait()
    tree.settle(90)
    tree.assert_verified(7)
    assert content(tree.group)[0][2:4] == (51, 150.0)
    assert len(content(tree.group)) == 5
    for node in (tree.edge, tree.plant, tree.group):
        node.engine.flush()
    tree.settle(60)
    tree.assert_verified(8)
