"""History in blocks: many records travel as one, are handed on as they came, count as before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from mainstem_engine import light_points
from mainstem_engine.encoded_points import decode_rows, encode_rows
from mainstem_engine.filesystem import byte_view
from mainstem_engine.light_points import is_light
from mainstem_engine.log.records import RecordKind, decode_payload
from mainstem_engine.model import Column, ColumnType, Measurement, Rows, Template
from mainstem_sync import Child, Export
from mainstem_sync.errors import RejectedError, UnknownSchemaError, WireError
from mainstem_sync.receiving.incoming import UNUSABLE
from mainstem_sync.receiving.receiver import Reply
from mainstem_sync.sending.session import Request
from mainstem_sync.state import content, forward
from mainstem_sync.testing.nodes import TestNode
from mainstem_sync.testing.tiers import METERS, START_MS, Tiers
from mainstem_sync.wire import packing
from mainstem_sync.wire.batch import Batch, WireBlock, encode_batch
from mainstem_sync.wire.frames import DECODED_BYTES_MAX, FrameType, decode_frames
from mainstem_sync.wire.messages import AckCode, OriginKey, Queue
from mainstem_sync.wire.ranges import RangeSet

MakeTiers = Callable[..., Tiers]
ROWS = 700
"""More than history needs to be gathered."""


@pytest.fixture(autouse=True)
def _small_loads_are_live(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "HISTORY_ROWS_MIN", 50)


def blocks_of(node: TestNode) -> list[tuple[str, int, bytes]]:
    """(table, rows, payload) of every block in the log of a node."""
    found = []
    for header, buffers in received(node):
        for table, rows, offset, length, _ in header.get("blocks", ()):
            found.append((table, rows, bytes(buffers[0][offset : offset + length])))
    return found


def received(node: TestNode) -> Iterator[tuple[dict[str, Any], list[memoryview]]]:
    for record in node.engine.log.read(1):
        if record.kind == RecordKind.RCV:
            yield decode_payload(record.payload)


def backlog(tiers: Tiers, records: int = 70, rows: int = 10) -> None:
    """Records of two devices, and one that overwrites."""
    for n in range(records):
        tiers.write(f"root.p.e.d{n % 2}", start_s=n * rows, rows=rows, value=n)
    tiers.write("root.p.e.d0", start_s=0, rows=5, value=-1.0)


def test_a_backlog_arrives_as_blocks_and_reads_as_it_was_written(tiers: Tiers) -> None:
    backlog(tiers)
    tiers.run()
    expected = tiers.values(tiers.edge)
    assert len(expected) == ROWS
    assert tiers.values(tiers.plant) == expected
    assert tiers.values(tiers.group) == expected
    assert sum(rows for _, rows, _ in blocks_of(tiers.plant)) == ROWS + 5
    assert tiers.forward(tiers.edge)["delivered"] == ROWS + 5
    tiers.close()
    assert tiers.state(tiers.group)["complete_through"] is not None
    assert tiers.group.federation.holes == []


def test_a_relay_hands_blocks_on_as_they_came(make_tiers: MakeTiers) -> None:
    tiers = make_tiers()
    tiers.up2.cut()
    backlog(tiers)
    tiers.run()
    tiers.up2.restore()
    tiers.clock.advance(120)
    tiers.run(6)
    assert tiers.values(tiers.group) == tiers.values(tiers.edge)
    assert blocks_of(tiers.group) == blocks_of(tiers.plant) != []


def test_blocks_are_replayed_after_a_crash(tiers: Tiers) -> None:
    backlog(tiers)
    tiers.run()
    expected = tiers.values(tiers.edge)
    for node in (tiers.plant, tiers.group):
        node.restart()
        assert tiers.values(node) == expected
    tiers.clock.advance(60)
    tiers.run()
    tiers.check()
    tiers.plant.engine.flush()
    assert tiers.values(tiers.plant) == expected


def test_records_that_are_known_are_taken_out_of_a_block(tiers: Tiers) -> None:
    tiers.run(1)
    for n in range(5):
        tiers.write(start_s=n * 10, rows=10, value=n)
        tiers.run(0.5)
    assert [rows for _, rows, _ in blocks_of(tiers.plant)] == [10] * 5
    request = _resend(tiers, first=1)
    _, answer = _take(tiers, request)
    assert answer is AckCode.OK
    sums = tiers.plant.federation.accounting()["meters"]["children"]
    assert sums["from_children"] == 50
    assert sums["duplicates"] == 50
    assert tiers.values(tiers.plant) == tiers.values(tiers.edge)


def test_the_known_part_of_a_block_is_not_applied_again(tiers: Tiers) -> None:
    tiers.run(1)
    tiers.write(rows=30, value=1.0)
    tiers.run(1)
    tiers.up.cut()
    for n in range(3):
        tiers.write(start_s=30 + n * 30, rows=30, value=2.0)
    request = _resend(tiers, first=1)
    _, answer = _take(tiers, request)
    assert answer is AckCode.OK
    sums = tiers.plant.federation.accounting()["meters"]["children"]
    assert (sums["from_children"], sums["duplicates"]) == (120, 30)
    assert tiers.values(tiers.plant) == tiers.values(tiers.edge)
    tiers.up.restore()
    tiers.clock.advance(60)
    tiers.run()
    assert tiers.values(tiers.group) == tiers.values(tiers.edge)


def test_a_replay_finds_the_same_rows_late_where_a_block_was_taken_apart(
    make_tiers: MakeTiers,
) -> None:
    """Rows of two sets of columns. Of the later ones one column is put aside: in the log what is
    left of their block stands before the block that is kept."""
    tiers = make_tiers()
    other = Measurement(1, "voltage", ColumnType.TEXT)
    measurements = (METERS.measurements[0], other, METERS.measurements[2])
    tiers.plant.engine.create_template(Template("meters", measurements, METERS.tags))
    tiers.write(rows=1)
    tiers.run()
    tiers.up.cut()
    engine = tiers.edge.engine
    ids = engine.device_ids("meters", ["root.p.e.d1"])
    ack = engine.write("meters", ids, [START_MS + 10_000], {"current": [1.0]})
    engine.write("meters", ids, [START_MS + 20_000], {"note": ["n"], "voltage": [1]}).wait()
    _, answer = _take(tiers, _resend(tiers, first=ack.lsn, blocks=2))
    assert answer is AckCode.OK
    counts = tiers.plant.engine.store_accounting()["meters"]
    assert (counts.live, counts.unresolved) == (3, 0)
    tiers.plant.restart()
    assert tiers.plant.engine.store_accounting()["meters"] == counts


def test_a_denied_device_leaves_the_block_and_the_rest_stays(make_tiers: MakeTiers) -> None:
    tiers = make_tiers()
    tiers.up = tiers.edge.link_to(tiers.plant, paths=["root.p.e.good"])
    for n in range(10):
        tiers.write("root.p.e.good.d", start_s=n * 10, rows=10)
        tiers.write("root.p.e.bad", start_s=n * 10, rows=10)
    tiers.run()
    assert {row[0] for row in tiers.values(tiers.plant)} == {"root.p.e.good.d"}
    assert tiers.values(tiers.group) == tiers.values(tiers.plant)
    sums = tiers.plant.federation.accounting()["meters"]["children"]
    assert (sums["from_children"], sums["quarantined_here"]) == (100, 100)
    assert tiers.plant.federation.quarantine.statistics().items > 0
    tiers.close()
    assert tiers.state(tiers.plant)["complete_through"] is not None


def test_a_type_conflict_puts_one_column_of_a_block_aside(make_tiers: MakeTiers) -> None:
    tiers = make_tiers()
    other = Measurement(1, "voltage", ColumnType.TEXT)
    tiers.plant.engine.create_template(
        Template("meters", (METERS.measurements[0], other), METERS.tags)
    )
    for n in range(6):
        tiers.write(start_s=n * 10, rows=10, value=n)
    tiers.run()
    rows = tiers.values(tiers.plant)
    assert len(rows) == 60
    assert {row[3] for row in rows} == {None}
    assert tiers.plant.federation.quarantine.statistics().items > 0
    assert {row[2] for row in rows} == set(map(float, range(6)))
    assert tiers.values(tiers.group) == rows


def test_a_relay_takes_rows_out_of_a_block_that_it_does_not_export(
    make_tiers: MakeTiers,
) -> None:
    tiers = make_tiers(plant_exports=(Export("meters", under="root.p.e.d1"),))
    backlog(tiers)
    tiers.run(6)
    assert {row[0] for row in tiers.values(tiers.plant)} == {"root.p.e.d0", "root.p.e.d1"}
    assert tiers.values(tiers.group) == [
        row for row in tiers.values(tiers.edge) if row[0] == "root.p.e.d1"
    ]
    forward = tiers.forward(tiers.plant)
    assert (forward["delivered"], forward["not_exported"]) == (350, 355)


def test_records_of_other_columns_are_not_joined(tiers: Tiers) -> None:
    engine = tiers.edge.engine
    ids = engine.device_ids("meters", ["root.p.e.d1"], {"line": ["a"]}, create=True)
    for n in range(120):
        columns = {"current": [float(n)]} if n % 2 else {"note": [f"n{n}"], "voltage": [n]}
        engine.write("meters", ids, [1_800_000_000_000 + n * 1000], columns).wait()
    tiers.run()
    assert len(blocks_of(tiers.plant)) == 2
    assert tiers.values(tiers.group) == tiers.values(tiers.edge)


# What a child may not do


def _block(lsns: list[int], rows: int | None = None, decoded: int | None = None) -> bytes:
    """A batch of one block of the edge's first device, whose ranges are [1, 9]."""
    count = len(lsns)
    values = Rows(
        np.zeros(count, np.uint32),
        1_800_000_000 * 10**9 + np.arange(count) * 10**9,
        {0: Column(np.ones(count))},
    )
    header = {"t": "meters", "rev": 1, "der": 0}
    pieces = encode_rows(header, values, np.array(lsns, np.uint64), {0: ColumnType.DOUBLE}, {})
    payload = b"".join(map(byte_view, pieces))
    taken = DECODED_BYTES_MAX if decoded is None else decoded
    block = WireBlock("meters", count if rows is None else rows, 0, len(payload), taken)
    origin = OriginKey("e", 0, "edge")
    return encode_batch(origin, Queue.HISTORY, RangeSet([(1, 9)]), [], payload, None, [block])[0]


@pytest.mark.parametrize(
    "frame",
    [_block([1, 2, 10]), _block([0, 1, 2]), _block([1, 2], rows=3), _block([1, 2], decoded=40)],
)
def test_a_block_that_does_not_keep_its_word_is_refused(tiers: Tiers, frame: bytes) -> None:
    tiers.write(rows=1)
    tiers.run()
    batch = _batch(frame)
    with pytest.raises(UNUSABLE):
        _prepare(tiers, batch)


def test_a_block_of_a_table_that_is_not_known_needs_its_schema(tiers: Tiers) -> None:
    with pytest.raises(UnknownSchemaError):
        _prepare(tiers, _batch(_block([1, 2])))


def test_more_than_a_batch_may_decode_is_refused_before_it_is(tiers: Tiers) -> None:
    with pytest.raises(WireError):
        _batch(_block([1], decoded=DECODED_BYTES_MAX + 1))
    batch = _batch(_block([1]))
    twice = Batch(
        batch.origin, batch.queue, batch.ranges, (), batch.raw_length, batch.codec,
        batch.payload, batch.hash, None, batch.blocks * 2,
    )  # fmt: skip
    with pytest.raises(RejectedError, match="too many rows"):
        _prepare(tiers, twice)


def _batch(frame: bytes) -> Batch:
    return Batch.from_frame(next(iter(decode_frames(frame))))


def _prepare(tiers: Tiers, batch: Batch) -> None:
    from mainstem_sync.receiving.incoming import prepare
    from mainstem_sync.wire import frames as wire

    plant = tiers.plant
    edge = OriginKey(tiers.edge.engine.node_uuid, 0, "edge")
    maps = plant.federation.receiver.maps_of(edge)
    raw = memoryview(wire.decompress(batch.codec, batch.raw_length, batch.payload))
    prepare(batch, raw, RangeSet(), maps, via="edge", paths=None, engine=plant.engine, at_ms=0)


def _resend(tiers: Tiers, first: int, blocks: int = 1) -> bytes:
    """What a sender that forgot everything would send of the own rows: so many blocks."""
    classifier = tiers.edge.federation.sender._cutter.classifier  # type: ignore[union-attr]
    log = tiers.edge.engine.log
    pieces: list[packing.Piece] = []
    ranges = RangeSet()
    for record in log.read(first, log.fsynced_lsn):
        content = classifier.content(record)
        if record.kind == RecordKind.PTS:
            pieces += content.pieces
            ranges.add(record.lsn)
    packed = packing.Packer().pack(pieces, Queue.HISTORY)
    assert len(packed.blocks) == blocks
    origin = OriginKey(tiers.edge.engine.node_uuid, 0, "edge")
    return encode_batch(
        origin, Queue.HISTORY, ranges, packed.records, packed.raw, None, packed.blocks
    )[0]


def _take(tiers: Tiers, frame: bytes) -> tuple[Batch, AckCode]:
    """Give a batch to the plant as if it had come over the edge's connection."""
    receiver = tiers.plant.federation.receiver
    child = tiers.up._child
    batch = _batch(frame)
    answer = receiver._take(child, tiers.edge.engine.node_uuid, batch)
    if answer.ack is not None:
        answer.ack.wait(5)
    return batch, answer.code


def test_decoding_what_was_packed_gives_the_records_back(tiers: Tiers) -> None:
    backlog(tiers, records=6, rows=10)
    frame = _resend(tiers, first=1)
    batch = _batch(frame)
    from mainstem_sync.wire import frames as wire

    raw = wire.decompress(batch.codec, batch.raw_length, batch.payload)
    block = batch.blocks[0]
    found = decode_rows(raw[block.offset : block.offset + block.length], bytes_max=block.decoded)
    assert len(dict(found.records())) == 7


def test_live_rows_pass_by_the_history_that_a_relay_still_has(tiers: Tiers) -> None:
    tiers.run(1)
    tiers.up.cut()
    backlog(tiers)
    tiers.clock.advance(1)
    tiers.up.step()
    tiers.up.restore()
    tiers.clock.advance(60)
    relayed, pause = tiers.up2, 0.12
    for _ in range(40):  # the edge delivers; the relay, connected, has not sent it on yet
        tiers.clock.advance(pause)
        tiers.up.step()
        if tiers.forward(tiers.edge)["pending"] == 0:
            break
    tiers.write("root.p.e.live", start_s=5000, rows=1, value=7.0)
    for _ in range(10):
        tiers.clock.advance(pause)
        tiers.up.step()
    sender = tiers.plant.federation.sender
    assert sender is not None
    rows: list[int] = []
    while not sum(rows):
        request = sender.next_request()
        assert request is not None
        for frame in decode_frames(request.body):
            if frame.type is FrameType.BATCH:
                batch = Batch.from_frame(frame)
                records = sum(record.rows for record in batch.records)
                rows.append(records + sum(block.rows for block in batch.blocks))
        reply = tiers.group.federation.receiver.batches(relayed._child, request.body)
        sender.on_reply(request, reply.status, reply.body)
    assert next(filter(None, rows)) == 1, "before everything but its device's definition"
    tiers.run()
    assert tiers.values(tiers.group) == tiers.values(tiers.edge)


def test_a_load_is_history_and_what_is_measured_meanwhile_goes_first(
    tiers: Tiers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forward, "BULK_ROWS_MIN", 100)
    monkeypatch.setattr(content, "BULK_ROWS_MIN", 100)
    tiers.run(1)
    for n in range(5):
        tiers.write("root.p.e.load", start_s=n * 200, rows=200)
    tiers.write("root.p.e.live", start_s=5000, rows=1)
    sender = tiers.edge.federation.sender
    assert sender is not None
    tiers.clock.advance(1)
    assert _queues(sender.next_request())[-2:] == [(Queue.LIVE, [1]), (Queue.HISTORY, [1000])]
    tiers.edge.restart()
    tiers.clock.advance(60)
    tiers.run()
    assert tiers.values(tiers.group) == tiers.values(tiers.edge)


def _queues(request: Request | None) -> list[tuple[Queue, list[int]]]:
    """Queue and rows of the blocks of each batch of a request."""
    assert request is not None
    return [
        (batch.queue, [block.rows for block in batch.blocks])
        for frame in decode_frames(request.body)
        if frame.type is FrameType.BATCH
        for batch in [Batch.from_frame(frame)]
    ]


def test_a_parent_of_an_earlier_version_gets_records(tiers: Tiers) -> None:
    tiers.run(1)
    sender = tiers.plant.federation.sender
    assert sender is not None
    tiers.up.cut()
    backlog(tiers)
    tiers.clock.advance(1)
    tiers.up.step()
    tiers.up.restore()
    sender._cutter.speak(packing.BLOCKS_VERSION - 1)
    tiers.clock.advance(60)
    tiers.run(6)
    assert blocks_of(tiers.plant) != []
    assert blocks_of(tiers.group) == []
    assert tiers.values(tiers.group) == tiers.values(tiers.edge)
    assert tiers.forward(tiers.plant)["delivered"] == ROWS + 5


# Live rows, in light blocks


def live(tiers: Tiers, writes: int = 4) -> None:
    """Rows of two devices in each write, which go up at once."""
    tiers.run(1)
    for n in range(writes):
        tiers.write("root.p.e.d0", start_s=n * 10, rows=5, value=n / 4)
        tiers.write("root.p.e.d1", start_s=n * 10, rows=5, value=n / 3)
        tiers.run(0.5)


def test_live_rows_travel_in_light_blocks_to_the_last_tier(tiers: Tiers) -> None:
    live(tiers)
    for node in (tiers.plant, tiers.group):
        payloads = [payload for _, _, payload in blocks_of(node)]
        assert len(payloads) == 4
        assert all(map(is_light, payloads))
        assert tiers.values(node) == tiers.values(tiers.edge)
    tiers.plant.restart()
    assert tiers.values(tiers.plant) == tiers.values(tiers.edge)
    tiers.close()
    assert tiers.state(tiers.group)["complete_through"] is not None
    assert tiers.group.federation.holes == []


def test_a_relay_takes_rows_out_of_a_light_block(make_tiers: MakeTiers) -> None:
    tiers = make_tiers(plant_exports=(Export("meters", under="root.p.e.d1"),))
    live(tiers)
    tiers.run(4)
    assert tiers.values(tiers.group) == [
        row for row in tiers.values(tiers.edge) if row[0] == "root.p.e.d1"
    ]
    assert all(is_light(payload) for _, _, payload in blocks_of(tiers.group))
    forward = tiers.forward(tiers.plant)
    assert (forward["delivered"], forward["not_exported"]) == (20, 20)


@pytest.mark.parametrize("version", [1, 2])
def test_a_parent_that_knows_no_light_blocks_gets_records(
    tiers: Tiers, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    tiers.run(1)
    sender = tiers.plant.federation.sender
    assert sender is not None
    sender._cutter.speak(version)
    receiver = tiers.group.federation.receiver
    headers: list[Any] = []

    def noted(child: Child, body: bytes) -> Reply:
        frames = decode_frames(body)
        headers.extend(frame.header for frame in frames if frame.type is FrameType.BATCH)
        return type(receiver).batches(receiver, child, body)

    monkeypatch.setattr(receiver, "batches", noted)
    live(tiers)
    tiers.run(3)
    required = {"origin", "queue", "ranges", "recs", "raw", "codec", "chain"}
    assert len(headers) > 4
    assert all(required <= set(header) for header in headers)
    assert all(isinstance(header["origin"][0], str) for header in headers)
    assert len(blocks_of(tiers.plant)) == 4
    assert blocks_of(tiers.group) == []
    assert tiers.values(tiers.group) == tiers.values(tiers.edge)


def test_rows_with_too_many_texts_for_a_light_block_travel_as_records(
    tiers: Tiers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(light_points, "HEADER_BYTES_MAX", 32)
    live(tiers)
    assert blocks_of(tiers.plant) == []
    assert tiers.values(tiers.group) == tiers.values(tiers.edge)


def test_rows_that_would_be_too_large_when_decoded_travel_as_records(
    tiers: Tiers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Texts that few rows share are in every block of them: decoded, a block may be a giant."""
    monkeypatch.setattr(packing, "DECODED_BYTES_MAX", 20_000)
    backlog(tiers)
    tiers.run()
    assert blocks_of(tiers.plant) == []
    assert tiers.values(tiers.group) == tiers.values(tiers.edge)
    assert tiers.forward(tiers.edge)["parked"] == 0
