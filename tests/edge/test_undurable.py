"""What is not durable has one bound for all collectors of an edge, and nobody is shut out."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from mainstem_edge import intake as intake_module
from mainstem_edge.collectors.interface import Message
from mainstem_edge.collectors.message_queue import MessageQueue
from mainstem_edge.collectors.undurable import SHARE, Undurable
from mainstem_edge.intake import Intake
from mainstem_edge.testing.gated_filesystem import GatedFilesystem
from mainstem_edge.testing.parts import T0_MS, FakeOrigin, message, stored
from mainstem_edge.testing.patience import eventually
from mainstem_engine.engine import Engine

MakeIntake = Callable[..., Intake]
WINDOW = 10
"""Messages that a broker has in flight."""


def window(number: int, origin: FakeOrigin) -> list[Message]:
    first = number * WINDOW
    return [
        message({"ts": T0_MS + at, "count": at}, origin=origin)
        for at in range(first, first + WINDOW)
    ]


def size_of(messages: list[Message]) -> int:
    return sum(len(each.payload) for each in messages)


def slowed(intake: Intake, fs: GatedFilesystem) -> None:
    """The device is there, and from now on nothing becomes durable."""
    origin = FakeOrigin()
    intake.process([message({"ts": T0_MS - 1, "count": 0}, origin=origin)])
    origin.wait(1)
    fs.gate.clear()


def test_queues_share_a_bound_and_an_empty_one_may_have_one_read() -> None:
    undurable = Undurable(100 * SHARE)
    rooms: list[str] = []
    one, two, empty = (
        MessageQueue(1000, 1 << 20, on_room=partial(rooms.append, name))
        for name in ("one", "two", "empty")
    )
    for queue in (one, two, empty):
        undurable.join(partial(getattr, queue, "bytes"), lambda: 0)
        queue.share(undurable)
    one.put([message(b"x" * 60)])
    assert not one.is_full()
    two.put([message(b"x" * 20), message(b"x" * 20)])
    assert one.is_full()
    assert two.is_full()
    assert not empty.is_full()
    two.take(1, 1, 0)
    assert rooms == ["two"]
    assert not one.is_full()
    assert (undurable.queued_bytes, undurable.opened_bytes) == (80, 0)
    one.put([message(b"x" * 50)])
    assert two.is_full()
    two.take(1, 1, 0)
    assert rooms == ["two", "two"]  # nothing waits there any more
    assert not two.is_full()


def test_brokers_that_connect_again_and_again_fill_no_memory(
    make_intake: MakeIntake, engine: Engine, fs: GatedFilesystem
) -> None:
    """Each connection brings a whole window, whatever the ones before it brought."""
    windows = 300
    origin = FakeOrigin()
    largest = size_of(window(2 * windows, origin))
    undurable = Undurable(10 * largest * SHARE)
    intakes = [make_intake(undurable=undurable) for _ in range(2)]
    slowed(intakes[0], fs)
    brought = 0
    held: list[int] = []

    def connect() -> bool:
        nonlocal brought
        took = False
        for intake in intakes:
            if not intake.collector.queue.is_full():
                intake.collector.queue.put(window(brought, origin))
                brought += 1
                took = True
            held.append(undurable.queued_bytes + undurable.opened_bytes)
        return took

    for intake in intakes:
        intake.start()
    for _ in range(windows):
        connect()
    eventually(
        lambda: not connect() and all(intake._is_blocked() for intake in intakes), "both hold back"
    )
    assert brought < windows / 4
    # A collector may bring a window and hand it on whatever the others hold, and then wait.
    assert max(held) <= undurable.bytes_max + len(intakes) * 2 * largest
    fs.gate.set()
    assert len(origin.wait(brought * WINDOW)) == brought * WINDOW
    eventually(lambda: undurable.queued_bytes + undurable.opened_bytes == 0, "nothing is held")
    assert all(intake.drain(20) for intake in intakes)
    assert len(stored(engine)) == 1 + brought * WINDOW


def test_what_waits_does_not_keep_the_log_from_the_next_batch(
    make_intake: MakeIntake, fs: GatedFilesystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake_module, "BATCH_MESSAGES", 1)
    origin = FakeOrigin()
    messages = [each for number in range(2) for each in window(number, origin)]
    undurable = Undurable(size_of(messages) * SHARE)
    intake = make_intake(undurable=undurable)
    slowed(intake, fs)
    intake.collector.queue.put(messages)
    assert intake.collector.queue.is_full()
    intake.start()
    eventually(lambda: intake.status()["batches_open"] > 1, "a batch beside the one that is synced")
    fs.gate.set()
    assert intake.drain(20)


def test_what_a_stopped_intake_held_is_nobodys(
    make_intake: MakeIntake, fs: GatedFilesystem
) -> None:
    undurable = Undurable(100 * SHARE)
    intake = make_intake(undurable=undurable)
    slowed(intake, fs)
    origin = FakeOrigin()
    intake.process(window(0, origin))
    intake.collector.queue.put(window(1, origin))
    assert undurable.opened_bytes == size_of(window(0, origin))
    assert undurable.queued_bytes == size_of(window(1, origin))
    intake._fail(OSError("no disk"))
    assert (undurable.queued_bytes, undurable.opened_bytes) == (0, 0)
    fs.gate.set()
    origin.wait(WINDOW)
    eventually(lambda: intake.status()["batches_open"] == 0, "it became durable all the same")
    assert (undurable.queued_bytes, undurable.opened_bytes) == (0, 0)
