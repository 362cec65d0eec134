"""Edge to platform to group: every row arrives once, whatever is lost or dies on the way."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pytest

from mainstem_sync import Export
from mainstem_sync.sending.session import LinkState
from mainstem_sync.state import accounting
from mainstem_sync.testing.network import Faults
from mainstem_sync.testing.tiers import METERS, Tiers
from mainstem_sync.wire.messages import BATCHES_PATH

MakeTiers = Callable[..., Tiers]


def test_rows_arrive_at_every_tier_with_their_values(tiers: Tiers) -> None:
    tiers.write(rows=20)
    tiers.write("root.p.e.d2", rows=5, value=2.5)
    tiers.run()
    expected = tiers.values(tiers.edge)
    assert len(expected) == 25
    assert tiers.values(tiers.plant) == expected
    assert tiers.values(tiers.group) == expected
    devices = tiers.group.engine.catalog.devices
    assert devices.tags(devices.id_of("root.p.e.d2") or 0) == {"line": "a"}
    assert devices.is_foreign(0)
    assert tiers.forward(tiers.edge) == {
        "logged": 25, "not_exported": 0, "delivered": 25, "pending": 0, "parked": 0, "lost": 0,
    }  # fmt: skip
    delivery = tiers.edge.federation.delivery()
    assert delivery is not None
    assert delivery["acked_lsn"] == delivery["head_lsn"]
    assert tiers.group.federation.delivery() is None


def test_a_lost_acknowledgement_costs_a_duplicate_and_nothing_else(tiers: Tiers) -> None:
    tiers.run(1)
    tiers.up.faults = Faults(lose_reply=1.0)
    tiers.write(rows=10)
    tiers.run(2)
    assert tiers.forward(tiers.edge)["delivered"] == 0
    assert len(tiers.values(tiers.plant)) == 10
    tiers.up.faults = Faults()
    tiers.clock.advance(40)
    tiers.run(2)
    assert tiers.forward(tiers.edge)["delivered"] == 10
    sums = tiers.plant.federation.accounting()["meters"]["children"]
    assert sums["from_children"] == 10
    assert tiers.values(tiers.group) == tiers.values(tiers.edge)


def test_a_request_that_comes_twice_is_applied_once(tiers: Tiers) -> None:
    tiers.up.faults = Faults(duplicate=1.0)
    for n in range(5):
        tiers.write(start_s=n * 10)
        tiers.run(1)
    sums = tiers.plant.federation.accounting()["meters"]["children"]
    assert sums == {
        "in_batches": 100, "from_children": 50, "duplicates": 50, "quarantined_here": 0,
    }  # fmt: skip
    assert tiers.values(tiers.group) == tiers.values(tiers.edge)


@pytest.mark.parametrize("who", ["edge", "plant", "group"])
@pytest.mark.parametrize("flushed", [False, True])
def test_each_tier_may_die_at_any_moment(tiers: Tiers, who: str, flushed: bool) -> None:
    node = {n.name: n for n in tiers.nodes}[who]
    for n in range(4):
        tiers.write(start_s=n * 10, intake={"received": 12, "filtered": 2})
        tiers.run(0.3)
        if flushed and n % 2:
            node.engine.flush()
        before = node.federation.accounting()
        node.restart()
        tiers.check()
        after = node.federation.accounting()
        for section in ("intake", "log"):
            assert after.get("meters", {}).get(section) == before.get("meters", {}).get(section)
        tiers.run(0.6)
    tiers.clock.advance(40)
    tiers.run()
    assert len(tiers.values(tiers.edge)) == 40
    for parent in (tiers.plant, tiers.group):
        assert tiers.values(parent) == tiers.values(tiers.edge)
        assert parent.federation.accounting()["meters"]["log"]["from_children"] == 40
    assert tiers.forward(tiers.edge)["delivered"] == 40
    assert tiers.forward(tiers.plant)["delivered"] == 40


def test_after_an_outage_the_newest_data_comes_first(tiers: Tiers) -> None:
    tiers.run(1)
    tiers.up.cut()
    for n in range(600):
        tiers.write(start_s=n * 200, rows=200)
    tiers.run(1, check=False)
    tiers.up.restore()
    tiers.clock.advance(40)
    assert tiers.up.step()  # HELLO: from here on, what is written is live
    tiers.write("root.p.e.live", rows=1)
    tiers.run(0.7)
    held = {row[0] for row in tiers.values(tiers.plant)}
    pending = tiers.forward(tiers.edge)["pending"]
    assert "root.p.e.live" in held
    assert pending > 0, "the backlog was delivered first"
    state = tiers.plant.federation.children()[0]
    assert state["delivery"]["applied_lsn"] < tiers.edge.engine.committed_lsn
    tiers.run(10, check=False)
    assert tiers.forward(tiers.edge)["pending"] == 0
    assert len(tiers.values(tiers.plant)) == 600 * 200 + 1


def test_corrections_win_in_whatever_order_they_arrive(tiers: Tiers) -> None:
    tiers.run(1)
    tiers.up.cut()
    tiers.write(value=1.0, rows=30)
    tiers.up.restore()
    tiers.clock.advance(40)
    tiers.up.step()
    # This one is live, and overtakes the first, which is history now.
    tiers.write(value=2.0, rows=30)
    link = tiers.edge.federation.sender
    assert link is not None
    tiers.run()
    tiers.write(start_s=5, value=3.0, rows=1)
    tiers.run()
    for node in tiers.nodes:
        values = [row[2] for row in tiers.values(node)]
        assert values == [2.0] * 5 + [3.0] + [2.0] * 24
    tiers.close()
    assert tiers.state(tiers.group)["state"] == "complete"


def test_flipped_bits_are_refused_and_sent_again(tiers: Tiers) -> None:
    tiers.run(0.5)
    tiers.up.faults = Faults(flip=0.5)
    for n in range(10):
        tiers.write(start_s=n * 10)
        tiers.clock.advance(3)
        tiers.run(0.5)
    tiers.up.faults = Faults()
    tiers.clock.advance(40)
    tiers.run()
    assert tiers.values(tiers.plant) == tiers.values(tiers.edge)
    assert tiers.plant.federation.drops()["received_bad_hash"] > 0
    assert tiers.forward(tiers.edge)["parked"] == 0


def test_links_may_flap(tiers: Tiers) -> None:
    for n in range(8):
        tiers.write(start_s=n * 10)
        for link in tiers.links:
            link.cut()
        tiers.run(0.3)
        for link in tiers.links:
            link.restore()
        tiers.clock.advance(2)
        tiers.run(1)
    tiers.clock.advance(40)
    tiers.run()
    assert tiers.values(tiers.group) == tiers.values(tiers.edge)


def test_a_captive_portal_is_not_a_parent(tiers: Tiers) -> None:
    tiers.run(1)
    sender = tiers.edge.federation.sender
    assert sender is not None
    tiers.write()
    tiers.clock.advance(1)
    request = sender.next_request()
    assert request is not None
    assert request.path == BATCHES_PATH
    sender.on_reply(request, 200, b"<html>Welcome to our wireless network</html>")
    assert tiers.forward(tiers.edge)["delivered"] == 0
    assert sender.state is LinkState.CONNECTING
    assert "not a frame" in (sender.error or "")
    tiers.clock.advance(40)
    hello = sender.next_request()
    assert hello is not None
    sender.on_reply(hello, 200, b"OK")
    assert sender.state is LinkState.CONNECTING
    tiers.clock.advance(40)
    tiers.run()
    assert tiers.forward(tiers.edge)["delivered"] == 10


def test_a_forged_acknowledgement_is_not_one(tiers: Tiers) -> None:
    tiers.run(1)
    sender = tiers.edge.federation.sender
    receiver = tiers.plant.federation.receiver
    assert sender is not None
    from mainstem_sync.receiving.receiver import Child
    from mainstem_sync.wire.frames import sign

    tiers.write()
    tiers.clock.advance(1)
    request = sender.next_request()
    assert request is not None
    reply = receiver.batches(Child("edge", ["root.p.e"]), request.body)
    tail = len(sign(b"", b"k"))
    sender.on_reply(request, 200, sign(reply.body[:-tail], b"guessed"))
    assert tiers.forward(tiers.edge)["delivered"] == 0


def test_what_is_not_exported_is_covered_and_counted(make_tiers: MakeTiers) -> None:
    tiers = make_tiers(plant_exports=[Export("other")])
    tiers.write(rows=7)
    tiers.run()
    assert len(tiers.values(tiers.plant)) == 7
    assert tiers.values(tiers.group) == []
    assert tiers.forward(tiers.plant)["not_exported"] == 7
    assert tiers.forward(tiers.plant)["pending"] == 0
    delivery = tiers.plant.federation.delivery()
    assert delivery is not None
    assert delivery["acked_lsn"] == delivery["head_lsn"]
    # The group knows of every LSN all the same: D of the edge's stream has no hole.
    origins = tiers.group.federation._follower.origins
    edge = next(state for state in origins if state.key.name == "edge")
    assert edge.received.watermark == tiers.edge.engine.committed_lsn


def test_rules_may_change_between_two_starts(tiers: Tiers) -> None:
    tiers.up.cut()
    tiers.write(rows=5)
    tiers.edge.engine.flush()
    tiers.edge.exports = ()
    tiers.edge.restart()
    assert tiers.forward(tiers.edge)["not_exported"] == 5
    tiers.write(start_s=100, rows=2)
    assert tiers.forward(tiers.edge)["not_exported"] == 7
    tiers.edge.engine.flush()
    tiers.edge.exports = [Export("meters")]
    tiers.edge.restart()
    tiers.write(start_s=200, rows=3)
    tiers.check()
    assert tiers.forward(tiers.edge)["pending"] == 3
    tiers.up.restore()
    tiers.clock.advance(40)
    tiers.run()
    assert tiers.forward(tiers.edge)["delivered"] == 3
    assert len(tiers.values(tiers.plant)) == 3


def test_the_log_is_kept_until_the_parent_has_it(tiers: Tiers) -> None:
    tiers.run(1)
    tiers.up.cut()
    tiers.write(rows=5)
    tiers.edge.engine.flush()
    tiers.edge.engine.flush()
    assert tiers.edge.engine.log.first_lsn <= 2
    tiers.up.restore()
    tiers.clock.advance(40)
    tiers.run()
    for n in range(3):
        tiers.write(start_s=100 + n)
        tiers.run(1)
        tiers.edge.engine.flush()
    assert tiers.edge.engine.log.first_lsn > 5
    tiers.edge.restart()
    tiers.clock.advance(40)
    tiers.run(1)
    assert tiers.forward(tiers.edge)["pending"] == 0
    assert tiers.values(tiers.group) == tiers.values(tiers.edge)


def test_a_parent_that_lost_its_disk_gets_what_is_still_here(tiers: Tiers) -> None:
    tiers.write(rows=5)
    tiers.run()
    assert tiers.forward(tiers.edge)["delivered"] == 5
    tiers.plant.stop()
    tiers.plant.directory = tiers.plant.base / "plant-empty"
    tiers.plant.start()
    tiers.clock.advance(40)
    tiers.run(0.3)
    tiers.run()
    assert tiers.values(tiers.plant) == tiers.values(tiers.edge)
    assert tiers.forward(tiers.edge) == {
        "logged": 5, "not_exported": 0, "delivered": 5, "pending": 0, "parked": 0, "lost": 0,
    }  # fmt: skip
    # The group had it all: it is offered the batch again and finds that it knows it.
    assert tiers.group.federation.accounting()["meters"]["log"]["from_children"] == 5


def test_a_child_of_a_node_without_parent_keeps_its_history_here(make_tiers: MakeTiers) -> None:
    tiers = make_tiers()
    alone = tiers.group
    alone.engine.create_template(METERS)
    tiers.write(node=alone, device="root.g.d1", rows=4)
    assert "forward" not in alone.federation.accounting()["meters"]
    assert accounting.check(alone.federation.accounting()) == []


def test_a_status_shows_the_whole_tree(tiers: Tiers) -> None:
    tiers.write()
    tiers.run(6)
    (plant,) = tiers.group.federation.children()
    (edge,) = plant["children"]
    assert (plant["node"], plant["state"]) == ("plant", "live")
    assert (edge["node"], edge["state"]) == ("edge", "live")
    delivery: dict[str, Any] = plant["delivery"]
    assert delivery["applied_lsn"] >= delivery["acked_lsn"] > 0
    tiers.up2.cut()
    tiers.clock.advance(10)
    (stale,) = tiers.group.federation.children()
    assert stale["state"] == "stale"
    # Nothing new is known of what lies below either.
    assert [child["state"] for child in stale["children"]] == ["stale"]
    tiers.clock.advance(30)
    assert tiers.group.federation.children()[0]["state"] == "offline"
    tiers.group.restart()
    (forgotten,) = tiers.group.federation.children()
    assert forgotten["state"] == "offline"
    assert forgotten["delivery"]["applied_lsn"] == delivery["applied_lsn"]


def test_damage_in_the_middle_of_the_log_is_declared_and_passed(tiers: Tiers) -> None:
    tiers.run(1)
    tiers.up.cut()
    lsns = [tiers.write(start_s=n * 100, rows=n + 1) for n in range(5)]
    tiers.edge.engine.flush()  # the rows are in parts; the log still owes them to the parent
    tiers.write(start_s=900, rows=1)
    tiers.edge.crash()
    damage(tiers, lsns[2])
    tiers.edge.start()
    tiers.check()
    tiers.up.restore()
    tiers.clock.advance(40)
    tiers.run(4)
    sums = tiers.forward(tiers.edge)
    assert (sums["lost"], sums["pending"], sums["delivered"]) == (3, 0, 13)
    assert len(tiers.values(tiers.plant)) == 13
    delivery = tiers.edge.federation.delivery()
    assert delivery is not None
    assert delivery["acked_lsn"] == delivery["head_lsn"]
    assert delivery["pending_bytes"] == 0
    tiers.close()
    state = tiers.state(tiers.plant)
    assert state["state"] == "incomplete", "the edge still has the rows, and says so"
    assert [hole["state"] for hole in tiers.plant.federation.holes] == ["MISMATCH"]


def damage(tiers: Tiers, lsn: int) -> None:
    """Turn one bit of the payload of a record on the edge's disk."""
    needle = struct.pack("<QB", lsn, 1)
    for path in sorted((tiers.edge.directory / "log").glob("*.log")):
        data = bytearray(path.read_bytes())
        at = data.find(needle)
        if at >= 0:
            data[at + 60] ^= 1
            path.write_bytes(data)
            return
    raise AssertionError(f"record {lsn} is not in the log")


@pytest.mark.parametrize("durability", ["interval:50ms", "os"])
def test_nothing_is_sent_that_a_power_cut_could_take_back(
    make_tiers: MakeTiers, durability: str
) -> None:
    tiers = make_tiers()
    tiers.edge.stop()
    tiers.edge.durability = durability
    tiers.edge.start()
    for n in range(20):
        tiers.write(start_s=n * 10)
        tiers.run(0.3)
        origins = list(tiers.plant.federation._follower.origins)
        received = max((state.received.last for state in origins), default=0)
        assert received <= tiers.edge.engine.durable_lsn
    tiers.edge.engine.flush()  # a new segment begins when the old one is on disk
    tiers.clock.advance(1)
    tiers.run(2)
    assert len(tiers.values(tiers.plant)) == 200
