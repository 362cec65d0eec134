"""What is owed as slices is settled once, and for good, after backups and other export rules."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from mainstem_sync.origins.origin_state import Origins, TableMap
from mainstem_sync.proof.repair import Repair
from mainstem_sync.slices.manifest import SLICE_NS
from mainstem_sync.slices.owed import Owed, OwedTable
from mainstem_sync.slices.wants import Ref, Wanted
from mainstem_sync.state.content import Content
from mainstem_sync.state.exports import Export
from mainstem_sync.state.forward import Forward
from mainstem_sync.state.owing import Owing
from mainstem_sync.testing.tiers import START_MS, Tiers
from mainstem_sync.wire.frames import decode_frames
from mainstem_sync.wire.messages import OriginKey
from mainstem_sync.wire.packing import Piece
from mainstem_sync.wire.ranges import RangeSet

from .survives.copies import roll_back, snapshot, wait

EDGE = OriginKey("e" * 32, 0, "edge")
REF = (EDGE.uuid, EDGE.epoch, 32)
ME = ("p" * 32, 0)


def own(ref: Ref) -> bool:
    return ref[:2] == ME


def test_a_record_that_the_parent_has_lost_again_is_spoken_for_by_the_next() -> None:
    """Done is not written down: a relay after a backup waits to hear it once more. A parent after
    one does not know the record any more, and hears only of what the relay says it owes."""
    owing = Owing()
    owing.hand_on(REF, EDGE, RangeSet([(20, 25)]))
    assert not owing.done([REF], own).rows  # the parent had all of it before
    owing.imaged(REF, EDGE, RangeSet([(20, 25)]), "t", 16)
    again = Owing()
    again.restore(owing.snapshot())
    assert again.handed_of(EDGE, lambda ref: True) == [], "the parent will say it by itself"
    assert again.handed_of(replace(EDGE, name="press", uuid="f" * 32), lambda ref: False) == []
    others = again.handed_of(EDGE, lambda ref: False)
    assert others == [REF]
    again.add(Owed(EDGE, RangeSet([(26, 35)]), 35, others=others, lsn=182))
    assert again.done([(*ME, 182)], own).rows == {"t": 16}
    assert again.rows == {}
    assert again.handed_of(EDGE, lambda ref: False) == []


def test_a_checkpoint_that_does_not_say_whose_images_wait_is_read() -> None:
    owing = Owing()
    owing.imaged(REF, EDGE, RangeSet([(20, 25)]), "t", 16)
    data = owing.snapshot()
    del data["images_of"]
    again = Owing()
    again.restore(data)
    assert again.handed_of(EDGE, lambda ref: False) == []
    assert again.done([REF], own).rows == {"t": 16}


def test_what_the_parent_has_of_a_node_below_is_owed_no_longer() -> None:
    """A later record spoke for this one, and is lost with the log after a backup: the parent has
    never seen this one, and has what it owes."""
    owing = Owing()
    owing.add(Owed(EDGE, RangeSet([(17, 34)]), 34, rows={"t": 20}, lsn=121))
    owing.add(Owed(EDGE, RangeSet(), 40, rows={"t": 3}, lsn=122))  # export rules: of no LSNs
    assert owing.arrived(lambda key: None).rows == {}
    assert owing.arrived(lambda key: RangeSet([(1, 33)])).rows == {}
    assert owing.arrived(lambda key: RangeSet([(1, 34)])).rows == {"t": 20}
    assert list(owing.records) == [122]


def test_rows_of_images_are_delivered_when_the_parent_has_what_they_stand_for() -> None:
    """The record that they answer is one that the parent has got by another, and never saw."""
    owing = Owing()
    owing.imaged(REF, EDGE, RangeSet([(20, 25)]), "t", 16)
    owing.imaged((*REF[:2], 40), EDGE, RangeSet(), "t", 4)  # export rules: of no LSNs
    again = Owing()
    again.restore(owing.snapshot())
    assert again.arrived(lambda key: RangeSet([(1, 24)])).rows == {}
    assert again.arrived(lambda key: RangeSet([(1, 40)])).rows == {"t": 16}
    assert again.rows == {"t": 4}


def test_rows_of_a_record_that_a_fork_made_void_are_delivered_by_either_epoch() -> None:
    """The parent has some of the LSNs up to the fork under the epoch that ended, and nobody sends
    them again under the new one."""
    owing = Owing()
    owing.imaged(REF, EDGE, RangeSet([(20, 25)]), "t", 16)
    owing.hand_on(REF, EDGE, RangeSet([(20, 25)]))
    line = replace(EDGE, epoch=1)
    owing.forked(line, 24)
    known: dict[OriginKey, RangeSet] = {}
    assert owing.arrived(known.get).rows == {}
    known[EDGE] = RangeSet([(1, 22)])
    assert owing.arrived(known.get).rows == {}
    known[replace(line, epoch=2)] = RangeSet([(1, 24)])  # of a line that nobody spoke of here
    assert owing.arrived(known.get).rows == {}
    known[line] = RangeSet([(23, 24)])
    again = Owing()
    again.restore(owing.snapshot())
    assert again.arrived(known.get).rows == {"t": 16}
    assert again.rows == {}
    known[line] = RangeSet([(1, 24)])
    del known[EDGE]
    assert owing.arrived(known.get).rows == {"t": 16}


@pytest.mark.parametrize("flushed", [False, True])
def test_rules_that_change_and_change_back_owe_everything_once(
    make_tiers: Callable[..., Tiers], flushed: bool
) -> None:
    """The log of a relay is let go while less goes up: what was owed before is not pending beside
    what the wider rules owe."""
    tiers = make_tiers()
    tiers.run(1)
    for node in (tiers.edge, tiers.plant):
        node.federation.run_manifests(tiers.clock.now_ns)  # the first rules
    tiers.run(2)
    plant = tiers.plant
    tiers.up2.up = False
    tiers.write(rows=30)
    tiers.run(2)
    assert tiers.forward(plant)["pending"] == 30
    plant.engine.flush()
    plant.crash()
    plant.exports, plant.log_bytes_max, plant.log_segment_bytes = (), 1, 1 << 10
    plant.start()
    plant.federation.run_manifests(tiers.clock.now_ns)
    tiers.write(start_s=60, rows=10)
    tiers.run(2)
    plant.engine.log.rotate()
    plant.federation.run_manifests(tiers.clock.now_ns)
    if flushed:
        plant.engine.flush()
    plant.crash()
    plant.exports = (Export("meters"),)
    plant.start()
    tiers.up2.up = True
    for _ in range(3):
        plant.federation.run_manifests(tiers.clock.now_ns)
        tiers.run(10)
    tiers.close(12)
    tiers.run(5)
    assert tiers.forward(plant)["pending"] == 0
    assert sorted(tiers.values(tiers.group)) == sorted(tiers.values(tiers.edge))


def test_a_statement_is_asked_for_of_a_table_that_the_log_defines_no_more() -> None:
    """After a backup the owner says again that its slices are closed, and defines what they are of
    only when rows of it come."""
    origins = Origins()
    repair = Repair(origins, threading.RLock(), lambda child: "lease", lambda: 0.0)

    def asked() -> list[str]:
        found = [Wanted.from_frame(frame) for frame in decode_frames(repair.frames("edge"))]
        return [want.name for wanted in found for want in wanted.says]

    before = origins.open(EDGE, "edge")
    before.watch("here", SLICE_NS)
    before.repairs.want("here", [30_000_000], say=True)
    assert asked() == ["here"], "as the statement calls it"
    before.maps.tables["meters"] = TableMap("meters", "here", SLICE_NS, {}, 1, {})
    repair = Repair(origins, threading.RLock(), lambda child: "lease", lambda: 0.0)
    assert asked() == ["meters"]
    now = origins.open(replace(EDGE, epoch=1), "edge")
    now.watch("here", SLICE_NS)
    now.repairs.want("here", [30_000_000], say=True)
    assert asked() == ["meters", "meters"], "the older epoch has named it"


def test_what_is_owed_is_said_again_whatever_is_exported() -> None:
    """A parent after a backup has lost the record that says so. What was held under other rules is
    not judged again; but of this record nothing can be covered while it is owed."""

    class Records:
        first_lsn = 1

        def read(self, first: int, last: int) -> list[SimpleNamespace]:
            return [SimpleNamespace(lsn=lsn) for lsn in range(first, last + 1)]

    def content(record: Any) -> Content:
        found = Content(record.lsn, control=True)
        found.add(Piece(record.lsn, 0, "", 0, memoryview(b"")))
        return found

    classifier: Any = SimpleNamespace(content=content)
    log: Any = Records()
    forward = Forward(classifier, threading.RLock())
    forward.applied_lsn = 10
    forward.held.add(1, 10)
    forward.kept.add(1, 10)
    forward.owing.add(Owed(EDGE, RangeSet([(50, 55)]), 55, rows={"t": 9}, lsn=7))
    forward.resume(RangeSet([(1, 8)]), log)
    assert forward.held.to_wire() == [1, 10], "the parent has it"
    forward.resume(RangeSet([(1, 5)]), log)
    assert forward.held.to_wire() == [1, 6, 8, 10]
    assert forward.control.to_wire() == [7, 7]


def test_rows_that_a_restored_parent_lost_are_counted_once_after_a_crash_of_who_owes_them(
    make_tiers: Callable[..., Tiers],
) -> None:
    """No record says that delivered rows are pending again. The one that owes them as slices must
    find them so after a crash as well, though no record came between."""
    tiers = make_tiers()
    edge = tiers.edge
    tiers.run(1)
    copy = snapshot(tiers.plant)
    edge.engine.add_hold("test", lambda: 0)
    tiers.write(rows=30)
    tiers.run(2)
    edge.federation.run_manifests(tiers.clock.now_ns)
    edge.engine.flush()
    assert tiers.forward(edge)["delivered"] == 30
    roll_back(tiers.plant, copy)
    forward = edge.federation._follower.forward
    assert forward is not None
    tiers.until(lambda: forward.withdrawn, "the parent says what it has")
    tiers.up.cut()
    assert tiers.forward(edge)["pending"] == 30
    assert edge.engine.log.appended_lsn == edge.engine.checkpoint_lsn
    cap = edge.federation.exchange._cap
    assert cap is not None
    cap._bytes_max = 1
    edge.federation.run_manifests(tiers.clock.now_ns)
    assert forward.owing.rows == {"meters": 30}
    edge.crash()
    edge.start()
    assert tiers.forward(edge)["pending"] == 30
    tiers.up.restore()
    wait(tiers)
    counts = tiers.forward(edge)
    assert (counts["pending"], counts["delivered"]) == (0, 30)
    assert sorted(tiers.values(tiers.plant)) == sorted(tiers.values(edge))


def test_what_owes_a_node_below_is_said_again_when_the_parent_has_lost_it(
    make_tiers: Callable[..., Tiers],
) -> None:
    """The group knew the record by which the plant owes slices of the edge, and is restored to
    before it. In the plant's log it is no more."""
    tiers = make_tiers(plant_options={"log_segment_bytes": 1500, "log_bytes_max": 3000})
    plant = tiers.plant
    tiers.run()
    copy = snapshot(tiers.group)
    tiers.up2.cut()

    def more() -> None:
        for number in range(6):
            tiers.write("root.p.e.d1", start_s=900 + 60 * number, rows=20)
            tiers.run(1)
            plant.engine.flush()
            plant.federation.run_manifests(tiers.clock.now_ns)

    more()
    forward = plant.federation._follower.forward
    assert forward is not None
    first = min(n for n, owed in forward.owing.records.items() if owed.target is not None)
    tiers.up2.restore()
    tiers.until(lambda: first in forward.acked, "the group knows the record")
    tiers.up2.cut()
    assert first in forward.owing.records
    roll_back(tiers.group, copy)
    more()
    assert first in forward.owing.records
    assert plant.engine.log.first_lsn > first
    tiers.up2.restore()
    for _ in range(3):
        wait(tiers)
        tiers.close()
    assert tiers.forward(plant)["pending"] == 0
    assert sorted(tiers.values(tiers.group)) == sorted(tiers.values(tiers.edge))


@pytest.mark.parametrize("forks", [False, True])
def test_a_delete_that_a_restored_parent_had_is_owed_as_the_slices_that_it_touched(
    make_tiers: Callable[..., Tiers], forks: bool
) -> None:
    """Of what it took nothing is left that would tell; in a new epoch nothing is defined yet."""
    tiers = make_tiers(plant_options={"log_segment_bytes": 1500, "log_bytes_max": 3000})
    edge, plant = tiers.edge, tiers.plant
    tiers.write("root.p.e.d1", rows=3)
    tiers.write("root.p.e.d2", rows=3)
    tiers.run()
    copy = snapshot(tiers.group)
    first, end = START_MS, START_MS + 60_000
    edge.engine.delete("meters", devices="root.p.e.d2", start=first, end=end).ack.wait()
    tiers.run()
    if forks:
        backup = snapshot(edge)
        tiers.write("root.p.e.d1", start_s=600, rows=2)
        tiers.run()
        tiers.up2.cut()
        roll_back(edge, backup)
        wait(tiers)
        tiers.up2.restore()
    lsn = plant.engine.log.barrier()
    for number in range(12):
        tiers.write("root.p.q.d1", start_s=900 + 60 * number, rows=20, node=plant)
        tiers.run(1)
        plant.engine.flush()
    assert plant.engine.log.first_lsn > lsn
    roll_back(tiers.group, copy)
    wait(tiers)
    assert plant.federation.exchange.owe()
    tiers.run()
    values = [row for row in tiers.values(tiers.group) if row[0].startswith("root.p.e")]
    assert {row[0] for row in values} == {"root.p.e.d1"}


def test_a_record_that_speaks_for_another_names_its_slices() -> None:
    def owed(runs: list[tuple[int, int]], since: int, table: str = "t") -> Owed:
        return Owed(EDGE, RangeSet(), since, [OwedTable(table, SLICE_NS, RangeSet(runs))])

    found = owed([(1, 2)], 9)
    for other in (owed([(2, 4)], 12), owed([(7, 7)], 3, "u")):
        found.take(other)
    assert found.since == 12
    assert [table.to_plain() for table in found.tables] == [
        ["t", SLICE_NS, [1, 4]],
        ["u", SLICE_NS, [7, 7]],
    ]


def test_what_a_restored_parent_lost_is_not_passed_over_after_a_start(
    make_tiers: Callable[..., Tiers],
) -> None:
    """The plant heard at a HELLO what the group lost, and was killed before it had written down
    that it owes that. Its log grows beyond the cap before the group can be reached again."""
    tiers = make_tiers(plant_options={"log_segment_bytes": 1500, "log_bytes_max": 3000})
    plant = tiers.plant
    tiers.run()
    copy = snapshot(tiers.group)

    def more(first: int, count: int) -> None:
        for number in range(first, first + count):
            tiers.write("root.p.q.d1", start_s=60 * number, rows=20, node=plant)
            tiers.run(1)
            plant.engine.flush()

    more(0, 12)
    tiers.until(lambda: tiers.forward(plant)["pending"] == 0, "the group has all")
    roll_back(tiers.group, copy)
    forward = plant.federation._follower.forward
    assert forward is not None
    tiers.clock.advance(31)
    tiers.until(lambda: bool(forward.missing), "the plant has heard what the group lost")
    tiers.up2.cut()
    plant.engine.checkpoint()
    plant.restart()
    more(12, 12)
    plant.federation.exchange.owe()
    tiers.up2.restore()
    for _ in range(3):
        wait(tiers)
        plant.federation.exchange.owe()
    tiers.run()
    assert len(tiers.values(tiers.group)) == len(tiers.values(plant))
