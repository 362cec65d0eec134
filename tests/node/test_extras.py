"""A library that is not installed is named with its remedy, before anything fails of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from mainstem_node import cli, extras
from mainstem_node.errors import MissingExtraError

FILE = """\
templates: {m: {measurements: {x: {type: DOUBLE}}}}
nodes:
  - id: edge
    tier: edge
    listen: 127.0.0.1:0
    data_dir: data
    collectors:
      - type: opcua
        url: opc.tcp://127.0.0.1:4840
        devices: [{device: root.d, template: m, nodes: {x: i=2258}}]
"""


def test_what_is_here_is_fine() -> None:
    extras.require("opcua")
    extras.require("mqtt")


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="pip install"):
        extras.require("opcua")
    extras.require("mqtt")  # needs none
    file = tmp_path / "t.yaml"
    file.write_text(FILE, encoding="utf-8")
    answer = CliRunner().invoke(cli.app, ["config", "check", str(file)])
    assert answer.exit_code == 0
    lack = 'edge needs asyncua, which is not installed here: pip install "mainstem[opcua]"'
    assert lack in answer.output


def test_what_rules_lack_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="a rule `deviation` needs river"):
        extras.require(extras.STATISTICS, "a rule `deviation`")
    file = tmp_path / "t.yaml"
    rule = "{name: odd, template: m, measurement: x, deviation: 6}"
    head, _, _ = FILE.partition("    collectors:")
    file.write_text(f"{head}    rules: [{rule}]\n", encoding="utf-8")
    answer = CliRunner().invoke(cli.app, ["config", "check", str(file)])
    assert answer.exit_code == 0
    lack = 'edge needs river, which is not installed here: pip install "mainstem[statistics]"'
    assert lack in answer.output
