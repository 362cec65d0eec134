"""A template that is altered at the group reaches edges under two platforms: real processes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from processes import PATIENCE_S, Processes, section
from river import wait_for

from mainstem_node.client import connect
from mainstem_node.config import load_topology
from mainstem_node.desired.documents import documents_of
from mainstem_node.errors import UnavailableError

pytestmark = [pytest.mark.slow]

NODES = ("group", "plant_a", "plant_b", "edge_a", "edge_b")
BASE_MS = 1_792_540_800_000


def sections() -> list[dict[str, Any]]:
    """Two platforms with an edge each; what edges measure goes all the way up."""
    export = [{"template": "pump", "mode": "raw"}]
    return [
        section("group", "group"),
        section("plant_a", "platform", "group", export=export),
        section("plant_b", "platform", "group", export=export),
        section("edge_a", "edge", "plant_a", export=export, paths=["root.a"]),
        section("edge_b", "edge", "plant_b", export=export, paths=["root.b"]),
    ]


class Federation:
    """Five processes of one file."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.nodes = Processes(place, "rollout", {"pump": {"flow": "DOUBLE"}}, sections())
        self.document = self.nodes.document
        self.group = connect(self.nodes["group"].url)

    def start(self) -> None:
        self.nodes.start()
        wait_for(lambda: set(self.revisions()) == set(NODES), PATIENCE_S, "all are known")

    def revisions(self) -> dict[str, int]:
        return {each["node"]: each["rev"] for each in self.group.configurations()}

    def known(self) -> dict[str, int]:
        """As ``revisions``; empty while the group itself is starting anew."""
        try:
            return self.revisions()
        except UnavailableError:
            return {}

    def write_new_file(self) -> Path:
        """What an operator edits: another file than the one that the nodes were started with."""
        path = self.place / "wanted.yaml"
        path.write_text(yaml.safe_dump(self.document, sort_keys=False))
        return path

    def config(self, *arguments: str) -> tuple[int, str]:
        command = [sys.executable, "-c", "from mainstem_node.cli import main; main()", "config"]
        answer = subprocess.run(
            [*command, *arguments, "--url", self.nodes["group"].url],
            capture_output=True, text=True, timeout=PATIENCE_S, check=False,
        )  # fmt: skip
        return answer.returncode, answer.stdout

    def stop(self) -> None:
        self.group.close()
        self.nodes.stop()
        self.nodes.print_logs()


@pytest.fixture
def federation(tmp_path: Path) -> Iterator[Federation]:
    found = Federation(tmp_path)
    try:
        found.start()
        yield found
    finally:
        found.stop()


def test_a_template_altered_at_the_group_reaches_every_edge(federation: Federation) -> None:
    federation.nodes["edge_b"].kill()
    federation.document["templates"]["pump"]["measurements"]["pressure"] = {"type": "DOUBLE"}
    wanted = federation.write_new_file()
    assert len(documents_of(load_topology(wanted))) == len(NODES)

    code, told = federation.config("plan", "-c", str(wanted))
    assert code == 0
    assert told.count('+ templates.pump.measurements.pressure: {"type": "DOUBLE"}') == len(NODES)

    code, told = federation.config("apply", "-c", str(wanted), "--wait", "0")
    assert code == 0, told
    reached = dict.fromkeys(NODES, 2) | {"edge_b": 1}
    wait_for(lambda: federation.known() == reached, PATIENCE_S, "all but one have it")

    edge_a, edge_b = federation.nodes["edge_a"], federation.nodes["edge_b"]
    edge_a.sql(
        f"INSERT INTO root.a.p1(time, flow, pressure) USING pump TAGS () VALUES ({BASE_MS}, 1, 2)"
    )
    edge_b.start()
    edge_b.wait_ready()
    wait_for(lambda: federation.known().get("edge_b") == 2, PATIENCE_S, "the edge that was away")
    edge_b.wait_ready()
    edge_b.sql(
        f"INSERT INTO root.b.p1(time, flow, pressure) USING pump TAGS () VALUES ({BASE_MS}, 3, 4)"
    )
    group = federation.nodes["group"]

    def arrived() -> bool:
        try:
            rows = group.sql("SELECT flow, pressure FROM pump ORDER BY flow")
        except OSError:
            return False
        return rows == [[1.0, 2.0], [3.0, 4.0]]

    wait_for(arrived, PATIENCE_S, "data of the altered template from both edges")
    code, told = federation.config("plan", "-c", str(wanted))
    assert (code, told.strip()) == (0, "nothing changes")
    code, told = federation.config("rollback", "--node", "edge_a", "--wait", "40")
    assert code == 0, told
    assert federation.revisions()["edge_a"] == 3


def test_a_refused_configuration_names_what_is_wrong(federation: Federation) -> None:
    documents = documents_of(load_topology(federation.write_new_file()))
    bad = {**documents["edge_a"], "nodes": [dict(n) for n in documents["edge_a"]["nodes"]]}
    bad["nodes"][0]["export"] = [{"template": "pomp", "mode": "raw"}]
    (order,) = federation.group.apply_config({"edge_a": bad}, {"edge_a": 1})
    wait_for(
        lambda: federation.group.config_order(order["id"])["state"] == "FAILED",
        PATIENCE_S, "the edge refuses",
    )  # fmt: skip
    assert "pomp" in federation.group.config_order(order["id"])["error"]
    assert federation.revisions()["edge_a"] == 1
