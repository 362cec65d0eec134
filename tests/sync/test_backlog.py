"""What is owed as slices, against a plain model; and messages about it that lie."""

from __future__ import annotations

from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstem_sync.errors import WireError
from mainstem_sync.origins.backlog import Backlog
from mainstem_sync.slices.loss import Loss, LostTable
from mainstem_sync.slices.owed import Owed, OwedTable
from mainstem_sync.slices.wants import Repairs, Want, Wanted, encode_want
from mainstem_sync.state.owing import Owing
from mainstem_sync.testing.tiers import Tiers
from mainstem_sync.wire.frames import decode_frames
from mainstem_sync.wire.messages import OriginKey
from mainstem_sync.wire.ranges import RangeSet

from .survives.copies import epoch_of, roll_back, snapshot, wait

SIZE = 4
"""A slice has so many instants in these tests."""
KEY = OriginKey("e" * 32, 0, "edge")

covers = st.tuples(st.integers(1, 30), st.sets(st.integers(0, 5), max_size=4))
images = st.tuples(st.integers(0, 23), st.integers(1, 12), st.integers(1, 60))
whole = images.map(lambda image: (image[0] // SIZE * SIZE, SIZE * image[1], image[2]))
steps = st.one_of(
    st.tuples(st.just(False), st.lists(st.one_of(covers, images), max_size=14)),
    st.tuples(st.just(True), st.lists(st.one_of(covers, whole), max_size=14)),
)
"""Images of any range, or (True) of whole slices only."""


def owed(lsn: int, slices: set[int]) -> Owed:
    table = OwedTable("t", SIZE, RangeSet((key, key) for key in sorted(slices)))
    return Owed(None, RangeSet([(lsn, lsn + 2)]), lsn + 2, [table])


@given(steps)
def test_a_range_enters_r_when_every_slice_of_it_has_come(drawn: tuple[bool, list[Any]]) -> None:
    exactly, given_steps = drawn
    backlog, received = Backlog(), RangeSet()
    model: list[tuple[int, set[tuple[int, int]]]] = []
    """Per record its first LSN, and the instants that no image has spoken of yet."""
    expected = RangeSet()
    for number, step in enumerate(given_steps):
        if len(step) == 2:
            lsn, slices = step[0] * 3, step[1]
            instants = {(key, at) for key in slices for at in range(key * SIZE, (key + 1) * SIZE)}
            fresh = RangeSet([(lsn, lsn + 2)]).difference(received)
            model.append((lsn, instants if fresh else set()))
            received.update(backlog.add(owed(lsn, slices), (KEY.uuid, 0, number + 1), received))
        else:
            start, length, as_of = step
            for lsn, instants in model:
                if as_of >= lsn + 2:
                    gone = range(start, start + length)
                    instants -= {item for item in instants if item[1] in gone}
            received.update(backlog.image_applied("T", start, start + length, as_of))
        for lsn, instants in model:
            if not instants:
                expected.add(lsn, lsn + 2)
        # Pieces of several images may make a slice whole only together, and older ones count too:
        # what enters R is never more than the model allows.
        assert expected.contains_all(received)
        assert received == expected or not exactly
        done = [lsn for lsn, instants in model if not instants]
        again = Backlog.restore(msgpack.unpackb(msgpack.packb(backlog.snapshot())))
        assert [entry.ref for entry in again.entries] == [e.ref for e in backlog.entries]
        assert len(backlog.entries) >= len(model) - len(done)


def test_images_of_whole_slices_and_of_pieces() -> None:
    backlog = Backlog()
    assert not backlog.add(owed(10, {0, 1, 2}), (KEY.uuid, 0, 20), RangeSet([(1, 9)]))
    assert [ref for ref, _ in backlog.waiting_for("t", 0, 1)] == [(KEY.uuid, 0, 20)]
    assert not backlog.image_applied("t", 0, 8, 11), "too old"
    assert not backlog.image_applied("t", 0, 8, 12)
    assert [list(want.slices) for want in backlog.wants()] == [[(2, 2)]]
    assert not backlog.image_applied("t", 8, 10, 12)
    assert list(backlog.image_applied("t", 10, 12, 13)) == [(10, 12)]
    assert (backlog.entries, backlog.done) == ([], [(KEY.uuid, 0, 20)])
    assert not backlog.add(owed(10, {0}), (KEY.uuid, 0, 20), RangeSet()), "known already"


def test_what_is_lost_is_waited_for_no_longer() -> None:
    backlog = Backlog()
    backlog.add(owed(10, {0, 5}), (KEY.uuid, 0, 20), RangeSet())
    assert not backlog.lost("t", RangeSet([(0, 0)]))
    assert list(backlog.lost("t", RangeSet([(4, 6)]))) == [(10, 12)]


def test_rows_that_are_owed_are_pending_until_they_are_done_or_lost() -> None:
    owing = Owing()
    first = owed(10, {0, 1})
    first.lsn, first.rows, first.size = 20, {"t": 7}, 100
    first.counts = {"t": {0: 4, 1: 3}}
    owing.add(first)
    second = owed(30, {2})
    second.lsn, second.rows, second.size, second.old = 40, {"t": 5}, 50, [20]
    second.counts = {"t": {2: 5}}
    owing.add(second)
    assert (owing.rows, owing.size, list(owing.records)) == ({"t": 12}, 150, [40])
    loss = Loss("expired", tables=(LostTable("t", SIZE, np.array([1, 2]), np.array([3, 5])),))
    assert owing.lost(loss) == {"t": 8}
    assert owing.lost(loss) == {}, "once"
    again = Owing()
    again.restore(msgpack.unpackb(msgpack.packb(owing.snapshot()), strict_map_key=False))
    for each in (owing, again):
        settled = each.done([("x", 0, 40)], lambda ref: ref[0] == KEY.uuid)
        assert not settled.rows
        settled = each.done([(KEY.uuid, 0, 40)], lambda ref: ref[0] == KEY.uuid)
        assert (settled.rows, settled.size, list(settled.own)) == ({"t": 4}, 150, [(30, 32)])
        assert not each.records


def test_what_a_record_speaks_for_is_done_with_it() -> None:
    """A writer that was restored to between the two knows only the older one."""
    backlog = Backlog()
    newer = owed(40, {1})
    newer.old = [12, 20]
    backlog.add(Owed.from_header(newer.to_wire(), 41), (KEY.uuid, 1, 41), RangeSet())
    assert backlog.done == []
    backlog = Backlog.restore(msgpack.unpackb(msgpack.packb(backlog.snapshot())))
    backlog.image_applied("t", SIZE, 2 * SIZE, 42)
    assert backlog.done == [(KEY.uuid, 1, 12), (KEY.uuid, 1, 20), (KEY.uuid, 1, 41)]


def test_done_is_a_record_of_the_line_and_no_other_of_that_number(tiers: Tiers) -> None:
    """A log that goes on from a backup gives LSNs out again: what is done of the line that was
    given up says nothing about its new records."""
    tiers.write(rows=2)
    tiers.run()
    copy = snapshot(tiers.edge)
    fork = tiers.edge.engine.log.barrier()
    tiers.write(start_s=10, rows=2)
    tiers.run()
    roll_back(tiers.edge, copy)
    wait(tiers)
    sender, uuid = tiers.edge.federation.sender, tiers.edge.engine.node_uuid
    assert sender is not None
    assert epoch_of(tiers.edge) == 1
    assert sender.wrote((uuid, 0, fork))
    assert sender.wrote((uuid, 1, fork))
    assert sender.wrote((uuid, 1, fork + 1))
    assert not sender.wrote((uuid, 0, fork + 1))
    assert not sender.wrote(("0" * 32, 0, fork))


def test_wants_are_bounded_and_newest_first() -> None:
    wants = [Want("t", SIZE, 7, RangeSet([(0, 2000), (5000, 5001)]))]
    (frame,) = decode_frames(encode_want(KEY, [(KEY.uuid, 0, 3)], wants, []))
    wanted = Wanted.from_frame(frame)
    assert (wanted.origin, wanted.done) == (KEY, ((KEY.uuid, 0, 3),))
    runs = [list(want.slices) for want in wanted.wants]
    assert runs == [[(5000, 5001)], [(561, 2000)], [(0, 560)]]
    many = Want("t", SIZE, 0, RangeSet((key * 2, key * 2) for key in range(500)))
    (frame,) = decode_frames(encode_want(KEY, [], [many], []))
    assert len(Wanted.from_frame(frame).wants) == 32


def test_an_image_that_did_not_help_is_asked_for_less_and_less_often() -> None:
    repairs = Repairs()
    assert repairs.want("t", [3, 4]) == 2
    assert repairs.want("t", [3]) == 0
    now, pauses = 0.0, []
    for _ in range(4):
        assert list(repairs.due("t", now)[1]) == [(3, 4)]
        repairs.answered("t", 0, 9, 5, now)
        repairs.forget("t", {3, 4})
        start = now
        while not repairs.due("t", now)[1]:
            now += 1.0
        pauses.append(now - start)
    assert pauses == [5.0, 10.0, 20.0, 40.0]
    repairs.answered("t", 0, 9, 5, now)
    repairs.forget("t", {4})
    assert list(repairs.due("t", now + 10_000)[1]) == [(4, 4)]


@pytest.mark.parametrize(
    "header",
    [
        {"r": [1], "since": 0, "t": []},
        {"r": [5, 2], "since": 0, "t": []},
        {"r": [], "since": -1, "t": []},
        {"r": [], "since": 0, "t": [["t", 0, []]]},
        {"r": [], "since": 0, "t": [["t", 1, [3, 2]]]},
        {"r": [], "since": 0, "t": [["t", 1, [1, 2, 2, 3]]]},
        {"r": [], "since": 0, "t": [["t", 1, [1.5, 2]]]},
        {"r": [], "since": 0, "t": "t"},
        {"r": [], "since": 0, "t": [], "o": ["x"]},
    ],
)
def test_records_of_owed_slices_that_lie_are_refused(header: dict[str, Any]) -> None:
    with pytest.raises(WireError):
        Owed.from_header(header, 1)


@pytest.mark.parametrize(
    "table",
    [["t", 1, [1, 1], [1, 1]], ["t", 0, [1], [1]], ["t", 1, [1], []], ["t", 1, ["x"], [1]], 3],
)
def test_losses_that_lie_are_refused(table: Any) -> None:
    with pytest.raises(WireError):
        Loss.from_header({"r": [], "rows": {}, "t": [table], "why": "expired"})
