"""``mainstem doctor`` as it is typed: exit codes, JSON, the support bundle."""

from __future__ import annotations

import json
import socket
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mainstem_node import cli


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    path = tmp_path / "edge.yaml"
    path.write_text(
        f"""\
templates: {{m: {{measurements: {{x: {{type: DOUBLE}}}}}}}}
nodes:
  - id: edge
    tier: edge
    listen: 127.0.0.1:{port}
    data_dir: data
    collectors:
      - type: mqtt
        url: mqtt://someone@127.0.0.1:9
        username: edge
        password: ${{BROKER_PASSWORD}}
        subscriptions: [{{topic: t, template: m, device: root.d}}]
""",
        encoding="utf-8",
    )
    monkeypatch.setenv("BROKER_PASSWORD", "hunter2")
    monkeypatch.chdir(tmp_path)
    return path


def test_what_is_bad_is_named_with_a_remedy_and_ends_with_1(config: Path) -> None:
    answer = CliRunner().invoke(cli.app, ["doctor", "--json"])
    assert answer.exit_code == 1
    found = {each["check"]: each for each in json.loads(answer.stdout)["findings"]}
    assert found["listen"]["state"] == "ok"
    assert found["collectors[0]"]["state"] == "bad"
    assert "127.0.0.1:9" in found["collectors[0]"]["message"]
    assert found["collectors[0]"]["remedy"]
    assert "outage of 7 d" not in found


def test_a_node_that_is_fine_ends_with_0(config: Path) -> None:
    text = config.read_text()
    config.write_text(text[: text.index("    collectors")])
    answer = CliRunner().invoke(cli.app, ["doctor", "-c", str(config), "--outage", "7d"])
    assert answer.exit_code == 0, answer.output
    assert "listen" in answer.stdout
    assert "it has no parent: nothing waits here" in answer.stdout, "what was asked is answered"


def test_the_bundle_has_no_secrets(config: Path) -> None:
    answer = CliRunner().invoke(cli.app, ["doctor", "--bundle"])
    (bundle,) = config.parent.glob("mainstem-*.zip")
    assert bundle.name in answer.stdout
    with zipfile.ZipFile(bundle) as opened:
        names = set(opened.namelist())
        texts = "".join(opened.read(name).decode() for name in names)
    assert names == {"versions.json", "findings.json", "topology.yaml"}
    assert "hunter2" not in texts
    assert "someone" not in texts
    assert "${BROKER_PASSWORD}" in texts


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-c", "no.yaml"], "there is no file"),
        (["--node", "other"], "has no node 'other'"),
        (["--outage", "soon"], "--outage"),
    ],
)
def test_mistakes_of_usage(config: Path, arguments: list[str], message: str) -> None:
    answer = CliRunner().invoke(cli.app, ["doctor", *arguments])
    assert answer.exit_code == 2
    assert message in answer.output
