"""HELLO, leases, forks, and what a parent refuses for good."""

from __future__ import annotations

import dataclasses
import random
import shutil

import numpy as np
import pytest

from mainstem_sync import Child, Receiver, Sender
from mainstem_sync.errors import (
    FencedError,
    ForkedError,
    LeaseError,
    RejectedError,
    SyncError,
    VersionError,
    WireError,
)
from mainstem_sync.lines.handshake import Hello, Welcome
from mainstem_sync.receiving.receiver import Reply
from mainstem_sync.sending.session import JITTER, RETRY_MAX_S, RETRY_MIN_S, LinkState
from mainstem_sync.testing.nodes import TestNode
from mainstem_sync.testing.tiers import Tiers
from mainstem_sync.wire.batch import (
    Acknowledgement,
    Batch,
    WireRecord,
    encode_batch,
    encode_request,
)
from mainstem_sync.wire.blocks import decode_block
from mainstem_sync.wire.frames import FrameType, decode_frames, decompress, encode_frame
from mainstem_sync.wire.messages import (
    AckCode,
    ChainPoint,
    OriginKey,
    Queue,
    encode_error,
    single_frame,
)
from mainstem_sync.wire.ranges import RangeSet

CHILD = Child("edge", ["root.p.e"])


def connected(node: TestNode) -> Sender:
    sender = node.federation.sender
    assert sender is not None
    assert sender.state is LinkState.CONNECTED
    return sender


def raised(reply: Reply) -> SyncError:
    with pytest.raises(SyncError) as caught:
        single_frame(reply.body)
    assert reply.status >= 400
    return caught.value


def hello_of(name: str = "edge", **changes: object) -> Hello:
    fields: dict[str, object] = {
        "origin": OriginKey("e" * 32, 0, name), "instance": "i", "nonce": "n", "first_lsn": 1,
        "durable_lsn": 0, **changes,
    }  # fmt: skip
    return Hello(**fields)  # type: ignore[arg-type]


def welcomed(receiver: Receiver, child: Child, hello: Hello) -> Welcome:
    """The answer to a HELLO, and to the one after it if it is asked for."""
    welcome = Welcome.from_frame(single_frame(receiver.hello(child, hello.encode()).body))
    if not welcome.challenge:
        return welcome
    hello = dataclasses.replace(hello, echo=welcome.challenge)
    return Welcome.from_frame(single_frame(receiver.hello(child, hello.encode()).body))


def test_hello_is_refused_with_the_reason(tiers: Tiers) -> None:
    receiver = tiers.plant.federation.receiver
    newer = raised(receiver.hello(CHILD, hello_of(versions=(5, 9)).encode()))
    assert isinstance(newer, VersionError)
    assert "this parent" in str(newer.hint)
    older = raised(receiver.hello(CHILD, hello_of(versions=(0, 0)).encode()))
    assert "the child" in str(older.hint)
    other = raised(receiver.hello(CHILD, hello_of("somebody").encode()))
    assert isinstance(other, RejectedError)
    assert raised(receiver.hello(CHILD, b"GET / HTTP/1.1")).code == WireError.code
    assert raised(receiver.hello(CHILD, encode_request("l", 1, 1))).code == WireError.code


def test_batches_without_a_lease_are_sent_back_to_hello(tiers: Tiers) -> None:
    receiver = tiers.plant.federation.receiver
    reply = receiver.batches(CHILD, encode_request("unknown", 1, 1))
    assert reply.status == 409
    assert isinstance(raised(reply), LeaseError)
    assert raised(receiver.batches(CHILD, b"")).code == WireError.code


def test_the_older_of_two_processes_is_fenced(tiers: Tiers) -> None:
    tiers.write()
    tiers.run(1)
    first = connected(tiers.edge)
    # A clone of the disk comes up under the same name.
    clone_dir = tiers.base / "clone"
    shutil.copytree(tiers.edge.directory, clone_dir)
    clone = TestNode(
        "edge", tiers.base / "c", tiers.clock, exports=tiers.edge_exports, parent=True, seed=99
    )
    clone.stop()
    clone.directory = clone_dir
    clone.start()
    link = clone.link_to(tiers.plant, paths=["root.p.e"])
    link.drain()
    assert connected(clone).state is LinkState.CONNECTED
    tiers.clock.advance(3)
    tiers.up.step()
    assert first.state is LinkState.FENCED
    assert "another process" in str(first.error)
    assert tiers.plant.federation.drops()["fenced_children"] == 1
    tiers.clock.advance(100)
    assert first.next_request() is None, "it stays fenced until somebody looks"
    assert first.wait_s() > 1
    clone.stop()


def test_a_fenced_process_cannot_say_hello_again(tiers: Tiers) -> None:
    receiver = tiers.plant.federation.receiver
    old, new = hello_of(instance="old"), hello_of(instance="new")
    for hello in (old, new):
        assert welcomed(receiver, CHILD, hello).lease
    assert isinstance(raised(receiver.hello(CHILD, old.encode())), FencedError)
    assert receiver.hello(CHILD, new.encode()).status == 200


def test_a_fork_of_a_child_of_version_1_is_refused_and_asked_again(tiers: Tiers) -> None:
    """It cannot go on in a new epoch. Somebody may bring its newest data back."""
    receiver = tiers.plant.federation.receiver
    first = hello_of(versions=(1, 1), durable_lsn=9, chain=(ChainPoint(9, bytes(16)),))
    welcome = Welcome.from_frame(single_frame(receiver.hello(CHILD, first.encode()).body))
    assert welcome.version == 1
    forked = hello_of(versions=(1, 1), instance="j", durable_lsn=5)
    error = raised(receiver.hello(CHILD, forked.encode()))
    assert isinstance(error, ForkedError)
    assert "restored from a backup" in error.message
    assert "upgrade edge" in str(error.hint)
    assert tiers.plant.federation.drops()["received_forked"] == 1
    # The child's side of it: it waits, and asks again.
    sender = tiers.edge.federation.sender
    assert sender is not None
    request = sender.next_request()
    assert request is not None
    sender.on_reply(request, 409, encode_error(error))
    assert sender.state is LinkState.FORKED
    link = tiers.edge.federation.link()
    assert link is not None
    assert link["state"] == "forked"
    assert sender.next_request() is None
    tiers.clock.advance(31)
    again = sender.next_request()
    assert again is not None
    assert single_frame(again.body).type is FrameType.HELLO


def test_a_hello_that_was_under_way_for_long_is_no_fork(tiers: Tiers) -> None:
    sender = tiers.edge.federation.sender
    assert sender is not None
    early = sender.next_request()
    assert early is not None
    reply = tiers.plant.federation.receiver.hello(CHILD, early.body)
    sender.on_reply(early, reply.status, reply.body)
    tiers.write()
    tiers.run(1)
    late = raised(tiers.plant.federation.receiver.hello(CHILD, early.body))
    assert not isinstance(late, ForkedError)
    sender.on_reply(early, 409, b"whatever")
    assert sender.state is LinkState.CONNECTED


def test_a_late_hello_of_a_process_that_is_gone_takes_no_lease_and_forks_nothing(
    tiers: Tiers,
) -> None:
    """It was sent, and delivered when its process was long gone. Whoever said it can not answer."""
    gone = tiers.edge.federation.sender
    assert gone is not None
    early = gone.next_request()
    assert early is not None
    tiers.edge.restart()
    tiers.write()
    tiers.run(2)
    sender = connected(tiers.edge)
    receiver = tiers.plant.federation.receiver
    for _ in range(2):
        late = Welcome.from_frame(single_frame(receiver.hello(CHILD, early.body).body))
        assert late.challenge
        assert not late.lease
    tiers.write(start_s=60)
    tiers.run(3)
    assert connected(tiers.edge) is sender
    assert tiers.plant.federation.drops() == {}
    assert tiers.state(tiers.plant)["state"] != "forked"


def test_a_chain_value_that_is_gone_is_not_asked_for_again(tiers: Tiers) -> None:
    """Damage took the record whose chain value the parent wants to see."""
    from mainstem_engine.errors import LogRangeError

    lsn = tiers.write()
    tiers.run(2)
    tiers.edge.restart()
    log = tiers.edge.engine.log
    chain_at = log.chain_at

    def damaged(wanted: int) -> bytes:
        if wanted <= lsn + 1:
            raise LogRangeError(wanted, 1, log.fsynced_lsn)
        return chain_at(wanted)

    log.chain_at = damaged  # type: ignore[method-assign, assignment]
    tiers.clock.advance(40)
    tiers.run(1)
    assert connected(tiers.edge)


def test_a_restarted_parent_is_greeted_again(tiers: Tiers) -> None:
    tiers.write()
    tiers.run(1)
    tiers.plant.restart()
    tiers.write(start_s=20)
    tiers.clock.advance(3)
    tiers.run(2)
    assert connected(tiers.edge).error is None
    assert tiers.values(tiers.group) == tiers.values(tiers.edge)


def lsns_in(batch: Batch) -> set[int]:
    """Of the records of a batch, those in blocks included."""
    raw = memoryview(decompress(batch.codec, batch.raw_length, batch.payload))
    found = {record.lsn for record in batch.records}
    for block in batch.blocks:
        payload = raw[block.offset : block.offset + block.length]
        found.update(decode_block(payload, bytes_max=block.decoded).lsn.tolist())
    return found


class Refusing:
    """A receiver that rejects every batch with records of some LSNs."""

    def __init__(self, receiver: Receiver, poison: set[int], code: AckCode) -> None:
        self._take = receiver._take
        self.poison = poison
        self.code = code
        self.times = 0

    def __call__(self, child: Child, uuid: str, batch: Batch) -> object:
        if self.poison & lsns_in(batch):
            self.times += 1
            from mainstem_sync.receiving.receiver import _Answer

            return _Answer(batch.hash, self.code, "poison")
        return self._take(child, uuid, batch)


@pytest.mark.parametrize("code", [AckCode.REJECTED, AckCode.BAD_HASH])
def test_a_poison_record_is_parked_and_the_rest_goes_on(
    tiers: Tiers, monkeypatch: pytest.MonkeyPatch, code: AckCode
) -> None:
    tiers.run(1)
    tiers.up.cut()
    lsns = [tiers.write(start_s=n * 10, rows=n + 1) for n in range(6)]
    tiers.run(1)
    tiers.up.restore()
    tiers.clock.advance(40)
    receiver = tiers.plant.federation.receiver
    monkeypatch.setattr(receiver, "_take", Refusing(receiver, {lsns[3]}, code))
    tiers.run(20)
    sums = tiers.forward(tiers.edge)
    assert (sums["parked"], sums["delivered"], sums["pending"]) == (4, 17, 0)
    assert len(tiers.values(tiers.plant)) == 17
    assert tiers.edge.federation.drops() == {"parked_records": 1}
    assert connected(tiers.edge).is_drained()
    tiers.edge.restart()
    tiers.clock.advance(40)
    tiers.run(2)
    assert tiers.forward(tiers.edge) == sums
    tiers.edge.engine.flush()
    tiers.edge.restart()
    tiers.check()
    assert tiers.forward(tiers.edge)["parked"] == 4


def test_rows_of_a_parked_record_come_when_their_slice_is_repaired(
    tiers: Tiers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What refused them may be gone. Nobody has to ask: the statement of their slice differs."""
    tiers.run(1)
    lsn = tiers.write(rows=4)
    receiver = tiers.plant.federation.receiver
    with monkeypatch.context() as patch:
        patch.setattr(receiver, "_take", Refusing(receiver, {lsn}, AckCode.REJECTED))
        tiers.until(lambda: tiers.forward(tiers.edge)["parked"] == 4, "the record is parked")
    assert tiers.values(tiers.plant) == []
    tiers.close()
    tiers.until(
        lambda: tiers.values(tiers.group) == tiers.values(tiers.edge),
        "every tier has them",
        verify=True,
    )
    assert tiers.forward(tiers.edge)["parked"] == 4, "it counts what became of records"


def test_a_definition_that_never_comes_does_not_block_for_ever(
    tiers: Tiers, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mainstem_sync.sending import verdicts

    monkeypatch.setattr(verdicts, "SCHEMA_TRIES_MAX", 20)
    tiers.run(1)
    lsn = tiers.write(rows=2)
    receiver = tiers.plant.federation.receiver
    monkeypatch.setattr(receiver, "_take", Refusing(receiver, {lsn}, AckCode.NEED_SCHEMA))
    tiers.write(rows=3, start_s=50)
    tiers.run(10)
    sums = tiers.forward(tiers.edge)
    assert (sums["parked"], sums["delivered"]) == (2, 3)


def test_rows_whose_definition_waits_for_another_node_are_not_parked(
    tiers: Tiers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plant's rows of a template of its edge need what the edge says of it. On a line that loses
    nearly all that may take longer than the plant would try."""
    from mainstem_sync.sending import verdicts
    from mainstem_sync.sending.naming import Naming

    monkeypatch.setattr(verdicts, "SCHEMA_TRIES_MAX", 20)
    tiers.write(rows=1)
    tiers.until(lambda: tiers.forward(tiers.plant)["delivered"] == 1, "the group has the first")
    lsn = tiers.write("root.p.q.d1", rows=2, node=tiers.plant)
    receiver = tiers.group.federation.receiver
    refusing = Refusing(receiver, {lsn}, AckCode.NEED_SCHEMA)
    with monkeypatch.context() as patch:
        patch.setattr(receiver, "_take", refusing)
        patch.setattr(Naming, "owners_told", lambda naming, name: False)
        tiers.until(lambda: refusing.times > 40, "it was refused more often than it is tried")
        assert tiers.forward(tiers.plant)["parked"] == 0
        assert tiers.forward(tiers.plant)["pending"] == 2
    tiers.until(lambda: tiers.forward(tiers.plant)["delivered"] == 3, "the group has all")


def test_a_parent_over_its_bound_is_asked_later(
    tiers: Tiers, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiers.run(1)
    lsn = tiers.write(rows=2)
    receiver = tiers.plant.federation.receiver
    with monkeypatch.context() as patch:
        patch.setattr(receiver, "_take", Refusing(receiver, {lsn}, AckCode.LATER))
        tiers.run(2)
        assert tiers.forward(tiers.edge)["pending"] == 2
    tiers.run(2)
    assert tiers.forward(tiers.edge)["delivered"] == 2


def request_with(tiers: Tiers, *frames: bytes, uuid: str = "e" * 32) -> list[Acknowledgement]:
    """Post hand-made batches as the edge, after a HELLO."""
    receiver = tiers.plant.federation.receiver
    hello = hello_of(origin=OriginKey(uuid, 0, "edge"), instance=str(random.random()))
    welcome = welcomed(receiver, CHILD, hello)
    reply = receiver.batches(CHILD, encode_request(welcome.lease, 1, 0) + b"".join(frames))
    assert reply.status == 200, reply.body
    return [
        Acknowledgement.from_frame(frame)
        for frame in decode_frames(reply.body)
        if frame.type is FrameType.ACK
    ]


def batch_of(
    records: list[WireRecord], raw: bytes, ranges: RangeSet, name: str = "edge", uuid: str = "e"
) -> bytes:
    origin = OriginKey(uuid * 32, 0, name)
    return encode_batch(origin, Queue.LIVE, ranges, records, raw, None)[0]


@pytest.mark.parametrize(
    ("record", "raw"),
    [
        (WireRecord(1, 1, "t", 1, 0, 99), b"short"),
        (WireRecord(5, 1, "t", 1, 0, 4), b"beyond its ranges"),
        (WireRecord(1, 1, "t", 1, 0, 4), b"\xff\xff\xff\xff"),
        (WireRecord(1, 3, "t", 0, 0, 8), b"\x00" * 8),
        (WireRecord(1, 4, "t", 0, 0, 8), b"\x00" * 8),
        (WireRecord(1, 8, "t", 0, 0, 8), b"\x00" * 8),
    ],
)
def test_a_batch_that_cannot_be_read_is_rejected(
    tiers: Tiers, record: WireRecord, raw: bytes
) -> None:
    good = batch_of([], b"", RangeSet([(2, 2)]))
    answers = request_with(tiers, batch_of([record], raw, RangeSet([(1, 1)])), good)
    assert [answer.code for answer in answers] == [AckCode.REJECTED, AckCode.OK]
    assert tiers.plant.federation.drops()["received_rejected_batch"] == 1


def test_kinds_that_say_nothing_here_only_pass(tiers: Tiers) -> None:
    record = WireRecord(1, 12, "", 0, 0, 3)
    (answer,) = request_with(tiers, batch_of([record], b"abc", RangeSet([(1, 1)])))
    assert (answer.code, answer.watermark) == (AckCode.OK, 1)


def test_origins_may_not_be_borrowed(tiers: Tiers) -> None:
    tiers.run(1)
    own = tiers.plant.engine.node_uuid
    mine = encode_batch(OriginKey(own, 0, "plant"), Queue.LIVE, RangeSet([(1, 1)]), [], b"", None)
    renamed = batch_of([], b"", RangeSet([(1, 1)]), name="other")
    behind_group = batch_of([], b"", RangeSet([(1, 1)]), name="third", uuid="d")
    answers = request_with(tiers, mine[0], renamed, behind_group)
    assert [a.code for a in answers] == [AckCode.REJECTED, AckCode.REJECTED, AckCode.OK]
    # Another child may not bring the origin that came over the first.
    receiver = tiers.plant.federation.receiver
    other = Child("edge2", None)
    hello = hello_of("edge2", origin=OriginKey("c" * 32, 0, "edge2"))
    welcome = Welcome.from_frame(single_frame(receiver.hello(other, hello.encode()).body))
    reply = receiver.batches(other, encode_request(welcome.lease, 1, 0) + behind_group)
    (answer,) = (
        Acknowledgement.from_frame(f) for f in decode_frames(reply.body) if f.type is FrameType.ACK
    )
    assert answer.code is AckCode.REJECTED


def test_too_many_holes_are_put_off(tiers: Tiers) -> None:
    holes = RangeSet((n * 2, n * 2) for n in range(1, 10_001))
    answers = request_with(
        tiers, batch_of([], b"", holes), batch_of([], b"", RangeSet([(90_001, 90_001)]))
    )
    assert [answer.code for answer in answers] == [AckCode.OK, AckCode.LATER]


def test_a_request_may_not_unfold_without_bound(tiers: Tiers) -> None:
    receiver = tiers.plant.federation.receiver
    hello = hello_of(instance="big")
    welcome = Welcome.from_frame(single_frame(receiver.hello(CHILD, hello.encode()).body))
    big = batch_of([], bytes(8 << 20), RangeSet([(1, 1)]))
    reply = receiver.batches(CHILD, encode_request(welcome.lease, 1, 0) + big * 5)
    assert reply.status == 413
    assert raised(reply).code == "TOO_LARGE"


def test_a_changed_hash_is_answered_and_the_rest_is_taken(tiers: Tiers) -> None:
    good = batch_of([], b"", RangeSet([(2, 2)]))
    frame = next(iter(decode_frames(batch_of([], b"", RangeSet([(1, 1)])))))
    forged = encode_frame(FrameType.BATCH, frame.header_bytes, bytes(16))
    answers = request_with(tiers, forged, good)
    assert [answer.code for answer in answers] == [AckCode.BAD_HASH, AckCode.OK]


def test_a_dead_link_is_tried_again_with_growing_jittered_pauses(tiers: Tiers) -> None:
    tiers.up.cut()
    sender = tiers.edge.federation.sender
    assert sender is not None
    waits = []
    for _ in range(12):
        request = sender.next_request()
        assert request is not None
        sender.on_failure(request, "unreachable")
        waits.append(sender.wait_s())
        assert sender.next_request() is None
        tiers.clock.advance(waits[-1] + 0.001)
    assert JITTER * RETRY_MIN_S <= waits[0] <= RETRY_MIN_S
    assert all(JITTER * RETRY_MAX_S <= wait <= RETRY_MAX_S for wait in waits[-3:])
    assert len(set(waits)) == len(waits)
    assert sender.error == "unreachable"


def test_a_thin_link_gets_smaller_requests(tiers: Tiers) -> None:
    tiers.write(start_s=50_000)
    tiers.run(2)
    sender = connected(tiers.edge)
    ids = tiers.edge.engine.device_ids("meters", ["root.p.e.d1"])
    noise = np.random.default_rng(1).normal(size=(400, 100))
    for n, values in enumerate(noise):
        times = 1_800_000_000_000 + np.arange(n * 100, n * 100 + 100) * 1000
        tiers.edge.engine.write("meters", np.repeat(ids, 100), times, {"current": values})
    tiers.edge.engine.log.barrier()
    tiers.clock.advance(1)
    start = sender._lanes.scheduler.frame_bytes
    request = sender.next_request()
    assert request is not None
    tiers.clock.advance(10)
    reply = tiers.plant.federation.receiver.batches(CHILD, request.body)
    sender.on_reply(request, reply.status, reply.body)
    assert sender._lanes.scheduler.frame_bytes <= start // 4
    tiers.run(4, check=False)
    assert sender._lanes.scheduler.frame_bytes >= start


def test_two_requests_at_most_are_in_flight(tiers: Tiers) -> None:
    tiers.run(1)
    sender = connected(tiers.edge)
    ids = tiers.edge.engine.device_ids("meters", ["root.p.e.d1"], create=True)
    for n in range(2000):
        tiers.edge.engine.write("meters", ids, [n], {"note": ["x" * 600]})
    tiers.edge.engine.log.barrier()
    tiers.clock.advance(1)
    first, second, third = (sender.next_request() for _ in range(3))
    assert first is not None
    assert second is not None
    assert third is None
    receiver = tiers.plant.federation.receiver
    for request in (second, first):  # they may be answered in any order
        reply = receiver.batches(CHILD, request.body)
        sender.on_reply(request, reply.status, reply.body)
    tiers.run(8, check=False)
    assert tiers.forward(tiers.edge)["delivered"] == 2000


def test_a_log_that_fails_at_the_parent_acknowledges_nothing(
    tiers: Tiers, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mainstem_engine.errors import LogFailedError

    tiers.run(1)
    tiers.write(rows=4)
    with monkeypatch.context() as patch:

        def failing(*_: object, **__: object) -> None:
            raise LogFailedError("no space left on device")

        patch.setattr(tiers.plant.engine, "append", failing)
        tiers.run(2)
        assert tiers.forward(tiers.edge)["delivered"] == 0
        link = tiers.edge.federation.link()
        assert link is not None
        assert "no space left" in link["error"]
    tiers.clock.advance(40)
    tiers.run(2)
    assert tiers.forward(tiers.edge)["delivered"] == 4


def test_an_answer_to_what_was_sent_before_says_nothing_about_the_link_of_now(
    tiers: Tiers,
) -> None:
    tiers.run(5)
    federation, session = tiers.edge.federation, connected(tiers.edge)._session
    tiers.clock.advance(60.0)
    session.answered(tiers.clock.monotonic() - 30.0)
    assert not federation.is_reached(29.0)
    assert federation.is_reached(31.0)
    assert session.contact_age_s() == 0.0
    assert tiers.group.federation.is_reached(0.0), "there is no parent"
