"""All sums hold at every instant, however many threads write, deliver, flush and look."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from mainstem_sync import Child
from mainstem_sync.receiving.receiver import Reply
from mainstem_sync.state import accounting
from mainstem_sync.testing.nodes import ManualClock
from mainstem_sync.testing.tiers import START_MS, Tiers

RECORDS = 250
ROWS = 40


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch, make_tiers: Callable[..., Tiers]) -> Tiers:
    monkeypatch.setattr(ManualClock, "monotonic", lambda _: time.monotonic())
    return make_tiers()


class Crowd:
    """Threads that repeat an action until they are told to stop; the first error is kept."""

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self.errors: list[BaseException] = []
        self._threads: list[threading.Thread] = []

    def add(self, action: Callable[[], object], pause_s: float = 0.0) -> None:
        def repeat() -> None:
            try:
                while not self.stopping.is_set():
                    action()
                    self.stopping.wait(pause_s)
            except BaseException as exc:
                self.errors.append(exc)
                raise

        self._threads.append(threading.Thread(target=repeat, daemon=True))

    def __enter__(self) -> Crowd:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        for thread in self._threads:
            thread.join(20)


def test_sums_hold_while_everything_happens_at_once(busy: Tiers) -> None:
    tiers = busy
    crowd = Crowd()
    for link in tiers.links:
        crowd.add(link.step, 0.001)
    for node in tiers.nodes:
        crowd.add(node.engine.flush, 0.05)
    crowd.add(lambda: tiers.edge.federation.run_manifests(tiers.clock.now_ns), 0.02)
    crowd.add(tiers.group.federation.run_verification, 0.02)

    samples = [0]

    def sample() -> None:
        acked = {}
        for node in tiers.nodes:
            problems = accounting.check(node.federation.accounting())
            assert problems == []
            delivery = node.federation.delivery()
            acked[node.name] = delivery["acked_lsn"] if delivery else 0
        for parent in (tiers.plant, tiers.group):
            for child in parent.federation.children():
                assert child["delivery"]["applied_lsn"] >= acked[child["node"]]
        samples[0] += 1

    crowd.add(sample)
    engine = tiers.edge.engine
    ids = engine.device_ids("meters", ["root.p.e.d1"], create=True)
    with crowd:
        for n in range(RECORDS):
            times = START_MS + (n * ROWS + np.arange(ROWS)) * 100
            engine.write(
                "meters",
                np.repeat(ids, ROWS),
                times,
                {"current": times / 7},
                intake={"filtered": 1},
            )
            if n % 10 == 0:
                engine.log.barrier()
        deadline = time.monotonic() + 30
        while tiers.forward(tiers.plant)["delivered"] < RECORDS * ROWS:
            assert not crowd.errors
            assert time.monotonic() < deadline, tiers.forward(tiers.plant)
            time.sleep(0.02)
    assert crowd.errors == []
    assert samples[0] > 3
    assert len(tiers.values(tiers.group)) == RECORDS * ROWS
    sums = tiers.edge.federation.accounting()["meters"]["intake"]
    assert (sums["received"], sums["filtered"]) == (RECORDS * (ROWS + 1), RECORDS)


def test_one_batch_twice_at_the_same_time_is_applied_once(busy: Tiers) -> None:
    tiers = busy
    tiers.run(1)
    sender = tiers.edge.federation.sender
    assert sender is not None
    child = Child("edge", ["root.p.e"])

    def post(body: bytes, replies: list[Reply]) -> None:
        replies.append(tiers.plant.federation.receiver.batches(child, body))

    for n in range(10):
        tiers.write(start_s=n * 10)
        time.sleep(0.11)  # live data is gathered for so long
        request = sender.next_request()
        assert request is not None
        replies: list[Reply] = []
        threads = [threading.Thread(target=post, args=(request.body, replies)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert {reply.status for reply in replies} == {200}
        sender.on_reply(request, 200, replies[0].body)
    tiers.run(1)
    sums = tiers.plant.federation.accounting()["meters"]["children"]
    assert (sums["from_children"], sums["duplicates"]) == (100, 300)
