"""``mainstem backup --data`` and ``mainstem restore``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from mainstem_engine import CorruptionError, Engine, EngineOptions
from mainstem_node import cli


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, [*map(str, arguments)])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    options = EngineOptions(background=False, durability="os", clock=lambda: 10**18)
    with Engine.open(tmp_path / "data", options) as engine:
        engine.sql("CREATE STABLE meters (ts TIMESTAMP, current FLOAT) TAGS (place TEXT)")
        engine.write("meters", "root.a.d1", [1], {"current": [1.0]}).wait()
    return tmp_path / "data"


def test_there_and_back(data: Path, tmp_path: Path) -> None:
    answer = run("backup", tmp_path / "backup", "--data", data)
    assert answer.exit_code == 0
    assert "linked" in answer.stdout
    fields = json.loads(run("restore", tmp_path / "backup", tmp_path / "new", "--json").stdout)
    assert fields["path"] == str(tmp_path / "new")
    with Engine.open(tmp_path / "new") as engine:
        assert engine.scan("meters").read_all().num_rows == 1
    assert run("db", "check", tmp_path / "new").exit_code == 0


def test_refusals(data: Path, tmp_path: Path) -> None:
    assert run("backup", data / "inside", "--data", data).exit_code == 2
    assert run("backup", tmp_path / "backup", "--data", tmp_path).exit_code == 2
    answer = run("restore", data, tmp_path / "new")
    assert answer.exit_code == 2
    assert "is not a backup" in answer.stderr
    run("backup", tmp_path / "backup", "--data", data)
    (tmp_path / "backup" / "identity.json").write_text("{}")
    assert isinstance(
        run("restore", tmp_path / "backup", tmp_path / "n").exception, CorruptionError
    )
    assert run("restore", tmp_path / "backup", data).exit_code == 2
