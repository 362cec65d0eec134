"""Where a point comes from, as each tier knows it."""

from __future__ import annotations

import itertools

import pytest

from mainstem_engine.errors import NotFoundError
from mainstem_sync.lines.moments import MOMENTS_MAX, Moments
from mainstem_sync.testing.nodes import START_NS
from mainstem_sync.testing.tiers import START_MS, Tiers

DEVICE = "root.p.e.d1"


def test_every_tier_knows_its_part_of_the_way(tiers: Tiers) -> None:
    first = tiers.write(rows=3, value=1.0)
    tiers.run(1)
    second = tiers.write(rows=1, start_s=1, value=2.0)
    tiers.close()
    tiers.run(6)
    at_ns = START_NS + 10**9
    edge, plant, group = (node.federation.trace(DEVICE, "CURRENT", at_ns) for node in tiers.nodes)
    for found in (edge, plant, group):
        assert (found["device"], found["measurement"]) == (DEVICE, "current")
        assert found["time"] == START_MS + 1000
        assert found["versions"] == [
            {"node": "edge", "epoch": 0, "lsn": first, "value": 1.0},
            {"node": "edge", "epoch": 0, "lsn": second, "value": 2.0},
        ]
    assert [hop["node"] for hop in edge["hops"]] == ["edge", "plant"]
    assert [hop["node"] for hop in plant["hops"]] == ["edge", "plant", "group"]
    assert [hop["node"] for hop in group["hops"]] == ["edge", "plant", "group"]
    written, received, above = (hop["received"] for hop in plant["hops"])
    assert START_MS < received <= above
    for found in (edge, plant, group):
        # Nobody has a point before whoever it comes from, and nobody answers before it has it.
        times = [found["hops"][0]["received"]]
        for hop, following in itertools.pairwise(found["hops"]):
            times += [hop["acked"], following["received"]]
        known = [each for each in times if each is not None]
        assert known == sorted(known), found["hops"]
    assert START_MS < written <= received
    assert plant["hops"][0]["acked"] == received
    assert plant["hops"][1]["acked"] == above
    assert group["hops"][2] == {"node": "group", "received": above, "acked": None}
    for node in tiers.nodes:
        node.engine.flush()
        node.restart()
    again = tiers.plant.federation.trace(DEVICE, "current", at_ns)
    assert again["versions"] == plant["versions"][-1:] or again["versions"] == plant["versions"]
    assert again["hops"][1]["received"] == received


def test_a_rollup_says_which_of_its_windows_it_fed(tiers: Tiers) -> None:
    tiers.edge.engine.create_rollup("meters", "1m", 60 * 10**9)
    tiers.write(rows=3)
    found = tiers.edge.federation.trace(DEVICE, "voltage", START_NS + 2 * 10**9)
    assert found["rollups"] == [{"table": "meters_1m", "from": START_MS, "to": START_MS + 60_000}]
    assert found["hops"] == [{"node": "edge", "received": None, "acked": None}]
    nothing = tiers.edge.federation.trace(DEVICE, "note", START_NS)
    assert (nothing["versions"], nothing["hops"], nothing["rollups"]) == ([], [], [])


def test_what_there_is_not(tiers: Tiers) -> None:
    tiers.write(rows=1)
    with pytest.raises(NotFoundError) as caught:
        tiers.edge.federation.trace("root.p.e.d7", "current", START_NS)
    assert caught.value.field == "device"
    with pytest.raises(NotFoundError) as caught:
        tiers.edge.federation.trace(DEVICE, "nothing", START_NS)
    assert caught.value.field == "measurement"
    assert "current" in str(caught.value.hint)


def test_moments_are_never_too_early_and_bounded() -> None:
    moments = Moments()
    assert moments.of(1) is None
    for lsn in range(10, 100_000, 10):
        moments.note(lsn, lsn * 2)
    plain = moments.to_plain()
    assert len(plain) <= MOMENTS_MAX
    for lsn in (1, 10, 777, 50_000, 99_985):
        found = Moments.from_plain(plain).of(lsn)
        assert found is not None
        assert found >= lsn * 2
    assert moments.of(99_985) == 99_990 * 2
    assert moments.of(100_000) is None
    assert Moments.from_plain(None).of(1) is None
