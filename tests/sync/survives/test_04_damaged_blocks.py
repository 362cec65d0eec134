"""Case 4: a bit turned over in a part file of a node that runs. Its slices are named, what cannot
be read is given up, and comes again from below, without any command."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mainstem_sync.slices.watch import PROVEN_SLICES_KEPT
from mainstem_sync.testing.nodes import START_NS, TestNode
from mainstem_sync.testing.tiers import MINUTE_NS, START_MS, Tiers

ROWS = 7200


def history(tiers: Tiers, step_ms: int = 1000) -> None:
    """Rows of one device that end where the test begins, delivered and proven, in parts."""
    engine = tiers.edge.engine
    ids = engine.device_ids("meters", ["root.p.e.d1"], create=True)
    values = np.random.default_rng(1).normal(size=ROWS)
    times = START_MS + np.arange(-ROWS, 0) * step_ms
    engine.write("meters", np.repeat(ids, ROWS), times, {"current": values}).wait()
    tiers.close()
    tiers.plant.federation.run_verification()
    assert tiers.plant.federation.verify(rescan=True)["slices"] == []


def turn_bit(node: TestNode) -> None:
    """In the middle of the only part, under the process that has it open."""
    node.engine.flush()
    (part,) = node.directory.rglob("*.part")
    flip(part)


def flip(part: Path) -> None:
    with part.open("r+b") as file:
        file.seek(part.stat().st_size // 3)
        (byte,) = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte ^ 0x10]))


def look(tiers: Tiers, times: int = 4) -> None:
    """What all do every second, for a minute of theirs."""
    for _ in range(times):
        tiers.run(1.8)
        tiers.clock.advance(13)
        tiers.edge.federation.run_manifests(tiers.clock.now_ns)
        for node in (tiers.edge, tiers.plant):
            node.federation.run_verification()


def alarms(node: TestNode) -> list[str]:
    node.engine.log.barrier()
    return [alarm["text"] for alarm in node.federation.alarms() if alarm["code"] == "DAMAGED"]


def test_case_4_a_bit_turned_over_under_a_running_platform(tiers: Tiers) -> None:
    history(tiers)
    before = tiers.values(tiers.plant)
    turn_bit(tiers.plant)
    named = tiers.plant.federation.verify(rescan=True)["slices"]
    assert {each["state"] for each in named} == {"MISMATCH"}
    assert 0 < len(named) < 120, "the other blocks are read as ever"
    tiers.write(rows=30, start_s=700)
    look(tiers)
    assert tiers.values(tiers.plant)[:ROWS] == before
    assert tiers.plant.federation.verify(end_ns=START_NS, rescan=True)["slices"] == []
    (text,) = alarms(tiers.plant)
    assert "its rows are asked for again" in text
    assert tiers.plant.federation.accounting()["meters"]["store"]["lost_local"] > 0
    tiers.check()
    tiers.plant.restart()
    assert tiers.values(tiers.plant)[:ROWS] == before
    look(tiers)
    assert len(alarms(tiers.plant)) == 1


def test_case_4_damage_in_a_time_of_which_only_sums_are_known(tiers: Tiers) -> None:
    history(tiers, step_ms=60_000)
    (state,) = tiers.plant.federation._follower.origins
    assert len(state.watches["meters"].slices) < PROVEN_SLICES_KEPT + 60 < ROWS
    before = tiers.values(tiers.plant)
    turn_bit_of_the_oldest(tiers.plant)
    assert tiers.plant.federation.verify(rescan=True)["slices"] != []
    look(tiers, 8)
    assert tiers.values(tiers.plant)[:ROWS] == before
    assert tiers.plant.federation.verify(end_ns=START_NS, rescan=True)["slices"] == []


def turn_bit_of_the_oldest(node: TestNode) -> None:
    node.engine.flush()
    parts = sorted(node.directory.rglob("*.part"))
    flip(parts[0])


def test_case_4_what_was_given_up_is_not_proven_after_a_crash(tiers: Tiers) -> None:
    """Killed as soon as the rows are gone, before anybody looked again."""
    history(tiers)
    before = tiers.values(tiers.plant)
    turn_bit(tiers.plant)
    plant = tiers.plant.federation
    assert plant.verify(rescan=True)["slices"]
    unreadable = [plant._proof.unreadable]
    assert plant._healing.look(tiers.plant.engine, unreadable, 0) > 0
    tiers.plant.restart()
    assert tiers.values(tiers.plant) != before
    # Nothing is claimed: the slices wait for a scan.
    assert tiers.state(tiers.plant)["complete_through"] < START_MS
    look(tiers)
    assert tiers.values(tiers.plant)[:ROWS] == before


def test_rows_of_the_node_itself_are_not_given_up(tiers: Tiers) -> None:
    """The edge says that they are damaged, and states nothing of them; the platform keeps its."""
    history(tiers)
    before = tiers.values(tiers.plant)
    turn_bit(tiers.edge)
    edge = tiers.edge.federation
    at = (START_NS - 60 * MINUTE_NS) // MINUTE_NS
    edge._follower.manifests.restate("meters", at - 60, at + 60)
    look(tiers)
    (text,) = alarms(tiers.edge)
    assert "mainstem db repair" in text
    assert edge.accounting()["meters"]["store"]["lost_local"] == 0
    assert tiers.values(tiers.plant) == before
    assert tiers.plant.federation.verify(end_ns=START_NS, rescan=True)["slices"] == []
