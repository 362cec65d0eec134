"""Live rows wait for no history: not to be made, not to be sent, not to be taken in."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mainstem_sync import Child
from mainstem_sync.receiving import incoming
from mainstem_sync.receiving import receiver as receiver_module
from mainstem_sync.sending.budget import LinkBudget
from mainstem_sync.sending.flight import Lane
from mainstem_sync.sending.sender import Sender
from mainstem_sync.sending.session import Request
from mainstem_sync.testing.network import Faults
from mainstem_sync.testing.tiers import Tiers
from mainstem_sync.wire.batch import Batch
from mainstem_sync.wire.frames import FrameType, decode_frames
from mainstem_sync.wire.messages import Queue
from mainstem_sync.wire.ranges import RangeSet

CHILD = Child("edge", ["root.p.e"])


def batches(request: Request | None) -> list[Batch]:
    assert request is not None
    frames = decode_frames(request.body)
    return [Batch.from_frame(frame) for frame in frames if frame.type is FrameType.BATCH]


def behind(tiers: Tiers, rows: int = 3000) -> Sender:
    """The edge's sender, connected again, with a backlog and a live row."""
    tiers.write(rows=1)
    tiers.run(1)
    tiers.up.cut()
    for n in range(3):
        tiers.write(start_s=10_000 * n, rows=rows)
    tiers.clock.advance(1)
    tiers.up.step()
    tiers.up.restore()
    tiers.clock.advance(60)
    sender = tiers.edge.federation.sender
    assert sender is not None
    assert tiers.up.step()  # HELLO: from here on what is written is live
    tiers.write(start_s=90_000, rows=1, value=5.0)
    tiers.clock.advance(1)
    return sender


def answer(tiers: Tiers, sender: Sender, request: Request) -> None:
    reply = tiers.plant.federation.receiver.batches(CHILD, request.body)
    sender.on_reply(request, reply.status, reply.body)


def settle(tiers: Tiers) -> None:
    tiers.clock.advance(40)
    tiers.run(8, check=False)
    for node in (tiers.plant, tiers.group):
        assert tiers.values(node) == tiers.values(tiers.edge)


def test_a_live_request_is_made_while_history_is(
    tiers: Tiers, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender = behind(tiers)
    began, go_on = threading.Event(), threading.Event()
    cut = sender._cutter.history

    def slow(owed: RangeSet, bytes_max: int) -> Any:
        began.set()
        assert go_on.wait(20)
        return cut(owed, bytes_max)

    monkeypatch.setattr(sender._cutter, "history", slow)
    made: list[Request | None] = []
    thread = threading.Thread(target=lambda: made.append(sender.next_request(Lane.HISTORY)))
    thread.start()
    assert began.wait(20)
    live = sender.next_request(Lane.LIVE)
    assert not made
    assert Queue.LIVE in {batch.queue for batch in batches(live)}
    assert Queue.HISTORY not in {batch.queue for batch in batches(live)}
    go_on.set()
    thread.join(20)
    assert {batch.queue for batch in batches(made[0])} == {Queue.HISTORY}
    for request in (made[0], live):
        assert request is not None
        answer(tiers, sender, request)
    settle(tiers)


def test_one_request_of_history_is_under_way_and_live_ones_pass_it(tiers: Tiers) -> None:
    sender = behind(tiers)
    sender._lanes.scheduler.connected(0.0)
    first = sender.next_request(Lane.LIVE)
    history = sender.next_request(Lane.HISTORY)
    assert history is not None
    assert sender.next_request(Lane.HISTORY) is None
    assert first is not None
    answer(tiers, sender, first)
    tiers.write(start_s=90_010, rows=1, value=6.0)
    tiers.clock.advance(1)
    second = sender.next_request(Lane.LIVE)
    assert second is not None
    answer(tiers, sender, second)
    assert tiers.values(tiers.plant)[-1][2] == 6.0
    assert tiers.forward(tiers.edge)["pending"] >= 3000
    assert sender.next_request(Lane.HISTORY) is None
    answer(tiers, sender, history)
    after = sender.next_request(Lane.HISTORY)
    assert after is not None
    answer(tiers, sender, after)
    settle(tiers)


def test_live_rows_are_taken_in_while_history_of_their_origin_is_looked_at(
    tiers: Tiers, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender = behind(tiers)
    live, history = sender.next_request(Lane.LIVE), sender.next_request(Lane.HISTORY)
    assert live is not None
    assert history is not None
    monkeypatch.setattr(receiver_module, "SMALL_BYTES", 1)
    began, go_on = threading.Event(), threading.Event()
    prepare = incoming.prepare

    def slow(batch: Batch, *args: Any, **kwargs: Any) -> Any:
        if batch.queue is Queue.HISTORY:
            began.set()
            assert go_on.wait(20)
        return prepare(batch, *args, **kwargs)

    monkeypatch.setattr(receiver_module, "prepare", slow)
    thread = threading.Thread(target=answer, args=(tiers, sender, history))
    thread.start()
    assert began.wait(20)
    answer(tiers, sender, live)
    assert tiers.values(tiers.plant)[-1][2] == 5.0
    go_on.set()
    thread.join(20)
    settle(tiers)


@pytest.mark.parametrize("change", ["known", "maps"])
def test_what_was_looked_at_early_counts_only_if_nothing_changed(
    tiers: Tiers, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """Between the look and the turn of a batch the same batch comes, or definitions do."""
    sender = behind(tiers)
    live, history = sender.next_request(Lane.LIVE), sender.next_request(Lane.HISTORY)
    assert live is not None
    assert history is not None
    monkeypatch.setattr(receiver_module, "SMALL_BYTES", 1)
    prepare, calls = incoming.prepare, []

    def meanwhile(batch: Batch, *args: Any, **kwargs: Any) -> Any:
        prepared = prepare(batch, *args, **kwargs)
        calls.append(batch.queue)
        if batch.queue is Queue.HISTORY and calls.count(Queue.HISTORY) == 1:
            if change == "known":
                tiers.plant.federation.receiver.batches(CHILD, history.body)
            else:
                tiers.write("root.p.e.new", start_s=95_000)
                tiers.clock.advance(1)
                more = sender.next_request(Lane.LIVE)
                assert more is not None
                answer(tiers, sender, more)
        return prepared

    monkeypatch.setattr(receiver_module, "prepare", meanwhile)
    answer(tiers, sender, live)
    answer(tiers, sender, history)
    assert calls.count(Queue.HISTORY) == 2
    settle(tiers)
    sums = tiers.plant.federation.accounting()["meters"]["children"]
    assert (sums["duplicates"] > 0) is (change == "known")


def test_history_waits_for_the_definitions_that_were_owed(tiers: Tiers) -> None:
    tiers.run(1)
    tiers.up.cut()
    tiers.write("root.p.e.new", rows=3000)
    tiers.clock.advance(1)
    tiers.up.step()
    tiers.up.restore()
    tiers.clock.advance(60)
    assert tiers.up.step()
    sender = tiers.edge.federation.sender
    assert sender is not None
    control = sender.next_request(Lane.LIVE)
    assert {batch.queue for batch in batches(control)} == {Queue.CONTROL}
    assert sender.next_request(Lane.HISTORY) is None
    assert control is not None
    answer(tiers, sender, control)
    assert {batch.queue for batch in batches(sender.next_request(Lane.HISTORY))} == {Queue.HISTORY}


def test_a_tenth_of_a_request_is_for_statements_while_rows_wait(tiers: Tiers) -> None:
    tiers.write(rows=1)
    tiers.run(1)
    tiers.up.cut()
    for n in range(400):
        tiers.write(start_s=60 * n, rows=1)
        tiers.clock.advance(60)
        tiers.edge.federation.run_manifests(tiers.clock.now_ns)
    tiers.up.step()
    tiers.up.restore()
    tiers.clock.advance(60)
    assert tiers.up.step()
    tiers.write(start_s=90_000, rows=1)
    tiers.clock.advance(1)
    sender = tiers.edge.federation.sender
    assert sender is not None
    sizes = dict.fromkeys(Queue, 0)
    request = sender.next_request(Lane.LIVE)
    assert request is not None
    for batch in batches(request):
        sizes[batch.queue] += batch.raw_length
    answer(tiers, sender, request)
    whole = sender._lanes.scheduler.raw_bytes(Queue.CONTROL)
    assert sizes[Queue.LIVE] > 0
    assert 0 < sizes[Queue.CONTROL] < 0.2 * whole
    settle(tiers)


def test_little_history_goes_along_with_what_is_live(tiers: Tiers) -> None:
    sender = behind(tiers, rows=5)
    request = sender.next_request(Lane.LIVE)
    assert {batch.queue for batch in batches(request)} >= {Queue.LIVE, Queue.HISTORY}
    assert request is not None
    answer(tiers, sender, request)
    assert sender.next_request() is None
    settle(tiers)


def test_what_a_query_waits_for_goes_first(tiers: Tiers) -> None:
    sender = behind(tiers)
    live = sender.next_request(Lane.LIVE)
    assert live is not None
    answer(tiers, sender, live)
    forward = tiers.edge.federation._follower.forward
    assert forward is not None
    last = forward.owed(tiers.edge.engine.log.fsynced_lsn).last
    sender.waited_for = lambda: RangeSet([(last, last)])
    history = sender.next_request(Lane.HISTORY)
    assert history is not None
    assert [list(batch.ranges) for batch in batches(history)] == [[(last, last)]]
    answer(tiers, sender, history)
    settle(tiers)


def test_lanes_take_turns_where_the_link_has_a_budget(make_tiers: Callable[..., Tiers]) -> None:
    """Live rows come faster than the link carries them; history has its quarter."""
    tiers = make_tiers()
    sender = behind(tiers, rows=1)
    engine, rng = tiers.edge.engine, random.Random(1)
    ids = engine.device_ids("meters", ["root.p.e.d1"], create=True)

    def write(start_ms: int, rows: int) -> None:
        """Rows that do not compress."""
        note = ["".join(rng.choices("abcdefgh", k=60)) for _ in range(rows)]
        engine.write("meters", ids.repeat(rows), start_ms + np.arange(rows), {"note": note}).wait()

    for n in range(1500):
        write(2_000_000_000_000 + 1000 * n, 5)
    sender._cutter.tail_start = engine.log.fsynced_lsn
    budget = LinkBudget(
        40_000.0, clock_ns=lambda: tiers.clock.now_ns, monotonic=tiers.clock.monotonic
    )
    sender._budget = sender._lanes._budget = budget
    sizes = dict.fromkeys(Queue, 0)
    for n in range(300):
        for k in range(5):
            write(2_100_000_000_000 + 1000 * (5 * n + k), 20)
        tiers.clock.advance(0.12)
        while (request := sender.next_request()) is not None:
            for batch in batches(request):
                sizes[batch.queue] += len(batch.payload)
            answer(tiers, sender, request)
    total = sizes[Queue.LIVE] + sizes[Queue.HISTORY]
    assert total < 1.2 * 40_000 * 300 * 0.12
    assert 0.2 < sizes[Queue.HISTORY] / total < 0.4, sizes


def test_lanes_deliver_everything_over_a_bad_link(make_tiers: Callable[..., Tiers]) -> None:
    for seed in range(3):
        tiers = make_tiers()
        behind(tiers, rows=200)
        tiers.up._rng = random.Random(seed)
        tiers.up.faults = Faults(lose_request=0.2, lose_reply=0.2, duplicate=0.2, delay=0.5)
        for n in range(20):
            tiers.write(start_s=100_000 + n * 10, rows=2)
            tiers.run(0.6, check=False)
            tiers.clock.advance(2)
        tiers.up.faults = Faults()
        settle(tiers)
        tiers.check()


def test_a_status_rides_with_rows(tiers: Tiers) -> None:
    tiers.run(3.0)
    before = tiers.up.requests
    for second in range(20):
        tiers.write(start_s=second, rows=1)
        tiers.run(1.0, check=False)
    # One a row and a few for definitions; with statuses alone it would be seven or eight more.
    assert tiers.up.requests - before <= 25
    # Where there are no rows it goes alone.
    before = tiers.up.requests
    tiers.run(20.0, check=False)
    assert 6 <= tiers.up.requests - before <= 12
