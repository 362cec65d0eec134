"""From the file to rows; what the page shows; secrets, and what an edge without Kafka has."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from mainstem_edge.assembly import Assembly, Workbench
from mainstem_edge.assembly.kafka import kafka_settings
from mainstem_edge.collectors.kafka import KafkaCollector
from mainstem_edge.testing.kafka_cluster import KafkaCluster
from mainstem_edge.testing.parts import T0_MS
from mainstem_edge.testing.patience import eventually
from mainstem_engine.engine import Engine
from mainstem_node.config import check, load_topology
from mainstem_node.config.collectors.kafka import KafkaCollectorConfig
from mainstem_node.config.schema import Topology
from mainstem_node.declare import declare
from mainstem_sync.receiving.quarantine import QuarantineStore

PAGE = Path(__file__).resolve().parents[3] / "docs" / "collect-kafka.md"
CODE = "import sys, mainstem_edge.node; print('confluent_kafka' in sys.modules)"


def topology(place: Path, collector: dict[str, Any], env: dict[str, str] | None = None) -> Topology:
    machine = {"tags": {"line": "TEXT"}, "measurements": {"count": {"type": "INT64"}}}
    document = {
        "templates": {"machine": machine, "car": {"measurements": {"speed": {"type": "DOUBLE"}}}},
        "nodes": [
            {"id": "edge", "tier": "edge", "listen": "127.0.0.1:0", "data_dir": "data",
             "collectors": [collector]}
        ],
    }  # fmt: skip
    path = place / "topology.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return load_topology(path, env=env)


def test_records_become_rows_as_the_file_says(
    cluster: KafkaCluster, tmp_path: Path, engine: Engine, quarantine: QuarantineStore
) -> None:
    (tmp_path / "data").mkdir(exist_ok=True)
    found = topology(tmp_path, {
        "type": "kafka", "brokers": [cluster.brokers],
        "subscriptions": [
            {"topic": "cars", "codec": "raw", "template": "car", "measurement": "{header.name}",
             "device": "root.cars.p{partition}.{key}"},
            {"topic": "^plant[.]", "template": "machine", "device": "root.{topic[0]}.{topic[-1]}",
             "tags": {"line": "{header.line}"}, "time": {"source": "record"}},
            {"topic": "lines", "codec": "line_protocol", "device": "root.lines.{key}"},
        ],
    })  # fmt: skip
    declare(engine, found, found.nodes[0])
    cluster.create_topic("cars")
    cluster.create_topic("plant.press.m7")
    cluster.create_topic("lines")
    cluster.produce("cars", b"81.5", key="c1", headers={"name": b"speed"}, timestamp=T0_MS)
    cluster.produce(
        "plant.press.m7", b'{"ts": 5, "count": 7}', headers={"line": b"L1"}, timestamp=T0_MS + 1
    )
    cluster.produce("lines", b"weather,site=a temp=1.5", key="k", timestamp=T0_MS + 2)
    bench = Workbench(found, found.nodes[0], engine, quarantine)
    (intake,) = Assembly(bench).intakes()
    assert isinstance(intake.collector, KafkaCollector)
    intake.start()
    intake.collector.start()
    try:
        eventually(lambda: engine.scan("machine").read_all().num_rows == 1, "the machine's")
        eventually(lambda: engine.scan("car").read_all().num_rows == 1, "the car's")
        eventually(lambda: engine.catalog.templates.get("weather") is not None, "the line's")
        eventually(lambda: engine.scan("weather").read_all().num_rows == 1, "the line's row")
    finally:
        intake.collector.pause()
        intake.drain(5)
        intake.collector.stop(5)
    (car,) = engine.scan("car").read_all().to_pylist()
    assert (car["device"], car["time"], car["speed"]) == ("root.cars.p0.c1", T0_MS, 81.5)
    (line,) = engine.scan("weather").read_all().to_pylist()
    assert (line["device"], line["time"]) == ("root.lines.k.weather.a", T0_MS + 2)
    (machine,) = engine.scan("machine").read_all().to_pylist()
    assert (machine["device"], machine["line"]) == ("root.plant.m7", "L1")
    assert (machine["time"], machine["count"]) == (T0_MS + 1, 7)


def test_a_password_is_shown_nowhere(tmp_path: Path) -> None:
    collector = {
        "type": "kafka", "brokers": ["127.0.0.1:1"], "sasl": "plain", "username": "edge",
        "password": "${PW}", "subscriptions": [{"topic": "t", "template": "car",
                                                "device": "root.c"}],
    }  # fmt: skip
    found = topology(tmp_path, collector, {"PW": "geheim"})
    config = found.nodes[0].collectors[0]
    assert isinstance(config, KafkaCollectorConfig)
    settings = kafka_settings("edge", config)
    assert settings.of_client()["sasl.password"] == "geheim"
    assert settings.of_client()["security.protocol"] == "SASL_PLAINTEXT"
    assert "geheim" not in repr(settings)


def test_the_examples_of_its_page_are_good(tmp_path: Path) -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    (collector,) = yaml.safe_load(block)["collectors"]
    topology(tmp_path, {"type": "simulator", "template": "car", "device": "root.c"})
    document = yaml.safe_load((tmp_path / "topology.yaml").read_text())
    document["nodes"][0]["collectors"] = [collector]
    (tmp_path / "topology.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    assert check(tmp_path / "topology.yaml", env={"KAFKA_PASSWORD": "x"}) == []


def test_an_edge_without_kafka_never_loads_the_library() -> None:
    answer = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "False"
