"""Slice images between tiers: repair of what differs, ids of the origin, definitions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from mainstem_engine.log.records import RecordKind
from mainstem_engine.model import Rows
from mainstem_sync import Child
from mainstem_sync.receiving.receiver import Reply
from mainstem_sync.testing.nodes import START_NS, TestNode
from mainstem_sync.testing.tiers import MINUTE_NS, START_MS, Tiers
from mainstem_sync.wire.batch import Batch
from mainstem_sync.wire.frames import FrameType, decode_frames
from mainstem_sync.wire.messages import AckCode

MakeTiers = Callable[..., Tiers]


def damage(node: TestNode, minute: int = 0, origin: str = "edge") -> None:
    """Change what is stored of a slice behind the federation's back: half of its rows are gone, and
    of the others every current is another."""
    engine = node.engine
    index = next(n for n, found in enumerate(engine.origins) if found.node == origin and n)
    start = START_NS + minute * MINUTE_NS
    touched = engine.slice_max_lsn("meters", engine.origins[index], start, start + MINUTE_NS)
    image = engine.slice_image("meters", index, start, start + MINUTE_NS, as_of=touched)
    some = image.rows.take(np.arange(len(image.rows)) % 2 == 0)
    current = engine.catalog.table("meters").measurement("current")
    assert current is not None
    column = some.columns[current.id]
    column = replace(column, values=column.values + 1)
    rows = Rows(some.device, some.time, {**some.columns, current.id: column})
    lsn = image.lsn[np.arange(len(image.rows)) % 2 == 0]
    engine.apply_image(replace(image, rows=rows, lsn=lsn)).wait()


def repairing(tiers: Tiers, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """A slice of the plant is damaged, and found to be; the requests that come from then on."""
    receiver = tiers.plant.federation.receiver
    requests: list[bytes] = []

    def noted(child: Child, body: bytes) -> Reply:
        requests.append(body)
        return type(receiver).batches(receiver, child, body)

    monkeypatch.setattr(receiver, "batches", noted)
    damage(tiers.plant)
    tiers.plant.federation.run_verification()
    return requests


def states(node: TestNode) -> list[str]:
    return [item["state"] for item in node.federation.holes]


@pytest.mark.parametrize("where", ["plant", "group"])
def test_a_slice_that_differs_is_repaired(tiers: Tiers, where: str) -> None:
    tiers.write(rows=150)
    tiers.write(device="root.p.e.d2", rows=70, value=2.0)
    tiers.close()
    before = tiers.values(tiers.edge)
    node = getattr(tiers, where)
    assert tiers.values(node) == before
    damage(node)
    assert tiers.values(node) != before
    node.federation.run_verification()
    assert states(node) == ["MISMATCH"]
    tiers.run()
    node.federation.run_verification()
    assert node.federation.holes == []
    for each in (tiers.plant, tiers.group):
        assert tiers.values(each) == before
    tiers.check()


def test_repair_while_rows_arrive(tiers: Tiers) -> None:
    tiers.write(rows=150)
    tiers.close()
    damage(tiers.plant, minute=1)
    tiers.plant.federation.run_verification()
    for number in range(20):
        tiers.write(start_s=60 + number, rows=1, value=float(number))
        tiers.write(start_s=700 + number, rows=1)
        tiers.run(0.3)
    tiers.close(15)
    tiers.run()
    for node in (tiers.plant, tiers.group):
        assert tiers.values(node) == tiers.values(tiers.edge)
        assert node.federation.holes == []


def test_an_image_from_before_a_delete_that_is_here_is_put_off(
    tiers: Tiers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The delete covers rows up to a record before the image, and is itself behind it."""
    tiers.write(rows=5)
    tiers.close()
    receiver = tiers.plant.federation.receiver
    requests = repairing(tiers, monkeypatch)
    tiers.run()
    expected = tiers.values(tiers.edge)
    assert tiers.values(tiers.plant) == expected
    at = START_MS + 1000
    tiers.edge.engine.delete("meters", devices="root.p.e.d1", start=at, end=at + 2000).ack.wait()
    tiers.run()
    left = tiers.values(tiers.edge)
    assert len(left) == len(expected) - 2
    for body in [body for body in requests if _has_image(body)]:
        type(receiver).batches(receiver, tiers.up._child, body)
        assert tiers.values(tiers.plant) == left


def test_an_image_from_before_another_that_is_here_is_put_off(
    make_tiers: MakeTiers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newer one stands for a delete that is in no log any more. Once all of the log is here,
    nothing is left in the engine that the older one could be compared with."""
    tiers = make_tiers(edge_options={"log_segment_bytes": 1500, "log_bytes_max": 4500})
    tiers.write(rows=5)
    tiers.close()
    receiver = tiers.plant.federation.receiver
    requests = repairing(tiers, monkeypatch)
    tiers.until(lambda: tiers.values(tiers.plant) == tiers.values(tiers.edge), "the image")
    older = [body for body in requests if _has_image(body)]
    assert older
    tiers.up.cut()
    at = START_MS + 1000
    tiers.edge.engine.delete("meters", devices="root.p.e.d1", start=at, end=at + 2000).ack.wait()
    deleted = tiers.edge.engine.committed_lsn
    for minute in range(1, 20):
        tiers.write(start_s=60 * minute, rows=50)
        tiers.run(1.2)
        tiers.edge.federation.run_manifests(tiers.clock.now_ns)
        tiers.edge.engine.flush()
    assert tiers.edge.engine.log.first_lsn > deleted
    tiers.up.restore()
    tiers.close(60)
    left = tiers.values(tiers.edge)
    tiers.until(lambda: tiers.values(tiers.plant) == left, "the newer image", verify=True)
    (edge,) = tiers.plant.federation._follower.origins
    last = tiers.edge.engine.committed_lsn
    tiers.until(lambda: edge.received.watermark >= last, "all of the log")
    tiers.plant.engine.flush()
    for body in older:  # its session has ended since: so the batches are taken by themselves
        for batch in _batches(body):
            answer = receiver._log(tiers.up._child, edge.key.uuid, batch)
            assert answer.code is AckCode.LATER
        assert tiers.values(tiers.plant) == left


def _batches(body: bytes) -> list[Batch]:
    frames = decode_frames(body)
    return [Batch.from_frame(frame) for frame in frames if frame.type is FrameType.BATCH]


def _has_image(body: bytes) -> bool:
    kinds = {record.kind for batch in _batches(body) for record in batch.records}
    return RecordKind.IMG in kinds
