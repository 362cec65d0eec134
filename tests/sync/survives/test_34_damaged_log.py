"""Case 34: the middle of the log is damaged before it was delivered: LOSS for that range, D passes.
What is in parts all the same is missed by the parent, and comes as slices.
What had been delivered and is gone at its owner stays where it is, and its slice is declared."""

from __future__ import annotations

import struct

from mainstem_engine.log.records import RecordKind
from mainstem_sync.testing.nodes import TestNode
from mainstem_sync.testing.tampering import tamper, without
from mainstem_sync.testing.tiers import START_MS, Tiers

from .copies import wipe


def turn_a_bit(node: TestNode, lsn: int, kind: RecordKind = RecordKind.PTS) -> None:
    """Of the payload of a record on the node's disk."""
    needle = struct.pack("<QB", lsn, kind)
    for path in sorted((node.directory / "log").glob("*.log")):
        data = bytearray(path.read_bytes())
        at = data.find(needle)
        if at >= 0:
            data[at + 60] ^= 1
            path.write_bytes(data)
            return
    raise AssertionError(f"record {lsn} is not in the log")


def test_case_34_at_the_edge(tiers: Tiers) -> None:
    tiers.run(1)
    tiers.up.cut()
    lsns = [tiers.write(start_s=n * 100, rows=n + 1) for n in range(5)]
    tiers.edge.engine.flush()
    tiers.write(start_s=900, rows=1)
    tiers.edge.crash()
    turn_a_bit(tiers.edge, lsns[2])
    tiers.edge.start()
    tiers.check()
    tiers.up.restore()
    tiers.clock.advance(40)
    tiers.run(4)
    sums = tiers.forward(tiers.edge)
    assert (sums["lost"], sums["pending"], sums["delivered"]) == (3, 0, 13)
    log = tiers.edge.engine.log
    assert any(record.kind == RecordKind.LOSS for record in log.read(1)), "declared in the log"
    delivery = tiers.edge.federation.delivery()
    assert delivery is not None
    assert delivery["acked_lsn"] == delivery["head_lsn"], "D passes"
    # It is counted once, whatever happens afterwards.
    tiers.edge.restart()
    tiers.check()
    assert tiers.forward(tiers.edge)["lost"] == 3
    # The record is lost and its rows are not: parts have them.
    tiers.close()
    tiers.run(4)
    tiers.close(3)
    for node in (tiers.plant, tiers.group):
        assert tiers.values(node) == tiers.values(tiers.edge), node.name
        assert node.federation.holes == []
    tiers.check()


def test_case_34_at_a_relay(tiers: Tiers) -> None:
    tiers.run(1)
    tiers.up2.cut()
    for n in range(5):
        tiers.write(start_s=n * 100, rows=n + 1)
        tiers.run(0.5)
    tiers.plant.engine.flush()
    batches = [r.lsn for r in tiers.plant.engine.log.read(1) if r.kind == RecordKind.RCV]
    tiers.plant.crash()
    turn_a_bit(tiers.plant, batches[-3], RecordKind.RCV)
    tiers.plant.start()
    tiers.check()
    tiers.up2.restore()
    tiers.clock.advance(40)
    tiers.run(4)
    sums = tiers.forward(tiers.plant)
    assert sums["lost"] > 0
    assert sums["lost"] + sums["delivered"] == 15
    for _ in range(3):
        tiers.close(3)
        tiers.run(4)
    origins = {state.key.name: state for state in tiers.group.federation._follower.origins}
    assert len(origins["edge"].received) == 1, "D passes"
    assert tiers.values(tiers.group) == tiers.values(tiers.edge)
    assert tiers.group.federation.holes == []
    tiers.check()


def lose_delivered(tiers: Tiers) -> None:
    """The edge has delivered a record that damage takes from its log before it is in parts."""
    tiers.run(1)
    tiers.write(rows=2)
    taken = tiers.write(start_s=10, rows=3, value=7.0)
    tiers.write(start_s=70, rows=1)
    tiers.run(2)
    assert len(tiers.values(tiers.group)) == 6
    tiers.edge.crash()
    turn_a_bit(tiers.edge, taken)
    tiers.edge.start()
    assert len(tiers.values(tiers.edge)) == 3, "it is gone here"


def settle(tiers: Tiers) -> None:
    tiers.clock.advance(40)
    for _ in range(4):
        tiers.run(10)
        tiers.close(3)


def test_what_its_owner_lost_after_it_was_delivered_stays(tiers: Tiers) -> None:
    """The slice is LOST for good, with the reason and the rows that only the tiers above have."""
    lose_delivered(tiers)
    settle(tiers)
    for node in (tiers.plant, tiers.group):
        assert [row[2] for row in tiers.values(node)].count(7.0) == 3, node.name
        state = tiers.state(node)
        assert state["state"] == "complete", node.name
        (lost,) = state["lost"]
        assert lost["from"] == START_MS, node.name
        assert (lost["rows"], lost["reason"]) == (3, "lost: log_damaged")
        assert [hole["state"] for hole in node.federation.holes] == ["LOST"]
    tiers.check()
    # What is stored is compared all the same.
    for node in (tiers.plant, tiers.group):
        tamper(node.engine, "meters", without(0))
        assert node.federation.verify(rescan=True)["slices"], "a difference of another kind"
    settle(tiers)
    for node in (tiers.plant, tiers.group):
        assert len(tiers.values(node)) == 6, "mended, and still with the rows that were kept"
        assert tiers.state(node)["lost"][0]["rows"] == 3
    # After a start, and from a checkpoint, too.
    tiers.plant.engine.flush()
    tiers.plant.restart()
    assert tiers.state(tiers.plant)["lost"][0]["rows"] == 3


def test_a_group_with_an_empty_disk_gets_what_was_kept(tiers: Tiers) -> None:
    lose_delivered(tiers)
    settle(tiers)
    wipe(tiers.group)
    settle(tiers)
    assert len(tiers.values(tiers.group)) == 6


def test_rows_whose_deletion_was_lost_come_back(tiers: Tiers) -> None:
    """Here its owner has more than the tiers above: an image ends what was deleted there."""
    tiers.run(1)
    tiers.write(rows=4)
    deletion = tiers.edge.engine.delete(
        "meters", devices="root.p.e.d1", start=START_MS, end=START_MS + 2000
    )
    deletion.ack.wait()
    tiers.write(start_s=70, rows=1)
    tiers.run(2)
    assert len(tiers.values(tiers.group)) == 3
    tiers.edge.crash()
    turn_a_bit(tiers.edge, deletion.ack.lsn, RecordKind.DEL)
    tiers.edge.start()
    assert len(tiers.values(tiers.edge)) == 5
    settle(tiers)
    for node in tiers.nodes:
        assert len(tiers.values(node)) == 5, node.name
        node.engine.flush()
        assert node.engine.store_accounting()["meters"].live == 5, node.name
    assert tiers.state(tiers.group)["lost"] == []


def test_a_delete_of_what_damage_took_is_counted_anew(tiers: Tiers) -> None:
    tiers.run(1)
    taken = tiers.write(rows=4)
    tiers.write(start_s=100, rows=1)
    tiers.edge.engine.delete(
        "meters", devices="root.p.e.d1", start=START_MS, end=START_MS + 2000
    ).ack.wait()
    tiers.edge.crash()
    turn_a_bit(tiers.edge, taken)
    tiers.edge.start()
    assert len(tiers.values(tiers.edge)) == 1
    tiers.edge.engine.flush()
    assert tiers.edge.engine.store_accounting()["meters"].live == 1


def test_a_delete_after_damage_counts_the_same_at_a_start(tiers: Tiers) -> None:
    """It knows of the damage, and a replay cannot tell: the flush counts what both erased."""
    taken = tiers.write(rows=4)
    tiers.write(start_s=100, rows=3)
    tiers.edge.crash()
    turn_a_bit(tiers.edge, taken)
    tiers.edge.start()
    first = START_MS + 100_000
    tiers.edge.engine.delete(
        "meters", devices="root.p.e.d1", start=first, end=first + 2000
    ).ack.wait()
    tiers.check()
    live = tiers.edge.engine.store_accounting()
    tiers.edge.restart()
    assert tiers.edge.engine.store_accounting() == live
    tiers.edge.engine.flush()
    counts = tiers.edge.engine.store_accounting()["meters"]
    assert (counts.live, counts.deleted) == (1, 2)


def test_what_was_stated_before_damage_is_stated_again(tiers: Tiers) -> None:
    """The owner does not know which slices lost rows: of those that it has stated since, it states
    all anew. Those of before keep their statement."""
    tiers.run(1)
    tiers.write(rows=1)
    tiers.close(3)
    before = tiers.clock.now_ns // 1_000_000 // 60_000 * 60_000
    at_s = (before - START_MS) / 1000
    tiers.write(start_s=at_s, rows=2)
    taken = tiers.write(start_s=at_s + 5, rows=3, value=7.0)
    tiers.close(3)
    assert tiers.state(tiers.group)["lost"] == []
    tiers.edge.crash()
    turn_a_bit(tiers.edge, taken)
    tiers.edge.start()
    tiers.edge.restart()
    settle(tiers)
    for node in (tiers.plant, tiers.group):
        assert len(tiers.values(node)) == 6, node.name
        (lost,) = tiers.state(node)["lost"]
        assert (lost["from"], lost["rows"]) == (before, 3), node.name
    (edge,) = [s for s in tiers.group.federation._follower.origins if s.key.name == "edge"]
    stated = edge.watches["meters"].slices["max_lsn"].tolist()
    assert stated[0] < taken < stated[1]
