"""Case 23: an edge writes below another site's path, or speaks in another node's name. That is
refused at the receiver, counted, written down as an alarm, and goes no further."""

from __future__ import annotations

import numpy as np
import pytest

from mainstem_engine.model import ColumnType, Measurement, Template
from mainstem_sync.receiving.receiver import Child
from mainstem_sync.testing.tiers import START_MS, Tiers
from mainstem_sync.wire.batch import encode_batch, encode_request
from mainstem_sync.wire.frames import FrameType, decode_frames
from mainstem_sync.wire.messages import OriginKey, Queue, single_frame
from mainstem_sync.wire.ranges import RangeSet


def test_case_23_rows_of_another_site_are_put_aside_and_go_no_further(tiers: Tiers) -> None:
    tiers.write("root.p.e.mine")
    tiers.write("root.q.other.theirs", start_s=100)
    tiers.write("root.p.else", start_s=200)
    tiers.run(3)
    for node in (tiers.plant, tiers.group):
        assert {row[0] for row in tiers.values(node)} == {"root.p.e.mine"}
        assert node.engine.catalog.devices.id_of("root.q.other.theirs") is None
    sums = tiers.plant.federation.accounting()["meters"]["children"]
    assert sums["quarantined_here"] == 20
    items = tiers.plant.federation.quarantine.items()
    assert {item["device"] for item in items} == {"root.q.other.theirs", "root.p.else"}
    tiers.check()
    # One alarm an hour, whatever it goes on to send; it is in the log.
    tiers.commit()
    (alarm,) = tiers.plant.federation.alarms()
    assert (alarm["code"], alarm["node"]) == ("TRESPASS", "edge")
    assert "root.q.other.theirs" in alarm["text"]
    tiers.plant.restart()
    assert tiers.plant.federation.alarms() == [alarm]
    tiers.clock.advance(3601)
    tiers.write("root.q.another.one", start_s=300)
    tiers.run(3)
    tiers.commit()
    assert [each["code"] for each in tiers.plant.federation.alarms()] == ["TRESPASS"] * 2
    assert tiers.group.federation.alarms() == []


def test_case_23_a_device_of_another_template_is_no_trespass(tiers: Tiers) -> None:
    """It is put aside as well, but lies where the edge may write."""
    other = Template("other", (Measurement(0, "x", ColumnType.DOUBLE),))
    tiers.plant.engine.create_template(other)
    tiers.plant.engine.device_ids("other", ["root.p.e.d1"], create=True)
    tiers.write("root.p.e.d1")
    tiers.run(3)
    assert tiers.values(tiers.plant) == []
    assert len(tiers.plant.federation.quarantine.items()) == 10
    assert tiers.plant.federation.alarms() == []


def test_case_23_a_delete_reaches_nothing_of_another_site(tiers: Tiers) -> None:
    """The edge knows the other device's path, and deletes it at home."""
    tiers.write("root.p.e.mine")
    tiers.run(2)
    engine = tiers.plant.engine
    theirs = engine.device_ids("meters", ["root.p.own"], create=True)
    engine.write("meters", theirs, np.array([START_MS]), {"current": np.array([1.0])}).wait()
    tiers.write("root.p.own", start_s=0, rows=1)
    tiers.edge.engine.delete("meters", devices="root.p.own").ack.wait()
    tiers.edge.engine.drop_devices(tiers.edge.engine.device_ids("meters", ["root.p.own"]))
    tiers.run(3)
    assert {row[0] for row in tiers.values(tiers.plant)} == {"root.p.e.mine", "root.p.own"}


@pytest.mark.parametrize("who", ["other child", "the parent itself"])
def test_case_23_records_in_another_name_are_refused(tiers: Tiers, who: str) -> None:
    tiers.write()
    tiers.run(2)
    plant = tiers.plant
    if who == "other child":
        victim = OriginKey(tiers.edge.engine.node_uuid, 0, "edge")
    else:
        victim = OriginKey(plant.engine.node_uuid, 0, "plant")
    evil = Child("evil", ["root.p.evil"])
    receiver = plant.federation.receiver
    lease = _lease(tiers, evil)
    frame, _ = encode_batch(victim, Queue.LIVE, RangeSet([(1, 1000)]), [], b"", None)
    reply = receiver.batches(evil, encode_request(lease, 1, 0) + frame)
    codes = [f.header["code"] for f in decode_frames(reply.body) if f.type is FrameType.ACK]
    assert codes == ["rejected"]
    assert plant.federation.drops()["received_rejected_batch"] == 1
    plant.engine.log.barrier()
    (alarm,) = plant.federation.alarms()
    assert (alarm["code"], alarm["node"]) == ("TRESPASS", "evil")
    tiers.write(start_s=500)
    tiers.run(3)
    assert len(tiers.values(plant)) == 20


def _lease(tiers: Tiers, child: Child) -> str:
    from mainstem_sync.lines.handshake import Hello, Welcome

    hello = Hello(OriginKey("e" * 32, 0, child.name), "i", "n", 1, 0)
    reply = tiers.plant.federation.receiver.hello(child, hello.encode())
    return Welcome.from_frame(single_frame(reply.body)).lease
