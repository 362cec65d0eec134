"""The simulated fleet: what is labelled anew is what its sender would have posted, a core is shared
as its page says, and a handful of edges delivers every row to both tiers."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from fleet import finish, quick, steady
from report import Report
from simulated.edge import Edge, Latencies
from simulated.mirror import Leader, Mirror
from simulated.queueing import Core
from simulated.relabel import Template
from simulated.tier import Answered, Post
from simulated.tier_process import TABLE
from simulated.world import Costs, World

from mainstem_sync.receiving.receiver import Child
from mainstem_sync.testing.agenda import Agenda
from mainstem_sync.testing.memory_nodes import MemoryNode
from mainstem_sync.wire.frames import decode_frames
from mainstem_sync.wire.messages import BATCHES_PATH, DOWN_PATH

COSTS = Costs(0.0004, 0.00014)


class Door:
    """A platform in this process, that answers at once; what it was posted is kept."""

    def __init__(self, agenda: Agenda) -> None:
        self.node = MemoryNode("plant", agenda, random.Random(1))
        self.node.start()
        self.posts: list[Post] = []

    def post(self, post: Post, answer: Callable[[Answered | None], None]) -> None:
        self.posts.append(post)
        if post.path == DOWN_PATH:
            answer(None)
            return
        child = Child(post.child, [f"root.site.{post.child}"])
        self.node.serve(
            child, post.path, post.body, lambda reply: answer(Answered(reply.status, reply.body))
        )


def test_an_edge_and_its_mirror() -> None:
    agenda = Agenda()
    door, latencies = Door(agenda), Latencies(from_s=0.0)
    edge = Edge(0, 2, agenda, door, latencies)
    leader = Leader(edge)
    mirror = Mirror(100, leader, agenda, door, latencies)
    edge.start()
    mirror.start()
    agenda.run_until(100.0)
    edge.writes = False
    agenda.run_until(110.0)
    plant = door.node
    plant.federation.run_verification()
    # Every row is there under both names, and what is stated of them is proven.
    found = plant.engine.aggregate(TABLE, {"m0": ["count"]}, by="device").to_pydict()
    counts = next(values for name, values in found.items() if "count" in name)
    assert counts == [edge.rows // 2] * 4
    assert sorted(found["device"]) == sorted([*edge.devices, *mirror.devices])
    complete = plant.federation.completeness()
    assert {item["node"] for item in complete} == {edge.name, mirror.label.name}
    first_minute = 60_000 + 1_800_000_000_000
    assert [item["complete_through"] for item in complete] == [first_minute] * 2
    assert not mirror.refused
    # Rows of both are noted, and soon.
    assert len(latencies.found) > 150
    assert max(latencies.found) < 0.5
    # Under its own name a request comes out as it was.
    engine = edge.node.engine
    for post in door.posts:
        if post.child == edge.name and post.path == BATCHES_PATH:
            opening = next(iter(decode_frames(post.body))).header
            made = Template.of(1, leader.label, post.body, edge.times)
            body, _ = made.encode(
                leader.label, engine, opening["lease"], opening["n"], opening["time_ns"]
            )
            assert body == post.body


def test_background_work_has_half_of_a_core() -> None:
    agenda = Agenda()
    core = Core(agenda)
    assert core.serve(0.5) == 0.5
    agenda.run_until(0.5)
    assert core.work("proof", 1.0) == 1.0
    assert core.serve(0.25) == 0.5, "each has half"
    agenda.run_until(1.0)
    assert core.work("proof", 0.0) == 0.75, "a quarter was done meanwhile"
    agenda.run_until(1.5)
    assert core.work("proof", 0.0) == 0.25, "an idle core does it alone"
    agenda.run_until(9.0)
    assert core.serve(1.0) == 1.0
    assert core.used == {"requests": 1.75, "proof": 1.0}


def test_a_small_fleet_delivers_everything(tmp_path: Path) -> None:
    report = Report("fleet", quick=True)
    with World(tmp_path, 4, 1, COSTS, full_max=2) as world:
        world.start(0.5)
        world.run(1.0)
        steady(report, world, 1.0)
        finish(world)
    figures = {figure.name: figure.value for figure in report.figures}
    assert figures["platform, requests"] >= 4
    assert 0 < figures["group, cores"] < 1
    assert figures["edge to platform, p50"] <= figures["edge to platform, p99"] < 1000


@pytest.mark.slow
def test_a_stampede_and_an_outage_lose_nothing(tmp_path: Path) -> None:
    report = Report("fleet", quick=True)
    quick(report, tmp_path, COSTS)
    figures = {figure.name: figure.value for figure in report.figures}
    assert 0 < figures["until all are back"] < 60
    assert figures["until the platform has all"] <= figures["until the group has all"] < 60
