"""Case 7: the edge's disk is full while its log is released: the oldest owed rows go, declared as
LOSS, and the sums hold."""

from __future__ import annotations

import pytest

from mainstem_engine.log.records import RecordKind
from mainstem_sync.slices.wants import Want
from mainstem_sync.testing.nodes import START_NS
from mainstem_sync.testing.tiers import MINUTE_NS, START_MS, Tiers
from mainstem_sync.wire.ranges import RangeSet

from .outages import SMALL_LOG, MakeTiers, outage, restored


@pytest.mark.parametrize("restarts", [False, True])
def test_case_7_owed_rows_are_lost_and_declared(make_tiers: MakeTiers, restarts: bool) -> None:
    tiers = make_tiers(edge_options=SMALL_LOG)
    tiers.write(rows=5)
    tiers.run()
    tiers.up.cut()
    outage(tiers)
    result = tiers.edge.engine.give_way("meters", START_NS + 4 * MINUTE_NS, held=True)
    assert result.rows > 100
    tiers.check()
    if restarts:
        tiers.edge.restart()
        tiers.check()
    restored(tiers)
    for _ in range(3):
        tiers.run(3)
        tiers.close(3)
    sums = tiers.forward(tiers.edge)
    assert sums["pending"] == 0
    assert sums["lost"] >= 150
    assert sums["lost"] + sums["delivered"] == sums["logged"] == 605
    kept = sorted(row for row in tiers.values(tiers.edge))
    assert {row[1] // 60 for row in kept} == set(range(4, 12))
    for node in (tiers.plant, tiers.group):
        # What came before the disk was full is not taken back.
        assert [row for row in sorted(tiers.values(node)) if row[1] >= 240] == kept, node.name
        (lost,) = tiers.state(node)["lost"]
        assert (lost["from"], lost["to"]) == (START_MS, START_MS + 4 * 60_000), node.name
        # Five rows of the first minute came before the outage.
        assert (lost["rows"], lost["reason"]) == (195, "lost: expired")
        assert {hole["state"] for hole in node.federation.holes} == {"LOST"}
        origins = {state.key.name: state for state in node.federation._follower.origins}
        assert len(origins["edge"].received) == 1, "D passes"
    tiers.check()


def test_a_parent_that_goes_on_asking_is_told_once_in_a_while(tiers: Tiers) -> None:
    """Each answer is a record of the log, and a parent asks every few seconds."""
    tiers.write(rows=5)
    tiers.run(1)
    exchange, log = tiers.edge.federation.exchange, tiers.edge.engine.log
    want = Want("meters", MINUTE_NS, 0, RangeSet([(0, 2)]))

    def told() -> int:
        log.barrier()
        return sum(record.kind == RecordKind.LOSS for record in log.read(1))

    for _ in range(5):
        exchange._lose(want, RangeSet([(0, 2)]), "expired")
    assert told() == 1
    exchange._lose(want, RangeSet([(2, 3)]), "expired")
    assert told() == 2, "of one slice nothing was said"
    tiers.clock.advance(601)
    exchange._lose(want, RangeSet([(0, 2)]), "expired")
    assert told() == 3, "it may have lost what it was told"
