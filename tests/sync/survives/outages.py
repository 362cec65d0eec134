"""Outages that outlast the log, and what must be true when they are over."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from mainstem_sync.testing.nodes import START_NS
from mainstem_sync.testing.tiers import MINUTE_NS, Tiers

MakeTiers = Callable[..., Tiers]
SMALL_LOG = {"log_segment_bytes": 2048, "log_bytes_max": 6000}
"""A few records: an outage of minutes is longer than this log."""


def outage(tiers: Tiers, minutes: int = 12, *, device: str = "root.p.e.d1") -> None:
    """The edge goes on by itself, and knows it; what its log cannot keep is owed as slices."""
    for minute in range(minutes):
        tiers.up.step()  # into the void
        tiers.write(device=device, start_s=60.0 * minute, rows=50, value=float(minute))
        tiers.clock.advance(60)
        tiers.edge.federation.run_manifests(tiers.clock.now_ns)
        tiers.edge.engine.flush()
    tiers.edge.federation.run_manifests(tiers.clock.now_ns)
    tiers.edge.engine.flush()
    tiers.check()


def reconnected(tiers: Tiers) -> None:
    """The link is back, the edge has said HELLO, and nothing else has gone up yet."""
    tiers.up.restore()
    steps = itertools.count()
    while tiers.edge.federation.link()["state"] != "connected":  # type: ignore[index]
        tiers.clock.advance(0.12)
        tiers.up.step()
        assert next(steps) < 1000


def restored(tiers: Tiers) -> None:
    tiers.up.restore()
    tiers.run(30)
    tiers.close(15)
    tiers.run()
    for node in (tiers.plant, tiers.group):
        node.federation.run_verification()


def assert_whole(tiers: Tiers) -> None:
    expected = sorted(tiers.values(tiers.edge))
    for node in (tiers.plant, tiers.group):
        assert sorted(tiers.values(node)) == expected, node.name
        assert node.federation.holes == [], node.name
        assert tiers.state(node)["state"] == "complete"
        # From the first minute on, with a statement about every one.
        origins = node.federation._follower.origins
        (closed,) = [o.watches["meters"].closed for o in origins if o.key.name == "edge"]
        assert closed.covers(START_NS // MINUTE_NS, START_NS // MINUTE_NS + 20), closed
    for node in (tiers.edge, tiers.plant):
        sums = tiers.forward(node)
        assert (sums["pending"], sums["lost"], sums["parked"]) == (0, 0, 0), (node.name, sums)
        delivery = node.federation.delivery()
        assert delivery is not None
        assert delivery["pending_bytes"] == 0
    tiers.check()
