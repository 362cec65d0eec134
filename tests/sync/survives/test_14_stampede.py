"""Case 14: a thousand edges reconnect together, and do not arrive together.

``mainstem bench edges`` measures it with a real parent.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from mainstem_sync.sending.session import RETRY_MAX_S, Session
from mainstem_sync.testing.nodes import ManualClock

EDGES = 1000
HELLOS_PER_S_MAX = 200


@pytest.mark.parametrize("outage_s", [10, 60, 600])
def test_case_14_the_pauses_of_a_thousand_spread(outage_s: int) -> None:
    """All lose the parent in one instant; each tries again whenever its pause is over."""
    log: Any = None
    arrived: Counter[int] = Counter()
    late = 0.0
    for number in range(EDGES):
        clock = ManualClock(elapsed_s=0.0)
        session = Session(
            log,
            clock_ns=clock.wall,
            monotonic=clock.monotonic,
            rng=random.Random(number),
        )
        while clock.elapsed_s < outage_s:
            session.failed("the parent is down")
            clock.advance(session.wait_s())
        arrived[int(clock.elapsed_s)] += 1
        late = max(late, clock.elapsed_s - outage_s)
    assert sum(arrived.values()) == EDGES
    assert max(arrived.values()) <= HELLOS_PER_S_MAX
    assert late <= RETRY_MAX_S
