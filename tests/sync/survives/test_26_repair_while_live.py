"""Case 26: a repair while live rows arrive, in the slices under repair too; it converges."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from mainstem_engine.model import Rows
from mainstem_sync.testing.network import Faults
from mainstem_sync.testing.nodes import START_NS, TestNode
from mainstem_sync.testing.tiers import MINUTE_NS, Tiers


def damage(node: TestNode, minute: int) -> None:
    """Half of the rows of a slice are gone, behind the federation's back."""
    engine = node.engine
    (index,) = [n for n, found in enumerate(engine.origins) if found.node == "edge" and n]
    start = START_NS + minute * MINUTE_NS
    touched = engine.slice_max_lsn("meters", engine.origins[index], start, start + MINUTE_NS)
    image = engine.slice_image("meters", index, start, start + MINUTE_NS, as_of=touched)
    some = np.arange(len(image.rows)) % 2 == 0
    rows: Rows = image.rows.take(some)
    engine.apply_image(replace(image, rows=rows, lsn=image.lsn[some])).wait()


@pytest.mark.parametrize("seed", range(4))
def test_case_26_repair_while_live_flows(tiers: Tiers, seed: int) -> None:
    rng = random.Random(seed)
    tiers.write(rows=240)
    tiers.write(device="root.p.e.d2", rows=200, value=2.0)
    tiers.close()
    for link in tiers.links:
        link.faults = Faults(lose_reply=0.1, duplicate=0.2, delay=0.2)
    for number in range(25):
        if number % 8 == 0:
            damage(rng.choice([tiers.plant, tiers.group]), rng.randrange(4))
        tiers.write(start_s=rng.randrange(240), rows=rng.randrange(1, 5), value=float(number))
        tiers.write(start_s=900 + number, rows=1)
        if rng.random() < 0.2:
            tiers.edge.engine.sql(f"DELETE FROM root.p.e.d2 WHERE voltage = {number}")
        tiers.run(rng.choice([0.1, 0.4, 1.0]))
        for node in (tiers.edge, tiers.plant):
            node.federation.run_manifests(tiers.clock.now_ns - 12 * MINUTE_NS)
        for node in (tiers.plant, tiers.group):
            node.federation.run_verification()
    for link in tiers.links:
        link.faults = Faults()
    for _ in range(4):
        tiers.clock.advance(40)
        tiers.close(6)
    expected = sorted(tiers.values(tiers.edge))
    for node in (tiers.plant, tiers.group):
        assert sorted(tiers.values(node)) == expected, node.name
        assert node.federation.holes == [], node.name
    tiers.check()
