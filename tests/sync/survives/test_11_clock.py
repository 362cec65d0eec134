"""Case 11: the clock of an edge jumps by a year, or it boots in 1970. The watermark does not move,
and nothing is deleted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mainstem_sync.state.exports import Export
from mainstem_sync.testing.network import Link
from mainstem_sync.testing.nodes import START_NS, ManualClock, TestNode
from mainstem_sync.testing.tiers import METERS, MINUTE_NS

YEAR_S = 365 * 86_400


class Pair:
    """An edge with a clock of its own, and its parent."""

    def __init__(self, base: Path) -> None:
        self.true, self.wrong = ManualClock(), ManualClock()
        self.edge = TestNode(
            "edge", base, self.wrong, exports=(Export("meters"),), parent=True, paths=["root.e"],
            lateness_ns=0,
        )  # fmt: skip
        self.plant = TestNode("plant", base, self.true)
        self.link: Link = self.edge.link_to(self.plant, paths=["root.e"])
        self.edge.engine.create_template(METERS)

    def advance(self, seconds: float) -> None:
        self.true.advance(seconds)
        self.wrong.advance(seconds)

    def write(self, start_s: int, rows: int = 60) -> None:
        ids = self.edge.engine.device_ids("meters", ["root.e.d"], create=True)
        times = START_NS // 10**6 + (start_s + np.arange(rows)) * 1000
        columns = {"current": np.arange(rows, dtype=float)}
        self.edge.engine.write("meters", np.repeat(ids, rows), times, columns).wait()

    def settle(self) -> None:
        """What a node does every second, with its own clock as the frontier."""
        self.edge.federation.run_manifests(self.wrong.now_ns)
        for _ in range(30):
            self.advance(0.12)
            self.link.step()
        self.plant.federation.run_verification()

    def through(self) -> int:
        """Minutes that are complete at the parent."""
        (item,) = self.plant.federation.completeness(["meters"])
        assert item["complete_through"] is not None
        return int(item["complete_through"] * 10**6 - START_NS) // MINUTE_NS


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    made = Pair(tmp_path)
    yield made
    for node in (made.edge, made.plant):
        node.stop()


def test_case_11_a_jump_of_a_year_closes_nothing_and_deletes_nothing(pair: Pair) -> None:
    pair.edge.engine.set_keep("meters", 30 * 86_400 * 10**9)
    pair.write(0, 120)
    pair.advance(120)
    pair.settle()
    assert pair.through() == 2
    pair.wrong.now_ns += YEAR_S * 10**9
    pair.write(130, 50)
    pair.advance(57)
    pair.settle()
    assert pair.through() == 3, "as far as the time that is known"
    assert pair.edge.engine.expire().rows == 0
    assert pair.edge.engine.scan("meters").read_all().num_rows == 170
    # The clock is set right: everything goes on, nothing was skipped.
    pair.wrong.now_ns -= YEAR_S * 10**9
    pair.write(180, 60)
    pair.advance(120)
    pair.settle()
    assert pair.through() >= 5
    assert pair.plant.federation.verify(rescan=True)["slices"] == []
    assert pair.plant.engine.scan("meters").read_all().num_rows == 230


def test_case_11_a_jump_before_a_restart_is_no_news_either(pair: Pair) -> None:
    pair.write(0, 120)
    pair.advance(120)
    pair.settle()
    pair.edge.engine.flush()
    pair.wrong.now_ns += YEAR_S * 10**9
    pair.edge.restart()
    pair.advance(60)
    pair.settle()
    assert pair.through() <= 3
    pair.advance(60)
    pair.settle()
    assert 3 <= pair.through() <= 4


def test_case_11_a_boot_in_1970_waits_for_the_time(pair: Pair) -> None:
    pair.write(0, 120)
    pair.advance(120)
    pair.settle()
    pair.edge.engine.flush()
    pair.wrong.now_ns = 60 * 10**9
    pair.edge.restart()
    pair.write(120, 60)
    pair.advance(120)
    pair.settle()
    assert pair.through() == 2
    assert pair.edge.engine.expire().rows == 0
    pair.wrong.now_ns = pair.true.now_ns
    pair.settle()
    assert pair.through() >= 3
    assert pair.plant.engine.scan("meters").read_all().num_rows == 180
    (item,) = pair.plant.federation.completeness(["meters"])
    assert item["clock_err_ms"] is not None
