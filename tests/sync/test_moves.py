"""Moves of devices: whose a row is, who may say so, and what is refused."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.sync.survives.moving_tiers import DEVICE, MovingTiers, by_owner, second, time_ns

from mainstem_engine.errors import NotFoundError
from mainstem_engine.log.records import RecordKind
from mainstem_sync.errors import MoveError, WireError
from mainstem_sync.receiving.domain import Domain
from mainstem_sync.state import moves as state
from mainstem_sync.state.boundaries import Boundaries
from mainstem_sync.state.moves import ALWAYS, Move, Moves
from mainstem_sync.testing.tiers import MINUTE_NS

NODES = "abcd"


def move(from_ns: int = 60, node: str = "b", source: str = "a", **more: Any) -> Move:
    fields = {"device": "root.d", "id": f"{from_ns}{node}", "at_ms": 1, "issuer": "p", **more}
    return Move(from_ns=from_ns, node=node, source=source, **fields)


@st.composite
def histories(draw: st.DrawFn) -> list[Move]:
    times = sorted(draw(st.sets(st.integers(-50, 50), min_size=1, max_size=6)))
    owners = [draw(st.sampled_from(NODES)) for _ in range(len(times) + 1)]
    made = [move(at, owners[n + 1], owners[n], id=str(n), at_ms=n) for n, at in enumerate(times)]
    return draw(st.permutations(made))


@settings(max_examples=30)
@given(histories(), st.lists(st.integers(-60, 60), max_size=20))
def test_every_instant_has_one_owner(history: list[Move], times: list[int]) -> None:
    """Whatever the order in which moves are heard of, and also if they are heard of twice."""
    moves = Moves()
    for one in (*history, *history[:2]):
        moves.put([one])
    ordered = sorted(history, key=lambda each: each.from_ns)
    for at in times:
        before = [each for each in ordered if each.from_ns <= at]
        owner = before[-1].node if before else ordered[0].source
        assert moves.owner_at("root.d", at) == owner
        holders = [
            node
            for node in NODES
            if any(start <= at < end for start, end in moves.spans("root.d", node))
        ]
        assert holders == [owner]
    spans = sorted(span for node in NODES for span in moves.spans("root.d", node))
    assert (spans[0][0], spans[-1][1]) == ALWAYS
    assert all(one[1] == after[0] for one, after in itertools.pairwise(spans))


@settings(max_examples=30)
@given(histories(), st.lists(st.integers(-60, 60), min_size=1, max_size=20))
def test_rows_of_other_nodes_are_found_by_numbers(history: list[Move], times: list[int]) -> None:
    moves = Moves()
    moves.put(history)
    device = np.array([0, 1] * len(times))
    time = np.repeat(np.array(times, np.int64), 2)
    for node in NODES:
        boundaries = Boundaries(moves, node, _Devices(["root.other", "root.d"]))  # type: ignore[arg-type]
        outside = boundaries.outside(device, time)
        had = node in moves.owners("root.d")
        expected = [
            had and number == 1 and moves.owner_at("root.d", at) != node
            for number, at in zip(device.tolist(), time.tolist(), strict=True)
        ]
        assert (outside is not None) == any(expected)
        assert outside is None or outside.tolist() == expected


def test_a_device_that_comes_later_has_its_boundaries_then() -> None:
    moves, devices = Moves(), _Devices(["root.other"])
    moves.put([move()])
    boundaries = Boundaries(moves, "a", devices)  # type: ignore[arg-type]
    rows = np.array([0, 1]), np.array([100, 100])
    assert boundaries.outside(*rows) is None
    devices.known.append("root.d")
    found = boundaries.outside(*rows)
    assert found is not None
    assert found.tolist() == [False, True]
    moves.put([move(90, "a", "b")])
    assert boundaries.outside(*rows) is None


class _Devices:
    def __init__(self, known: list[str]) -> None:
        self.known = known

    def __len__(self) -> int:
        return len(self.known)

    def lookup_all(self, paths: list[str]) -> Any:
        none = 0xFFFFFFFF
        return np.array([self.known.index(p) if p in self.known else none for p in paths])


def test_of_two_moves_at_one_time_the_later_stands_and_both_are_told() -> None:
    one, other = move(60, "b", at_ms=1), move(60, "c", at_ms=2)
    for first, second_ in ((one, other), (other, one)):
        moves = Moves()
        moves.put([first])
        moves.put([second_])
        assert moves.all() == [other]
        assert moves.disputed == {one.place: (other, one)}
    moves.put([dataclasses.replace(other, id="again", at_ms=3)])
    assert len(moves) == 1


def test_what_is_known_survives_a_checkpoint_and_has_a_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    moves = Moves()
    moves.stated([move(60), move(90, "a", "b")], 7)
    again = Moves()
    again.restore(msgpack.unpackb(msgpack.packb(moves.snapshot())))
    assert again.all() == moves.all()
    assert again.said == {"60b": 7, "90a": 7}
    monkeypatch.setattr(state, "MOVES_MAX", 2)
    assert not again.put([move(120)])
    assert again.put([move(90, "c", "b", at_ms=9)])


@pytest.mark.parametrize("place", range(8))
@pytest.mark.parametrize("value", [None, 1 << 70, [], {}])
def test_a_move_from_elsewhere_is_checked(place: int, value: object) -> None:
    plain = move().to_wire()
    assert Move.from_wire(plain) == move()
    with pytest.raises(WireError):
        Move.from_wire([*plain[:place], value, *plain[place + 1 :]])
    with pytest.raises(WireError):
        Move.from_wire(plain[:place])


def test_a_child_may_give_away_what_is_its_own_and_repeat_what_is_known() -> None:
    moves = Moves()
    known = move(device="root.x.d")
    moves.put([known])
    child = Domain(["root.a"], moves, frozenset("b"))
    assert child.believes([move(device="root.a.d"), known])
    assert not child.believes([move(device="root.ab.d")])
    assert not child.believes([dataclasses.replace(known, node="z")])
    assert child.holds("root.x.d")
    assert not Domain(["root.a"], moves, frozenset("c")).holds("root.x.d")


# Over tiers


@pytest.fixture
def tiers(tmp_path: Path) -> Iterator[MovingTiers]:
    found = MovingTiers(tmp_path)
    found.write(DEVICE, second(1), 1)
    found.write("root.p.f.d9", second(1), 1, node=found.paint)
    found.run(2)
    yield found
    found.stop()


@pytest.mark.parametrize(
    ("device", "to", "at", "says"),
    [
        (DEVICE, "edge", time_ns(5), "belongs to edge already"),
        (DEVICE, "nobody", time_ns(5), "nobody is not below plant"),
        (DEVICE, "group", time_ns(5), "group is not below plant"),
        (DEVICE, "paint", time_ns(5) + 1, "at whole 60 s"),
        (DEVICE, "paint", -MINUTE_NS, "after 1970"),
    ],
)
def test_a_move_that_cannot_be_is_refused(
    tiers: MovingTiers, device: str, to: str, at: int, says: str
) -> None:
    moving = tiers.plant.federation.moving
    with pytest.raises(MoveError, match=says):
        moving.move(device, to, at)
    assert len(moving.moves) == 0
    assert tiers.plant.federation.down.orders.all() == []


def test_a_device_that_nobody_has_is_not_moved(tiers: MovingTiers) -> None:
    with pytest.raises(NotFoundError):
        tiers.plant.federation.moving.move("root.z.d", "paint")


def test_what_has_been_moved_is_not_moved_before_that(tiers: MovingTiers) -> None:
    moving = tiers.plant.federation.moving
    first = moving.move(DEVICE, "paint", time_ns(5))
    with pytest.raises(MoveError, match="was moved at"):
        moving.move(DEVICE, "edge", time_ns(5))
    assert moving.move(DEVICE, "paint", time_ns(5)) == first
    back = moving.move(DEVICE, "edge")  # the next moment that is possible
    assert back.from_ns == time_ns(6)
    assert [m["to"] for m in moving.listed(DEVICE)] == ["paint", "edge"]


def test_without_a_time_it_is_the_end_of_the_slice(tiers: MovingTiers) -> None:
    tiers.clock.advance(61)
    given = tiers.plant.federation.moving.move(DEVICE, "paint")
    assert 0 <= given.from_ns - tiers.clock.now_ns < MINUTE_NS
    assert given.from_ns % MINUTE_NS == 0


def test_a_claim_of_a_child_to_anothers_device_goes_no_further(tiers: MovingTiers) -> None:
    """It is logged at home, and believed by nobody above."""
    claim = Move(DEVICE, time_ns(0), "paint", "edge", "x" * 32, 1, "plant")
    tiers.paint.engine.append(RecordKind.OWN, {"moves": [claim.to_wire()]}).wait()
    tiers.write(DEVICE, second(6), 1, node=tiers.paint)
    tiers.run(3)
    for node in (tiers.plant, tiers.group):
        assert len(node.federation.moving.moves) == 0, node.name
        assert by_owner(node) == {"edge": [second(1)]}
    (item,) = tiers.plant.federation.quarantine.items()
    assert (item["device"], item["reason"]) == (DEVICE, "not_owner")


def test_two_givers_of_one_device_are_alarmed(tiers: MovingTiers) -> None:
    """The plant and the group, which do not know of each other's."""
    tiers.up2.cut()
    tiers.plant.federation.moving.move(DEVICE, "paint", time_ns(5))
    other = Move(DEVICE, time_ns(5), "edge2", "edge", "o" * 32, 1, "group")
    tiers.group.engine.append(RecordKind.OWN, {"moves": [other.to_wire()]}).wait()
    tiers.up2.restore()
    for _ in range(3):
        tiers.clock.advance(31)
        tiers.run(2)
    codes = [alarm["code"] for alarm in tiers.group.federation.alarms()]
    assert codes == ["MOVES_DIFFER"]
    assert tiers.group.federation.moving.moves.owners(DEVICE) == ("edge", "paint")


def test_an_order_that_failed_is_given_again_when_somebody_asks(tiers: MovingTiers) -> None:
    from mainstem_sync.wire.order import State

    tiers.works = False
    moving = tiers.plant.federation.moving
    moving.move(DEVICE, "paint", time_ns(5))
    tiers.run(3)
    down = tiers.paint.federation.down
    (standing,) = down.unfinished()
    down.say(standing.order.id, State.FAILED, error="knows no orders of this kind").wait()
    tiers.works = True
    tiers.run(3)
    assert tiers.states() == {"edge": "DONE", "paint": "FAILED"}
    moving.move(DEVICE, "paint", time_ns(5))
    tiers.run(3)
    assert tiers.states() == {"edge": "DONE", "paint": "DONE"}
