"""What of a range is asked of a node, and how spans and nodes are laid beside one another."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstem_engine.columns import TIME_MAX_NS, TIME_MIN_NS
from mainstem_node.federated.cut import NS_PER_MS, Site, elementary, open_spans
from mainstem_node.federated.reading import parts_of
from mainstem_node.federated.wish import PIECES, Part, Wish
from mainstem_sync.errors import WireError

FAR = TIME_MAX_NS + 1


def item(state: str, through: int | None = None, holes: list[list[int]] | None = None) -> Any:
    return {"state": state, "complete_through": through, "holes": holes or []}


def ms(*spans: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    return tuple((a * NS_PER_MS, b * NS_PER_MS) for a, b in spans)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (item("not_held", 900), ms((100, 500))),
        (item("unknown"), ms((100, 500))),
        (item("incomplete"), ms((100, 500))),
        (item("complete", 500), ()),
        (item("complete", 700), ()),
        (item("retired", 300), ()),
        (item("complete", 300), ms((300, 500))),
        (item("incomplete", 150, [[150, 200], [300, 320]]), ms((150, 200), (300, 500))),
        (item("incomplete", 50, [[50, 120], [490, 600]]), ms((100, 120), (490, 500))),
        (item("forked", 400), ms((400, 500))),
    ],
)
def test_what_is_not_verified_here_is_asked_for(found: Any, expected: Any) -> None:
    assert open_spans(found, 100 * NS_PER_MS, 500 * NS_PER_MS) == expected


def test_an_open_range_of_a_table_that_is_not_held_is_asked_for_whole() -> None:
    assert open_spans(item("not_held", 5), TIME_MIN_NS, FAR) == ((TIME_MIN_NS, FAR),)
    assert open_spans(item("not_held", 5), 7, 7) == ()


SPANS = st.lists(st.integers(0, 40), max_size=6).map(
    lambda edges: tuple(zip(sorted(set(edges))[::2], sorted(set(edges))[1::2], strict=False))
)


@given(st.dictionaries(st.sampled_from("abc"), SPANS, max_size=3))
def test_every_instant_is_of_the_nodes_that_answer_for_it(spans: dict[str, Any]) -> None:
    sites = [Site(node, some, item("incomplete")) for node, some in spans.items()]
    found = elementary(sites, 5, 35)
    assert [a for (a, _), _ in found] + [35] == [5] + [b for (_, b), _ in found]
    for at in range(5, 35):
        here = [nodes for (a, b), nodes in found if a <= at < b]
        assert here == [{s.node for s in sites if any(a <= at < b for a, b in s.spans)}]


def test_nodes_with_the_same_spans_are_one_part() -> None:
    sites = [Site(n, s, {}) for n, s in (("a", ((1, 2),)), ("b", ((3, 4),)), ("c", ((1, 2),)))]
    assert parts_of(sites) == (Part(("a", "c"), ((1, 2),)), Part(("b",), ((3, 4),)))


def test_a_wish_comes_back_as_it_was() -> None:
    wish = Wish(
        PIECES, "pump", (Part(("a",), ((TIME_MIN_NS, FAR),)),), ("root.a.b",),
        {"flow": ("count", "max"), "*": ("count",)}, 60, True, (("flow", ">", 1.5),), True,
        ("time",), {"flow": (-1.0, float("inf"))}, (5, True), "read", "somebody",
    )  # fmt: skip
    assert Wish.unpack(wish.pack()) == wish


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        b"\x80",
        Wish("pieces", "t", (Part(("a",), ((0, 1 << 63),)),)).pack().replace(b"pieces", b"others"),
        Wish("pieces", "", ()).pack(),
        Wish("rows", "t", (), columns=("x" * 300,), role="read").pack(),
        Wish("pieces", "t", (), every_ns=0, role="read").pack(),
    ],
)
def test_a_wish_that_is_none_is_refused(body: bytes) -> None:
    with pytest.raises(WireError):
        Wish.unpack(body)
