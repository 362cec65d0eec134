"""A replaced machine: a new disk under an old name. What the old one delivered stays its own; what
it did not prove is said to be missing; the new one begins at once."""

from __future__ import annotations

from typing import Any

import pytest

from mainstem_sync.slices.wants import Wanted
from mainstem_sync.testing.nodes import TestNode
from mainstem_sync.testing.tiers import METERS, START_MS, Tiers
from mainstem_sync.wire.frames import decode_frames

OLD_CLOSED_MS = START_MS + 600_000


def replace(tiers: Tiers) -> TestNode:
    """The edge is gone with its disk; returns what is left of it."""
    tiers.edge.stop()
    old = tiers.edge
    tiers.edge = TestNode(
        "edge", tiers.base / "replaced", tiers.clock, exports=tiers.edge_exports, parent=True,
        paths=["root.p.e"],
    )  # fmt: skip
    tiers.edge.engine.create_template(METERS)
    tiers.up = tiers.edge.link_to(tiers.plant, paths=["root.p.e"])
    return old


@pytest.fixture
def replaced(tiers: Tiers) -> Tiers:
    """Minutes 0 and 1 are closed, minute 20 was written to, delivered in part, and never closed."""
    tiers.write(rows=100)
    tiers.close()
    tiers.write(start_s=1200, rows=30)
    tiers.run()
    tiers.up.cut()
    tiers.write(start_s=1240, rows=10)
    replace(tiers)
    tiers.write(start_s=1250, rows=10, value=5.0)
    tiers.write(start_s=1300, rows=100, value=6.0)
    tiers.run()
    settle(tiers)
    return tiers


def settle(tiers: Tiers) -> None:
    for _ in range(3):
        tiers.close(20)
    for _ in range(3):
        tiers.clock.advance(20)
        tiers.run(2)
        for node in (tiers.plant, tiers.group):
            node.federation.run_verification()
    # So that nothing but what is due is looked at.
    tiers.edge.federation.run_manifests(tiers.clock.now_ns)
    tiers.run(2)


def objects(node: TestNode) -> tuple[dict[str, Any], dict[str, Any]]:
    """Completeness of the old and of the new machine."""
    old, new = node.federation.completeness(["meters"])
    assert old["node"] == new["node"] == "edge"
    return old, new


def test_a_new_disk_under_an_old_name_goes_on(replaced: Tiers) -> None:
    tiers = replaced
    link = tiers.edge.federation.link()
    assert link is not None
    assert link["state"] == "connected"
    for node in (tiers.plant, tiers.group):
        values = tiers.values(node)
        assert len(values) == 100 + 30 + 10 + 100, node.name
        assert {row[2] for row in values if row[1] >= 1250} == {5.0, 6.0}
    tiers.check()


def test_what_the_old_one_proved_stays_proven_and_the_rest_is_declared(replaced: Tiers) -> None:
    tiers = replaced
    for again in range(2):
        for node in (tiers.plant, tiers.group):
            old, new = objects(node)
            assert (old["state"], old["holes"]) == ("retired", []), node.name
            assert old["complete_through"] == OLD_CLOSED_MS
            (lost,) = old["lost"]
            # The minute of the change has rows of both: those of the old one are not proven.
            assert (lost["from"], lost["to"]) == (OLD_CLOSED_MS, START_MS + 1_260_000)
            assert lost["reason"] == "retired"
            assert new["lost"] == []
            assert new["complete_through"] > START_MS + 1_400_000
            window = (START_MS * 10**6, (START_MS + 1_500_000) * 10**6)
            listed = node.federation.verify(*window, rescan=True)["slices"]
            assert [(s["state"], s["from"]) for s in listed] == [("RETIRED", OLD_CLOSED_MS)], again
        if not again:
            for node in (tiers.plant, tiers.group):
                node.engine.flush()
                node.restart()
            settle(tiers)


def test_nobody_is_asked_for_what_the_old_one_had(replaced: Tiers) -> None:
    replaced.clock.advance(3600)
    asked = replaced.plant.federation.exchange.repair.frames("edge")
    wanted = [Wanted.from_frame(frame) for frame in decode_frames(asked)] if asked else []
    assert [w for w in wanted if w.wants or w.says] == []


def test_rows_of_the_old_one_may_be_deleted_above_it(replaced: Tiers) -> None:
    found = replaced.plant.engine.delete("meters", end=START_MS + 60_000)
    found.ack.wait()
    assert found.rows == 60
    old, _ = objects(replaced.plant)
    assert [item["reason"] for item in old["lost"]] == ["deleted_here", "retired"]
    replaced.check()
