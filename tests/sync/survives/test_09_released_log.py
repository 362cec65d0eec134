"""Case 9 with a log that is released: what the parent lost goes to it as slices.
Case 20: a relay is wiped; the edge holds its rows, and the group misses nothing."""

from __future__ import annotations

from typing import Any

import pytest

from mainstem_sync.testing.tiers import Tiers

from .copies import release, roll_back, snapshot, wait, wipe


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


def test_case_9_rows_owed_again_are_counted_once_whatever_is_replayed(make_tiers: Any) -> None:
    """What counted as delivered is pending again since the parent lost it; then it is owed as
    slices, and the process dies: the replay must not take it for delivered."""
    options = {"log_segment_bytes": 6_000, "log_bytes_max": 12_000}
    tiers: Tiers = make_tiers(edge_options=options)
    for number in range(10):
        tiers.write(rows=10, start_s=10 * number)
    tiers.run()
    tiers.up.cut()
    wipe(tiers.plant)
    for number in range(60):
        tiers.write(rows=10, start_s=600 + number)
    tiers.edge.engine.flush()  # a checkpoint by which the first rows are delivered
    owed = tiers.forward(tiers.edge)["pending"]
    tiers.up.restore()
    for _ in range(60):
        tiers.clock.advance(1.0)
        tiers.up2.step()
        tiers.up.step()  # HELLO: the parent has nothing
        if tiers.forward(tiers.edge)["pending"] > owed:
            break
    tiers.up.cut()
    assert tiers.forward(tiers.edge)["pending"] == owed + 100
    assert tiers.edge.federation.exchange.owe() > 0
    assert tiers.edge.federation._follower.forward is not None
    assert tiers.edge.federation._follower.forward.owing.records
    tiers.edge.restart()
    tiers.check()
    tiers.up.restore()
    assert_whole(tiers)


def test_case_9_minutes_without_rows_are_stated_again(tiers: Tiers) -> None:
    """What the relay lost is a statement about minutes in which nothing happened: no row tells
    that something is missing."""
    tiers.write(rows=5)
    tiers.close(3)
    copy = snapshot(tiers.plant)
    tiers.close(4)
    tiers.write(rows=5, start_s=800)
    release(tiers, tiers.edge)
    roll_back(tiers.plant, copy)
    wait(tiers)
    tiers.close(9)
    assert_whole(tiers)
