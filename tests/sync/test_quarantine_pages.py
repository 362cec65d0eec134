"""Pages of the quarantines below: asked for in replies, answered with the heartbeats."""

from __future__ import annotations

from typing import Any

import pytest

from mainstem_sync.errors import WireError
from mainstem_sync.receiving.quarantine import QuarantineItem
from mainstem_sync.receiving.quarantine_pages import ASKED_S, PAGE_BYTES_MAX, Question
from mainstem_sync.testing.nodes import TestNode
from mainstem_sync.testing.tiers import Tiers
from mainstem_sync.wire.frames import FrameType, decode_frames, encode_frame


def answering(node: TestNode) -> None:
    """As the status of a node is, with what this package makes of it."""

    def status() -> dict[str, Any]:
        page = node.federation.quarantine_pages.page()
        return {**node.status(), "quarantine": {"bytes": 0, "items": [], "page": page}}

    node.federation.status = status


def put_aside(node: TestNode, count: int, value: Any = 1) -> None:
    node.federation.quarantine.add(
        QuarantineItem(node.name, "meters", "root.p.e.d1", at, "current", "range", value, 5)
        for at in range(count)
    )


@pytest.fixture
def asked(tiers: Tiers) -> Tiers:
    for node in (tiers.edge, tiers.plant):
        answering(node)
    put_aside(tiers.edge, 25)
    put_aside(tiers.plant, 5)
    tiers.run(5)
    return tiers


def pages(tiers: Tiers, question: Question) -> dict[str, dict[str, Any]]:
    tiers.run(8)
    return tiers.group.federation.quarantine_pages.pages(question)


def test_every_node_below_answers_with_its_page(asked: Tiers) -> None:
    ask = asked.group.federation.quarantine_pages.ask
    first = pages(asked, ask(10))
    assert {name: (len(p["items"]), p["more"]) for name, p in first.items()} == {
        "edge": (10, True), "plant": (5, False),
    }  # fmt: skip
    seen = [item["time"] for item in first["edge"]["items"]]
    for more in (True, False):
        after = {
            "edge": first["edge"]["items"][-1]["id"],
            "plant": first["plant"]["items"][-1]["id"],
        }
        found = pages(asked, ask(10, after))
        assert (found["plant"]["items"], found["edge"]["more"]) == ([], more)
        seen += [item["time"] for item in found["edge"]["items"]]
        first["edge"] = found["edge"]
    assert seen == list(range(24, -1, -1))
    chosen = pages(asked, ask(10, node="plant", table="meters"))
    assert [len(chosen[name]["items"]) for name in ("edge", "plant")] == [0, 5]


def test_nobody_is_asked_for_long_and_an_older_question_counts_for_nothing(asked: Tiers) -> None:
    group = asked.group.federation.quarantine_pages
    first = group.ask(10)
    second = group.ask(3)
    assert second.number > first.number
    (frame,) = decode_frames(group.frames("plant"))
    assert Question.from_frame(frame) == second
    plant = asked.plant.federation.quarantine_pages
    assert plant.asked(frame)
    assert not plant.asked(frame), "it comes with every reply"
    (old,) = decode_frames(first.encode())
    assert not plant.asked(old)
    asked.clock.advance(ASKED_S + 1)
    assert (group.frames("plant"), plant.page()) == (b"", None)


def test_a_page_has_a_bound_in_bytes(asked: Tiers) -> None:
    put_aside(asked.edge, 200, "x" * 4000)
    question = asked.group.federation.quarantine_pages.ask(500)
    page = pages(asked, question)["edge"]
    assert page["more"]
    assert 20 < len(page["items"]) <= PAGE_BYTES_MAX // 4000 + 1


@pytest.mark.parametrize(
    "header", [{}, {"n": 1, "limit": 501, "after": {}}, {"n": 1, "limit": 5, "after": {"a": 1}}]
)
def test_a_question_that_cannot_be_read_is_refused(header: dict[str, Any]) -> None:
    (frame,) = decode_frames(encode_frame(FrameType.ASK, header))
    with pytest.raises(WireError):
        Question.from_frame(frame)
