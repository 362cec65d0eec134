"""A tier deletes rows of a node that is gone: DELETED_HERE, said upward, never brought back."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mainstem_engine.errors import NotOwnerError
from mainstem_sync.slices.slice_states import SliceState
from mainstem_sync.testing.nodes import TestNode
from mainstem_sync.testing.tiers import MINUTE_NS, START_MS, START_NS, Tiers


def delete(tiers: Tiers, seconds: int) -> None:
    """At the plant, everything of one device before this second."""
    found = tiers.plant.engine.delete(
        "meters", devices="root.p.e.d1", end=START_MS + seconds * 1000
    )
    found.ack.wait()


def retire(tiers: Tiers) -> None:
    tiers.plant.federation.retired = lambda node: START_NS * 2 if node == "edge" else None


@pytest.fixture
def closed(tiers: Tiers) -> Tiers:
    """Four closed minutes of two devices, proven everywhere."""
    tiers.write(rows=240)
    tiers.write(device="root.p.e.d2", rows=240, value=2.0)
    tiers.close()
    tiers.until(
        lambda: all(
            (tiers.state(node)["complete_through"] or 0) >= START_MS + 240_000
            for node in (tiers.plant, tiers.group)
        ),
        "four minutes are proven",
        verify=True,
    )
    return tiers


def state_of(tiers: Tiers, node: TestNode, minute: int) -> SliceState:
    follower = node.federation._follower
    (state,) = [s for s in follower.origins.lines() if s.key.name == "edge"]
    found, _, _ = state.watches["meters"].state_of(
        START_NS // MINUTE_NS + minute, state.received.watermark
    )
    return found


def key_of(node: TestNode) -> object:
    (state,) = [s for s in node.federation._follower.origins.lines() if s.key.name == "edge"]
    return state.key


def settle(tiers: Tiers) -> None:
    for _ in range(3):
        tiers.clock.advance(20)
        tiers.run(2)
        for node in (tiers.plant, tiers.group):
            node.federation.run_verification()


def test_rows_of_a_child_that_lives_are_deleted_by_the_child(closed: Tiers) -> None:
    with pytest.raises(NotOwnerError, match="came from node edge"):
        delete(closed, 90)
    closed.check()


def test_rows_of_a_retired_child_are_deleted_here_and_shown(closed: Tiers) -> None:
    retire(closed)
    delete(closed, 90)
    seconds = [row[1] for row in closed.values(closed.plant) if row[0] == "root.p.e.d1"]
    assert seconds == [float(n) for n in range(90, 240)]
    for again in range(2):
        closed.check()
        states = [state_of(closed, closed.plant, n) for n in range(4)]
        assert states == [SliceState.DELETED_HERE] * 2 + [SliceState.VERIFIED] * 2, again
        (lost,) = closed.state(closed.plant)["lost"]
        assert (lost["from"], lost["to"]) == (START_MS, START_MS + 120_000)
        assert lost["reason"] == "deleted_here"
        listed = closed.plant.federation.verify(START_NS, START_NS + 4 * MINUTE_NS, rescan=True)
        assert listed["slices"] == [], "what was done here on purpose is not held against it"
        if not again:
            closed.plant.engine.flush()
        closed.plant.restart()
        retire(closed)
    # It is this tier's own doing: the tiers above and below keep what they have.
    settle(closed)
    for node in (closed.edge, closed.group):
        assert len(closed.values(node)) == 480, node.name
    assert closed.forward(closed.plant)["delivered"] == 480


def test_an_image_does_not_bring_them_back(closed: Tiers) -> None:
    retire(closed)
    delete(closed, 90)
    before = closed.values(closed.plant)
    first = START_NS // MINUTE_NS
    want = closed.plant.federation.exchange.repair.want
    want(key_of(closed.plant), "meters", range(first, first + 4))  # type: ignore[arg-type]
    settle(closed)
    assert sorted(closed.values(closed.plant)) == sorted(before)
    assert [state_of(closed, closed.plant, n) for n in range(4)] == (
        [SliceState.DELETED_HERE] * 2 + [SliceState.VERIFIED] * 2
    )
    sums = closed.plant.federation.accounting()["meters"]["children"]
    assert sums["duplicates"] >= 240, "rows of images that were not taken"
    closed.plant.engine.flush()
    closed.plant.engine.compact()
    closed.plant.restart()
    closed.check()
    assert sorted(closed.values(closed.plant)) == sorted(before)


def test_a_tier_above_that_asks_for_them_is_told_that_they_are_lost(closed: Tiers) -> None:
    retire(closed)
    delete(closed, 90)
    follower = closed.group.federation._follower
    (state,) = [s for s in follower.origins.lines() if s.key.name == "edge"]
    stated = int(state.watches["meters"].slices["man_lsn"].max())
    # Something of the slice is missing at the group: behind its back, a row of it goes.
    engine = closed.group.engine
    (index,) = [n for n, found in enumerate(engine.origins) if found.node == "edge" and n]
    image = engine.slice_image("meters", index, START_NS, START_NS + MINUTE_NS, as_of=1 << 40)
    some = np.arange(len(image.rows)) > 0
    cut = dataclasses.replace(image, rows=image.rows.take(some), lsn=image.lsn[some], as_of=stated)
    engine.apply_image(cut).wait()
    closed.group.federation.run_verification()
    assert state_of(closed, closed.group, 0) is SliceState.MISMATCH
    closed.until(
        lambda: state_of(closed, closed.group, 0) is SliceState.LOST, "it is lost", verify=True
    )
    (lost,) = closed.state(closed.group)["lost"]
    assert (lost["rows"], lost["reason"]) == (1, "lost: deleted")
    assert len(closed.values(closed.group)) == 479
