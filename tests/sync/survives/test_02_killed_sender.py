"""Case 2: the sender is killed between commit and send, or between send and acknowledgement. It
resumes from the R that HELLO brings."""

from __future__ import annotations

import pytest

from mainstem_sync.testing.network import Faults
from mainstem_sync.testing.tiers import Tiers


@pytest.mark.parametrize("who", ["edge", "plant"])
@pytest.mark.parametrize("flushed", [False, True])
@pytest.mark.parametrize("moment", ["committed", "sent", "stored"])
def test_case_2_a_killed_sender_resumes(tiers: Tiers, who: str, flushed: bool, moment: str) -> None:
    """``committed``: nothing was sent yet; ``sent``: the request never arrived; ``stored``: the
    acknowledgement never did."""
    node, link = (tiers.edge, tiers.up) if who == "edge" else (tiers.plant, tiers.up2)
    tiers.write(rows=4)
    tiers.run(1)
    for number in range(3):
        if who == "plant":
            tiers.up2.cut()
        tiers.write(rows=4, start_s=100 * (number + 1), value=float(number))
        if who == "plant":
            tiers.run(1)
            tiers.up2.restore()
        tiers.clock.advance(31)
        if flushed:
            node.engine.flush()
        if moment != "committed":
            for _ in range(4):  # HELLO, then the batch
                lost = Faults(lose_request=1.0) if moment == "sent" else Faults(lose_reply=1.0)
                sender = node.federation.sender
                assert sender is not None
                link.faults = lost if sender.state == "connected" else Faults()
                link.step()
                tiers.clock.advance(0.2)
            link.faults = Faults()
        node.restart()
        tiers.check()
        tiers.clock.advance(31)
        tiers.run(2)
    tiers.clock.advance(31)
    tiers.run(2)
    for other in (tiers.plant, tiers.group):
        assert tiers.values(other) == tiers.values(tiers.edge), other.name
        children = other.federation.accounting()["meters"]["children"]
        assert children["from_children"] == 16, other.name
        assert other.federation.alarms() == []
    sums = tiers.forward(node)
    assert (sums["delivered"], sums["pending"], sums["lost"]) == (16, 0, 0)
