"""Case 9 with a log that is released: what the parent lost goes to it as slices.
Case 20: a relay is wiped; the edge holds its rows, and the group misses nothing."""

from __future__ import annotations

import pytest

from mainstem_engine.log.records import RecordKind
from mainstem_sync.testing.nodes import TestNode
from mainstem_sync.testing.tiers import Tiers

from .copies import roll_back, snapshot, wait, wipe


def release(tiers: Tiers, node: TestNode) -> None:
    """Everything that the parent acknowledged leaves the log."""
    for _ in range(3):
        tiers.run(2)
        node.engine.flush()
        node.engine.log.rotate()
        tiers.clock.advance(1)
        node.engine.append(RecordKind.EVT, {"op": "note"}).wait()
        tiers.run(2)
        node.engine.flush()


def history(tiers: Tiers) -> None:
    tiers.write(rows=100)
    tiers.write("root.p.e.d2", start_s=60, rows=70, value=2.0)
    tiers.write(rows=5, value=9.0)
    tiers.edge.engine.sql("DELETE FROM root.p.e.d2 WHERE voltage = 7")
    tiers.close(5)


def assert_whole(tiers: Tiers) -> None:
    for _ in range(4):
        wait(tiers)
        tiers.close(3)
    expected = sorted(tiers.values(tiers.edge))
    for node in (tiers.plant, tiers.group):
        assert sorted(tiers.values(node)) == expected, node.name
        assert node.federation.holes == [], node.name
        assert tiers.state(node)["state"] == "complete", node.name
    tiers.check()


@pytest.mark.parametrize("wiped", [False, True])
def test_case_9_the_group_lost_what_the_relay_released(tiers: Tiers, wiped: bool) -> None:
    tiers.write(rows=3)
    tiers.run(1)
    copy = snapshot(tiers.group)
    history(tiers)
    release(tiers, tiers.plant)
    first = tiers.plant.engine.log.first_lsn
    assert first > 3
    if wiped:
        wipe(tiers.group)
    else:
        roll_back(tiers.group, copy)
    tiers.write(start_s=600, rows=2)
    assert_whole(tiers)


@pytest.mark.parametrize("wiped", [False, True])
def test_case_20_a_relay_lost_what_the_edge_released(tiers: Tiers, wiped: bool) -> None:
    tiers.write(rows=3)
    tiers.run(1)
    copy = snapshot(tiers.plant)
    history(tiers)
    release(tiers, tiers.edge)
    assert tiers.edge.engine.log.first_lsn > 3
    if wiped:
        wipe(tiers.plant)
    else:
        roll_back(tiers.plant, copy)
    tiers.write(start_s=600, rows=2)
    assert_whole(tiers)
