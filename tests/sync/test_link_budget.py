"""What a sender makes of its budget, of silence, and of a parent that is busy."""

from __future__ import annotations

import datetime as dt
import random

import pytest

from mainstem_engine.errors import OverloadedError
from mainstem_sync.sending.budget import SAVED_S, LinkWindow
from mainstem_sync.sending.sender import Sender
from mainstem_sync.testing.tiers import Tiers


def sender_of(tiers: Tiers) -> Sender:
    sender = tiers.edge.federation.sender
    assert sender is not None
    return sender


def test_a_thin_budget_is_kept_and_everything_arrives(tiers: Tiers) -> None:
    tiers.run(1)
    rng = random.Random(1)
    for n in range(40):
        tiers.write(f"root.p.e.d{n % 3}", start_s=n * 500, rows=500, value=rng.random())
    tiers.edge.federation.budget.change(2_000)
    before, begun = tiers.up.bytes, tiers.clock.monotonic()
    seconds, largest = 0.0, 0
    while not sender_of(tiers).is_drained():
        carried = tiers.up.bytes
        tiers.run(0.36)
        largest = max(largest, tiers.up.bytes - carried)
        seconds += 0.36
        assert seconds < 300
    carried = tiers.up.bytes - before
    assert carried <= 2_000 * (tiers.clock.monotonic() - begun + SAVED_S) + largest
    assert seconds > 3
    assert tiers.values(tiers.plant) == tiers.values(tiers.edge)


def test_silence_is_announced_and_kept(tiers: Tiers) -> None:
    budget = tiers.edge.federation.budget
    start = dt.datetime.fromtimestamp(tiers.clock.now_ns // 10**9, dt.UTC)
    begins, ends = (f"{start + dt.timedelta(minutes=n):%H:%M}" for n in (1, 11))
    budget.change(None, [LinkWindow.parse("mon-sun", begins, ends, "UTC", 0)])
    tiers.write()
    tiers.run(70)
    tiers.write(start_s=1000)
    requests = tiers.up.requests
    tiers.run(100)
    assert tiers.up.requests == requests
    assert len(tiers.values(tiers.plant)) == 10
    (child,) = tiers.plant.federation.children()
    assert child["state"] == "lagging"
    tiers.clock.advance(600)
    tiers.run(5)
    assert tiers.values(tiers.plant) == tiers.values(tiers.edge)
    (child,) = tiers.plant.federation.children()
    assert child["state"] == "live"


def test_a_busy_parent_is_left_alone_and_the_lease_stays(
    tiers: Tiers, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiers.run(1)
    tiers.write()
    engine = tiers.plant.engine

    def full(*_: object, **__: object) -> None:
        raise OverloadedError("no memory is free", retry_after_s=5)

    monkeypatch.setattr(engine, "append", full)
    requests = tiers.up.requests
    tiers.run(5)
    # One was refused; heartbeats go on, and nothing else before the pause ends.
    assert tiers.plant.federation.receiver.drops == {"busy": 1}
    assert tiers.up.requests - requests <= 5
    monkeypatch.undo()
    tiers.run(8)
    assert tiers.values(tiers.plant) == tiers.values(tiers.edge)


def test_definitions_do_not_wait_for_the_history_that_waits_for_them(tiers: Tiers) -> None:
    """A load before the first HELLO: history cannot begin before its template is known above."""
    tiers.edge.federation.budget.change(32_000.0)
    tiers.write(rows=5000)
    tiers.run(20, check=False)
    assert tiers.forward(tiers.edge)["pending"] == 0
