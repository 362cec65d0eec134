"""A template that is altered at the group reaches edges under two platforms: real processes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from river import NodeProcess, free_ports, wait_for
from tiers import write_topology

from mainstem_node.client import connect
from mainstem_node.config import load_topology
from mainstem_node.desired.documents import documents_of
from mainstem_node.errors import UnavailableError

pytestmark = [pytest.mark.slow]

NODES = ("group", "plant_a", "plant_b", "edge_a", "edge_b")
PATIENCE_S = 90.0
BASE_MS = 1_792_540_800_000


def topology(ports: dict[str, int]) -> dict[str, Any]:
    """Two platforms with an edge each; what edges measure goes all the way up."""

    def node(name: str, tier: str, parent: str = "", **more: Any) -> dict[str, Any]:
        section: dict[str, Any] = {
            "id": name, "tier": tier, "listen": f"127.0.0.1:{ports[name]}",
            "data_dir": f"data/{name}", "auth": {"loopback": "open"}, **more,
        }  # fmt: skip
        if parent:
            section["parent"] = {"node": parent, "token_file": f"secrets/{name}"}
            section["export"] = [{"template": "pump", "mode": "raw"}]
        return section

    return {
        "federation": "rollout",
        "templates": {"pump": {"measurements": {"flow": {"type": "DOUBLE"}}}},
        "nodes": [
            node("group", "group"),
            node("plant_a", "platform", "group"),
            node("plant_b", "platform", "group"),
            node("edge_a", "edge", "plant_a", paths=["root.a"]),
            node("edge_b", "edge", "plant_b", paths=["root.b"]),
        ],
    }


class Federation:
    """Five processes of one file."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.ports = dict(zip(NODES, free_ports(len(NODES)), strict=True))
        self.document = topology(self.ports)
        config = write_topology(place, self.document)
        self.nodes = {
            name: NodeProcess(name, self.ports[name], config, place / f"{name}.log")
            for name in NODES
        }
        self.group = connect(self.nodes["group"].url)
        for name in NODES:
            self.nodes[name].start()
        for name in NODES:
            self.nodes[name].wait_ready()
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
        for node in self.nodes.values():
            if node.process is not None and node.process.poll() is None:
                node.kill()


@pytest.fixture
def federation(tmp_path: Path) -> Iterator[Federation]:
    found = Federation(tmp_path)
    try:
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
