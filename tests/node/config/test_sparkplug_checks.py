"""What is said of a Sparkplug host that cannot be."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from mainstem_node.config import check

GOOD = {
    "type": "sparkplug",
    "url": "mqtt://127.0.0.1:1883",
    "host_id": "plant",
    "device": "root.plant.{node}.{device}",
    "template": {"*": "machine"},
}


def problems(place: Path, actions: Sequence[Any] = (), **changes: Any) -> list[tuple[str, str]]:
    node = {
        "id": "edge", "tier": "edge", "listen": "127.0.0.1:8411", "data_dir": "data",
        "collectors": [{**GOOD, **changes}], "actions": list(actions),
    }  # fmt: skip
    path = place / "t.yaml"
    templates = {"machine": {"measurements": {"x": {"type": "DOUBLE"}}}}
    path.write_text(yaml.safe_dump({"templates": templates, "nodes": [node]}), encoding="utf-8")
    return [(str(each.field), each.problem) for each in check(path, env={})]


def test_a_good_one_has_no_problem(tmp_path: Path) -> None:
    assert problems(tmp_path) == []


@pytest.mark.parametrize(
    ("changes", "field", "problem"),
    [
        ({"host_id": "a/b"}, "host_id", "holds + / or #"),
        ({"groups": ["a", "b+"]}, "groups[1]", "holds + / or #"),
        ({"device": "plant.{node}.{device}"}, "device", "begins with root"),
        ({"device": "root.{node}.{device}.{unit}"}, "device", "{unit} is unknown"),
        ({"device": "root.{node}.{device"}, "device", "not closed"),
        ({"device": "root.plant.{device}"}, "device", "would have one path"),
        ({"device": "root.{node}_{device}"}, "device", "has no path"),
        ({"template": {"*": "machina"}}, "template.*", "machina"),
        ({"definitions": {"Motor": "machina"}}, "definitions.Motor", "machina"),
        ({"in_flight": 0}, "in_flight", "not in 1.."),
    ],
)
def test_a_mistake_is_named(
    tmp_path: Path, changes: dict[str, Any], field: str, problem: str
) -> None:
    ((found, text),) = problems(tmp_path, **changes)
    assert found == f"nodes[0].collectors[0].{field}"
    assert problem in text


@pytest.mark.parametrize(
    ("changes", "field", "problem"),
    [({"host_id": "other"}, "host_id", "'other'"), ({"metrics": []}, "metrics", "none")],
)
def test_a_mistake_of_a_command_is_named(
    tmp_path: Path, changes: dict[str, Any], field: str, problem: str
) -> None:
    action = {"type": "sparkplug.dcmd", "host_id": "plant", "metrics": ["*"], **changes}
    ((found, text),) = problems(tmp_path, actions=[action])
    assert found == f"nodes[0].actions[0].{field}"
    assert problem in text
