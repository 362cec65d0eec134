"""Case 4: a tier that is asked for a slice compares what it has with what was stated of it. A relay
repairs it first; its owner says that it changed; what cannot be read holds nothing else up."""

from __future__ import annotations

import pytest

from mainstem_sync.slices.wants import Repairs
from mainstem_sync.testing.nodes import START_NS, TestNode
from mainstem_sync.testing.tampering import tamper, with_row_at, with_value, without
from mainstem_sync.testing.tiers import MINUTE_NS, START_MS, Tiers

from .test_04_damaged_blocks import alarms, history, turn_bit

MINUTE = START_NS // MINUTE_NS + 1
CHANGES = {
    "altered": with_value(70, 0),
    "deleted": without(70),
    "added": with_row_at(70, START_NS + MINUTE_NS + 10_500_000_000),
}


def filled(tiers: Tiers) -> None:
    tiers.write(rows=180)
    tiers.close()
    for node in (tiers.plant, tiers.group):
        assert node.federation.verify(rescan=True)["slices"] == []


def ask(node: TestNode, first: int = MINUTE, end: int = MINUTE + 1) -> Repairs:
    """The node asks the tier below for minutes, by default for that which was changed there."""
    (state,) = [o for o in node.federation._follower.origins if o.key.name == "edge"]
    node.federation.exchange.repair.want(state.key, "meters", range(first, end))
    return state.repairs


def look(tiers: Tiers, times: int = 6) -> None:
    for _ in range(times):
        tiers.run(1.8)
        tiers.clock.advance(7)
        tiers.edge.federation.run_manifests(tiers.clock.now_ns)
        for node in tiers.nodes:
            node.federation.run_verification()


def codes(node: TestNode) -> list[str]:
    node.engine.log.barrier()
    return [alarm["code"] for alarm in node.federation.alarms()]


@pytest.mark.parametrize("change", CHANGES)
def test_case_4_a_relay_repairs_a_slice_before_it_answers(tiers: Tiers, change: str) -> None:
    """Nobody has looked at the relay's rows since they changed."""
    filled(tiers)
    before = tiers.values(tiers.edge)
    tamper(tiers.plant.engine, "meters", CHANGES[change])
    tamper(tiers.group.engine, "meters", without(100))
    ask(tiers.group)
    seen = set()
    for _ in range(60):
        tiers.run(0.6)
        tiers.clock.advance(2)
        tiers.plant.federation.run_verification()
        seen.add(tuple(tiers.values(tiers.group)))
    assert tiers.values(tiers.plant) == before
    assert tiers.values(tiers.group) == before
    wrong = CHANGES[change]
    assert len(seen) == 2, f"the group never had what was {wrong}"


@pytest.mark.parametrize("change", CHANGES)
def test_case_4_an_owner_says_that_its_rows_changed(tiers: Tiers, change: str) -> None:
    filled(tiers)
    tamper(tiers.edge.engine, "meters", CHANGES[change])
    ask(tiers.plant)
    look(tiers)
    assert codes(tiers.edge) == ["ALTERED"]
    # It is the only one that has rows of its own: what it states now is proven everywhere.
    assert tiers.values(tiers.plant) == tiers.values(tiers.edge)
    window = (START_NS, START_NS + 3 * MINUTE_NS)
    assert tiers.plant.federation.verify(*window, rescan=True)["slices"] == []
    look(tiers, 2)
    assert codes(tiers.edge) == ["ALTERED"]


def test_what_changed_in_order_is_no_alarm(tiers: Tiers) -> None:
    """A row, a delete, an added and a dropped column since the statement, and a restart."""
    filled(tiers)
    engine = tiers.edge.engine
    tiers.write(start_s=70.5, rows=2)
    start = START_MS + 80_000
    engine.delete("meters", start=start, end=start + 5_000).ack.wait()
    ask(tiers.plant)
    tiers.run(2)
    engine.sql("ALTER SCHEMA TEMPLATE meters DROP voltage")
    engine.flush()
    engine.compact()
    look(tiers, 3)
    tiers.edge.restart()
    ask(tiers.plant)
    look(tiers, 3)
    assert codes(tiers.edge) == []


def test_case_4_what_an_owner_cannot_read_holds_nothing_else_up(tiers: Tiers) -> None:
    history(tiers)
    turn_bit(tiers.edge)
    ask(tiers.plant, MINUTE - 120, MINUTE)
    tiers.write(start_s=700, rows=5)
    look(tiers, 2)
    assert [row[1] for row in tiers.values(tiers.plant)][-5:] == [700, 701, 702, 703, 704]
    (text,) = alarms(tiers.edge)
    assert "mainstem db repair" in text


def test_case_4_what_a_relay_cannot_read_comes_from_below(tiers: Tiers) -> None:
    history(tiers)
    before = tiers.values(tiers.edge)
    turn_bit(tiers.plant)
    tamper(tiers.group.engine, "meters", without(100))
    ask(tiers.group, MINUTE - 125, MINUTE)
    look(tiers, 8)
    assert tiers.values(tiers.plant) == before
    assert tiers.values(tiers.group) == before
    assert len(alarms(tiers.plant)) == 1
