"""Mistakes in alarm rules are named with their place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from mainstem_node.config import check

RULE = {"name": "hot", "template": "pump", "measurement": "flow", "above": 90}


def problems(place: Path, *rules: dict[str, Any], tier: str = "edge") -> list[tuple[str, str]]:
    measurements = {"flow": {"type": "DOUBLE"}, "note": {"type": "TEXT"}}
    node = {"id": "n", "tier": tier, "listen": "127.0.0.1:0", "data_dir": "d", "rules": list(rules)}
    document = {"templates": {"pump": {"measurements": measurements}}, "nodes": [node]}
    path = place / "t.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return [(each.field, each.problem) for each in check(path)]


def test_good_rules_are_good(tmp_path: Path) -> None:
    rate = {"name": "fast", "template": "pump", "measurement": "flow", "rate": 2}
    assert problems(tmp_path, RULE, rate) == []


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
