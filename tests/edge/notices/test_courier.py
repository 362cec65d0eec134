"""What is told of alarms, and what a start, a flood or a receiver that is away makes of it."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from tests.edge.notices.site import COLD, HOT, Receiver, S, Site

from mainstem_edge.notices.courier import RefusedError, SendError
from mainstem_node.alarms import AlarmDesk


def test_changes_are_told_in_their_order(site: Site) -> None:
    receiver = Receiver()
    site.change(1)
    site.change(2, raised=False)
    assert site.courier(receiver).turn() is None
    raised, cleared = receiver.told
    assert raised.fields == {
        "id": f"{HOT}@{S}/raised", "node": "edge", "alarm": HOT, "source": "root.plant.m1",
        "rule": "hot", "change": "raised", "severity": "critical", "measurement": "heat",
        "value": 91.5, "message": "hot", "time": 1000, "since": 1000, "by": None, "comment": None,
    }  # fmt: skip
    assert (cleared.id, cleared.fields["change"]) == (f"{HOT}@{2 * S}/cleared", "cleared")
    assert cleared.topic("a/{node}/{device}/{rule}/{change}/{value}") == (
        "a/edge/root.plant.m1/hot/cleared/{value}"
    )


def test_that_somebody_has_seen_it_is_told(site: Site) -> None:
    receiver = Receiver()
    site.change(1)
    AlarmDesk(site.engine, lambda: 5 * S).acknowledge(HOT, "ann", "on my way")
    site.courier(receiver).turn()
    raised, seen = (each.fields for each in receiver.told)
    assert raised["id"] != seen["id"] == f"{HOT}@{5 * S}/acknowledged"
    assert [seen[name] for name in ("change", "by", "comment", "since", "time", "severity")] == [
        "acknowledged", "ann", "on my way", 1000, 5000, "critical"
    ]  # fmt: skip


def test_a_rule_tells_nobody_whom_it_does_not_name(site: Site) -> None:
    receiver = Receiver()
    site.change(1, path=COLD)
    site.change(2)
    assert site.book.waiting("ops") == 1
    site.courier(receiver).turn()
    assert receiver.times == [2]
    site.crash()  # now by what the log says
    assert site.book.waiting("ops") == 0


@pytest.mark.parametrize("flushed", [False, True])
def test_a_restart_neither_loses_nor_repeats(site: Site, flushed: bool) -> None:
    site.change(1)
    first = Receiver()
    site.courier(first).turn()
    site.change(2)
    if flushed:
        site.engine.flush()
    site.crash()
    second = Receiver()
    site.courier(second).turn()
    assert (first.times, second.times) == ([1], [2])
    assert site.book.waiting("ops") == 0


def test_who_is_new_is_told_what_comes_from_then_on(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.change(1)
    site.crash("ops", "new")
    new, ops = Receiver(), Receiver()
    site.change(2)
    site.courier(new, "new").turn()
    site.courier(ops).turn()
    assert (new.times, ops.times) == ([2], [1, 2])
    site.change(3)
    site.crash("new")
    assert site.book.waiting("new") == 1
    assert "1 changes of alarms were not told to ops" in caplog.text


def test_who_is_away_is_tried_again_after_growing_pauses(site: Site) -> None:
    receiver = Receiver(SendError("down"), SendError("down"), SendError("busy", after_s=86_400))
    courier = site.courier(receiver)
    site.change(1)
    site.change(2)
    pauses = [courier.turn() for _ in range(4)]
    assert pauses[0] is not None
    assert 0.75 <= pauses[0] <= 1.25
    assert pauses[1] is not None
    assert 1.5 <= pauses[1] <= 2.5
    assert pauses[2:] == [3600, None]
    assert receiver.times == [1, 2]
    status = courier.status()
    assert (status["delivered"], status["failed"], status["problem"]) == (2, 3, None)


def test_what_is_too_old_or_refused_holds_nothing_up_and_is_said(site: Site) -> None:
    receiver = Receiver(RefusedError("it answers 422"))
    courier = site.courier(receiver, expire_ns=10 * S)
    site.now_s = 12.0
    for second in (1, 5, 9):
        site.change(second)
    assert courier.turn() is None
    assert receiver.times == [9]
    assert (courier.status()["expired"], courier.status()["refused"]) == (1, 1)
    (alarm,) = site.alarms()
    assert (alarm["code"], alarm["node"]) == ("NOTICES_LOST", "edge")
    assert "2 changes" in alarm["text"]


def test_a_defect_of_a_sender_ends_nothing(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    receiver = Receiver(ZeroDivisionError())
    courier = site.courier(receiver)
    site.change(1)
    courier.start()
    deadline = time.monotonic() + 20
    while "telling of alarms failed" not in caplog.text:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    courier.halt()
    courier.join(20)
    assert site.book.waiting("ops") == 1


def test_a_flood_waits_for_its_minute(site: Site) -> None:
    receiver = Receiver()
    courier = site.courier(receiver, per_minute=2)
    for second in range(4):
        site.change(second)
    assert courier.turn() == 1.0
    assert receiver.times == [0, 1]
    site.now_s = 60.0
    courier.turn()
    assert receiver.times == [0, 1, 2, 3]


def test_when_too_many_wait_the_oldest_go_counted_and_said(
    make_site: Callable[..., Site],
) -> None:
    site = make_site(waiting_max=3)
    receiver = Receiver()
    courier = site.courier(receiver)
    for second in range(5):
        site.change(second)
    assert (site.book.waiting("ops"), site.book.dropped("ops")) == (3, 2)
    courier.turn()
    assert receiver.times == [2, 3, 4]
    (alarm,) = site.alarms()
    assert "2 changes" in alarm["text"]
    site.crash()
    assert (site.book.waiting("ops"), site.book.dropped("ops")) == (0, 2)
    for second in range(5, 9):
        site.change(second)
    assert site.book.dropped("ops") == 3


def test_what_nobody_waits_for_is_not_kept(make_site: Callable[..., Site]) -> None:
    site = make_site()
    idle = len(site.book.snapshot())
    for second in range(3):
        site.change(second, path=COLD)
        site.change(second)
    assert len(site.book.snapshot()) > idle
    site.courier(Receiver()).turn()
    site.alarms()  # once the mark is applied
    assert len(site.book.snapshot()) <= idle + 8  # the mark has larger numbers now
