"""What doctor says of a flash card, by how much a node writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from tests.node.doctor.test_checks import topology

from mainstem_node.config.schema import NodeConfig
from mainstem_node.doctor import wear
from mainstem_node.doctor.finding import FINE, WARNING
from mainstem_node.status import RATE_WINDOW_S, WriteRate

CARD_BYTES = 32 * 10**9
BEARABLE = 32 * 10**9 * 250 // (5 * 365)


def writing(per_day: int) -> dict[str, Any]:
    return {"buffer": {"written_bytes_per_day": per_day}}


@pytest.fixture
def node(tmp_path: Any) -> NodeConfig:
    return topology(tmp_path).nodes[0]


def test_what_a_cheap_card_bears_is_fine_and_more_is_warned_of(node: NodeConfig) -> None:
    assert wear.judged(node, writing(BEARABLE), CARD_BYTES).state == FINE
    found = wear.judged(node, writing(2 * BEARABLE), CARD_BYTES)
    assert (found.check, found.state) == ("flash wear", WARNING)
    assert "8.8 GB are written a day" in found.message
    assert "32.0 GB bears 4.4 GB a day for 5 y: this lasts 2.5 y" in found.message
    # A larger disk is worn later.
    assert wear.judged(node, writing(2 * BEARABLE), 2 * CARD_BYTES).state == FINE


def test_a_node_that_does_not_run_is_told_what_its_card_bears(node: NodeConfig) -> None:
    for status in (None, writing(0)):
        found = wear.judged(node, status, CARD_BYTES)
        assert found.state == FINE
        assert "bears 4.4 GB a day" in found.message


def test_the_remedies_are_those_that_are_left(tmp_path: Any) -> None:
    first = wear.judged(topology(tmp_path).nodes[0], writing(10**12), CARD_BYTES).remedy
    for each in ("durability: interval:1s", "flush_every: 10m", "deadband", "SSD"):
        assert each in first
    done = topology(tmp_path, "    storage: {durability: interval:1s, flush_every: 10m}\n").nodes[0]
    assert [each.partition(":")[0] for each in wear.remedies(done)] == ["store fewer rows"]


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_node_that_is_asked_seldom_says_what_it_wrote_since() -> None:
    clock = Clock()
    rate = WriteRate(monotonic=clock)
    assert rate.per_day(0) == 0  # as when the node started
    clock.now = 12 * RATE_WINDOW_S
    assert rate.per_day(1_000_000) == 1_000_000 * 12  # two hours later: a twelfth of a day
    # Where it is asked often, the last ten minutes count: nothing was written in them.
    for _ in range(int(RATE_WINDOW_S) // 10 + 1):
        clock.now += 10
        last = rate.per_day(1_000_000)
    assert last == 0
