"""What doctor says of a cluster: it answers, lacks a topic, is not there, refuses."""

from __future__ import annotations

from pathlib import Path

from mainstem_edge.examination import brokers
from mainstem_edge.testing.kafka_cluster import KafkaCluster
from mainstem_node.config import load_topology
from mainstem_node.doctor.finding import BAD, FINE, WARNING, Finding


def finding(place: Path, broker: str, topic: str, more: str = "") -> Finding:
    file = place / "t.yaml"
    file.write_text(
        f"""\
templates: {{m: {{measurements: {{x: {{type: DOUBLE}}}}}}}}
nodes:
  - id: edge
    tier: edge
    listen: 127.0.0.1:0
    data_dir: data
    collectors:
      - type: kafka
        brokers: ["{broker}"]
        {more}
        subscriptions: [{{topic: "{topic}", template: m, device: root.d}}]
""",
        encoding="utf-8",
    )
    (found,) = brokers(load_topology(file).nodes[0])
    return found


def test_a_cluster_that_answers_is_fine(cluster: KafkaCluster, tmp_path: Path) -> None:
    cluster.create_topic("there")
    assert finding(tmp_path, cluster.brokers, "there").state == FINE
    assert finding(tmp_path, cluster.brokers, "^any").state == FINE


def test_a_topic_that_is_not_there_is_named(cluster: KafkaCluster, tmp_path: Path) -> None:
    found = finding(tmp_path, cluster.brokers, "not.there")
    assert (found.state, "not.there" in found.message) == (WARNING, True)


def test_a_cluster_that_is_not_there_is_bad(tmp_path: Path) -> None:
    found = finding(tmp_path, "127.0.0.1:1", "t")
    assert found.state == BAD
    assert "refused" in found.message


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    more = f"security: tls\n        tls: {{ca: {tmp_path}/none.crt}}"
    found = finding(tmp_path, "127.0.0.1:1", "t", more)
    assert (found.state, "none.crt" in found.message) == (BAD, True)
