"""Documents: complete, without secrets, the same after every way around; differences by key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from mainstem_node.config import load_topology
from mainstem_node.config.collectors.mqtt import MqttCollectorConfig
from mainstem_node.config.plain import plain_topology
from mainstem_node.desired.documents import (
    differences,
    documents_of,
    hash_of,
    load_text,
    packed,
    text_of,
    unpacked,
)
from mainstem_node.errors import BadRequestError

CONFIGS = Path(__file__).resolve().parents[3] / "configs"


def topology_file(place: Path, text: str) -> Path:
    path = place / "topology.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", sorted(p.name for p in CONFIGS.glob("*.yaml")))
def test_a_document_goes_around_and_says_the_same(tmp_path: Path, name: str) -> None:
    topology = load_topology(CONFIGS / name, tmp_path)
    for node, document in documents_of(topology).items():
        assert unpacked(packed(document)) == document
        config = topology.node(node)
        path = tmp_path / f"{node}.yaml"
        path.write_bytes(text_of(document, node, config.data_dir, config.backup_dir))
        again = load_text(path, tmp_path, node)
        assert again.node(node) == config
        assert hash_of(documents_of(again)[node]) == hash_of(document)
        assert documents_of(again)[node] == document


def test_templates_that_are_included_stand_in_it(tmp_path: Path) -> None:
    (tmp_path / "pump.yaml").write_text("pump: {measurements: {flow: {type: DOUBLE}}}")
    path = topology_file(
        tmp_path,
        """
templates: {include: "pump*.yaml"}
nodes: [{id: g, tier: group, listen: "127.0.0.1:0", data_dir: d}]
""",
    )
    document = documents_of(load_topology(path))["g"]
    assert document["templates"] == {"pump": {"measurements": {"flow": {"type": "DOUBLE"}}}}


def test_secrets_and_variables_stay_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MQTT_SECRET", "do not tell")
    monkeypatch.setenv("KEEP", "30s")
    path = topology_file(
        tmp_path,
        """
templates: {pump: {measurements: {flow: {type: DOUBLE}}}}
nodes:
  - id: e
    tier: edge
    listen: "127.0.0.1:0"
    data_dir: d
    collectors:
      - type: mqtt
        url: mqtt://127.0.0.1
        username: u
        password: ${MQTT_SECRET}
        keepalive: ${KEEP}
        subscriptions: [{topic: "a/+", template: pump, device: "root.p.{topic[1]}"}]
""",
    )
    document = documents_of(load_topology(path))["e"]
    assert b"do not tell" not in packed(document)
    assert "do not tell" not in str(document)
    assert document["nodes"][0]["collectors"][0]["password"] == "${MQTT_SECRET}"
    written = tmp_path / "again.yaml"
    written.write_bytes(text_of(document, "e", tmp_path / "d", None))
    collector = load_text(written, tmp_path, "e").node("e").collectors[0]
    assert isinstance(collector, MqttCollectorConfig)
    assert collector.keepalive == 30 * 10**9


@pytest.mark.parametrize(
    "text",
    [
        "1",
        "true",
        "1.10",
        "no",
        "08:00",
        "null",
        "2000-01-01",
        "0x10",
        "007",
        "-3",
        "~",
        "'1'",
        "''",
    ],
)
def test_plain_values_mean_the_same_when_they_are_read_again(tmp_path: Path, text: str) -> None:
    first = topology_file(tmp_path, f"federation: x\nvalue: {text}\n")
    once = plain_topology(first)
    first.write_text(yaml.safe_dump(once, sort_keys=False))
    assert plain_topology(first) == once


def test_differences_name_each_key() -> None:
    before: dict[str, Any] = {
        "federation": "f",
        "templates": {"pump": {"keep": "30d", "measurements": {"a": {"type": "DOUBLE"}}}},
        "nodes": [{"id": "e", "data_dir": "data", "hold": "verified@parent"}, {"id": "g"}],
    }
    after: dict[str, Any] = {
        "federation": "f",
        "templates": {"pump": {"measurements": {"a": {"type": "FLOAT"}, "b": {"type": "TEXT"}}}},
        "nodes": [{"id": "e", "data_dir": "data", "hold": "durable@parent"}, {"id": "g"}],
    }
    assert list(differences(before, after)) == [
        "~ templates.pump.measurements.a.type: DOUBLE -> FLOAT",
        '+ templates.pump.measurements.b: {"type": "TEXT"}',
        "- templates.pump.keep: 30d",
        "~ hold: verified@parent -> durable@parent",
    ]
    assert list(differences(before, before)) == []
    assert "nothing is known" in next(differences(None, after))


@pytest.mark.parametrize("data", [b"", b"\x00" * 40, packed({"a": 1})[:-3], "text", None])
def test_what_is_no_document_is_refused(data: object) -> None:
    with pytest.raises(BadRequestError):
        unpacked(data)


def test_a_document_of_another_node_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadRequestError):
        text_of({"nodes": [{"id": "other"}]}, "e", tmp_path, None)
