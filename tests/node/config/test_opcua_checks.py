"""What is wrong with a collector of OPC UA, and with its commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from mainstem_node.config import check

FINE = """\
templates: {m: {measurements: {x: {type: DOUBLE}, y: {type: DOUBLE}}}}
nodes:
  - id: edge
    tier: edge
    listen: 127.0.0.1:0
    data_dir: data
    collectors:
      - type: opcua
        url: opc.tcp://127.0.0.1:4840/a
        devices: [{device: root.d, template: m, nodes: {x: "ns=2;s=X"}}]
        browse: [{template: {"**": m}, device: "root.b.{name}"}]
        deadband: {y: 0.5}
    actions:
      - {type: opcua.write, url: "opc.tcp://127.0.0.1:4840/a", nodes: ["ns=2;*"]}
"""
C = "nodes[0].collectors[0]"


def problems(tmp_path: Path, text: str) -> dict[str, str]:
    file = tmp_path / "t.yaml"
    file.write_text(text, encoding="utf-8")
    return {each.field: f"{each.problem}; {each.remedy}" for each in check(file)}


def test_a_right_one_has_no_problem(tmp_path: Path) -> None:
    assert problems(tmp_path, FINE) == {}


@pytest.mark.parametrize(
    ("replace", "by", "field", "problem"),
    [
        ("url: opc.tcp:", "url: tcp:", "url", "not an OPC UA URL"),
        ("url: opc.tcp://", "url: opc.tcp://ann:pw@", "url", "carries a credential"),
        ("ns=2;s=X", "X", "devices[0].nodes.x", "is not a node id; write ns=2;s="),
        ('{x: "ns', '{z: "ns', "devices[0].nodes.z", "m has no such measurement"),
        ('{x: "ns=2;s=X"}', "{}", "devices[0].nodes", "there is none"),
        ("{y: 0.5}", "{z: 0.5}", "deadband.z", "m has no such measurement"),
        ('"**": m', '"**": n', "browse[0].template.**", "no template 'n'"),
        ("root.b.{name}", "root.b", "browse[0].device", "several devices"),
        ("root.b.{name}", "b.{name}", "browse[0].device", "begins with root"),
        ("root.b.{name}", "root.b.{node}", "browse[0].device", "{node} is unknown"),
        ("root.b.{name}", "root.b.{name", "browse[0].device", "brace is not closed"),
        ("browse: [{", "browse: [{depth: 0, ", "browse[0].depth", "not in 1..20"),
        ("deadband", "nodes_max: 0\n        deadband", "nodes_max", "not in 1..200000"),
        ("deadband", "queue: 0\n        deadband", "queue", "not in 1..10000"),
        ("deadband", "watchdog: 0s\n        deadband", "watchdog", "less than 1ms"),
        ("deadband", "cert: a.der\n        deadband", "cert", "it is not used"),
        ("deadband", "security: Basic256Sha256\n        deadband", "server_cert",
         "fetch it with `mainstem opcua certificate"),
        ("deadband", "security: Basic128\n        deadband", "security", "not possible here"),
        ("deadband", "password: ${HOME}\n        deadband", "password", "there is no `username`"),
        ("deadband", "password: plain\n        deadband", "password", "stands in the file"),
    ],
)  # fmt: skip
def test_a_mistake_is_named(
    tmp_path: Path, replace: str, by: str, field: str, problem: str
) -> None:
    assert replace in FINE
    found = problems(tmp_path, FINE.replace(replace, by, 1))
    assert problem in found.get(f"{C}.{field}", f"no such problem: {found}")


@pytest.mark.parametrize(
    ("replace", "by", "field", "problem"),
    [
        ('"opc.tcp://127.0.0.1:4840/a"', '"opc.tcp://127.0.0.1:4841"', "url", "no collector opcua"),
        ('["ns=2;*"]', "[]", "nodes", "there is none"),
    ],
)
def test_a_mistake_of_a_command_is_named(
    tmp_path: Path, replace: str, by: str, field: str, problem: str
) -> None:
    found = problems(tmp_path, FINE.replace(replace, by, 1))
    assert problem in found.get(f"nodes[0].actions[0].{field}", f"no such problem: {found}")
