"""Random runs with logs that hold a few records, at the edge and at the relay: outages, faults of
the network, crashes, deletes, corrections. In the end every tier holds the same and says so."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from mainstem_sync.testing.network import Faults
from mainstem_sync.testing.nodes import TestNode
from mainstem_sync.testing.tiers import MINUTE_NS, Tiers

MakeTiers = Callable[..., Tiers]

SMALL_LOG = {"log_segment_bytes": 1500, "log_bytes_max": 4500}
FAULTS = Faults(lose_request=0.05, lose_reply=0.05, duplicate=0.1, delay=0.15, flip=0.02)


class Run:
    """One run; everything follows from the seed."""

    def __init__(self, tiers: Tiers, seed: int) -> None:
        self.tiers = tiers
        self.rng = random.Random(seed)
        for link in tiers.links:
            link.faults = FAULTS
        tiers.write(device="root.p.e.d1", rows=30)

    def act(self) -> None:
        """One random thing."""
        rng, tiers = self.rng, self.tiers
        tiers.clock.advance(rng.choice([0.05, 0.3, 2.0, 10.0]))
        what = rng.random()
        if what < 0.3:
            device = f"root.p.e.d{rng.randrange(4)}"
            start, rows = rng.randrange(600), rng.randrange(1, 40)
            tiers.write(device=device, start_s=start, rows=rows, value=float(rng.randrange(99)))
        elif what < 0.33:
            tiers.edge.engine.sql(f"DELETE FROM root.p.e.d1 WHERE voltage = {rng.randrange(30)}")
        elif what < 0.75:
            for _ in range(rng.randrange(1, 6)):
                rng.choice(tiers.links).step()
        elif what < 0.80:
            link = rng.choice(tiers.links)
            link.restore() if rng.random() < 0.4 else link.cut()
        elif what < 0.93:
            self.look_after(rng.choice([tiers.edge, tiers.plant, tiers.edge]))
        elif what < 0.97:
            rng.choice(tiers.nodes).engine.compact()
        else:
            rng.choice(tiers.nodes).restart()

    def look_after(self, node: TestNode) -> None:
        """What a node does every second or minute."""
        node.federation.run_manifests(self.tiers.clock.now_ns - self.rng.randrange(3) * MINUTE_NS)
        node.engine.flush()
        node.federation.run_verification()

    def settle(self) -> None:
        for link in self.tiers.links:
            link.faults = Faults()
            link.restore()
        for _ in range(5):
            self.tiers.clock.advance(40)
            self.tiers.close(15)

    def assert_equal(self) -> None:
        tiers = self.tiers
        expected = sorted(tiers.values(tiers.edge))
        for node in (tiers.plant, tiers.group):
            assert sorted(tiers.values(node)) == expected, node.name
            assert node.federation.holes == [], node.name
            origins = {state.key.name: state for state in node.federation._follower.origins}
            assert len(origins["edge"].received) == 1, node.name
            assert not origins["edge"].backlog.entries
        for node in (tiers.edge, tiers.plant):
            sums = tiers.forward(node)
            assert (sums["pending"], sums["lost"], sums["parked"]) == (0, 0, 0), (node.name, sums)


def run(tiers: Tiers, seed: int, steps: int) -> None:
    """A run of so many steps."""
    going = Run(tiers, seed)
    for _ in range(steps):
        going.act()
        tiers.check()
    going.settle()
    tiers.check()
    going.assert_equal()


@pytest.mark.parametrize("seed", range(4))
def test_every_tier_holds_the_same(make_tiers: MakeTiers, seed: int) -> None:
    run(make_tiers(edge_options=SMALL_LOG, plant_options=SMALL_LOG), seed, 250)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(100, 200))
def test_every_tier_holds_the_same_for_long(make_tiers: MakeTiers, seed: int) -> None:
    run(make_tiers(edge_options=SMALL_LOG, plant_options=SMALL_LOG), seed, 400)
