"""Case 31 with real processes: a device is moved between edges below two platforms, while one of
them is down and its edge has a backlog; processes are killed in the middle of it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from processes import PATIENCE_S, Processes, section
from whole_river import wait_for

from mainstem_sync.state import accounting

pytestmark = [pytest.mark.slow]

DEVICE = "root.a.press.m1"
MINUTE_MS = 60_000
PER_MINUTE = 6
EDGES = {"press": "plant_a", "paint": "plant_b"}


def sections() -> list[dict[str, Any]]:
    raw = [{"template": "machine", "mode": "raw"}]
    found = [section("group", "group")]
    for edge, plant in EDGES.items():
        area = plant.removeprefix("plant_")
        found.append(section(plant, "platform", "group", export=raw, paths=[f"root.{area}"]))
        path = f"root.{area}.{edge}"
        found.append(section(edge, "edge", plant, export=raw, paths=[path]))
    return found


class Moved:
    """The processes. Minutes are counted from a past one."""

    def __init__(self, place: Path) -> None:
        self.nodes = Processes(place, "moves", {"machine": {"n": "INT64"}}, sections())
        self.start_ms = time.time_ns() // 10**6 // MINUTE_MS * MINUTE_MS - 20 * MINUTE_MS

    def write(self, edge: str, first: int, end: int) -> int:
        """Rows of the minutes [first, end) at an edge; returns how many it put aside."""
        step = MINUTE_MS // PER_MINUTE
        at = [
            self.start_ms + first * MINUTE_MS + n * step for n in range((end - first) * PER_MINUTE)
        ]
        group = {"template": "machine", "device": DEVICE, "rows": [{"time": t, "n": 1} for t in at]}
        return int(self.nodes[edge].request("/api/v1/write", group)["quarantined"])

    def counts(self, node: str) -> dict[int, int]:
        """Rows by minute; empty while the node does not answer."""
        sql = "SELECT time_bucket(INTERVAL 1 MINUTE, time) AS m, count(n) FROM machine GROUP BY 1"
        try:
            rows = self.nodes[node].sql(f"{sql} ORDER BY 1")
        except OSError:
            return {}
        return {(int(row[0]) - self.start_ms) // MINUTE_MS: int(row[1]) for row in rows}

    def wait_counts(self, node: str, minutes: range) -> None:
        expected = dict.fromkeys(minutes, PER_MINUTE)
        wait_for(lambda: self.counts(node) == expected, PATIENCE_S, f"{node} has {minutes}")

    def command(self, *arguments: str) -> Any:
        """``mainstem device`` at the group."""
        told = subprocess.run(
            [sys.executable, "-m", "mainstem_node.cli", "device", *arguments, "--json",
             "--url", self.nodes["group"].url],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert told.returncode == 0, told.stderr
        return json.loads(told.stdout)

    def states(self) -> dict[str, str]:
        (move,) = self.nodes["group"].request(f"/api/v1/moves?device={DEVICE}")["moves"]
        return {told["node"]: told["state"] for told in move["nodes"]}

    def aside(self, edge: str) -> list[dict[str, Any]]:
        items = self.nodes[edge].request("/api/v1/quarantine")["items"]
        return [item for item in items if item["reason"] == "not_owner"]

    def is_verified(self) -> bool:
        found = self.nodes["group"].request("/api/v1/completeness?tables=machine")
        items = {item["node"]: item for item in found["completeness"]}
        through = self.start_ms + 8 * MINUTE_MS
        done = all((items[edge]["complete_through"] or 0) >= through for edge in EDGES)
        return done and self.nodes["group"].request("/api/v1/verify?rescan=1")["slices"] == []


@pytest.fixture
def moved(tmp_path: Path) -> Iterator[Moved]:
    found = Moved(tmp_path)
    with found.nodes:
        yield found


def test_case_31_a_move_is_finished_whatever_is_killed(moved: Moved) -> None:
    nodes = moved.nodes
    moved.write("press", 0, 2)
    moved.wait_counts("group", range(2))
    nodes.wait_known("group", list(EDGES))
    nodes["plant_a"].kill()
    assert moved.write("press", 2, 6) == 0  # it cannot know yet
    at = moved.start_ms + 4 * MINUTE_MS
    given = moved.command("move", DEVICE, "--to", "paint", "--at", str(at))
    assert (given["from"], given["to"], given["at"]) == ("press", "paint", at)
    nodes.restart("group")
    nodes.restart("paint")
    wait_for(lambda: moved.states() == {"press": "QUEUED", "paint": "DONE"}, PATIENCE_S, "told")
    assert moved.write("paint", 3, 8) == PER_MINUTE
    moved.wait_counts("plant_b", range(4, 8))
    nodes["plant_a"].start()
    nodes["plant_a"].wait_ready()
    nodes.restart("press")  # it has the order, or is about to get it
    wait_for(lambda: moved.states() == {"press": "DONE", "paint": "DONE"}, PATIENCE_S, "moved")
    for node, minutes in {
        "press": range(4), "plant_a": range(4), "plant_b": range(4, 8), "group": range(8),
    }.items():  # fmt: skip
        moved.wait_counts(node, minutes)
    (shown,) = moved.command("moves", DEVICE)["moves"]
    assert shown["id"] == given["id"]
    assert len(moved.aside("press")) == 2 * PER_MINUTE
    assert moved.write("press", 3, 5) == PER_MINUTE  # at the door by now
    wait_for(moved.is_verified, PATIENCE_S, "verified")
    for name, process in nodes.nodes.items():
        status = process.status()
        assert status is not None
        assert accounting.check(status["accounting"]) == [], name
