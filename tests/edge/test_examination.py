"""What doctor says of brokers: one that answers, one that is not there, one that never answers."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from mainstem_edge import examination
from mainstem_edge.examination import brokers
from mainstem_edge.node import EdgeNode
from mainstem_node.broker import EmbeddedBroker
from mainstem_node.config import load_topology
from mainstem_node.config.schema import NodeConfig, Topology
from mainstem_node.doctor.finding import BAD, FINE


def topology(place: Path, port: int) -> Topology:
    path = place / "t.yaml"
    path.write_text(
        f"""\
templates: {{m: {{measurements: {{x: {{type: DOUBLE}}}}}}}}
nodes:
  - id: edge
    tier: edge
    listen: 127.0.0.1:0
    data_dir: data
    collectors:
      - {{type: simulator, template: m, device: root.s}}
      - type: mqtt
        url: mqtt://127.0.0.1:{port}
        subscriptions: [{{topic: t, template: m, device: root.d}}]
      - {{type: sparkplug, url: "mqtt://127.0.0.1:{port}", host_id: h}}
""",
        encoding="utf-8",
    )
    return load_topology(path)


def node(place: Path, port: int) -> NodeConfig:
    return topology(place, port).nodes[0]


def test_a_broker_that_answers_is_fine(tmp_path: Path) -> None:
    with EmbeddedBroker(tmp_path / "broker") as broker:
        found = topology(tmp_path, broker.port)
        findings = list(EdgeNode.examine(found, found.nodes[0]))
    assert [(each.check, each.state) for each in findings] == [
        ("collectors[1]", FINE), ("collectors[2]", FINE),
    ]  # fmt: skip


def test_a_broker_that_is_not_there_is_bad(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    only, _ = brokers(node(tmp_path, port))
    assert only.state == BAD
    assert f"127.0.0.1:{port}" in only.message


def test_a_broker_that_never_answers_is_bad(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examination, "TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        only, _ = brokers(node(tmp_path, server.getsockname()[1]))
    assert only.state == BAD
    assert "does not answer" in only.message
