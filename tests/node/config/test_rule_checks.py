"""Mistakes in alarm rules are named with their place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from mainstem_node.config import check

RULE = {"name": "hot", "template": "pump", "measurement": "flow", "above": 90}


def problems(place: Path, *rules: dict[str, Any], tier: str = "edge") -> list[tuple[str, str]]:
    measurements = {
        "flow": {"type": "DOUBLE"}, "note": {"type": "TEXT"}, "running": {"type": "BOOLEAN"},
        "count": {"type": "INT64", "kind": "counter"},
        "made": {"type": "INT64", "increment_of": "count"},
        "half": {"type": "DOUBLE", "derive": "flow / 2"},
    }  # fmt: skip
    node = {"id": "n", "tier": tier, "listen": "127.0.0.1:0", "data_dir": "d", "rules": list(rules)}
    document = {"templates": {"pump": {"measurements": measurements}}, "nodes": [node]}
    path = place / "t.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return [(each.field, each.problem) for each in check(path)]


def test_good_rules_are_good(tmp_path: Path) -> None:
    rate = {"name": "fast", "template": "pump", "measurement": "flow", "rate": 2}
    gone = {"name": "gone", "template": "pump", "missing": "5m", "under": "root.a"}
    both = {"name": "both", "template": "pump", "expression": "half > 2 AND NOT running",
            "clear": "Half < 1 OR running", "delay": "10s"}  # fmt: skip
    odd = {"name": "odd", "template": "pump", "measurement": "flow", "deviation": 6,
           "hysteresis": 2, "memory": "30m", "every": "10s", "noise": 0.5}  # fmt: skip
    assert problems(tmp_path, RULE, rate, gone, both, odd) == []


ROWS = RULE | {"above": None, "measurement": None}


@pytest.mark.parametrize(
    ("change", "field", "problem"),
    [
        ({"missing": "5m", "above": 1}, "", "one kind"),
        ({"missing": "5m", "measurement": "flow"}, ".measurement", "watches rows"),
        ({"missing": "0.5s"}, ".missing", "below 1s"),
        ({"missing": "5m", "delay": "1m"}, ".delay", "silence is a delay"),
        ({"missing": "5m", "clear": "flow > 1"}, ".clear", "goes with"),
        ({"above": 1}, ".measurement", "not there"),
        ({"measurement": "flow", "deviation": 6, "above": 1}, "", "one kind"),
        ({"measurement": "flow", "deviation": 0}, ".deviation", "above 0"),
        ({"measurement": "flow", "deviation": 6, "hysteresis": 7}, ".hysteresis", "above"),
        ({"measurement": "flow", "deviation": 6, "noise": -1}, ".noise", "negative"),
        ({"measurement": "flow", "deviation": 6, "every": "0.1s"}, ".every", "below 1s"),
        ({"measurement": "flow", "deviation": 6, "every": "1m", "memory": "5m"}, ".memory", "30"),
        ({"measurement": "flow", "above": 6, "memory": "5m"}, ".memory", "goes with"),
        ({"measurement": "flow", "rate": 6, "hysteresis": 1}, ".hysteresis", "has none"),
        ({"expression": "flow + 1"}, ".expression", "a number"),
        ({"expression": "1 > 2"}, ".expression", "no measurement"),
        ({"expression": "flow >"}, ".expression", "cannot be read"),
        ({"expression": "made > 2"}, ".expression", "no measurement 'made'"),
        ({"expression": "flow > 2", "clear": "flow"}, ".clear", "a number"),
        ({"above": 1, "measurement": "made"}, ".measurement", "after rules have looked"),
    ],
)
def test_mistakes_of_rules_about_rows_are_named(
    tmp_path: Path, change: dict[str, Any], field: str, problem: str
) -> None:
    rule = {key: value for key, value in (ROWS | change).items() if value is not None}
    found = problems(tmp_path, rule)
    assert [name for name, _ in found] == [f"nodes[0].rules[0]{field}"]
    assert problem in found[0][1]


@pytest.mark.parametrize(
    ("change", "field", "problem"),
    [
        ({"rate": 1}, "nodes[0].rules[0]", "one kind"),
        ({"above": None}, "nodes[0].rules[0]", "one kind"),
        ({"measurement": "none"}, "nodes[0].rules[0].measurement", "no 'none'"),
        ({"measurement": "note"}, "nodes[0].rules[0].measurement", "not a number"),
        ({"template": "none"}, "nodes[0].rules[0].template", "no template"),
        ({"hysteresis": -1}, "nodes[0].rules[0].hysteresis", "negative"),
        ({"below": 80, "hysteresis": 6}, "nodes[0].rules[0].below", "ever be over"),
        ({"above": None, "rate": 0}, "nodes[0].rules[0].rate", "above 0"),
        ({"above": None, "stuck": "0s"}, "nodes[0].rules[0].stuck", "above 0"),
    ],
)
def test_mistakes_are_named(
    tmp_path: Path, change: dict[str, Any], field: str, problem: str
) -> None:
    rule = {key: value for key, value in (RULE | change).items() if value is not None}
    found = problems(tmp_path, rule)
    assert [name for name, _ in found] == [field]
    assert problem in found[0][1]


def test_names_are_unique_and_rules_are_of_an_edge(tmp_path: Path) -> None:
    assert problems(tmp_path, RULE, RULE)[0][0] == "nodes[0].rules[1].name"
    assert problems(tmp_path, RULE, tier="platform")[0][0] == "nodes[0].rules"
