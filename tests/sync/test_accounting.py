"""The sums by themselves: what a record adds, and how a broken sum is named."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from mainstem_sync.state.accounting import Accounts, check


def complete(sums: dict[str, Any]) -> dict[str, Any]:
    logged = sums["log"]["logged"]
    return {
        **sums,
        "forward": {
            "logged": logged, "not_exported": 0, "delivered": logged, "pending": 0, "parked": 0,
            "lost": 0,
        },
        "store": {
            "logged": logged, "live": logged, "unresolved": 0, "overwritten": 0, "deleted": 0,
            "expired": 0, "lost_local": 0,
        },
    }  # fmt: skip


@pytest.fixture
def good() -> dict[str, Any]:
    accounts = Accounts()
    accounts.points({"t": "m", "n": 8, "acc": 10})
    accounts.points(
        {
            "t": "m", "n": 0, "acc": 0,
            "in": {
                "received": 9, "filtered": 4, "quarantined": 3, "refused": 2,
                "values_quarantined": 5, "late": 6, "redelivered": 7,
            },
        }
    )  # fmt: skip
    accounts.points({"t": "m", "n": 3, "acc": 0, "der": 1})
    accounts.received({"m": [20, 1, 2]}, {"m": 4})
    accounts.duplicates([("m", 5)])
    back = Accounts()
    back.restore(accounts.snapshot())
    assert back.tables == accounts.tables
    return {"m": complete(back.table("m").to_sections())}


def test_records_add_to_their_sums(good: dict[str, Any]) -> None:
    sums = good["m"]
    assert check(good) == []
    assert sums["intake"] == {
        "received": 19, "accepted": 10, "filtered": 4, "quarantined": 3, "refused": 2,
    }  # fmt: skip
    assert sums["log"] == {
        "logged": 31, "accepted": 10, "merged": 2, "derived": 3, "from_children": 20,
    }  # fmt: skip
    assert sums["children"] == {
        "in_batches": 28, "from_children": 20, "duplicates": 6, "quarantined_here": 2,
    }  # fmt: skip
    assert (sums["values_quarantined"], sums["late"], sums["redelivered"]) == (9, 6, 7)


@pytest.mark.parametrize(
    ("section", "name"),
    [
        ("intake", "filtered"), ("intake", "accepted"), ("log", "merged"), ("log", "logged"),
        ("children", "duplicates"), ("children", "from_children"), ("forward", "pending"),
        ("forward", "logged"), ("store", "overwritten"), ("store", "logged"),
    ],
)  # fmt: skip
def test_a_sum_that_does_not_hold_is_named(good: dict[str, Any], section: str, name: str) -> None:
    broken = copy.deepcopy(good)
    broken["m"][section][name] += 1
    problems = check(broken)
    assert problems
    assert any(section in problem for problem in problems)


def test_negative_counts_are_named(good: dict[str, Any]) -> None:
    good["m"]["forward"]["pending"] -= 5
    good["m"]["forward"]["delivered"] += 5
    assert check(good) == ["m: forward: pending is -5"]


def test_a_node_without_parent_has_no_forward(good: dict[str, Any]) -> None:
    del good["m"]["forward"]
    assert check(good) == []
    assert check({}) == []


def test_a_count_without_received_is_made_up_from_its_parts() -> None:
    accounts = Accounts()
    accounts.points({"t": "m", "n": 2, "acc": 2, "in": {"filtered": 3}})
    assert accounts.table("m").received == 5
