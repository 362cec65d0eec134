"""A slice that is not whole at its owner any more is declared, and not stated from what is left."""

from __future__ import annotations

import numpy as np

from mainstem_sync.slices.loss import EXPIRED
from mainstem_sync.slices.manifest import SLICE_NS
from mainstem_sync.slices.rolled import Rolled
from mainstem_sync.slices.slice_states import SliceState
from mainstem_sync.slices.watch import TableWatch
from mainstem_sync.testing.nodes import START_NS, TestNode
from mainstem_sync.testing.tiers import MINUTE_NS, START_MS, Tiers
from mainstem_sync.wire.ranges import RangeSet


def cut(tiers: Tiers, *, before_ns: int) -> None:
    """The edge's disk is full: it keeps what is younger only."""
    tiers.edge.engine.flush()
    assert tiers.edge.engine.give_way("meters", before_ns, held=True).parts


def lost(tiers: Tiers, node: TestNode) -> list[tuple[int, int, str]]:
    state = tiers.state(node)
    assert state["state"] == "complete", state
    return [
        ((item["from"] - START_MS) // 1000, (item["to"] - START_MS) // 1000, item["reason"])
        for item in state["lost"]
    ]


def test_rows_that_came_after_the_last_statement_are_no_damage(tiers: Tiers) -> None:
    """Minute 0 was stated; later rows of it were delivered, and are gone before they are stated."""
    tiers.write(rows=3)
    tiers.close(5)
    tiers.write(start_s=20, rows=3)
    tiers.run()
    cut(tiers, before_ns=START_NS + 2 * MINUTE_NS)
    for _ in range(3):
        tiers.close(3)
    for node in (tiers.plant, tiers.group):
        assert len(tiers.values(node)) == 6, "what was delivered stays"
        assert lost(tiers, node) == [(0, 60, "lost: expired")], node.name
        assert not node.federation._proof.damaged_slices()


def test_a_slice_that_was_never_stated_is_declared(tiers: Tiers) -> None:
    """What is left of it at the edge is no statement."""
    tiers.write(rows=30)
    tiers.run()
    tiers.edge.engine.flush()
    tiers.up.cut()
    tiers.write(start_s=40, rows=10)
    tiers.write(start_s=180, rows=10)
    cut(tiers, before_ns=START_NS + MINUTE_NS // 2)
    tiers.close(5)
    tiers.up.restore()
    for _ in range(3):
        tiers.close(3)
    for node in (tiers.plant, tiers.group):
        assert lost(tiers, node) == [(0, 60, "lost: expired")], node.name
        assert len(tiers.values(node)) == 50, "what the log had, and what was there"


def test_a_stretch_that_is_asked_for_is_stated_as_far_as_it_is_whole(tiers: Tiers) -> None:
    tiers.write(rows=3)
    tiers.edge.engine.flush()
    tiers.write(start_s=60, rows=3)
    tiers.close(5)
    cut(tiers, before_ns=START_NS + MINUTE_NS)
    first = START_NS // MINUTE_NS
    tiers.edge.federation._follower.manifests.restate("meters", first, first + 2)
    tiers.close(3)
    for node in (tiers.plant, tiers.group):
        assert lost(tiers, node) == [], "it was verified, and still is"
        assert len(tiers.values(node)) == 6


def test_what_was_declared_is_not_declared_again_after_a_start(tiers: Tiers) -> None:
    tiers.write(rows=3)
    tiers.run()
    cut(tiers, before_ns=START_NS + MINUTE_NS)
    tiers.close(5)
    assert tiers.state(tiers.plant)["lost"]
    tiers.edge.restart()
    started = tiers.edge.engine.log.appended_lsn
    tiers.clock.advance(10)
    tiers.edge.federation.run_manifests(START_NS)
    assert tiers.edge.engine.log.appended_lsn == started


def test_nothing_of_what_was_lost_before_it_was_stated_proves_nothing() -> None:
    watch = TableWatch(SLICE_NS)
    key, none, sums = np.array([7]), np.array([0]), np.zeros(1, np.uint64)
    watch.lost(key, none, None, None, EXPIRED)
    watch.gone(key, none)
    watch.judged(watch.candidates(RangeSet([(1, 9)])), none, sums, sums)
    assert [state for _, state, _, _ in watch.declared(0, 9)] == [SliceState.LOST]


def test_what_a_sum_proves_is_not_lost_by_what_its_owner_cannot_say_again() -> None:
    rolled = Rolled(SLICE_NS)
    keys, one = np.arange(60), np.ones(60, np.int64)
    sums = np.ones(60, np.uint64)
    rolled.hours.add(keys, one, sums, sums, sums)
    assert rolled.proves(np.array([5, 60])).tolist() == [True, False]
    rolled.touched(np.array([5]))
    assert not rolled.proves(np.array([5])).any()
