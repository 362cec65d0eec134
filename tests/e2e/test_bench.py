"""The benchmarks run and print what they promise; the figures of a quick run say nothing."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.bench]

FIGURES = {
    "catalog": {
        "names, RSS",
        "devices by tag, a value that one device has, first",
        "merge, longest gap of a reader",
        "naive design, without templates, memory",
    },
    "edge": {"processor of the edge", "memory of the edge", "rows durable"},
    "encodings": {"counter, GORILLA, size", "switch, AUTO, encode", "mode, TEXT, PLAIN, decode"},
    "engine": {
        "durable ingest, memory limit 256 MiB",
        "last row of a device",
        "open and first answer",
    },
    "flush": {"order", "encode, m0", "statistics", "a whole flush", "parts"},
    "seed": {"created by data", "names, open", "names and three tags, anonymous memory"},
    "line_protocol": {"ratio, ten fields", "stored, three fields", "stored, ten fields, CPU"},
    "mqtt": {
        "edge / paho, single-row messages, embedded",
        "edge, 100-row messages, mosquitto",
        "edge, processor, 100-row messages, mosquitto",
        "idle edge, memory",
    },
    "slow_disk": {"sync of 5 ms, 1 on the way", "ratio, 4 on the way"},
    "federated": {"hours of all rows, p99", "live rows, beside questions, p99"},
    "size": {"pump, size", "meter, usage_kwh, DECIMAL", "all, raw points to part files"},
    "sql": {
        "last values of one device",
        "10-second means of one device, filled",
        "decade: daily curve of all devices",
        "decade: hourly curve of one device",
    },
    "statements": {"last values of a device, literals", "1-minute means, INTERVAL, parameters"},
    "sync": {"edge to group, drain", "publish to queryable at the group, p99"},
}


@pytest.mark.parametrize("name", sorted(FIGURES))
def test_a_quick_run_prints_its_figures(name: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "mainstem_node.cli", "bench", name, "--quick", "--json"],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    document = json.loads(ended.stdout)
    figures = {figure["name"]: figure for figure in document["figures"]}
    assert set(figures) >= FIGURES[name]
    assert all(figure["value"] > 0 and figure["how"] for figure in figures.values())
    assert document["quick"]
    assert document["machine"]["cores"]
    assert document["versions"]["numpy"]
