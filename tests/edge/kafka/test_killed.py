"""A process that is killed between durability and commit: every row is there once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from mainstem_edge.testing.kafka_cluster import KafkaCluster
from mainstem_edge.testing.kafka_site import QUICK, rows
from mainstem_engine.engine import Engine

CHILD = """\
import sys, time
from dataclasses import replace
from pathlib import Path
from mainstem_edge.assembly import Assembly, Workbench
from mainstem_engine.engine import Engine
from mainstem_node.config import load_topology
from mainstem_node.declare import declare
from mainstem_sync.receiving.quarantine import QuarantineStore

place = Path(sys.argv[1])
found = load_topology(place / "t.yaml")
data = found.nodes[0].data_dir
data.mkdir(exist_ok=True)
with Engine.open(data) as engine:
    declare(engine, found, found.nodes[0])
    bench = Workbench(found, found.nodes[0], engine, QuarantineStore.open(place / "quarantine"))
    (intake,) = Assembly(bench).intakes()
    collector = intake.collector
    collector._settings = replace(collector._settings, options=eval(sys.argv[2]))
    intake.start()
    collector.start()
    while True:
        print(engine.scan("press").read_all().num_rows, flush=True)
        time.sleep(0.01)
"""


@contextmanager
def child(place: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(place), repr(QUICK)], stdout=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def until(process: subprocess.Popen[str], count: int) -> None:
    """It has stored so many rows, and did it just now."""
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= count:
            return
    pytest.fail("it ended by itself")


@pytest.mark.slow
@pytest.mark.crash
def test_kills_lose_and_double_nothing(cluster: KafkaCluster, tmp_path: Path) -> None:
    cluster.create_topic("killed", 2)
    document = {
        "templates": {"press": {"measurements": {"count": {"type": "INT64"}}}},
        "nodes": [{
            "id": "edge", "tier": "edge", "listen": "127.0.0.1:0", "data_dir": "data",
            "collectors": [{
                "type": "kafka", "brokers": [cluster.brokers], "in_flight": 50,
                "subscriptions": [{"topic": "killed", "template": "press",
                                   "device": "root.p{partition}"}],
            }],
        }],
    }  # fmt: skip
    (tmp_path / "t.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    total = 0
    for start in (0, 10_000, 20_000):
        for partition in (0, 1):
            cluster.produce("killed", *rows(start, 5000), partition=partition)
        with child(tmp_path) as process:
            until(process, total + 1000)  # in the middle, and before the next commit
        total += 10_000
    with child(tmp_path) as process:
        until(process, total)
    with Engine.open(tmp_path / "data") as engine:
        found = engine.scan("press").read_all().to_pylist()
    expected = {
        (f"root.p{partition}", start + n)
        for start in (0, 10_000, 20_000) for partition in (0, 1) for n in range(5000)
    }  # fmt: skip
    assert len(found) == len(expected)
    assert {(each["device"], each["count"]) for each in found} == expected
