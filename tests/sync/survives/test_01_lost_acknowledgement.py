"""Case 1: an acknowledgement is lost. The batch comes again and is discarded by R."""

from __future__ import annotations

from mainstem_sync.testing.network import Faults
from mainstem_sync.testing.tiers import Tiers


def test_case_1_a_lost_acknowledgement_costs_a_duplicate(tiers: Tiers) -> None:
    tiers.run(1)
    for number in range(6):
        tiers.write(rows=5, start_s=10 * number, value=float(number))
        tiers.clock.advance(0.2)
        tiers.up.faults = Faults(lose_reply=1.0)
        tiers.up.step()
        tiers.up.faults = Faults()
        tiers.clock.advance(31)
        tiers.run(2)
    sums = tiers.plant.federation.accounting()["meters"]["children"]
    assert sums["from_children"] == 30
    assert tiers.values(tiers.plant) == tiers.values(tiers.edge)
    assert tiers.values(tiers.group) == tiers.values(tiers.edge)
    logged = tiers.plant.federation.accounting()["meters"]["log"]
    assert logged["from_children"] == 30, "nothing was applied twice"


def test_case_1_a_batch_that_is_sent_again_as_it_was_is_a_duplicate(tiers: Tiers) -> None:
    """Without a HELLO in between, R at the receiver alone decides."""
    tiers.run(1)
    tiers.write(rows=5)
    tiers.clock.advance(0.2)
    sender = tiers.edge.federation.sender
    assert sender is not None
    request = sender.next_request()
    assert request is not None
    receiver = tiers.plant.federation.receiver
    replies = [receiver.batches(tiers.up._child, request.body) for _ in range(3)]
    assert {reply.status for reply in replies} == {200}
    sums = tiers.plant.federation.accounting()["meters"]["children"]
    assert (sums["from_children"], sums["duplicates"]) == (5, 10)
    sender.on_reply(request, replies[-1].status, replies[-1].body)
    tiers.run(2)
    assert tiers.forward(tiers.edge)["delivered"] == 5
    assert len(tiers.values(tiers.group)) == 5
