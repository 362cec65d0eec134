"""Cases 8, 9 and 10 with real processes: an edge whose machine is rolled back, a platform that is
restored from last week's copy, and a cloned disk beside the original."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from processes import Processes, section, topology
from tiers import write_topology
from whole_river import NodeProcess, wait_for

from mainstem_sync.state import accounting

pytestmark = [pytest.mark.slow]

TIERS = ("edge", "plant", "group")
TEMPLATES = {"counter": {"n": "INT64"}}
BASE_MS = 1_792_540_800_000
DELIVERY_S = 60.0


def sections() -> list[dict[str, Any]]:
    """Three tiers that send raw rows all the way up."""
    export = [{"template": "counter", "mode": "raw"}]
    return [
        section("group", "group"),
        section("plant", "platform", "group", export=export),
        section("edge", "edge", "plant", export=export, paths=["root.plant.line"]),
    ]


class Forks(Processes):
    """The three processes, and what is done to their disks."""

    def __init__(self, place: Path) -> None:
        super().__init__(place, "forks", TEMPLATES, sections(), extra_ports=["clone"])

    def write(self, first: int, count: int = 20, node: str = "edge") -> None:
        values = ", ".join(f"({BASE_MS + 1000 * n}, {n})" for n in range(first, first + count))
        self.nodes[node].sql(
            f"INSERT INTO root.plant.line.d1 USING counter TAGS () VALUES {values}"
        )

    def wait_for(self, node: str, numbers: set[int]) -> None:
        wait_for(lambda: self.numbers(node) == numbers, DELIVERY_S, f"{node} holds all rows")

    def numbers(self, node: str) -> set[int]:
        try:
            return {row[0] for row in self.nodes[node].sql("SELECT n FROM counter")}
        except OSError:
            return set()

    def copy(self, node: str) -> Path:
        """The disk of a node that is killed for a moment, as the power would leave it."""
        self.nodes[node].kill()
        target = self.place / f"{node}-copy"
        shutil.copytree(self.place / "data" / node, target)
        self.nodes[node].start()
        self.nodes[node].wait_ready()
        return target

    def put_back(self, node: str, copy: Path) -> None:
        self.nodes[node].kill()
        shutil.rmtree(self.place / "data" / node)
        shutil.copytree(copy, self.place / "data" / node)
        self.nodes[node].start()
        self.nodes[node].wait_ready()

    def check_sums(self) -> None:
        for name, node in self.nodes.items():
            status = node.status()
            assert status is not None
            assert accounting.check(status["accounting"]) == [], name


@pytest.fixture
def forks(tmp_path: Path) -> Iterator[Forks]:
    with Forks(tmp_path) as forks:
        yield forks


def test_case_8_an_edge_whose_machine_is_rolled_back(forks: Forks) -> None:
    forks.write(0)
    forks.wait_for("group", set(range(20)))
    copy = forks.copy("edge")
    forks.write(100)
    forks.wait_for("group", {*range(20), *range(100, 120)})
    forks.put_back("edge", copy)
    forks.write(200)
    everything = {*range(20), *range(100, 120), *range(200, 220)}
    forks.wait_for("group", everything)
    forks.wait_for("plant", everything)
    assert forks.numbers("edge") == {*range(20), *range(200, 220)}
    assert "in epoch 1" in (forks.place / "plant.log").read_text()
    forks.check_sums()


def test_case_9_a_platform_that_is_restored_from_an_old_copy(forks: Forks) -> None:
    forks.write(0)
    forks.wait_for("group", set(range(20)))
    copy = forks.copy("plant")
    forks.write(100)
    forks.wait_for("group", {*range(20), *range(100, 120)})
    forks.put_back("plant", copy)
    forks.write(200)
    everything = {*range(20), *range(100, 120), *range(200, 220)}
    for node in TIERS:
        forks.wait_for(node, everything)
    forks.check_sums()


def test_a_new_disk_under_an_old_name(forks: Forks) -> None:
    """The machine of the edge is replaced: same configuration and secrets, nothing else."""
    forks.write(0)
    forks.wait_for("group", set(range(20)))
    old = forks.copy("edge")
    forks.nodes["edge"].kill()
    shutil.rmtree(forks.place / "data" / "edge")
    forks.nodes["edge"].start()
    forks.nodes["edge"].wait_ready()
    forks.write(100)
    wait_for(
        lambda: "another data directory" in str(forks.nodes["edge"].status()),
        DELIVERY_S, "the new disk is refused",
    )  # fmt: skip
    said = subprocess.run(
        [sys.executable, "-m", "mainstem_node.cli", "node", "replace", "edge", "--json", "--url",
         f"http://127.0.0.1:{forks.ports['plant']}"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert json.loads(said.stdout)["uuid"] is None
    everything = {*range(20), *range(100, 120)}
    forks.wait_for("group", everything)
    forks.wait_for("plant", everything)
    forks.check_sums()
    # The old disk comes back, and is not let in; what it delivered stays.
    forks.put_back("edge", old)
    wait_for(
        lambda: "another data directory" in str(forks.nodes["edge"].status()),
        DELIVERY_S, "the old disk is refused",
    )  # fmt: skip
    assert forks.numbers("plant") == everything


def test_case_10_a_cloned_disk_beside_the_original(forks: Forks) -> None:
    forks.write(0)
    forks.wait_for("group", set(range(20)))
    copy = forks.copy("edge")
    forks.write(100)
    forks.wait_for("plant", {*range(20), *range(100, 120)})
    clone_place = forks.place / "clone"
    clone_place.mkdir()
    shutil.copytree(copy, clone_place / "data" / "edge")
    shutil.copytree(forks.place / "secrets", clone_place / "secrets")
    ports = {**forks.ports, "edge": forks.ports["clone"]}
    document = topology("forks", TEMPLATES, sections(), ports)
    config = write_topology(clone_place, document)
    shutil.copytree(forks.place / "secrets", clone_place / "secrets", dirs_exist_ok=True)
    clone = NodeProcess("edge", forks.ports["clone"], config, forks.place / "clone.log")
    forks.nodes["clone"] = clone
    clone.start()
    clone.wait_ready()
    forks.write(200, node="clone")
    everything = {*range(20), *range(100, 120), *range(200, 220)}
    forks.wait_for("plant", everything)
    # The original is told, and keeps what it has.
    wait_for(
        lambda: "another process" in (forks.place / "edge.log").read_text(),
        DELIVERY_S, "the original is fenced",
    )  # fmt: skip
    forks.write(300)
    assert forks.numbers("edge") == {*range(20), *range(100, 120), *range(300, 320)}
    status = forks.nodes["plant"].status()
    assert status is not None
    assert status["drops"]["fenced_children"] == 1
    # The clone goes; the original comes back, and nothing of either is lost.
    clone.kill()
    del forks.nodes["clone"]
    forks.nodes["edge"].kill()
    forks.nodes["edge"].start()
    forks.nodes["edge"].wait_ready()
    forks.wait_for("group", everything | set(range(300, 320)))
    forks.check_sums()
