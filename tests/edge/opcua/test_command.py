"""``mainstem opcua`` and ``doctor`` beside a real server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from mainstem_edge.examination import brokers
from mainstem_edge.testing.opcua_server import OpcuaServer
from mainstem_node import cli
from mainstem_node.config import check, load_topology
from mainstem_node.doctor.finding import BAD, FINE


def said(*words: str) -> str:
    answer = CliRunner().invoke(cli.app, ["opcua", *words])
    assert answer.exit_code == 0, answer.output
    return answer.stdout


def test_browse_shows_nodes_with_values_of_now(server: OpcuaServer) -> None:
    lines = said("browse", server.url, "--under", "ns=2;s=Line1").splitlines()
    (line,) = [each for each in lines if each.startswith("ns=2;s=M1.Speed")]
    assert line.split() == ["ns=2;s=M1.Speed", "Int32", "100", "M1/Motor/Speed"]
    found = json.loads(said("browse", server.url, "--under", "ns=2;s=M2", "--json"))
    assert {"path": "Temperature", "node": "ns=2;s=M2.T", "kind": "variable", "type": "Double",
            "value": 20.0, "status": "Good"} in found["nodes"]  # fmt: skip
    assert {each["path"] for each in found["nodes"] if each["kind"] == "object"} == {"Motor"}


def test_the_suggestion_is_a_configuration_that_collects(
    server: OpcuaServer, tmp_path: Path
) -> None:
    found = json.loads(said("browse", server.url, "--under", "ns=2;s=Line1", "--json"))
    suggested = yaml.safe_load(found["suggestion"])
    # M1 and M2 are alike, and so are their motors.
    assert list(suggested["templates"]) == ["m1", "motor"]
    assert suggested["templates"]["motor"] == {"measurements": {"Speed": {"type": "INT32"}}}
    (collector,) = suggested["collectors"]
    devices = {each["device"]: each["nodes"] for each in collector["devices"]}
    assert devices["root.opcua.M2.Motor"] == {"Speed": "ns=2;s=M2.Speed"}
    node = {
        "id": "edge", "tier": "edge", "listen": "127.0.0.1:0", "data_dir": "data",
        "collectors": suggested["collectors"],
    }  # fmt: skip
    file = tmp_path / "t.yaml"
    file.write_text(yaml.safe_dump({"templates": suggested["templates"], "nodes": [node]}))
    assert check(file) == []


def test_a_limit_is_kept_and_told(server: OpcuaServer) -> None:
    answer = CliRunner().invoke(cli.app, ["opcua", "browse", server.url, "--limit", "3"])
    assert "the first 3 nodes" in answer.output


@pytest.mark.parametrize(
    ("words", "code", "problem"),
    [
        (["browse", "opc.tcp://127.0.0.1:9"], 1, "127.0.0.1:9"),
        (["browse", "http://127.0.0.1"], 2, "is not an OPC UA URL"),
        (["browse", "SERVER", "--under", "Line1"], 2, "is not a node id"),
        (["browse", "SERVER", "--under", "nsu=urn:x;s=a"], 2, "no namespace"),
        (["certificate", "SERVER", "c.der"], 1, "has no certificate"),
    ],
)
def test_what_does_not_work_is_said_in_one_line(
    server: OpcuaServer, words: list[str], code: int, problem: str
) -> None:
    given = [server.url if each == "SERVER" else each for each in words]
    answer = CliRunner().invoke(cli.app, ["opcua", *given])
    assert answer.exit_code == code
    assert problem in answer.output
    assert len(answer.output.splitlines()) == 1


def test_doctor_tries_a_session_and_looks_for_the_nodes(
    server: OpcuaServer, tmp_path: Path
) -> None:
    file = tmp_path / "t.yaml"

    def finding(url: str, node: str) -> tuple[str, str]:
        file.write_text(
            "templates: {m: {measurements: {x: {type: DOUBLE}}}}\nnodes:\n  - id: edge\n"
            "    tier: edge\n    listen: 127.0.0.1:0\n    data_dir: data\n    collectors:\n"
            f"      - {{type: opcua, url: '{url}', devices: "
            f"[{{device: root.d, template: m, nodes: {{x: '{node}'}}}}]}}\n"
        )
        (found,) = brokers(load_topology(file).nodes[0])
        return found.state, found.message

    assert finding(server.url, "ns=2;s=M1.T") == (FINE, f"the server {server.url} takes a session")
    state, message = finding(server.url, "ns=2;s=M9.T")
    assert (state, "such as 'ns=2;s=M9.T'" in message) == (BAD, True)
    state, message = finding(server.url, "nsu=urn:x;s=M1.T")
    assert (state, "no namespace 'urn:x'" in message) == (BAD, True)
    state, message = finding("opc.tcp://127.0.0.1:9", "ns=2;s=M1.T")
    assert (state, "127.0.0.1:9" in message) == (BAD, True)
