"""What the page about Modbus shows is a good configuration, and costs nobody else anything."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from mainstem_node.config import check

PAGE = Path(__file__).resolve().parents[3] / "docs" / "collect-modbus.md"
TYPES = {"alarm": "BOOLEAN", "relay": "BOOLEAN", "model": "TEXT", "setpoint": "DOUBLE"}


def test_its_examples_are_good(tmp_path: Path) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    node: dict[str, Any] = {
        "id": "edge", "tier": "edge", "listen": "127.0.0.1:8411", "data_dir": "data",
    }  # fmt: skip
    for block in blocks:
        node |= yaml.safe_load(block)
    (device,) = node["collectors"][0]["devices"]
    device["registers"]["setpoint"] = {"address": 300}  # the commands speak of one
    measurements = {name: {"type": TYPES.get(name, "DOUBLE")} for name in device["registers"]}
    path = tmp_path / "t.yaml"
    document = {"templates": {"meter": {"measurements": measurements}}, "nodes": [node]}
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    assert check(path, env={}) == []


def test_an_edge_without_modbus_never_loads_the_library() -> None:
    code = (
        "import sys, mainstem_edge.node; "
        "print([name for name in ('pymodbus', 'serial') if name in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"
