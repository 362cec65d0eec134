"""Status trees become lines that people read, and broken sums are found at any depth."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from mainstem_node.overview import (
    broken_sums,
    duration,
    flatten,
    size,
    through,
    tree_table,
)

NOW = 1_792_540_860_000


def status(node: str, **more: Any) -> dict[str, Any]:
    return {"node": node, "tier": "edge", "state": "live", "accounting": {}, **more}


@pytest.fixture
def tree() -> dict[str, Any]:
    press = status(
        "press", delivery={"pending_rows": 5, "pending_bytes": 1200, "oldest_pending_ms": 90_000}
    )
    plant = status("plant", state="lagging", lag_ms=1500, children=[press, status("paint")])
    completeness = [
        {"node": "press", "table": "t", "state": "complete", "complete_through": NOW - 60_000},
        {"node": "press", "table": "t_1m", "state": "incomplete", "complete_through": NOW - 120_000,
         "holes": [[1, 2]]},
        {"node": "paint", "table": "u", "state": "not_held", "complete_through": 5},
    ]  # fmt: skip
    return status("group", children=[plant], completeness=completeness)


def test_a_tree_becomes_lines_parents_first(tree: dict[str, Any]) -> None:
    lines = flatten(tree)
    assert [(line.node, line.depth) for line in lines] == [
        ("group", 0), ("plant", 1), ("press", 2), ("paint", 2),
    ]  # fmt: skip
    press, paint = lines[2], lines[3]
    assert (press.pending_rows, press.oldest_pending_ms) == (5, 90_000)
    assert press.complete_through_ms == NOW - 120_000, "the least advanced table counts"
    assert press.holes == 1
    assert paint.complete_through_ms is None, "a table that is not held says nothing"
    assert lines[1].complete_through_ms == NOW - 120_000, "a platform stands for what is below it"


def test_the_table_shows_every_node(tree: dict[str, Any]) -> None:
    console = Console(width=200, record=True, file=None)
    with console.capture() as capture:
        console.print(tree_table(flatten(tree), NOW, {"press": 12.4}))
    text = capture.get()
    assert "    press" in text
    assert "1.2 kB" in text
    assert "(2.0 min ago)" in text
    assert "not stated yet" in text


def test_a_name_is_shown_as_it_is(tree: dict[str, Any]) -> None:
    tree["children"][0]["node"] = "line[/red]"
    console = Console(width=200, record=True, file=None)
    with console.capture() as capture:
        console.print(tree_table(flatten(tree), NOW))
    assert "line[/red]" in capture.get()


def test_a_broken_sum_is_named_with_its_node(tree: dict[str, Any]) -> None:
    assert broken_sums(tree) == []
    tree["children"][0]["children"][0]["accounting"] = {
        "t": {"intake": {"received": 2, "accepted": 1, "filtered": 0, "quarantined": 0,
                         "refused": 0}}
    }  # fmt: skip
    (problem,) = broken_sums(tree)
    assert problem.startswith("press: t: intake: received 2")


def test_units() -> None:
    assert (size(None), size(999), size(1_500_000)) == ("", "999 B", "1.5 MB")
    assert (duration(None), duration(20), duration(90_000)) == ("", "20 ms", "1.5 min")
    assert through(NOW - 5 * 86_400_000, NOW).startswith("2026-10-")
