"""Case 15: 64 kbit/s, 5 % loss, 2 s round trip, a link that flaps every 30 s: progress at every
flap, live data first."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from mainstem_sync.http.client import HELLO_TIMEOUT_S, REQUEST_TIMEOUT_S
from mainstem_sync.receiving.receiver import Child, Receiver, Reply
from mainstem_sync.sending.sender import Sender
from mainstem_sync.sending.session import Request
from mainstem_sync.testing.nodes import ManualClock
from mainstem_sync.testing.tiers import START_MS, Tiers
from mainstem_sync.wire.messages import HELLO_PATH

BYTES_PER_S = 8_000
ROUND_TRIP_S = 2.0
LOSS = 0.05
RESENT_S = 3.0
"""TCP notices a lost packet after a round trip or more."""
PACKET_BYTES = 1_400
STEP_S = 0.1


@dataclass
class ThinLink:
    """Requests take as long as their bytes do, one after another, and a round trip."""

    sender: Callable[[], Sender | None]
    receiver: Callable[[], Receiver | None]
    child: Child
    clock: ManualClock
    rng: random.Random
    up: bool = True
    free_at: float = 0.0
    under_way: list[tuple[float, float, Request]] = field(default_factory=list)
    """(when it is answered, when it is given up, what)."""

    def step(self) -> None:
        sender, receiver, now = self.sender(), self.receiver(), self.clock.monotonic()
        assert sender is not None
        assert receiver is not None
        for item in list(self.under_way):
            answered, given_up, request = item
            if self.up and now >= answered:
                self.under_way.remove(item)
                reply = self._ask(receiver, request)
                sender.on_reply(request, reply.status, reply.body)
            elif now >= given_up:
                self.under_way.remove(item)
                sender.on_failure(request, "timed out")
        while (new := sender.next_request()) is not None:
            begin = max(now, self.free_at)
            packets = 1 + len(new.body) // PACKET_BYTES
            lost = sum(self.rng.random() < LOSS for _ in range(packets))
            self.free_at = begin + len(new.body) / BYTES_PER_S + lost * RESENT_S
            timeout_s = HELLO_TIMEOUT_S if new.path == HELLO_PATH else REQUEST_TIMEOUT_S
            self.under_way.append((self.free_at + ROUND_TRIP_S, now + timeout_s, new))

    def _ask(self, receiver: Receiver, request: Request) -> Reply:
        ask = receiver.hello if request.path == HELLO_PATH else receiver.batches
        return ask(self.child, request.body)

    def flap(self) -> None:
        """What is on the way is lost; neither side is told."""
        self.up = not self.up
        self.free_at = self.clock.monotonic()
        never = float("inf")
        self.under_way = [(never, given_up, request) for _, given_up, request in self.under_way]


def backlog(tiers: Tiers, rng: random.Random) -> None:
    """Values that do not compress: a minute and a half of the link."""
    noise = np.random.default_rng(rng.randrange(1 << 30))
    for n in range(200):
        device = tiers.edge.engine.device_ids("meters", [f"root.p.e.d{n % 7}"], create=True)
        times = START_MS + (n * 400 + np.arange(400)) * 1000
        columns = {"current": noise.normal(size=400)}
        tiers.edge.engine.write("meters", np.repeat(device, 400), times, columns).wait()


def test_case_15_progress_at_every_flap(tiers: Tiers) -> None:
    rng = random.Random(15)
    tiers.up.cut()
    backlog(tiers, rng)
    edge, plant = tiers.edge, tiers.plant
    child = Child("edge", ["root.p.e"])
    link = ThinLink(edge.sender, plant.receiver, child, tiers.clock, rng)
    delivered, flaps = 0, 0
    while not _is_drained(tiers):
        for _ in range(int(30 / STEP_S)):
            tiers.clock.advance(STEP_S)
            link.step()
        so_far = tiers.forward(edge)["delivered"]
        assert so_far > delivered, f"no progress before flap {flaps}"
        delivered = so_far
        flaps += 1
        link.flap()
        for _ in range(int(30 / STEP_S)):
            tiers.clock.advance(STEP_S)
            link.step()
        link.flap()
        assert flaps < 100
    tiers.check()
    assert tiers.values(plant) == tiers.values(edge)
    assert flaps > 2


def test_case_15_live_data_does_not_wait_for_the_backlog(tiers: Tiers) -> None:
    rng = random.Random(16)
    tiers.up.cut()
    backlog(tiers, rng)
    edge, plant = tiers.edge, tiers.plant
    link = ThinLink(edge.sender, plant.receiver, Child("edge", ["root.p.e"]), tiers.clock, rng)
    waited: list[float] = []
    waiting = None
    for _ in range(int(180 / STEP_S)):
        tiers.clock.advance(STEP_S)
        link.step()
        if waiting is None and link.clock.monotonic() % 10 < STEP_S:
            waiting = tiers.clock.monotonic()
            tiers.write("root.p.e.live", start_s=200_000 + len(waited), rows=1)
        if waiting is not None and _live_rows(tiers) > len(waited):
            waited.append(tiers.clock.monotonic() - waiting)
            waiting = None
    assert len(waited) >= 5
    assert not _is_drained(tiers)
    # The first one comes while the link is being learnt; a lost packet costs three seconds.
    assert max(waited) < 30
    assert sorted(waited)[len(waited) // 2] < 12


def _live_rows(tiers: Tiers) -> int:
    device = tiers.plant.engine.catalog.devices.id_of("root.p.e.live")
    if device is None:
        return 0
    return int(tiers.plant.engine.scan("meters", devices=["root.p.e.live"]).read_all().num_rows)


def _is_drained(tiers: Tiers) -> bool:
    sender = tiers.edge.sender()
    return sender is not None and sender.is_drained()
