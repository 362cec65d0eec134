"""Case 10: two processes with one identity. The older lease is fenced, with an alarm; whoever goes
on afterwards does so in an epoch of its own, and nothing of either is lost."""

from __future__ import annotations

import dataclasses

import pytest

from mainstem_sync.lines.handshake import Hello, Welcome
from mainstem_sync.receiving.receiver import Child, Reply
from mainstem_sync.sending.session import LinkState
from mainstem_sync.testing.claims import check_acknowledged
from mainstem_sync.testing.nodes import TestNode
from mainstem_sync.testing.tiers import Tiers
from mainstem_sync.wire.messages import single_frame

from .copies import clone, epoch_of, snapshot, wait


def state_of(node: TestNode) -> LinkState:
    sender = node.federation.sender
    assert sender is not None
    return sender.state


def test_case_10_the_older_of_two_processes_is_fenced_and_an_alarm_says_so(tiers: Tiers) -> None:
    tiers.write(rows=3)
    tiers.run(1)
    second = clone(tiers, snapshot(tiers.edge))
    link = second.link_to(tiers.plant, paths=["root.p.e"])
    try:
        link.drain()
        assert state_of(second) is LinkState.CONNECTED
        tiers.write(rows=3, start_s=50)
        tiers.run(2)
        assert state_of(tiers.edge) is LinkState.FENCED
        (alarm,) = tiers.plant.federation.alarms()
        assert (alarm["code"], alarm["node"]) == ("FENCED", "edge")
        assert tiers.plant.federation.drops()["fenced_children"] == 1
        assert len(tiers.values(tiers.plant)) == 3, "nothing of a fenced process is taken"
        tiers.plant.engine.flush()
        tiers.plant.restart()
        assert tiers.plant.federation.alarms() == [alarm]
    finally:
        second.stop()


def test_case_10_both_lines_are_kept_when_the_first_process_comes_back(tiers: Tiers) -> None:
    """An SD card is copied; the copy runs for a while; then the original is put back."""
    tiers.write(rows=3)
    tiers.run(1)
    copy = snapshot(tiers.edge)
    for number in range(5):  # offline: the parent does not see these yet
        tiers.up.cut()
        tiers.write(rows=1, start_s=100 + number, value=2.0)
    second = clone(tiers, copy)
    link = second.link_to(tiers.plant, paths=["root.p.e"])
    tiers.write(rows=4, start_s=200, value=3.0, node=second)
    tiers.clock.advance(31)
    link.drain()
    # The clone goes on without a fork: nothing was known of the original's last records.
    assert epoch_of(second) == 0
    second.stop()
    tiers.up.restore()
    tiers.edge.restart()
    wait(tiers)
    assert epoch_of(tiers.edge) == 1
    values = {(row[1], row[2]) for row in tiers.values(tiers.group)}
    assert values == {
        *((float(s), 1.0) for s in range(3)),
        *((100.0 + s, 2.0) for s in range(5)),
        *((200.0 + s, 3.0) for s in range(4)),
    }
    # The clone is put back once more: it does not know of epoch 1.
    second.start()
    tiers.write(rows=2, start_s=300, value=4.0, node=second)
    tiers.clock.advance(31)
    for _ in range(20):
        tiers.clock.advance(1)
        link.drain()
    assert epoch_of(second) == 2
    held = {(row[1], row[2]) for row in tiers.values(tiers.plant)}
    assert held == values | {(300.0, 4.0), (301.0, 4.0)}
    second.stop()
    wait(tiers)
    assert tiers.edge.federation.link()["state"] == "fenced"  # type: ignore[index]
    codes = [alarm["code"] for alarm in tiers.plant.federation.alarms()]
    assert codes.count("FORKED") == 2


def test_case_10_a_delayed_hello_of_the_living_process_is_no_fork(tiers: Tiers) -> None:
    sender = tiers.edge.federation.sender
    assert sender is not None
    early = sender.next_request()
    assert early is not None
    receiver = tiers.plant.federation.receiver
    reply = receiver.hello(tiers.up._child, early.body)
    sender.on_reply(early, reply.status, reply.body)
    tiers.write()
    tiers.run(1)
    assert receiver.hello(tiers.up._child, early.body).status == 400
    tiers.write(start_s=100)
    tiers.run(1)
    assert state_of(tiers.edge) is LinkState.CONNECTED
    assert epoch_of(tiers.edge) == 0
    assert tiers.plant.federation.alarms() == []


def test_case_10_who_answered_that_it_lives_is_believed_once(
    tiers: Tiers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy says HELLO, answers that it lives, is told its new epoch, and ends. The original goes
    on; and what the copy said comes once more, late."""
    tiers.write(rows=3)
    tiers.run(1)
    second = clone(tiers, snapshot(tiers.edge))
    tiers.write(rows=3, start_s=50)
    tiers.run(2)
    receiver, said = tiers.plant.federation.receiver, []
    hello = receiver.hello

    def heard(child: Child, body: bytes) -> Reply:
        reply = hello(child, body)
        told = Welcome.from_frame(single_frame(reply.body))
        if told.table is None:
            return reply
        said.append((child, body))
        return Reply(503, b"")  # the answer is lost, and the copy ends

    with monkeypatch.context() as patch:
        patch.setattr(receiver, "hello", heard)
        link = second.link_to(tiers.plant, paths=["root.p.e"])
        while not said:
            tiers.clock.advance(1)
            link.drain()
        second.stop()
    # Of an epoch that has ended nothing is taken, and nothing is said to be here.
    tiers.write(rows=3, start_s=100)
    for _ in range(20):
        tiers.clock.advance(1)
        tiers.run(1)
        check_acknowledged(tiers.edge, tiers.plant)  # type: ignore[arg-type]
    assert state_of(tiers.edge) is LinkState.CONNECTED
    assert epoch_of(tiers.edge) == 2
    assert len(tiers.values(tiers.plant)) == 9
    late = Welcome.from_frame(single_frame(receiver.hello(*said[0]).body))
    assert late.challenge
    assert late.table is None
    codes = [alarm["code"] for alarm in tiers.plant.federation.alarms()]
    assert codes.count("FORKED") == 2


def test_case_10_a_start_that_is_not_on_disk_yet_is_of_no_line(tiers: Tiers) -> None:
    """The clone is greeted before its start is durable, and stopped. The original goes on with
    another record at that LSN. When the clone comes back the two part before it."""
    tiers.write(rows=3)
    tiers.run(1)
    parted_lsn = tiers.edge.engine.log.fsynced_lsn
    second = clone(tiers, snapshot(tiers.edge))
    sender = second.federation.sender
    assert sender is not None
    while sender.state is not LinkState.CONNECTED:
        request = sender.next_request()
        assert request is not None
        said = Hello.from_frame(single_frame(request.body))
        early = dataclasses.replace(
            said,
            durable_lsn=parted_lsn,
            chain=tuple(point for point in said.chain if point.lsn <= parted_lsn),
        )
        reply = tiers.plant.federation.receiver.hello(Child("edge", ["root.p.e"]), early.encode())
        sender.on_reply(request, reply.status, reply.body)
    second.stop()
    tiers.up.cut()
    for number in range(3):
        tiers.write(rows=2, start_s=60 + 10 * number, value=2.0)
    tiers.edge.restart()
    tiers.up.restore()
    wait(tiers)
    assert epoch_of(tiers.edge) == 0
    tiers.edge.stop()
    second.start()
    link = second.link_to(tiers.plant, paths=["root.p.e"])
    tiers.write(rows=1, start_s=120, value=3.0, node=second)
    for _ in range(20):
        tiers.clock.advance(10)
        link.drain()
    assert epoch_of(second) == 1
    table = tiers.plant.federation._follower.lines.table(second.engine.node_uuid)
    assert table.forks == ((1, parted_lsn),)
    second.stop()
