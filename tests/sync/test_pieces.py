"""Large batches in pieces: nothing holds live rows up, and a link that breaks goes on."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstem_sync.errors import TooLargeError, WireError
from mainstem_sync.sending import verdicts
from mainstem_sync.sending.outbox import Draft
from mainstem_sync.sending.sender import Sender
from mainstem_sync.sending.splitter import Splitter
from mainstem_sync.testing.tiers import Tiers
from mainstem_sync.wire import pieces
from mainstem_sync.wire.frames import (
    HASH_BYTES,
    REQUEST_BYTES_MAX,
    FrameType,
    decode_frames,
    encode_frame,
)
from mainstem_sync.wire.messages import OriginKey, Queue
from mainstem_sync.wire.pieces import Assembly, Part

MakeTiers = Callable[..., Tiers]


def _splitter(frame: bytes) -> Splitter:
    draft = Draft(OriginKey("e", 0, "edge"), Queue.HISTORY, digest=bytes(16))
    splitter = Splitter()
    splitter.begin(draft, frame)
    return splitter


def _sent(part: Part) -> Part:
    """As it arrives."""
    return Part.from_frame(next(iter(decode_frames(part.encode()))))


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**31))
def test_whatever_is_lost_the_whole_frame_arrives_as_it_was(seed: int) -> None:
    rng = random.Random(seed)
    frame = rng.randbytes(rng.randrange(1, 400))
    splitter, assembly = _splitter(frame), Assembly()
    under_way: list[Part] = []
    for _ in range(3000):
        what = rng.random()
        if what < 0.5:
            part = splitter.next_part(rng.randrange(1, 60))
            if part is not None:
                under_way.append(part)
        elif what < 0.95 and under_way:
            part = under_way.pop(rng.randrange(len(under_way)))
            if rng.random() < 0.3:
                splitter.answered(part, None)
                continue
            found = assembly.take("edge", _sent(part))
            if rng.random() < 0.1:
                splitter.answered(part, None)
            elif isinstance(found, int):
                splitter.answered(part, found)
            else:
                assert found == frame
                return
        elif what > 0.99:
            assembly = Assembly()  # the parent was started again
    raise AssertionError("the frame never arrived")


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**31))
def test_the_next_batch_begins_before_the_answer_and_both_arrive(seed: int) -> None:
    """Answers and pieces are lost, overtake each other, and the parent starts again."""
    rng = random.Random(seed)
    frames = {bytes([n]) * HASH_BYTES: rng.randbytes(rng.randrange(1, 300)) for n in range(5)}
    splitter, assembly = Splitter(), Assembly()
    left, drafts, arrived = list(frames), dict[bytes, Draft](), dict[bytes, bytes]()
    under_way: list[Part] = []
    both = False
    for _ in range(20_000):
        what = rng.random()
        if what < 0.5:
            if left and splitter.may_begin:
                digest = left.pop(0)
                drafts[digest] = Draft(OriginKey("e", 0, "e"), Queue.HISTORY, digest=digest)
                splitter.begin(drafts[digest], frames[digest])
            part = splitter.next_part(rng.randrange(1, 60))
            if part is not None:
                under_way.append(part)
            both = both or len({each.digest for each in under_way}) == 2
        elif what < 0.95 and under_way:
            part = under_way.pop(rng.randrange(len(under_way)))
            if rng.random() < 0.1:
                splitter.answered(part, None)
                continue
            found = assembly.take("edge", _sent(part))
            if isinstance(found, bytes):
                arrived[part.digest] = found
            if rng.random() < 0.1:
                splitter.answered(part, None)
            elif isinstance(found, int):
                splitter.answered(part, found)
            elif (draft := splitter.find(part)) is not None:
                splitter.end(draft)
                if not left and not splitter.drafts:
                    break
        elif what > 0.998:
            assembly = Assembly()
    assert arrived == frames
    assert both


def test_nothing_is_begun_behind_definitions() -> None:
    splitter = _splitter(bytes(100))
    assert not splitter.may_begin, "none of it is under way"
    assert splitter.next_part(100) is not None
    assert splitter.may_begin
    splitter = Splitter()
    splitter.begin(Draft(OriginKey("e", 0, "edge"), Queue.CONTROL, digest=bytes(16)), bytes(100))
    assert splitter.next_part(100) is not None
    assert not splitter.is_waiting
    assert not splitter.may_begin


def test_a_parent_that_lost_everything_gets_everything_again() -> None:
    frame = bytes(range(100))
    splitter, assembly = _splitter(frame), Assembly()
    for size in (30, 30):
        part = splitter.next_part(size)
        assert part is not None
        held = assembly.take("edge", part)
        assert isinstance(held, int)
        splitter.answered(part, held)
    assembly = Assembly()
    part = splitter.next_part(40)
    assert part is not None
    assert part.at == 60
    splitter.answered(part, assembly.take("edge", part))  # type: ignore[arg-type]
    again = splitter.next_part(60)
    assert again is not None
    assert (again.at, len(again.data)) == (0, 60)
    assert assembly.take("edge", again) == frame


def test_what_is_half_sent_is_bounded() -> None:
    assembly = Assembly()
    for number in range(pieces.HALF_SENT_BYTES_MAX // REQUEST_BYTES_MAX):
        part = Part(bytes([number] * 16), 0, REQUEST_BYTES_MAX, b"x")
        assert assembly.take(f"edge-{number}", part) == 1
    with pytest.raises(TooLargeError):
        assembly.take("one-more", Part(bytes(16), 0, 2, b"x"))
    # Another batch of a child that has two takes the room of its oldest.
    assembly = Assembly()
    for number in range(100):
        part = Part(bytes([number] * 16), 0, REQUEST_BYTES_MAX, b"x")
        assert assembly.take("edge-0", part) == 1


def test_pieces_that_cannot_be_are_refused() -> None:
    wrong: list[dict[str, object]] = [
        {"hash": b"short", "at": 0, "of": 5},
        {"hash": bytes(16), "at": 3, "of": 5},
        {"hash": bytes(16), "at": 0, "of": REQUEST_BYTES_MAX + 1},
        {"hash": bytes(16), "at": -1, "of": 5},
    ]
    for header in wrong:
        with pytest.raises(WireError):
            Part.from_frame(
                next(iter(decode_frames(encode_frame(FrameType.PIECE, header, b"abc"))))
            )
    assembly = Assembly()
    assembly.take("edge", Part(bytes(16), 0, 10, b"x"))
    with pytest.raises(WireError, match="disagree"):
        assembly.take("edge", Part(bytes(16), 1, 11, b"x"))


def test_what_a_child_left_half_sent_makes_room_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "HALF_SENT_BYTES_MAX", 150)
    now = [0.0]
    assembly = Assembly(lambda: now[0])
    left, other = (Part(bytes([n]) * HASH_BYTES, 0, 100, bytes(10)) for n in (1, 2))
    assert assembly.take("gone", left) == 10
    now[0] = pieces.HALF_SENT_AGE_S - 1
    with pytest.raises(TooLargeError):
        assembly.take("here", other)
    now[0] += 2
    assert assembly.take("here", other) == 10
    now[0] += pieces.HALF_SENT_AGE_S - 1
    assert assembly.take("here", replace(other, at=10)) == 20, "each piece counts"


# Two real engines


def _thin(tiers: Tiers) -> Sender:
    """The edge's link as it is at 64 kbit/s: a request has 4 kB."""
    uplink = tiers.edge.federation.sender
    assert uplink is not None
    uplink._lanes.scheduler.bound(8000.0)
    uplink._lanes.scheduler.bound = lambda bytes_per_s: None  # type: ignore[method-assign]
    return uplink


def _large_record(tiers: Tiers, kilobytes: int = 100) -> int:
    """One record that nothing makes smaller."""
    engine = tiers.edge.engine
    ids = engine.device_ids("meters", ["root.p.e.d1"], {"line": ["a"]}, create=True)
    rng = np.random.default_rng(1)
    rows = kilobytes
    texts = [rng.bytes(512).hex() for _ in range(rows)]
    times = 1_800_000_000_000 + np.arange(rows) * 1000
    ack = engine.write("meters", np.repeat(ids, rows), times, {"note": texts})
    ack.wait()
    return int(ack.lsn)


def _notes(tiers: Tiers) -> int:
    table = tiers.plant.engine.scan("meters", columns=["note"]).read_all()
    return int(table.num_rows - table.column("note").null_count)


def test_live_rows_pass_by_a_large_record(tiers: Tiers) -> None:
    tiers.run(1)
    _thin(tiers)
    _large_record(tiers, 300)
    for n in range(8):
        tiers.write("root.p.e.live", start_s=n, rows=1)
        tiers.run(0.36)
        rows = tiers.plant.engine.scan("meters").read_all().num_rows
        assert rows == n + 1, "each arrives at once"
        assert _notes(tiers) == 0, "the record is on its way"
    tiers.run(8)
    assert _notes(tiers) == 300
    assert tiers.forward(tiers.edge)["pending"] == 0
    assert tiers.values(tiers.group) == tiers.values(tiers.edge)


def test_a_link_that_breaks_goes_on_where_it_was(tiers: Tiers) -> None:
    tiers.run(1)
    _thin(tiers)
    _large_record(tiers)
    before = tiers.up.bytes
    for _ in range(60):
        tiers.run(0.6)
        if _notes(tiers):
            break
        tiers.up.cut()
        tiers.up.step()
        tiers.up.restore()
        tiers.clock.advance(60)
    assert _notes(tiers) == 100
    sent = tiers.up.bytes - before
    assert sent < 2 * 100_000, "hardly anything was sent twice"
    tiers.clock.advance(60)
    tiers.run(3)
    assert tiers.forward(tiers.edge)["pending"] == 0


def test_a_parent_or_child_that_starts_again_gets_it_all_the_same(tiers: Tiers) -> None:
    tiers.run(1)
    _thin(tiers)
    _large_record(tiers)
    tiers.run(0.6)
    tiers.plant.restart()
    tiers.clock.advance(60)
    tiers.run(1.2)
    assert _notes(tiers) == 0
    tiers.edge.restart()
    tiers.clock.advance(60)
    _thin(tiers)
    tiers.run(8)
    assert _notes(tiers) == 100
    tiers.check()
    sums = tiers.plant.federation.accounting()["meters"]["children"]
    assert sums["from_children"] == 100


def test_rows_wait_for_definitions_that_are_still_on_their_way(tiers: Tiers) -> None:
    tiers.run(1)
    _thin(tiers)
    engine = tiers.edge.engine
    rng = random.Random(5)
    paths = [f"root.p.e.{rng.getrandbits(120):030x}" for _ in range(3000)]
    ids = engine.device_ids("meters", paths, create=True)
    times = np.full(3000, 1_800_000_000_000)
    engine.write("meters", ids, times, {"current": np.arange(3000.0)}).wait()
    tiers.run(1)
    assert tiers.plant.engine.scan("meters").read_all().num_rows == 0
    tiers.run(12)
    assert tiers.plant.engine.scan("meters").read_all().num_rows == 3000
    assert tiers.forward(tiers.edge)["parked"] == 0


def test_rows_are_not_given_up_while_definitions_are_owed(
    tiers: Tiers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many definitions, each small: the rows beside them ask for theirs again and again."""
    monkeypatch.setattr(verdicts, "SCHEMA_TRIES_MAX", 3)
    tiers.run(1)
    _thin(tiers)
    engine = tiers.edge.engine
    rng = random.Random(5)
    for _ in range(60):
        paths = [f"root.p.e.{rng.getrandbits(120):030x}" for _ in range(40)]
        ids = engine.device_ids("meters", paths, create=True)
    engine.write("meters", ids[:1], [1_800_000_000_000], {"current": [1.0]}).wait()
    tiers.run(10)
    assert tiers.plant.engine.scan("meters").read_all().num_rows == 1
    assert tiers.forward(tiers.edge)["parked"] == 0
