"""``mainstem db``: exit codes, what is printed, and that a terminal is never given raw names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from mainstem_engine import Engine, EngineOptions, LockedError
from mainstem_node import cli

HOSTILE = "\x1b]0;owned\x07"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory with one part and one record above it."""
    options = EngineOptions(background=False, durability="os")
    with Engine.open(tmp_path / "data", options) as engine:
        engine.sql("CREATE STABLE meters (ts TIMESTAMP, current FLOAT) TAGS (place TEXT)")
        engine.device_ids("meters", ["root.a.d1"], tags={"place": [HOSTILE]}, create=True)
        engine.write("meters", "root.a.d1", [1, 2, 3], {"current": [1.0, 2.0, 3.0]}).wait()
    return tmp_path / "data"


def db(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, ["db", *map(str, arguments)])


def flip(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 0xFF
    path.write_bytes(content)


def test_check_of_a_whole_directory(data: Path) -> None:
    answer = db("check", data)
    assert (answer.exit_code, answer.stdout.splitlines()[-1]) == (0, "whole")
    fields = json.loads(db("check", data, "--json").stdout)
    assert (fields["whole"], fields["rows"], fields["damages"]) == (True, 3, [])


def test_check_of_a_damaged_directory(data: Path) -> None:
    (part,) = data.glob("parts/*.part")
    flip(part, 30)
    answer = db("check", data)
    assert answer.exit_code == 3
    assert "root.a.d1" in answer.stdout
    assert "1970-01-01" in answer.stdout
    fields = json.loads(db("check", data, "--json").stdout)
    (damage,) = fields["damages"]
    assert (damage["file"], damage["table"]) == (f"parts/{part.name}", "meters")


@pytest.mark.parametrize("command", ["check", "dump"])
def test_what_is_no_data_directory(tmp_path: Path, command: str) -> None:
    answer = db(command, tmp_path)
    assert answer.exit_code == 4
    assert "is not a data directory" in answer.stderr


@pytest.mark.parametrize("command", ["check", "dump"])
def test_a_directory_in_use_is_refused(data: Path, command: str) -> None:
    with Engine.open(data, owner_url="http://127.0.0.1:8400"):
        answer = db(command, data)
    assert isinstance(answer.exception, LockedError)
    assert "http://127.0.0.1:8400" in str(answer.exception)


def test_dump_is_one_entry_a_line(data: Path) -> None:
    lines = db("dump", data, "--json").stdout.splitlines()
    entries: list[dict[str, Any]] = [json.loads(line) for line in lines]
    assert {"segment", "part", "column", "template", "device"} <= {e["entry"] for e in entries}
    only = db("dump", data, "--what", "parts", "--table", "meters", "--limit", 2)
    assert [line.split()[0] for line in only.stdout.splitlines()] == ["part", "block"]


def test_dump_of_hostile_names(data: Path) -> None:
    answer = db("dump", data, "--what", "catalog")
    assert "owned" in answer.stdout
    assert all(line.isprintable() for line in answer.stdout.splitlines())


def test_dump_names_what_there_is(data: Path) -> None:
    answer = db("dump", data, "--what", "nonsense")
    assert answer.exit_code == 2
    assert "part-list" in answer.stderr


def test_stats_say_what_a_point_costs(data: Path) -> None:
    answer = db("stats", data)
    assert answer.exit_code == 0
    assert "bytes/point" in answer.stdout
    assert "current" in answer.stdout
    table = json.loads(db("stats", data, "--json").stdout)["tables"]["meters"]
    assert table["part_values"] == 3
    assert table["bytes_per_point"] == pytest.approx(table["part_bytes"] / 3)


def test_repair_asks_first(data: Path) -> None:
    (part,) = data.glob("parts/*.part")
    flip(part, 30)
    before = part.read_bytes()
    answer = db("repair", data)
    assert answer.exit_code == 3
    assert "would: write part" in answer.stdout
    assert part.read_bytes() == before
    assert json.loads(db("repair", data, "--json").stdout)["whole"] is False


def test_repair(data: Path) -> None:
    (part,) = data.glob("parts/*.part")
    flip(part, 30)
    answer = db("repair", data, "--yes")
    assert answer.exit_code == 0
    assert "lost         3 rows of meters" in answer.stdout
    assert answer.stdout.splitlines()[-1] == "whole"
    assert db("check", data).exit_code == 0
    assert db("repair", data, "--yes").stdout == "whole: nothing to repair\n"
    with Engine.open(data) as engine:
        assert engine.store_accounting()["meters"].lost_local == 3


def test_repair_for_programs(data: Path) -> None:
    (part,) = data.glob("parts/*.part")
    flip(part, 30)
    fields = json.loads(db("repair", data, "--yes", "--json").stdout)
    assert (fields["whole"], fields["lost_rows"]) == (True, {"meters": 3})
    assert Path(fields["kept"]).is_dir()
    assert json.loads(db("repair", data, "--yes", "--json").stdout)["actions"] == []
    assert db("repair", data.parent).exit_code == 4
