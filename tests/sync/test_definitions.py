"""Templates and devices on their way up: when they are missing, refused, or in conflict."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mainstem_engine.consumers import Ack
from mainstem_engine.errors import OverloadedError
from mainstem_engine.log.records import RecordKind
from mainstem_engine.model import ColumnType, Measurement, Tag, Template
from mainstem_sync import Child, Export
from mainstem_sync.testing.agenda import START_NS
from mainstem_sync.testing.tiers import METERS, START_MS, Tiers
from mainstem_sync.wire.messages import Queue

MakeTiers = Callable[..., Tiers]


def test_a_first_parent_gets_new_rows_and_the_definitions_they_need(
    make_tiers: MakeTiers,
) -> None:
    tiers = make_tiers()
    edge = tiers.edge
    edge.stop()
    edge.directory, edge.parent = edge.base / "alone", False
    edge.start()
    edge.engine.create_template(METERS)
    tiers.write(rows=5)
    edge.engine.flush()
    edge.stop()
    edge.parent = True
    edge.start()
    tiers.check()
    assert tiers.forward(edge)["not_exported"] == 5
    tiers.write(start_s=100, rows=3)
    tiers.until(lambda: tiers.forward(edge)["delivered"] == 3, "the plant has the new rows")
    tiers.until(lambda: tiers.forward(tiers.plant)["delivered"] == 3, "so has the group")
    # What was written before there was a parent was never owed to one.
    assert len(tiers.values(tiers.plant)) == 3
    assert tiers.values(tiers.group) == tiers.values(tiers.plant)
    devices = tiers.group.engine.catalog.devices
    assert devices.tags(devices.id_of("root.p.e.d1") or 0) == {"line": "a"}


def test_rows_made_here_of_a_childs_devices_can_be_read_above(tiers: Tiers) -> None:
    tiers.write(rows=5)
    tiers.run()
    plant = tiers.plant
    plant.stop()
    plant.exports = [Export("meters"), Export("meters", "rollup", "1h")]
    plant.start()
    plant.engine.create_rollup("meters", "1h", 3600 * 10**9)
    ids = plant.engine.device_ids("meters_1h", ["root.p.e.d1"])
    ack = plant.engine.write(
        "meters_1h", ids, [START_MS], {"current_count": np.array([5])}, derived=True
    )
    ack.wait()
    tiers.clock.advance(40)
    tiers.run(6)
    found = tiers.group.engine.scan("meters_1h", columns=["current_count"]).read_all().to_pylist()
    assert [(row["device"], row["current_count"]) for row in found] == [("root.p.e.d1", 5)]
    sums = plant.federation.accounting()["meters_1h"]
    assert (sums["log"]["derived"], sums["forward"]["delivered"]) == (1, 1)


def test_a_type_conflict_puts_aside_that_series_only(tiers: Tiers) -> None:
    tiers.plant.engine.create_template(
        Template(
            "meters",
            (
                Measurement(0, "voltage", ColumnType.DOUBLE),
                Measurement(0, "current", ColumnType.DOUBLE),
            ),
            (Tag("line"),),
        ),
        foreign=True,  # not the platform's own to announce: the group stays without a conflict
    )
    tiers.write(rows=10)
    tiers.run()
    found = tiers.plant.engine.scan("meters").read_all().to_pylist()
    assert [row["current"] for row in found] == [1.0] * 10
    assert [row["voltage"] for row in found] == [None] * 10
    sums = tiers.plant.federation.accounting()["meters"]
    assert sums["values_quarantined"] == 10
    assert sums["children"] == {
        "in_batches": 10, "from_children": 10, "duplicates": 0, "quarantined_here": 0,
    }  # fmt: skip
    items = tiers.plant.federation.quarantine.items()
    assert len(items) == 10
    assert {(i["node"], i["measurement"], i["reason"]) for i in items} == {
        ("edge", "voltage", "type_conflict")
    }
    assert sorted(i["value"] for i in items) == list(range(10))
    # The group has no conflict and gets everything.
    assert tiers.values(tiers.group) == tiers.values(tiers.edge)
    tiers.close()
    assert tiers.state(tiers.group)["state"] == "complete"
    plant = tiers.state(tiers.plant)
    assert plant["state"] == "complete"
    assert plant["quarantined"] == 10
    assert [lost["reason"] for lost in plant["lost"]] == ["quarantined"]
    (listed,) = tiers.plant.federation.holes
    assert listed["state"] == "QUARANTINED"


def test_a_table_whose_every_column_conflicts_is_put_aside_by_rows(tiers: Tiers) -> None:
    tiers.plant.engine.create_template(
        Template(
            "meters",
            tuple(
                Measurement(0, name, ColumnType.BOOLEAN) for name in ("current", "voltage", "note")
            ),
        ),
        foreign=True,
    )
    tiers.write(rows=4)
    tiers.run()
    sums = tiers.plant.federation.accounting()["meters"]["children"]
    assert sums == {
        "in_batches": 4, "from_children": 0, "duplicates": 0, "quarantined_here": 4,
    }  # fmt: skip
    assert tiers.values(tiers.group) == tiers.values(tiers.edge)
    tiers.plant.restart()
    tiers.check()
    assert tiers.plant.federation.accounting()["meters"]["children"] == sums
    tiers.clock.advance(40)
    tiers.close()
    assert tiers.state(tiers.plant)["state"] == "complete"
    assert tiers.state(tiers.plant)["quarantined"] == 8  # values: two of each row


def test_another_sites_path_is_refused_put_aside_and_not_passed_on(tiers: Tiers) -> None:
    tiers.write("root.p.other.d1", rows=3)
    tiers.write("root.p.e.d1", rows=2)
    engine = tiers.edge.engine
    ids = engine.device_ids("meters", ["root.p.e.d1", "root.p.other.d1"])
    ack = engine.write("meters", ids, [START_MS + 60_000] * 2, {"current": [7.0, 8.0]})
    ack.wait()
    tiers.run()
    held = {row[0] for row in tiers.values(tiers.plant)}
    assert held == {"root.p.e.d1"}
    assert {row[0] for row in tiers.values(tiers.group)} == held
    sums = tiers.plant.federation.accounting()["meters"]["children"]
    assert (sums["from_children"], sums["quarantined_here"]) == (3, 4)
    items = tiers.plant.federation.quarantine.items()
    assert {(i["device"], i["reason"]) for i in items} == {("root.p.other.d1", "not_owner")}
    assert tiers.plant.engine.catalog.devices.id_of("root.p.other.d1") is None
    assert tiers.forward(tiers.plant)["delivered"] == 3
    tiers.plant.restart()
    tiers.clock.advance(40)
    tiers.run(1)
    assert tiers.plant.federation.accounting()["meters"]["children"] == sums
    tiers.close()
    assert tiers.state(tiers.plant)["state"] == "complete"


def test_a_device_of_another_template_here_is_refused(tiers: Tiers) -> None:
    tiers.plant.engine.create_template(
        Template("pumps", (Measurement(0, "flow", ColumnType.DOUBLE),))
    )
    tiers.plant.engine.device_ids("pumps", ["root.p.e.d1"], create=True)
    tiers.write("root.p.e.d1", rows=2)
    tiers.write("root.p.e.d2", rows=2)
    tiers.run()
    assert {row[0] for row in tiers.values(tiers.plant)} == {"root.p.e.d2"}


def test_new_measurements_extend_the_template_above(tiers: Tiers) -> None:
    tiers.write(rows=2)
    tiers.run(1)
    tiers.edge.engine.extend_template(
        "meters",
        [Measurement(0, "power", ColumnType.FLOAT), Measurement(0, "on", ColumnType.BOOLEAN)],
    )
    engine = tiers.edge.engine
    ids = engine.device_ids("meters", ["root.p.e.d1"])
    engine.write(
        "meters", ids, [START_MS + 60_000], {"power": [1.5], "on": [True], "note": ["text"]}
    ).wait()
    tiers.run()
    for node in (tiers.plant, tiers.group):
        last = node.engine.scan("meters").read_all().to_pylist()[-1]
        assert (last["power"], last["on"], last["note"]) == (1.5, True, "text")


def test_rows_that_overtake_their_definitions_wait(tiers: Tiers) -> None:
    """Two requests in flight may arrive in the wrong order."""
    tiers.run(1)
    sender, receiver = tiers.edge.federation.sender, tiers.plant.federation.receiver
    assert sender is not None
    child = Child("edge", ["root.p.e"])
    tiers.edge.engine.device_ids("meters", ["root.p.e.new"], {"line": ["b"]}, create=True)
    tiers.edge.engine.log.barrier()
    tiers.clock.advance(1)
    first = sender.next_request()
    assert first is not None
    tiers.write("root.p.e.new", rows=3)
    tiers.clock.advance(1)
    second = sender.next_request()
    assert second is not None
    reply = receiver.batches(child, second.body)
    sender.on_reply(second, reply.status, reply.body)
    assert tiers.forward(tiers.edge)["pending"] == 3
    assert tiers.values(tiers.plant) == []
    reply = receiver.batches(child, first.body)
    sender.on_reply(first, reply.status, reply.body)
    tiers.run()
    assert len(tiers.values(tiers.group)) == 3


def test_a_batch_that_has_to_wait_does_not_leave_maps_behind_the_catalog(tiers: Tiers) -> None:
    """It renames a column, and deletes rows of a device of which nothing was heard yet. What goes
    up meanwhile would tell the new name as the plant's own first, and there would be two."""
    tiers.run(1)
    sender, receiver = tiers.edge.federation.sender, tiers.plant.federation.receiver
    assert sender is not None
    child, engine = Child("edge", ["root.p.e"]), tiers.edge.engine
    engine.device_ids("meters", ["root.p.e.new"], {"line": ["b"]}, create=True)
    engine.log.barrier()
    tiers.clock.advance(1)
    first = sender.next_request()
    assert first is not None
    tiers.write("root.p.e.new")
    at = START_MS
    engine.delete("meters", devices="root.p.e.new", start=at, end=at + 1).ack.wait()
    engine.alter_template("meters", rename={"note": "remark"})
    engine.log.barrier()
    tiers.clock.advance(1)
    second = sender.next_request()
    assert second is not None
    for _ in range(3):  # it comes again and again
        before = tiers.plant.engine.log.barrier()
        reply = receiver.batches(child, second.body)
    assert tiers.plant.engine.log.barrier() == before, "and is written down once"
    (state,) = tiers.plant.federation._follower.origins.lines()
    names = {m.name for m in state.maps.known_table("meters").measurements.values()}
    template = tiers.plant.engine.catalog.table("meters").template
    assert names == {m.name for m in template.measurements}
    assert "remark" in names
    sender.on_reply(second, reply.status, reply.body)
    reply = receiver.batches(child, first.body)
    sender.on_reply(first, reply.status, reply.body)
    tiers.run()
    assert tiers.forward(tiers.edge)["pending"] == 0
    assert {
        m.name for m in tiers.group.engine.catalog.table("meters").template.measurements
    } == names


def test_databases_keep_their_precision_above(tiers: Tiers) -> None:
    tiers.edge.engine.create_database("root.p.e", precision="us")
    engine = tiers.edge.engine
    ids = engine.device_ids("meters", ["root.p.e.d1"], create=True)
    engine.write("meters", ids, [START_NS // 1000 + 1], {"current": [1.0]}).wait()
    tiers.run()
    for node in tiers.nodes:
        assert node.engine.precision_ns("meters") == 1000
        found: Any = node.engine.scan("meters").read_all().to_pydict()
        assert found["time"] == [START_NS // 1000 + 1]


def test_definitions_travel_in_the_control_queue(tiers: Tiers) -> None:
    tiers.up.cut()
    for n in range(50):
        tiers.write(start_s=n * 10)
    tiers.edge.engine.device_ids("meters", ["root.p.e.late"], create=True)
    tiers.edge.engine.log.barrier()
    forward = tiers.edge.federation._follower.forward
    assert forward is not None
    control = forward.owed(10**9).intersection(forward.control)
    assert control.count() == 5  # the start, template, database, two devices
    assert str(Queue.CONTROL) == "control"


def test_a_batch_that_was_not_logged_leaves_no_definition_behind(
    tiers: Tiers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise rows could be logged before the definitions that a replay needs for them."""
    receiver, engine = tiers.plant.federation.receiver, tiers.plant.engine
    append = engine.append

    def full(kind: RecordKind, *args: Any, **options: Any) -> Ack:
        if kind == RecordKind.RCV:
            raise OverloadedError("no room")
        return append(kind, *args, **options)

    tiers.write()
    with monkeypatch.context() as patch:
        patch.setattr(engine, "append", full)
        tiers.run(2)
        (state,) = tiers.plant.federation._follower.origins
        assert state.maps.table("meters") is None
        assert receiver.maps_of(state.key) is state.maps
    tiers.clock.advance(40)
    tiers.run(2)
    assert tiers.values(tiers.group) == tiers.values(tiers.edge)


def test_a_lost_batch_of_definitions_is_sent_again_with_its_rows(tiers: Tiers) -> None:
    """Damage in the parent's log took the batch that named a device; its rows came after it."""
    tiers.write(rows=3)
    tiers.run(2)
    tiers.plant.engine.flush()
    log = tiers.plant.engine.log
    before = log.appended_lsn
    tiers.edge.engine.device_ids("meters", ["root.p.e.new"], create=True)
    tiers.run(1)
    named = next(r.lsn for r in log.read(before + 1) if r.kind == RecordKind.RCV)
    tiers.write("root.p.e.new", rows=4)
    tiers.run(1)
    assert len(tiers.values(tiers.plant)) == 7
    tiers.plant.crash()
    for path in sorted((tiers.plant.directory / "log").glob("*.log")):
        data = bytearray(path.read_bytes())
        at = data.find(struct.pack("<QB", named, RecordKind.RCV))
        if at >= 0:
            data[at + 60] ^= 1
            path.write_bytes(data)
    tiers.plant.start()
    assert len(tiers.values(tiers.plant)) == 3
    tiers.clock.advance(40)
    tiers.run(4, check=False)
    assert tiers.values(tiers.plant) == tiers.values(tiers.edge)
    assert tiers.values(tiers.group) == tiers.values(tiers.edge)
