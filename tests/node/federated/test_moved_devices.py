"""A parent that has rows of a device from two owners: each is of the node that is asked about."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.sync.survives.moving_tiers import DEVICE, MovingTiers, second, time_ns

from mainstem_engine.columns import TIME_MAX_NS, TIME_MIN_NS
from mainstem_node.federated.answer_stamp import stamp_of
from mainstem_node.federated.cut import Site
from mainstem_node.federated.reading import Reading
from mainstem_node.federated.storage import FederatedStorage
from mainstem_node.federated.wish import PIECES, Part, Wish
from mainstem_sync.testing.nodes import TestNode

FAR = TIME_MAX_NS + 1
OTHER = "root.p.e.d2"


@pytest.fixture
def tiers(tmp_path: Path) -> Iterator[MovingTiers]:
    """Five rows of the edge, three of paint after minute 5, and one of a device that stays."""
    found = MovingTiers(tmp_path)
    write(found, found.edge, DEVICE, 0, 5)
    write(found, found.edge, OTHER, 0, 1)
    found.run(2)
    found.move(5)
    found.run(2)
    write(found, found.paint, DEVICE, 5, 8)
    found.run(2)
    yield found
    found.stop()


def write(tiers: MovingTiers, node: TestNode, device: str, first: int, end: int) -> None:
    for minute in range(first, end):
        tiers.write(device, second(minute), 1, node=node)


def storage(tiers: MovingTiers, nodes: set[str] | None) -> Any:
    reading = Reading(
        tiers.plant.federation, "read", "somebody", tiers.clock.monotonic() + 20,
        monotonic=tiers.clock.monotonic,
    )  # fmt: skip
    return FederatedStorage(tiers.plant.engine, reading, nodes)


@pytest.mark.parametrize(
    ("nodes", "count"), [({"edge"}, 6), ({"paint"}, 3), ({"edge", "paint"}, 9), (None, 9)]
)
def test_rows_of_a_node_are_those_of_its_spans(
    tiers: MovingTiers, nodes: set[str] | None, count: int
) -> None:
    """Nobody answers, so it is what is here."""
    pieces, _ = storage(tiers, nodes).aggregate_pieces(
        "meters", {"*": ["count"]}, None, TIME_MIN_NS, FAR, every_ns=None, by_device=False
    )
    assert pieces.rows.tolist() == [count]


def test_what_an_owner_answered_is_left_out_here_for_its_spans(tiers: MovingTiers) -> None:
    site = Site("edge", ((time_ns(4), FAR),), {"state": "incomplete"})
    ids = tiers.plant.engine.catalog.devices.lookup([DEVICE, OTHER]).tolist()
    found = [
        (sorted(some.tolist()) if some is not None else None, start, end)
        for some, start, end in storage(tiers, None)._here("meters", None, [site], TIME_MIN_NS, FAR)
    ]
    assert found == [(None, TIME_MIN_NS, time_ns(4)), ([ids[0]], time_ns(5), FAR)]


def test_a_move_changes_the_stamp_of_answers(tiers: MovingTiers) -> None:
    federation, engine = tiers.plant.federation, tiers.plant.engine

    def stamps() -> list[str]:
        span = ((time_ns(0), time_ns(9)),)
        wishes = [Wish(PIECES, "meters", (Part((node,), span),)) for node in ("edge", "paint")]
        return [stamp_of(engine, federation, wish) for wish in wishes]

    tiers.settle()
    before = stamps()
    assert all(before)
    assert stamps() == before
    federation.moving.move(DEVICE, "edge", time_ns(20))
    after = stamps()
    assert not {*before} & {*after}
