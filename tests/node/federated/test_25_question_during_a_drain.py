"""Case 25: a question to an edge during its drain is budgeted, and live rows go on.

Virtual time: a link of 128 kbit/s with an hour of backlog, ten live rows a second, and a question
whose answer is a hundred kilobytes. What a live row waits is compared with the same run without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mainstem_node.config.schema import SqlConfig
from mainstem_node.federated.runner import QuestionRunner
from mainstem_node.federated.wish import ROWS, Part, Wish
from mainstem_sync.down.questions import Asked
from mainstem_sync.testing.down_link import DownLink
from mainstem_sync.testing.tiers import START_MS, START_NS, Tiers

BYTES_PER_S = 16_000.0
BACKLOG_ROWS = 200_000
SECONDS = 60
STEP_S = 0.1


class Drain:
    """An edge that delivers what it owes, and live rows, and perhaps an answer."""

    def __init__(self, base: Path) -> None:
        self.tiers = Tiers(base)
        self.edge, self.plant = self.tiers.edge, self.tiers.plant
        self.down = DownLink(self.edge, self.plant)
        self.budget = self.edge.federation.budget
        self.budget.change(BYTES_PER_S)
        clock = self.tiers.clock
        runner = QuestionRunner(
            self.edge.engine, self.edge.federation, SqlConfig(), monotonic=clock.monotonic
        )
        self.answers = self.edge.federation.down.answers
        self.answers.on_question = runner.answer
        self.pieces: list[int] = []
        self.lags: list[float] = []
        self.seconds = 0.0
        rng = np.random.default_rng(25)
        ids = self.edge.engine.device_ids("meters", ["root.p.e.old"], create=True)
        times = START_MS - 10**9 + np.arange(BACKLOG_ROWS) * 1000
        self.edge.engine.write(
            "meters", np.repeat(ids, BACKLOG_ROWS), times, {"current": rng.random(BACKLOG_ROWS)}
        ).wait()

    def step(self) -> None:
        """A tenth of a second: a live row, what the link may carry, what the answer may have."""
        self.seconds += STEP_S
        at = int(self.seconds * 10)
        self.tiers.write("root.p.e.live", start_s=at * 10.0, rows=1)
        self.tiers.clock.advance(STEP_S)
        for link in self.tiers.links:
            link.step()
        self.down.step()
        sending = self.answers.next_sending()
        if sending is not None and self.budget.wait_s() <= 0:
            self.budget.sent(len(sending.body))
            self.pieces.append(len(sending.body))
            questions = self.plant.federation.down.questions
            self.answers.sent(sending, *questions.took("edge", sending.pending.lease, sending.body))
        self.lags.append((at - self._newest()) * STEP_S)

    def _newest(self) -> int:
        """Number of the newest live row that the plant has."""
        found = self.plant.engine.catalog
        if found.devices.id_of("root.p.e.live") is None:
            return 0
        _, rows = self.plant.engine.newest_values("meters", "root.p.e.live")
        return int((rows.time[0] - START_NS) // 10**10) if len(rows.time) else 0

    def ask(self) -> Asked:
        wish = Wish(
            ROWS,
            "meters",
            (Part(("edge",), ((START_NS - 10**15, START_NS - 10**15 + 10_000 * 10**9),)),),
            columns=("device", "time", "current"),
            role="read",
            by="analyst",
        )
        return self.plant.federation.down.questions.ask("edge", wish.pack(), 3000.0)


@pytest.fixture
def make_drain(tmp_path: Path) -> Iterator[Callable[[], Drain]]:
    made: list[Drain] = []

    def make() -> Drain:
        made.append(Drain(tmp_path / str(len(made))))
        return made[-1]

    yield make
    for drain in made:
        drain.tiers.stop()


def run(drain: Drain, *, asks: bool) -> dict[str, Any]:
    for _ in range(200):
        drain.step()
    drain.lags.clear()
    asked = drain.ask() if asks else None
    for _ in range(int(SECONDS / STEP_S)):
        drain.step()
    forward = drain.edge.federation.delivery()
    assert forward is not None
    return {"lags": drain.lags, "asked": asked, "pending": forward["pending_rows"]}


def test_25_a_question_during_a_drain_is_budgeted_and_live_rows_go_on(
    make_drain: Callable[[], Drain],
) -> None:
    alone = run(make_drain(), asks=False)
    drain = make_drain()
    both = run(drain, asks=True)
    # The edge still owes most of its backlog: the question came in the middle of it.
    assert alone["pending"] > BACKLOG_ROWS / 10
    asked = both["asked"]
    assert asked.done.is_set()
    assert asked.error is None
    assert asked.said["rows"] == 10_000
    assert asked.wire_bytes > 60_000
    # No piece holds the link for longer than a second.
    assert max(drain.pieces) <= BYTES_PER_S
    assert max(both["lags"]) <= max(alone["lags"]) + 2.0
    assert np.median(both["lags"]) <= np.median(alone["lags"]) + 1.0
