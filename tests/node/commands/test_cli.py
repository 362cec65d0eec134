"""The command line's manners: exit codes, streams, one-line errors with a remedy, fast help."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mainstem_node import cli
from mainstem_node.commands.terminal import moment, shown
from mainstem_node.config import load_topology

COMMANDS = {
    "demo", "publish", "init", "config", "run", "up", "node", "device", "join", "token", "sql",
    "status", "verify", "trace", "quarantine", "rule", "alarm", "command", "audit", "backup",
    "restore", "db", "bench", "doctor", "modbus", "opcua",
}  # fmt: skip

HEAVY = ("numpy", "pyarrow", "duckdb", "aiohttp", "paho", "yaml", "msgspec", "rich.live")
"""What --help must not wait for."""


def test_help_lists_every_command() -> None:
    answer = CliRunner().invoke(cli.app, ["--help"])
    assert answer.exit_code == 0
    listed = {line.split()[0] for line in answer.stdout.partition("Commands:")[2].splitlines()[1:]}
    assert listed == COMMANDS


def test_the_version_is_printed() -> None:
    answer = CliRunner().invoke(cli.app, ["--version"])
    assert answer.exit_code == 0
    assert answer.stdout.split(".")[0].isdigit()


def test_help_imports_nothing_heavy() -> None:
    code = f"import sys, mainstem_node.cli; print([m for m in {HEAVY} if m in sys.modules])"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_explains_itself(command: str) -> None:
    answer = CliRunner().invoke(cli.app, [command, "--help"])
    assert answer.exit_code == 0
    assert "Usage:" in answer.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["status", "--url", "http://127.0.0.1:9"], 1, "127.0.0.1:9"),
        (["status", "--url", "nonsense"], 2, "is not the address of a node"),
        (["status", "--url", "localhost:8411"], 2, "write http://localhost:8411"),
        (["status", "--token-file", "missing"], 2, "token file missing cannot be read"),
        (["run", "-c", "missing.yaml"], 2, "missing.yaml"),
        (["config", "check", "missing.yaml"], 2, "there is no file missing.yaml"),
        (["sql", "--format", "xml", "SELECT 1"], 2, "--format 'xml' is unknown"),
        (["db", "stats", "missing"], 2, "is not a data directory"),
        (["bench", "nothing"], 2, "there is no benchmark 'nothing'"),
        (["demo", "cut", "plant_a", "--dir", "missing"], 1, "no demo runs in missing"),
        (["unknown"], 2, "unknown"),
        (["publish", "missing.csv", "--broker", "mqtt://127.0.0.1:9", "--topic", "a"], 2,
         "missing.csv"),
    ],
)  # fmt: skip
def test_errors_are_one_line_with_a_remedy(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["mainstem", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    printed = capsys.readouterr()
    assert ended.value.code == code, printed.err
    assert message in printed.err
    assert "Traceback" not in printed.err
    assert printed.out == ""


def test_bench_needs_a_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mainstem_node.commands.bench.benchmarks_folder", lambda: None)
    answer = CliRunner().invoke(cli.app, ["bench"])
    assert answer.exit_code == 2
    assert "need a checkout" in answer.stderr


def test_bench_hands_its_options_on(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def run(arguments: list[str], **options: object) -> subprocess.CompletedProcess[bytes]:
        asked.append(arguments[2:])
        return subprocess.CompletedProcess(arguments, 0)

    monkeypatch.setattr("mainstem_node.commands.bench.subprocess.run", run)
    answer = CliRunner().invoke(cli.app, ["bench", "fleet", "--only", "stampede", "--json"])
    assert (answer.exit_code, asked) == (0, [["--json", "--only", "stampede"]])


def test_bench_lists_what_there_is() -> None:
    answer = CliRunner().invoke(cli.app, ["bench"])
    assert answer.exit_code == 0
    assert {line.split()[0] for line in answer.stdout.splitlines()} >= {"mqtt", "sync"}


def test_an_edge_works_alone_and_with_the_parent_that_stands_in_its_comments(
    tmp_path: Path,
) -> None:
    made = CliRunner().invoke(cli.app, ["init", "edge", str(tmp_path)])
    assert "mainstem join" not in made.stdout
    target = tmp_path / "edge.yaml"
    alone = load_topology(target).nodes[0]
    assert (alone.parent, alone.export) == (None, ())
    text = target.read_text()
    hidden = re.compile(r"^    # (parent:|  node:|  url:|  token_file:|export:|  - )", re.MULTILINE)
    target.write_text(hidden.sub(r"    \1", text))
    enrolled = load_topology(target).nodes[0]
    assert enrolled.parent is not None
    assert enrolled.parent.node == "plant_a"
    assert len(enrolled.export) == 2


@pytest.mark.parametrize("tier", ["edge", "platform", "group"])
def test_init_writes_a_configuration_that_is_valid(tmp_path: Path, tier: str) -> None:
    runner = CliRunner()
    made = runner.invoke(cli.app, ["init", tier, str(tmp_path / "new")])
    assert made.exit_code == 0, made.stderr
    assert len(made.stdout.splitlines()) == 3
    file = tmp_path / "new" / f"{tier}.yaml"
    checked = runner.invoke(cli.app, ["config", "check", str(file)])
    assert checked.exit_code == 0, checked.stdout
    assert "fine: 1 node" in checked.stdout
    again = runner.invoke(cli.app, ["init", tier, str(tmp_path / "new")])
    assert again.exit_code == 2
    assert "exists already" in again.stderr


def test_init_writes_the_unit_of_a_file_that_is_there(tmp_path: Path) -> None:
    file = tmp_path / "edge.yaml"
    file.write_text("mine: true\n")
    runner = CliRunner()
    made = runner.invoke(cli.app, ["init", "edge", str(tmp_path), "--systemd"])
    assert made.exit_code == 0, made.stderr
    assert file.read_text() == "mine: true\n"
    assert str(file) in (tmp_path / "mainstem.service").read_text()
    again = runner.invoke(cli.app, ["init", "edge", str(tmp_path), "--systemd"])
    assert (again.exit_code, "exists already" in again.stderr) == (2, True)


def test_config_check_names_line_field_and_remedy(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("nodes:\n  - id: a\n    tier: edge\n    listne: 127.0.0.1:1\n")
    answer = CliRunner().invoke(cli.app, ["config", "check", str(file)])
    assert answer.exit_code == 1
    assert f"{file}:4:" in answer.stdout
    assert "listen" in answer.stdout
    as_json = CliRunner().invoke(cli.app, ["config", "check", "-c", str(file), "--json"])
    assert as_json.exit_code == 1
    problems = json.loads(as_json.stdout)["problems"]
    assert {problem["line"] for problem in problems} >= {4}


def test_config_schema_is_a_json_schema() -> None:
    answer = CliRunner().invoke(cli.app, ["config", "schema"])
    assert answer.exit_code == 0
    assert json.loads(answer.stdout)["properties"]["nodes"]


def test_run_wants_to_know_which_node(tmp_path: Path) -> None:
    file = tmp_path / "two.yaml"
    file.write_text(
        "nodes:\n"
        "  - {id: a, tier: group, listen: 127.0.0.1:1, data_dir: a}\n"
        "  - {id: b, tier: group, listen: 127.0.0.1:2, data_dir: b}\n"
    )
    runner = CliRunner()
    answer = runner.invoke(cli.app, ["run", "-c", str(file)])
    assert answer.exit_code == 2
    assert "--node: a, b" in answer.stderr
    answer = runner.invoke(cli.app, ["run", "-c", str(file), "--node", "c"])
    assert answer.exit_code == 2
    assert "no node 'c'" in answer.stderr


def test_cells_are_shown_exactly_enough() -> None:
    assert [shown(cell) for cell in (True, 1_234_567, 0.5, "x")] == [
        "true",
        "1,234,567",
        "0.5",
        "x",
    ]
    assert moment(0) == "1970-01-01 00:00:00Z"
    assert moment(None) == ""


def test_the_format_of_logs_is_chosen_where_the_topology_leaves_it_open(tmp_path: Path) -> None:
    from mainstem_node.config import load_topology
    from mainstem_node.running import with_log_format

    file = tmp_path / "two.yaml"
    file.write_text(
        "nodes:\n"
        "  - {id: a, tier: group, listen: 127.0.0.1:1, data_dir: a}\n"
        "  - {id: b, tier: group, listen: 127.0.0.1:2, data_dir: b, logs: {format: json}}\n"
    )
    topology = load_topology(file)
    assert with_log_format(topology, "a", "text").node("a").logs.format == "text"
    assert with_log_format(topology, "b", "text").node("b").logs.format == "json"
    answer = CliRunner().invoke(cli.app, ["run", "-c", str(file), "--node", "a", "--logs", "xml"])
    assert answer.exit_code == 2


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (errno.ENOSPC, "make room on the disk"),
        (errno.EROFS, "must be writable"),
        (errno.EACCES, "must be writable"),
        (errno.EIO, "check the path, the disk"),
    ],
)
def test_what_the_system_refuses_is_one_line(
    code: int, remedy: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused() -> None:
        raise OSError(code, os.strerror(code), "data/LOCK")

    monkeypatch.setattr(cli, "app", refused)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 1
    line = capsys.readouterr().err
    assert line.startswith(f"mainstem: data/LOCK: {os.strerror(code)}; ")
    assert remedy in line
    assert line.count("\n") == 1
