"""The demo's verdict finds every way in which something may be missing."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mainstem_node.config import load_topology
from mainstem_node.demo.factory import DemoError, example_directory
from mainstem_node.demo.verdict import (
    DeviceLedger,
    Expectation,
    accounting_rows,
    expectations,
    judge,
)

FROM, TO = 1_792_540_800_500, 1_792_540_819_500
THROUGH = 1_792_540_860_000
LEDGER = DeviceLedger(FROM, TO, {"t": {"root.e.a": 20, "root.e.b": 20}})
WANTED = [Expectation("e", "e", "t", raw=True), Expectation("g", "e", "t", raw=True)]


def sums(rows: int, *, top: bool) -> dict[str, Any]:
    log = {"accepted": 0 if top else rows, "merged": 0, "derived": 0}
    log |= {"from_children": rows if top else 0, "logged": rows}
    found: dict[str, Any] = {
        "intake": {"received": log["accepted"], "accepted": log["accepted"], "filtered": 0,
                   "quarantined": 0, "refused": 0},
        "log": log,
        "children": {"in_batches": log["from_children"], "from_children": log["from_children"],
                     "duplicates": 0, "quarantined_here": 0},
        "store": {"logged": rows, "live": rows, "unresolved": 0, "overwritten": 0, "deleted": 0,
                  "expired": 0, "lost_local": 0},
    }  # fmt: skip
    if not top:
        found["forward"] = {"logged": rows, "not_exported": 0, "delivered": rows, "pending": 0,
                            "parked": 0, "lost": 0}  # fmt: skip
    return found


def status(node: str) -> dict[str, Any]:
    entry = {"node": "e", "table": "t", "state": "complete", "complete_through": THROUGH,
             "holes": [], "lost": []}  # fmt: skip
    return {
        "node": node,
        "accounting": {"t": sums(40, top=node == "g")},
        "completeness": [entry],
        "children": [],
    }


@pytest.fixture
def statuses() -> dict[str, dict[str, Any]]:
    return {node: copy.deepcopy(status(node)) for node in ("e", "g")}


def rows(node: str, statement: str) -> Sequence[Sequence[Any]]:
    assert f"time >= {FROM}" in statement
    return [["root.e.a", 20], ["root.e.b", 20]]


def test_a_whole_run_passes(statuses: dict[str, dict[str, Any]]) -> None:
    assert judge(WANTED, LEDGER, statuses, rows) == []
    assert accounting_rows(statuses)[0][:3] == ["e", "t", 40]


def test_a_missing_and_a_doubled_row_are_found(statuses: dict[str, dict[str, Any]]) -> None:
    def wrong(node: str, statement: str) -> Sequence[Sequence[Any]]:
        return [["root.e.a", 19], ["root.e.b", 21]] if node == "g" else rows(node, statement)

    reasons = judge(WANTED, LEDGER, statuses, wrong)
    assert reasons == [
        "g holds 19 rows of root.e.a; the broker acknowledged 20",
        "g holds 21 rows of root.e.b; the broker acknowledged 20",
    ]


def test_a_broken_sum_is_found(statuses: dict[str, dict[str, Any]]) -> None:
    statuses["e"]["accounting"]["t"]["store"]["live"] -= 1
    assert any("store" in reason for reason in judge(WANTED, LEDGER, statuses, rows))


def test_what_waits_on_a_link_is_found(statuses: dict[str, dict[str, Any]]) -> None:
    statuses["e"]["accounting"]["t"]["forward"] |= {"delivered": 38, "pending": 2}
    assert judge(WANTED, LEDGER, statuses, rows) == ["e: 2 rows of t pending"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"complete_through": THROUGH - 60_000}, "g: t of e is not verified, 60 s short"),
        ({"complete_through": None}, "g: t of e is not verified"),
        ({"state": "unknown"}, "g knows nothing of t of e yet"),
        ({"holes": [[FROM, TO]]}, "g: t of e has holes"),
    ],
)
def test_a_minute_that_is_not_proven_is_found(
    statuses: dict[str, dict[str, Any]], change: dict[str, Any], reason: str
) -> None:
    statuses["g"]["completeness"][0] |= change
    assert judge(WANTED, LEDGER, statuses, rows) == [reason]


def test_the_example_is_expected_raw_and_in_minutes_at_the_group() -> None:
    topology = load_topology(example_directory() / "topology.yaml")
    wanted = expectations(topology)
    group = {(each.table, each.raw) for each in wanted if each.node == "group"}
    assert ("press_machine", True) in group
    assert ("paint_oven", True) not in group
    minutes = {table for table, raw in group if not raw}
    assert minutes == {f"{name}_1m" for name in topology.templates}


def test_a_ledger_without_rows_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "devices.json"
    with pytest.raises(DemoError, match="no ledger"):
        DeviceLedger.read(path)
    path.write_text(json.dumps({"from_ms": None, "to_ms": 0, "rows": {}}))
    with pytest.raises(DemoError, match="acknowledged nothing"):
        DeviceLedger.read(path)
    path.write_text(json.dumps({"from_ms": FROM, "to_ms": TO, "rows": LEDGER.rows}))
    assert DeviceLedger.read(path) == LEDGER
    assert LEDGER.closed_through_ms == THROUGH
