"""Recordings replayed by ``mainstem publish`` arrive at the group bit-equal, counted and complete.

Once through the embedded broker and once through mosquitto: the walk-through of
docs/your-own-data.md, as a test.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from recordings import Recording, made, real
from tiers import write_topology
from whole_river import NodeProcess, free_ports, wait_for

from mainstem_edge.testing.mosquitto import Mosquitto, mosquitto_binary
from mainstem_node.broker import EmbeddedBroker
from mainstem_sync.state import accounting

pytestmark = pytest.mark.slow
TIERS = ("edge", "plant", "group")
ARRIVAL_TIMEOUT_S = 120.0


def mosquitto(place: Path) -> Mosquitto:
    """The system's mosquitto; without it the test is skipped, but not in CI."""
    if mosquitto_binary() is None:
        assert not os.environ.get("MAINSTEM_CI"), "CI must have mosquitto"
        pytest.skip("mosquitto is not installed")
    return Mosquitto(place)


def topology(recordings: list[Recording], ports: dict[str, int]) -> dict[str, Any]:
    """One template, one subscription and one raw export per recording."""
    exports = [{"template": each.name, "mode": "raw"} for each in recordings]
    common = {"storage": {"flush_every": "3s"}, "auth": {"loopback": "open"}}

    def parent(node: str, child: str) -> dict[str, str]:
        return {
            "node": node,
            "url": f"http://127.0.0.1:{ports[node]}",
            "token_file": f"secrets/{child}",
        }

    subscriptions = [
        {
            "topic": f"bench/{each.name}",
            "codec": "json",
            "template": each.name,
            "device": "root.works.line.{topic[1]}",
            "time": {"field": "ts", "unit": "auto", "zone": "UTC"},
        }
        for each in recordings
    ]
    edge = {
        "paths": ["root.works.line"],
        "collectors": [
            {"type": "mqtt", "url": f"mqtt://127.0.0.1:{ports['mqtt']}",
             "subscriptions": subscriptions}
        ],
    }  # fmt: skip
    tiers = {"group": "group", "plant": "platform", "edge": "edge"}
    extra: dict[str, dict[str, Any]] = {
        "group": {},
        "plant": {"parent": parent("group", "plant"), "export": exports},
        "edge": {"parent": parent("plant", "edge"), "export": exports, **edge},
    }
    return {
        "federation": "works",
        "templates": {
            each.name: {"measurements": {name: {"type": kind} for name, kind in each.types.items()}}
            for each in recordings
        },
        "nodes": [
            {
                "id": name,
                "tier": tier,
                "listen": f"127.0.0.1:{ports[name]}",
                "data_dir": f"data/{name}",
                **common,
                **extra[name],
            }
            for name, tier in tiers.items()
        ],
    }


def publish(recording: Recording, port: int) -> None:
    """Replays a recording with the command that the documentation names."""
    columns = ",".join(f"{column}={name}" for column, name in recording.columns.items())
    subprocess.run(
        [sys.executable, "-m", "mainstem_node.cli", "publish", str(recording.path),
         "--broker", f"mqtt://127.0.0.1:{port}", "--topic", f"bench/{recording.name}",
         "--time-column", recording.time_column, "--timezone", "UTC", "--columns", columns,
         "--batch", "50"],
        check=True, timeout=120,
    )  # fmt: skip


def check_contents(node: NodeProcess, recording: Recording) -> None:
    """Every distinct time once, every value bit-equal."""
    names = sorted(recording.types)
    rows = node.sql(f"SELECT time, {', '.join(names)} FROM {recording.name} ORDER BY time")
    expected = recording.expected()
    assert [row[0] for row in rows] == sorted(expected)
    for row in rows:
        held = expected[row[0]]
        assert row[1:] == [held.get(name) for name in names], (node.name, row)


def check_counts(edge: NodeProcess, recording: Recording) -> None:
    """Every row is accounted for: those of a time that came twice as merged or overwritten."""
    status = edge.status()
    assert status is not None
    sums = status["accounting"][recording.name]
    total = len(recording.rows())
    twice = total - len(recording.expected())
    assert sums["intake"]["received"] == sums["intake"]["accepted"] == total
    assert sums["log"]["merged"] + sums["store"]["overwritten"] == twice
    assert sums["late"] == recording.count_behind()


def is_complete(node: NodeProcess, recording: Recording) -> bool:
    """The group's answer about the edge's table says that it is all there."""
    answer = node.request("/api/v1/sql", {"sql": f"SELECT count(*) FROM {recording.name}"})
    return any(
        entry["node"] == "edge" and entry["state"] == "complete" and entry["holes"] == []
        for entry in answer["completeness"]
        if entry["table"] == recording.name
    ) and answer["rows"][0][0] == len(recording.expected())


@pytest.mark.parametrize(
    "broker", ["embedded", pytest.param("mosquitto", marks=pytest.mark.broker)]
)
@pytest.mark.parametrize("source", ["made", "real"])
def test_recordings_arrive_bit_equal_and_complete(tmp_path: Path, broker: str, source: str) -> None:
    recordings = made(tmp_path) if source == "made" else real()
    if not recordings:
        pytest.skip("MAINSTEM_DATA_DIR names no recordings")
    ports = dict(zip(TIERS, free_ports(len(TIERS)), strict=True))
    place = tmp_path / "broker"
    running = EmbeddedBroker(place) if broker == "embedded" else mosquitto(place)
    with running:
        ports["mqtt"] = running.port
        config = write_topology(tmp_path, topology(recordings, ports))
        nodes = {
            name: NodeProcess(name, ports[name], config, tmp_path / f"{name}.log",
                              environment={"MAINSTEM_TEST_SYNC_DELAY_S": "0"})
            for name in TIERS
        }  # fmt: skip
        try:
            for name in reversed(TIERS):
                nodes[name].start()
            for name in reversed(TIERS):
                nodes[name].wait_ready()
            nodes["edge"].wait_subscribed()
            for recording in recordings:
                publish(recording, ports["mqtt"])
            for recording in recordings:
                wait_for(
                    lambda recording=recording: is_complete(nodes["group"], recording),  # type: ignore[misc]
                    ARRIVAL_TIMEOUT_S,
                    f"{recording.name} is complete at the group",
                )
                for name in TIERS:
                    check_contents(nodes[name], recording)
                wait_for(
                    lambda recording=recording: resolved(nodes["edge"], recording),  # type: ignore[misc]
                    ARRIVAL_TIMEOUT_S,
                    f"late rows of {recording.name} are compared",
                )
                check_counts(nodes["edge"], recording)
            for name in TIERS:
                status = nodes[name].status()
                assert status is not None
                assert accounting.check(status["accounting"]) == []
            assert [nodes[name].stop() for name in TIERS] == [0, 0, 0]
        finally:
            for node in nodes.values():
                if node.process is not None and node.process.poll() is None:
                    node.kill()


def resolved(edge: NodeProcess, recording: Recording) -> bool:
    """The store has compared its late rows with older parts."""
    status = edge.status()
    return status is not None and status["accounting"][recording.name]["store"]["unresolved"] == 0
