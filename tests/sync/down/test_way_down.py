"""Orders over two hops: group -> plant -> edge, and the words back; losses, crashes, restores."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mainstem_engine.log.records import RecordKind
from mainstem_sync.testing.down_link import DownLink
from mainstem_sync.testing.nodes import TestNode
from mainstem_sync.testing.tiers import Tiers
from mainstem_sync.wire.order import Mode, Order, State


class Way:
    """Tiers with their ways down, and what the edge was told to do."""

    def __init__(self, tiers: Tiers) -> None:
        self.tiers = tiers
        self.down = [DownLink(tiers.edge, tiers.plant), DownLink(tiers.plant, tiers.group)]
        self.told: list[str] = []
        self.listen()

    def listen(self) -> None:
        self.tiers.edge.federation.down.on_order = lambda order: self.told.append(order.id)

    def run(self, seconds: float = 3.0) -> None:
        for _ in range(int(seconds / 0.3)):
            self.tiers.run(0.3, check=False)
            self.tiers.commit()
            for link in self.down:
                while link.step() and link.asked % 50:
                    pass
            self.tiers.commit()

    def give(self, ident: str = "o1", node: TestNode | None = None, **more: object) -> None:
        giver = node or self.tiers.group
        order = Order(ident, "command", "edge", {"n": 1}, giver.clock.now_ns // 10**6, giver.name)
        giver.federation.down.give(replace(order, **more)).wait()  # type: ignore[arg-type]

    def states(self, ident: str = "o1") -> list[State | None]:
        found = [node.federation.down.orders.find(ident) for node in self.tiers.nodes]
        return [None if each is None else each.state for each in found]

    def say(self, state: State, ident: str = "o1") -> None:
        self.tiers.edge.federation.down.say(ident, state).wait()


@pytest.fixture
def way(tiers: Tiers) -> Way:
    way = Way(tiers)
    tiers.write()
    way.run()
    return way


def test_an_order_goes_down_two_hops_and_its_end_comes_back(way: Way) -> None:
    way.give()
    assert way.states() == [None, None, State.QUEUED]
    way.run()
    assert way.told == ["o1"]
    assert way.states() == [State.DELIVERED] * 3
    way.say(State.STARTED)
    way.say(State.DONE)
    way.run()
    assert way.states() == [State.DONE] * 3
    way.tiers.check()


def test_an_order_of_an_outage_waits_for_its_end(way: Way) -> None:
    way.down[0].up = False
    way.tiers.up.cut()
    way.give()
    way.run(30)
    assert way.states() == [None, State.QUEUED, State.QUEUED]
    way.down[0].up = True
    way.tiers.up.restore()
    way.run(40)
    assert way.told == ["o1"]
    assert way.states() == [State.DELIVERED] * 3


def test_answers_that_are_lost_are_asked_for_again_and_taken_once(way: Way) -> None:
    for number in range(5):
        way.down[0].lose_answers = 2
        way.give(f"o{number}")
        way.run(20)
    assert way.told == [f"o{number}" for number in range(5)]


def test_crashes_at_every_tier_lose_and_double_nothing(way: Way) -> None:
    for number, node in enumerate((way.tiers.edge, way.tiers.plant, way.tiers.group)):
        way.give(f"a{number}")
        way.run(0.3)
        node.restart()
        way.listen()
        way.give(f"b{number}")
        way.run(20)
    expected = [f"{letter}{number}" for number in range(3) for letter in "ab"]
    assert sorted(set(way.told)) == sorted(expected)
    assert len(way.told) == len(expected)
    unfinished = way.tiers.edge.federation.down.unfinished()
    assert [each.order.id for each in unfinished] == [
        each.order.id for each in sorted(unfinished, key=lambda each: each.lsn)
    ]
    assert len(unfinished) == 6


def test_a_platform_gives_orders_of_its_own(way: Way) -> None:
    way.give("p1", way.tiers.plant)
    way.run()
    assert way.told == ["p1"]
    assert way.states("p1") == [State.DELIVERED, State.DELIVERED, None]


def test_an_order_for_the_node_itself_is_carried_out_there(way: Way) -> None:
    way.give("self", way.tiers.edge)
    assert way.told == ["self"]


def backup_of(way: Way, node: TestNode) -> Path:
    """A copy of a node's disk."""
    node.engine.flush()
    backup = way.tiers.base / "backup"
    shutil.copytree(node.directory, backup)
    return backup


def restored(way: Way, node: TestNode, backup: Path) -> None:
    node.crash()
    shutil.rmtree(node.directory)
    shutil.copytree(backup, node.directory)
    node.start()
    way.listen()


@pytest.mark.parametrize(
    ("mode", "told", "state"),
    [
        (Mode.ACTUATE, ["o1"], State.UNKNOWN),
        (Mode.IDEMPOTENT, ["o1", "o1"], State.DELIVERED),
    ],
)
def test_an_edge_restored_from_before_an_order_does_not_actuate_again(
    way: Way, mode: Mode, told: list[str], state: State
) -> None:
    backup = backup_of(way, way.tiers.edge)
    way.give(mode=mode)
    way.run()
    assert way.told == ["o1"]
    restored(way, way.tiers.edge, backup)
    way.run(20)
    assert way.told == told
    assert way.states() == [state] * 3


def test_a_platform_restored_from_a_backup_is_asked_from_the_beginning(way: Way) -> None:
    backup = backup_of(way, way.tiers.plant)
    way.give("o1")
    way.run()
    restored(way, way.tiers.plant, backup)
    way.give("o2")
    way.run(30)
    assert way.told == ["o1", "o2"]
    assert way.states("o2") == [State.DELIVERED] * 3
    assert way.states("o1") == [State.DELIVERED] * 3


def test_a_group_restored_from_a_backup_never_skips_a_new_order(way: Way) -> None:
    """Its log comes to the same numbers again: the id at the cursor tells."""
    backup = backup_of(way, way.tiers.group)
    way.give("o1")
    way.run()
    restored(way, way.tiers.group, backup)
    way.give("o2")
    way.run(30)
    assert way.told == ["o1", "o2"]


def test_orders_stay_in_the_log_of_their_node_and_words_go_up(way: Way) -> None:
    way.give()
    way.run()
    way.say(State.DONE)
    way.run()
    kinds = [record.kind for record in way.tiers.plant.engine.log.read(1)]
    assert kinds.count(RecordKind.ORD) == 1
    assert RecordKind.RES not in kinds  # it came in the edge's batch
    assert way.tiers.plant.federation.delivery() is not None


def test_an_answer_that_is_not_signed_is_none(way: Way) -> None:
    taker = way.tiers.edge.federation.down.taker
    assert taker is not None
    way.give("o1", way.tiers.plant)
    poll = taker.next_poll()
    assert poll is not None
    answer = way.tiers.plant.federation.down.giver.answer(poll.ask)
    taker.took(poll, 200, answer.body[:-1] + bytes([answer.body[-1] ^ 1]))
    assert way.told == []
    assert taker.error is not None
    way.run(5)
    assert way.told == ["o1"]


def test_a_lease_that_is_over_is_refused(way: Way) -> None:
    taker = way.tiers.edge.federation.down.taker
    assert taker is not None
    poll = taker.next_poll()
    assert poll is not None
    stale = replace(poll.ask, lease="f" * 32)
    assert way.tiers.plant.federation.down.giver.answer(stale).status == 409
    taker.failed(poll, "test")


def test_a_question_of_a_process_that_is_gone_says_nothing_of_its_child(way: Way) -> None:
    """It waited at the parent; the connection was dead, and another process has the lease now."""
    taker = way.tiers.edge.federation.down.taker
    assert taker is not None
    poll = taker.next_poll()
    assert poll is not None
    way.tiers.edge.restart()
    way.run(20)
    plant = way.tiers.plant.federation
    way.tiers.clock.advance(300)
    assert plant.children()[0]["state"] == "offline"
    assert plant.down.giver.answer(poll.ask).status == 409
    assert plant.drops().get("fenced_children", 0) == 0
    assert plant.children()[0]["state"] == "offline"


def test_an_older_parent_is_asked_seldom(way: Way) -> None:
    taker = way.tiers.edge.federation.down.taker
    assert taker is not None
    poll = taker.next_poll()
    assert poll is not None
    taker.took(poll, 404, b"")
    assert taker.next_poll() is None
    assert taker.wait_s() > 100


def test_many_orders_come_in_several_answers(
    way: Way, monkeypatch: pytest.MonkeyPatch, make_tiers: Callable[..., Tiers]
) -> None:
    from mainstem_sync.down import giver

    monkeypatch.setattr(giver, "ANSWER_BYTES_MAX", 500)
    for number in range(20):
        way.give(f"o{number:02}")
    way.run(5)
    assert way.told == [f"o{number:02}" for number in range(20)]
