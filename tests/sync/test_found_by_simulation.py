"""What simulations found, each in its shortest form."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstem_engine.erasures import Erasure
from mainstem_engine.images import SliceImage
from mainstem_engine.log.records import RecordKind
from mainstem_engine.model import ColumnType, Lsns, Measurement, Origin, Rows
from mainstem_sync.origins.origin_state import (
    TableMap,
)
from mainstem_sync.sending.outside_ranges import OutsideDraft
from mainstem_sync.sending.said_again import manifests_of
from mainstem_sync.sending.session import LinkState
from mainstem_sync.slices.manifest import SLICE_NS, Manifest
from mainstem_sync.slices.slice_states import SliceState
from mainstem_sync.slices.watch import TableWatch
from mainstem_sync.testing.agenda import START_NS
from mainstem_sync.testing.nodes import TestNode
from mainstem_sync.testing.tiers import START_MS, Tiers
from mainstem_sync.wire.ranges import LSN_MAX

from .survives.copies import epoch_of, roll_back, snapshot, wait, wipe

MakeTiers = Callable[..., Tiers]


def test_a_delete_of_a_relay_waits_for_no_definition_behind_it(tiers: Tiers) -> None:
    """The plant's rows are of a child's template, which it says again when the group asks. Its
    delete lies before that in the log, and in the same batch of the control queue."""
    tiers.write()
    tiers.run()
    tiers.up2.cut()
    tiers.write("root.p.q.d1", rows=2, node=tiers.plant)
    at = START_MS
    tiers.plant.engine.delete("meters", devices="root.p.q.d1", start=at, end=at + 1).ack.wait()
    tiers.up2.restore()
    tiers.run(20)
    left = [row for row in tiers.values(tiers.group) if row[0] == "root.p.q.d1"]
    assert [row[1] for row in left] == [1.0]
    assert tiers.forward(tiers.plant)["pending"] == 0


SMALL_LOG = {"log_segment_bytes": 1500, "log_bytes_max": 3000}


def release(tiers: Tiers, node: TestNode, device: str = "root.p.e.d1") -> None:
    """What the node has not delivered is out of its log, and owed as slices."""
    for number in range(6):
        tiers.write(device, start_s=900 + 60 * number, rows=20)
        tiers.run(1)
        node.engine.flush()
        node.federation.run_manifests(tiers.clock.now_ns)


def forked_while_the_group_is_away(tiers: Tiers) -> None:
    """Minute 0 has rows of both epochs and an orphan."""
    tiers.write(rows=3)
    tiers.run(2)
    copy = snapshot(tiers.edge)
    tiers.up2.cut()
    tiers.write(start_s=10, rows=2, value=2.0)
    tiers.run(2)
    roll_back(tiers.edge, copy)
    tiers.write(start_s=20, rows=4, value=3.0)
    wait(tiers)
    assert epoch_of(tiers.edge) == 1


def test_a_relay_answers_for_the_line_of_a_forked_slice_and_brings_its_orphans(
    make_tiers: MakeTiers,
) -> None:
    """Else the group waits for ever, and lacks rows of the present line."""
    tiers = make_tiers(plant_options=SMALL_LOG)
    forked_while_the_group_is_away(tiers)
    release(tiers, tiers.plant)
    forward = tiers.plant.federation._follower.forward
    assert forward is not None
    owed = forward.owing.records.values()
    assert any(each.target is not None and each.ranges for each in owed)
    tiers.up2.restore()
    for _ in range(4):
        tiers.run(10)
        tiers.close(3)
    assert sorted(tiers.values(tiers.group)) == sorted(tiers.values(tiers.plant))
    assert {row[2] for row in tiers.values(tiers.group)} == {1.0, 2.0, 3.0}
    assert tiers.forward(tiers.plant)["pending"] == 0
    for state in tiers.group.federation._follower.origins:
        assert not state.backlog.entries
    assert {item["state"] for item in tiers.group.federation.verify()["slices"]} == {"FORKED"}


def test_an_image_that_is_younger_than_the_statement_is_no_mismatch(make_tiers: MakeTiers) -> None:
    """Minute 0 was stated, and touched again: the relay's image has that, and its owner's next
    statement is still to come."""
    tiers = make_tiers(plant_options=SMALL_LOG)
    tiers.write(rows=5)
    tiers.write("root.p.e.d2", rows=5)
    tiers.up2.cut()
    tiers.close()
    at = START_MS
    tiers.edge.engine.delete("meters", devices="root.p.e.d1", start=at, end=at + 1).ack.wait()
    release(tiers, tiers.plant)
    tiers.up2.restore()
    for _ in range(4):
        tiers.run(5)
        tiers.group.federation.run_verification()
        assert not tiers.group.federation._proof.damaged_slices()
    origins = tiers.group.federation._follower.origins
    watch = next(state for state in origins if state.key.name == "edge").watches["meters"]
    minute = START_MS // 60_000
    assert watch.floor_of(minute) > watch.slices["max_lsn"][0] > 0
    assert watch.state_of(minute, 10**6)[0] is SliceState.REVISED
    tiers.close()
    assert watch.state_of(minute, 10**6)[0] is SliceState.VERIFIED
    assert len(tiers.values(tiers.group)) == len(tiers.values(tiers.edge))


def test_a_row_with_values_of_a_released_record_is_owed_as_its_slice(
    make_tiers: MakeTiers,
) -> None:
    """The plant is restored to before a row. Its record is released at the edge, a later one that
    changed another value is not: the stored row has the later version."""
    tiers = make_tiers(edge_options={"log_segment_bytes": 500})
    tiers.run()
    tiers.write(rows=1)
    tiers.run()
    copy = snapshot(tiers.plant)
    first = tiers.write(start_s=30, rows=1)
    tiers.run()
    for number in range(6):
        tiers.write(start_s=300 + number, rows=1)
        tiers.run(1)
        tiers.edge.engine.flush()
    assert tiers.edge.engine.log.first_lsn > first
    engine = tiers.edge.engine
    ids = engine.device_ids("meters", ["root.p.e.d1"])
    engine.write("meters", ids, [START_MS + 30_000], {"voltage": np.array([7], np.int32)}).wait()
    tiers.run()
    roll_back(tiers.plant, copy)
    wait(tiers)
    tiers.edge.federation.run_manifests(tiers.clock.now_ns)
    tiers.run(6)  # nothing is compared: nothing is repaired
    assert ("root.p.e.d1", 30.0, 1.0, 7) in tiers.values(tiers.plant)
    assert sorted(tiers.values(tiers.plant)) == sorted(tiers.values(tiers.edge))


def names(node: TestNode) -> set[str]:
    return {m.name for m in node.engine.catalog.table("meters").template.measurements}


def test_a_new_name_in_a_released_log_reaches_every_tier(make_tiers: MakeTiers) -> None:
    tiers = make_tiers(edge_options=SMALL_LOG, plant_options=SMALL_LOG)
    tiers.write()
    tiers.close()
    tiers.up.cut()
    tiers.edge.engine.alter_template("meters", rename={"note": "remark"})
    release(tiers, tiers.edge)
    assert tiers.edge.federation._follower.forward is not None
    assert tiers.edge.federation._follower.forward.owing.records
    tiers.up.restore()
    tiers.run(10)
    assert names(tiers.plant) == names(tiers.group) == {"current", "voltage", "remark"}


def test_a_relay_says_the_new_name_that_was_in_its_log(make_tiers: MakeTiers) -> None:
    tiers = make_tiers(plant_options=SMALL_LOG)
    tiers.write()
    tiers.close()
    tiers.up2.cut()
    tiers.edge.engine.alter_template("meters", rename={"note": "remark"})
    release(tiers, tiers.plant)
    tiers.up2.restore()
    tiers.run(10)
    assert names(tiers.group) == {"current", "voltage", "remark"}


def test_a_new_name_is_told_by_whose_template_it_is(make_tiers: MakeTiers) -> None:
    """The plant writes in the edge's template, and the edge's revision was in a log that is gone.
    The group must not take the new name for another column."""
    tiers = make_tiers(plant_options=SMALL_LOG)
    tiers.write()
    tiers.run()
    tiers.up2.cut()
    tiers.edge.engine.alter_template("meters", rename={"note": "remark"})
    release(tiers, tiers.plant)
    engine = tiers.plant.engine
    ids = engine.device_ids("meters", ["root.p.q.d1"], {"line": ["a"]}, create=True)
    engine.write("meters", ids, [START_MS + 50_000], {"remark": ["x"]}).wait()
    tiers.group.federation.receiver.riders.clear()  # it asks for no slices, for long enough
    tiers.up2.restore()
    tiers.run(20)
    assert names(tiers.group) == {"current", "voltage", "remark"}
    assert len([row for row in tiers.values(tiers.group) if row[0] == "root.p.q.d1"]) == 1


def test_a_new_name_is_told_by_whose_template_it_is_also_from_the_log(tiers: Tiers) -> None:
    """The group is restored to before the new name. The plant's own stream begins before the
    record of the edge that has it, and goes first."""
    tiers.write()
    tiers.run()
    copy = snapshot(tiers.group)
    engine = tiers.plant.engine
    ids = engine.device_ids("meters", ["root.p.q.d1"], {"line": ["a"]}, create=True)
    tiers.run()
    tiers.edge.engine.alter_template("meters", rename={"note": "remark"})
    tiers.run()
    engine.write("meters", ids, [START_MS + 50_000], {"remark": ["x"]}).wait()
    tiers.run()
    assert names(tiers.group) == {"current", "voltage", "remark"}
    roll_back(tiers.group, copy)
    wait(tiers)
    assert names(tiers.group) == {"current", "voltage", "remark"}
    assert len([row for row in tiers.values(tiers.group) if row[0] == "root.p.q.d1"]) == 1
    assert tiers.forward(tiers.plant)["pending"] == 0


def test_a_fork_takes_back_only_what_was_closed_beyond_it() -> None:
    watch = TableWatch(SLICE_NS)
    watch.manifest_applied(closing(0, 8), 24)
    watch.manifest_applied(closing(6, 12), 47)
    watch.fork(28)
    assert list(watch.closed) == [(0, 7)]
    watch.manifest_applied(closing(0, 12), 40)
    watch.manifest_applied(closing(8, 10), 26)  # it comes late
    watch.fork(28)
    assert list(watch.closed) == [(0, 9)]


@given(
    records=st.lists(
        st.tuples(st.integers(0, 12), st.integers(1, 6), st.integers(2, 60)),
        min_size=1, max_size=8, unique_by=lambda record: record[2],
    ),
    fork=st.integers(1, 60),
    piece=st.integers(1, 18),
)  # fmt: skip
def test_a_fork_takes_back_what_a_relay_said_again_as_it_does_what_was_received(
    records: list[tuple[int, int, int]], fork: int, piece: int
) -> None:
    received, above = TableWatch(SLICE_NS), TableWatch(SLICE_NS)
    for first, count, lsn in records:
        received.manifest_applied(closing(first, first + count), lsn)
    table = TableMap("meters", "meters", SLICE_NS, {})
    for _ in range(2):
        for first in range(0, 18, piece):
            for lsn, said in manifests_of(received, table, first, first + piece - 1):
                above.manifest_applied(said, lsn)
    assert list(above.closed) == list(received.closed)
    assert len(above.closings) <= 18 * len(records), "said twice, it is there once"
    received.fork(fork)
    above.fork(fork)
    assert list(above.closed) == list(received.closed)


def test_what_was_closed_by_a_record_long_forgotten_is_said_again_too() -> None:
    received, above = TableWatch(SLICE_NS), TableWatch(SLICE_NS)
    received.manifest_applied(closing(0, 8), 24)
    received.closings.clear()
    received.manifest_applied(closing(8, 12), 47)
    table = TableMap("meters", "meters", SLICE_NS, {})
    for lsn, said in manifests_of(received, table, 4, 10):
        above.manifest_applied(said, lsn)
    assert list(above.closed) == [(4, 10)]
    above.fork(30)
    assert list(above.closed) == [(4, 7)]


def closing(first: int, end: int) -> Manifest:
    """A record that closes slices [first, end), all of them empty."""
    ints, sums = np.empty(0, np.int64), np.empty(0, np.uint64)
    return Manifest(
        "meters", SLICE_NS, first * SLICE_NS, end * SLICE_NS, 0, 0,
        ints, np.empty(0, np.uint32), ints, sums, sums, sums,
    )  # fmt: skip


def is_connected(node: TestNode) -> bool:
    sender = node.federation.sender
    return sender is not None and sender.state is LinkState.CONNECTED


def test_rows_of_an_ended_line_find_their_definitions(tiers: Tiers) -> None:
    """A row of the plant is in a column that the group has not heard of from the plant. The plant
    was rolled back to just after it: it is sent under the epoch that has ended."""
    tiers.write()
    tiers.run()
    tiers.write("root.p.q.d1", rows=2, node=tiers.plant)
    tiers.run(6)
    tiers.edge.engine.alter_template("meters", add=[Measurement(0, "power", ColumnType.DOUBLE)])
    tiers.run()
    tiers.up2.cut()
    engine = tiers.plant.engine
    ids = engine.device_ids("meters", ["root.p.q.d1"], create=True)
    engine.write("meters", ids, [START_MS + 50_000], {"power": [7.0]}).wait()
    copy = snapshot(tiers.plant)
    tiers.write("root.p.q.d1", start_s=70, rows=2, node=tiers.plant)
    tiers.run()
    assert not is_connected(tiers.plant)
    tiers.up2.restore()
    while not is_connected(tiers.plant):
        tiers.clock.advance(1)
        tiers.up2.step()
    tiers.up2.cut()
    roll_back(tiers.plant, copy)
    tiers.up2.restore()
    wait(tiers, 60)
    assert epoch_of(tiers.plant) == 1
    times = {row[1] for row in tiers.values(tiers.group) if row[0] == "root.p.q.d1"}
    assert times == {0.0, 1.0, 50.0}
    assert tiers.forward(tiers.plant)["parked"] == 0


@pytest.mark.parametrize("wiped", [False, True])
def test_an_epoch_that_is_heard_of_late_has_the_columns_of_the_line(
    tiers: Tiers, wiped: bool
) -> None:
    """While the group is away the edge is rolled back, renames a column, and is rolled back again
    to just after that: the group hears of the last epoch first, and of the rename in the one
    before. It must not take the new name for another column. A wiped group gets all epochs at
    once; what the first one defines is partly beyond its end."""
    tiers.write(rows=2)
    tiers.run()
    tiers.up2.cut()
    copy = snapshot(tiers.edge)
    tiers.write("root.p.e.d9", start_s=60, rows=2)
    wait(tiers)
    roll_back(tiers.edge, copy)
    wait(tiers)
    tiers.edge.engine.alter_template("meters", rename={"current": "amperes"})
    tiers.edge.engine.alter_template("meters", rename={"amperes": "current_a"})
    at = START_MS
    ids = tiers.edge.engine.device_ids("meters", ["root.p.e.d1"])
    tiers.edge.engine.write("meters", ids, [at], {"current_a": [2.0]}).wait()
    copy = snapshot(tiers.edge)
    tiers.edge.engine.write("meters", ids, [at + 90_000], {"current_a": [3.0]}).wait()
    wait(tiers)
    roll_back(tiers.edge, copy)
    wait(tiers)
    tiers.edge.engine.write("meters", ids, [at], {"current_a": [4.0]}).wait()
    wait(tiers)
    assert epoch_of(tiers.edge) == 2
    if wiped:
        wipe(tiers.group)
    tiers.up2.restore()
    wait(tiers, 60)
    assert names(tiers.plant) == names(tiers.group) == {"current_a", "voltage", "note"}
    for node in (tiers.plant, tiers.group):
        found = node.engine.scan("meters", columns=["current_a"]).read_all().to_pydict()
        assert found["current_a"][0] == 4.0


def test_rows_of_an_image_whose_record_its_owner_lost_are_not_owed_for_ever(
    make_tiers: MakeTiers,
) -> None:
    """The plant has images that answer a record of the edge, the group has not; then the edge goes
    on from a backup without that record. The group asks for nothing by its name any more."""
    tiers = make_tiers(edge_options=SMALL_LOG)
    tiers.write()
    tiers.close()
    tiers.up.cut()
    tiers.up2.cut()
    for number in range(6):
        tiers.write(start_s=900 + 60 * number, rows=20)
    copy = snapshot(tiers.edge)
    release(tiers, tiers.edge, "root.p.e.d2")
    tiers.up.restore()
    tiers.run(20)
    plant = tiers.plant.federation._follower.forward
    assert plant is not None
    waiting = sum(rows["meters"] for rows in plant.owing.images.values())
    assert waiting > 0
    roll_back(tiers.edge, copy)
    wait(tiers)
    assert epoch_of(tiers.edge) == 1
    tiers.plant.engine.flush()  # a checkpoint between, and a start from it
    tiers.plant.restart()
    tiers.run(2)
    plant = tiers.plant.federation._follower.forward
    assert plant is not None
    assert not plant.owing.images
    assert tiers.forward(tiers.plant)["pending"] >= waiting
    tiers.up2.restore()
    for _ in range(3):
        wait(tiers)
        tiers.close()
    assert tiers.forward(tiers.plant)["pending"] == 0
    held = {row[:2] for row in tiers.values(tiers.edge)}
    assert held <= {row[:2] for row in tiers.values(tiers.group)}


def test_a_slice_that_a_released_delete_emptied_is_owed_to_a_restored_parent(
    make_tiers: MakeTiers,
) -> None:
    """The plant is restored to before a delete, whose record is released at the edge by then. Of
    the minute nothing is stored at the edge."""
    tiers = make_tiers(edge_options={"log_segment_bytes": 500})
    tiers.run()
    tiers.write(rows=1)
    tiers.close(2)
    copy = snapshot(tiers.plant)
    at = START_MS
    tiers.edge.engine.delete("meters", devices="root.p.e.d1", start=at, end=at + 1).ack.wait()
    deleted = tiers.edge.engine.log.committed_lsn
    for number in range(6):
        tiers.write(start_s=300 + number, rows=1)
        tiers.run(1)
        tiers.edge.engine.flush()
    tiers.close(2)
    assert tiers.edge.engine.log.first_lsn > deleted
    roll_back(tiers.plant, copy)
    for _ in range(40):
        tiers.clock.advance(1)
        tiers.run(0.5)
        tiers.edge.federation.run_manifests(tiers.clock.now_ns)
        tiers.plant.federation.run_verification()
        assert not tiers.plant.federation._proof.damaged_slices()
    assert sorted(tiers.values(tiers.plant)) == sorted(tiers.values(tiers.edge))
    assert tiers.forward(tiers.edge)["pending"] == 0


def test_a_relay_names_devices_that_only_images_of_a_closed_epoch_defined(
    make_tiers: MakeTiers,
) -> None:
    """The plant heard of a device by an image that is younger than the fork, so the line does not
    know it. Its rows are older, and of the line: the group gets them as slices of the line."""
    tiers = make_tiers(edge_options=SMALL_LOG, plant_options=SMALL_LOG)
    tiers.run()
    tiers.up.cut()
    tiers.up2.cut()
    tiers.write("root.p.e.d7", rows=3)
    copy = snapshot(tiers.edge)
    release(tiers, tiers.edge)
    tiers.up.restore()
    tiers.run(20)
    roll_back(tiers.edge, copy)
    wait(tiers)
    assert epoch_of(tiers.edge) == 1
    release(tiers, tiers.plant)
    tiers.up2.restore()
    for _ in range(3):
        wait(tiers)
        tiers.close()
    assert tiers.forward(tiers.plant)["pending"] == 0
    rows = [row for row in tiers.values(tiers.group) if row[0] == "root.p.e.d7"]
    assert len(rows) == 3
    assert sorted(tiers.values(tiers.group)) == sorted(tiers.values(tiers.plant))


def test_an_image_takes_what_lies_under_an_epoch_that_ended_where_it_began(tiers: Tiers) -> None:
    """The edge went on from the same backup twice. An image under the epoch between brought rows of
    the line, which the next one may not have."""
    tiers.write()
    tiers.run()
    copy = snapshot(tiers.edge)
    for epoch in (1, 2):
        tiers.write(start_s=10 * epoch, rows=2)
        tiers.run()
        roll_back(tiers.edge, copy)
        wait(tiers)
        assert epoch_of(tiers.edge) == epoch
    lines = tiers.plant.federation._follower.lines
    (state,) = tiers.plant.federation._follower.origins.lines()
    table = lines.table(state.key.uuid)
    assert table.begin_of(1) == table.end_of(1) > 0
    nothing = Rows(np.empty(0, np.uint32), np.empty(0, np.int64), {})
    image = SliceImage(
        "meters", state.origin, START_NS, START_NS + SLICE_NS, LSN_MAX, nothing,
        np.empty(0, np.uint64),
    )  # fmt: skip
    sink = Deleting()
    lines.image_applied(state, image, sink)
    assert sink.deleted == [(0, table.end_of(0)), (1, table.end_of(1))]


class Deleting:
    """A sink that only keeps what is deleted: (epoch, last LSN)."""

    def __init__(self) -> None:
        self.deleted: list[tuple[int, int]] = []

    def add(self, table: str, origin: Origin, rows: Rows, lsn: int | Lsns) -> None:
        raise AssertionError("nothing is added")

    def delete(self, origin: Origin, erasure: Erasure) -> None:
        self.deleted.append((origin.epoch, erasure.as_of))

    def replace_slice(self, image: SliceImage) -> None:
        raise AssertionError("nothing is replaced")


def test_a_device_is_defined_as_of_the_record_that_needs_it(tiers: Tiers) -> None:
    """Beyond a fork its number may be another device's: what is said too early would stay."""
    tiers.write("root.p.e.d1")
    tiers.run()
    tiers.up2.cut()
    lsns = [tiers.write(f"root.p.e.d{number}") for number in (2, 3)]
    tiers.run()
    federation = tiers.plant.federation
    forward, images = federation._follower.forward, federation.exchange.images
    assert forward is not None
    assert images is not None
    log = tiers.plant.engine.log
    read = [forward.classifier.content(record) for record in log.read(1, log.barrier())]
    contents = [c for c in read if c.origin is not None and c.sent]
    (state,) = federation._follower.origins.lines()
    images.define(state.key, contents)
    (draft,) = images.drafts(1 << 20)
    assert isinstance(draft, OutsideDraft)
    devices = [lsn for lsn, kind, _, _ in draft.heads if kind == RecordKind.DEV]
    assert devices[0] < lsns[0], "the first device"
    assert devices[-1] >= lsns[-1], "the last one"


def test_a_relay_that_was_restored_does_not_take_two_logs_for_one(tiers: Tiers) -> None:
    """Edge and plant go on from backups while the group, which has more, cannot be asked. The plant
    lets the edge in. What it says of the edge then is not what the group has."""
    tiers.write()
    tiers.run()
    copies = {node.name: snapshot(node) for node in (tiers.edge, tiers.plant)}
    tiers.write("root.p.e.d2", start_s=20, rows=3)
    tiers.until(lambda: len(tiers.values(tiers.group)) == 13, "the group has all rows")
    tiers.up2.cut()
    for node in (tiers.plant, tiers.edge):
        roll_back(node, copies[node.name])
    tiers.write("root.p.e.d3", start_s=40, rows=4)
    tiers.until(lambda: len(tiers.values(tiers.plant)) == 14, "the plant has what the edge has")
    assert epoch_of(tiers.edge) == 0, "nobody can know yet"
    tiers.up2.restore()
    tiers.until(lambda: epoch_of(tiers.edge) == 1, "the group knows better")
    wait(tiers)
    lines = tiers.group.federation._follower.lines
    (edge,) = [line for line in lines if line.name == "edge"]
    assert edge.table == tiers.edge.federation._follower.lines.own.table
    tiers.close()
    kept = [row for row in tiers.values(tiers.group) if row[0] != "root.p.e.d2"]
    assert sorted(kept) == sorted(tiers.values(tiers.edge)) == sorted(tiers.values(tiers.plant))
    assert tiers.forward(tiers.plant)["pending"] == 0
