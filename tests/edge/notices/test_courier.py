"""What is told of alarms, and what a start, a flood or a receiver that is away makes of it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mainstem_edge.notices.book import NoticeBook
from mainstem_edge.notices.courier import Courier, RefusedError, SendError
from mainstem_edge.notices.notice import Telling, told
from mainstem_engine.consumers import AppliedRows, RowSink
from mainstem_engine.engine import Engine
from mainstem_engine.filesystem import byte_view
from mainstem_engine.log.records import Record, RecordKind, decode_payload
from mainstem_engine.model import Column, Rows
from mainstem_node.alarms import AlarmDesk, journal
from mainstem_node.config.rules import ALARMS, RuleConfig

S = 10**9
HOT = "root.plant.m1.alarms.hot"
COLD = "root.plant.m1.alarms.cold"
RULE = RuleConfig(name="hot", template="pump", measurement="heat", severity="critical")


class Receiver:
    """Has ``troubles`` first, one a try."""

    shown = "here"

    def __init__(self, *troubles: Exception) -> None:
        self.troubles = list(troubles)
        self.told: list[Telling] = []

    def send(self, telling: Telling) -> None:
        if self.troubles:
            raise self.troubles.pop(0)
        self.told.append(telling)

    def greet(self) -> None:
        """It is there."""

    def rest(self) -> None:
        """It keeps nothing open."""

    @property
    def times(self) -> list[int]:
        return [each.fields["time"] // 1000 for each in self.told]


class EventLog:
    """What was appended beside rows, by header."""

    name = "events"
    kinds = frozenset({RecordKind.EVT})

    def __init__(self) -> None:
        self.headers: list[dict[str, Any]] = []

    def apply(self, record: Record, decoded: Any, sink: RowSink) -> None:
        self.headers.append(decode_payload(byte_view(record.payload))[0])

    def rows_applied(self, batch: AppliedRows) -> None:
        """It keeps no rows."""

    def snapshot(self) -> bytes:
        return b""

    def restore(self, data: bytes) -> None:
        """It begins empty."""


class Site:
    """An engine with a book; ``open`` is a start of the process."""

    def __init__(self, directory: Path, waiting_max: int = 100) -> None:
        self.directory = directory
        self.waiting_max = waiting_max
        self.now_s = 0.0
        self.open()

    def open(self, *names: str) -> None:
        self.book = NoticeBook(self.waiting_max)
        log = EventLog()
        self.said = log.headers
        self.engine = Engine.open(self.directory, consumers=[self.book, log])
        journal.make_table(self.engine)
        self.book.bind(self.engine, names or ["ops"], self.addressees)

    def addressees(self, device: int) -> frozenset[str]:
        """``hot`` is told to everybody, ``cold`` to ``other`` alone."""
        path = self.engine.catalog.devices.path(device)
        return frozenset(("ops", "new", "other") if path.endswith("hot") else ("other",))

    def crash(self, *names: str) -> None:
        self.engine.abandon()
        self.open(*names)

    def change(self, second: int, *, raised: bool = True, path: str = HOT) -> None:
        ids = self.engine.device_ids(ALARMS, [path], create=True)
        number = journal.column_ids(self.engine)
        columns = {
            number[journal.RAISED]: Column(np.array([raised])),
            number[journal.VALUE]: Column(np.array([91.5])),
            number[journal.MESSAGE]: Column(np.array(["hot"], object)),
        }
        rows = Rows(ids, np.array([second * S], np.int64), columns)
        self.engine.write_rows(self.engine.catalog.table(ALARMS), rows, derived=True).wait()

    def alarms(self) -> list[dict[str, Any]]:
        """What the node says of itself."""
        self.engine.append(RecordKind.EVT, {"op": "barrier"}).wait()
        return [each for each in self.said if each["op"] == "alarm"]

    def courier(self, receiver: Receiver, name: str = "ops", **options: Any) -> Courier:
        settings: dict[str, Any] = {
            "node": "edge", "expire_ns": 3600 * S, "per_minute": 100, "rng": random.Random(1),
            "clock_ns": lambda: int(self.now_s * S), "monotonic": lambda: self.now_s,
        }  # fmt: skip
        return Courier(
            name, "test", receiver, self.book, self.engine,
            lambda notice: told(self.engine, "edge", RULE, notice), **{**settings, **options},
        )  # fmt: skip


@pytest.fixture
def make_site(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    made: list[Site] = []

    def make(**options: Any) -> Site:
        made.append(Site(tmp_path / "data", **options))
        return made[-1]

    yield make
    for site in made:
        site.engine.close()


@pytest.fixture
def site(make_site: Callable[..., Site]) -> Site:
    return make_site()


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
