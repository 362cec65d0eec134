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
from whole_river import free_ports, wait_for

from mainstem_node.client import connect
from mainstem_node.config import load_topology
from mainstem_node.desired.documents import documents_of
from mainstem_node.errors import UnavailableError

pytestmark = [pytest.mark.slow]

NODES = ("group", "plant_a", "plant_b", "edge_a", "edge_b")
BASE_MS = 1_792_540_800_000
FINAL = ("DONE", "FAILED", "EXPIRED", "UNKNOWN")
READY = '"ready"'
"""As a node logs it."""
LINK = {"reach_within": "5s"}
"""Else two minutes; tests/node/desired/test_agent.py lets those pass by a clock of its own."""


def sections() -> list[dict[str, Any]]:
    """Two platforms with an edge each; what edges measure goes all the way up."""
    export = [{"template": "pump", "mode": "raw"}]
    return [
        section("group", "group"),
        section("plant_a", "platform", "group", export=export),
        section("plant_b", "platform", "group", export=export),
        section("edge_a", "edge", "plant_a", export=export, paths=["root.a"], link=LINK),
        section("edge_b", "edge", "plant_b", export=export, paths=["root.b"], link=LINK),
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

    def require_nothing_put_aside(self) -> None:
        """At no tier a row or a value came before the column that it needs."""
        for name in NODES:
            status = self.nodes[name].status()
            assert status is not None, name
            sums = status["accounting"]["pump"]
            assert sums["values_quarantined"] == 0, name
            assert sums["intake"]["quarantined"] == 0, name
            assert sums["children"]["quarantined_here"] == 0, name
            assert self.nodes[name].request("/api/v1/quarantine")["items"] == [], name

    def rows_at_the_group(self, columns: str) -> list[list[Any]]:
        try:
            return self.nodes["group"].sql(f"SELECT {columns} FROM pump ORDER BY flow")
        except OSError:
            return []

    def starts_of(self, name: str) -> int:
        """How often a node has got ready, in whatever process."""
        lines = self.nodes[name].log.read_text(errors="replace").splitlines()
        return sum(READY in line for line in lines)

    def end_of(self, ident: str) -> dict[str, Any]:
        """What became of an order, once it has."""
        wait_for(
            lambda: self.group.config_order(ident)["state"] in FINAL, PATIENCE_S, f"{ident} ends"
        )
        found: dict[str, Any] = self.group.config_order(ident)
        return found

    def edge_a_tries_again(self) -> bool:
        log = self.nodes["edge_a"].log.read_text(errors="replace")
        return log.count("trying a configuration") == 2

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
    assert [federation.starts_of(name) for name in NODES] == [1] * len(NODES)
    edge_a.sql(
        f"INSERT INTO root.a.p1(time, flow, pressure) USING pump TAGS () VALUES ({BASE_MS}, 1, 2)"
    )
    edge_b.start()
    edge_b.wait_ready()
    wait_for(lambda: federation.known().get("edge_b") == 2, PATIENCE_S, "the edge that was away")
    edge_b.sql(
        f"INSERT INTO root.b.p1(time, flow, pressure) USING pump TAGS () VALUES ({BASE_MS}, 3, 4)"
    )
    wait_for(
        lambda: federation.rows_at_the_group("flow, pressure") == [[1.0, 2.0], [3.0, 4.0]],
        PATIENCE_S, "data of the altered template from both edges",
    )  # fmt: skip
    federation.require_nothing_put_aside()
    code, told = federation.config("plan", "-c", str(wanted))
    assert (code, told.strip()) == (0, "nothing changes")
    code, told = federation.config("rollback", "--node", "edge_a", "--wait", "40")
    assert code == 0, told
    assert federation.revisions()["edge_a"] == 3


def test_an_alter_at_the_group_reaches_every_edge(federation: Federation) -> None:
    """By SQL, with an edge away; all the time rows come from the other one."""
    nodes = federation.nodes
    nodes["edge_b"].kill()
    nodes["edge_a"].sql(
        f"INSERT INTO root.a.p1(time, flow) USING pump TAGS () VALUES ({BASE_MS}, 1)"
    )
    wait_for(lambda: federation.rows_at_the_group("flow") == [[1.0]], PATIENCE_S, "a first row")
    answer = nodes["group"].request(
        "/api/v1/sql", {"sql": "ALTER STABLE pump ADD COLUMN rpm DOUBLE, ADD COLUMN note TEXT"}
    )
    assert "edge_b has not followed yet" in " ".join(answer["warnings"])
    reached = dict.fromkeys(NODES, 2) | {"edge_b": 1}
    wait_for(lambda: federation.known() == reached, PATIENCE_S, "all but one have followed")
    nodes["edge_a"].sql(f"INSERT INTO root.a.p1(time, flow, rpm) VALUES ({BASE_MS + 1}, 2, 50)")
    nodes["edge_b"].start()
    nodes["edge_b"].wait_ready()
    wait_for(lambda: federation.known().get("edge_b") == 2, PATIENCE_S, "so has the last")
    nodes["edge_b"].sql(
        f"INSERT INTO root.b.p1(time, flow, note) USING pump TAGS () VALUES ({BASE_MS}, 3, 'x')"
    )
    wanted = [[1.0, None, None], [2.0, 50.0, None], [3.0, None, "x"]]
    wait_for(
        lambda: federation.rows_at_the_group("flow, rpm, note") == wanted,
        PATIENCE_S, "rows of the new columns from both edges",
    )  # fmt: skip
    federation.require_nothing_put_aside()
    assert [federation.starts_of(name) for name in NODES] == [1, 1, 1, 1, 2]
    documents = {
        each["node"]: each["document"]["templates"]["pump"]["measurements"]
        for each in federation.group.configurations(documents=True)
    }
    assert documents == dict.fromkeys(NODES, documents["group"])
    assert set(documents["group"]) == {"flow", "rpm", "note"}


def test_a_bad_configuration_comes_back_by_itself(federation: Federation) -> None:
    """One that is wrong is refused with its key. One that leads nowhere is taken back; so is one
    that is being tried when its process is killed."""
    documents = documents_of(load_topology(federation.write_new_file()))
    wrong = {**documents["edge_a"], "nodes": [dict(n) for n in documents["edge_a"]["nodes"]]}
    wrong["nodes"][0]["export"] = [{"template": "pomp", "mode": "raw"}]
    (order,) = federation.group.apply_config({"edge_a": wrong}, {"edge_a": 1})
    found = federation.end_of(order["id"])
    assert found["state"] == "FAILED"
    assert "pomp" in found["error"]
    assert federation.revisions()["edge_a"] == 1
    bad = {**documents["edge_a"], "nodes": [dict(n) for n in documents["edge_a"]["nodes"]]}
    (port,) = free_ports(1)
    bad["nodes"][0]["parent"] = {
        **bad["nodes"][0]["parent"], "url": [f"http://127.0.0.1:{port}"],
    }  # fmt: skip
    edge_a = federation.nodes["edge_a"]
    for number in range(2):
        (order,) = federation.group.apply_config({"edge_a": bad}, {"edge_a": 1})
        if number:
            wait_for(federation.edge_a_tries_again, PATIENCE_S, "it tries")
            edge_a.kill()
            edge_a.start()
        found = federation.end_of(order["id"])
        assert found["state"] == "FAILED"
        assert found["result"]["rolled_back"] is True
        assert ("ended" if number else "not reached within 5 s") in found["error"]
        assert federation.revisions()["edge_a"] == 1
        edge_a.wait_ready()
        edge_a.sql(
            f"INSERT INTO root.a.p1(time, flow) USING pump TAGS () VALUES ({BASE_MS + number}, 1)"
        )
        wait_for(
            lambda number=number: len(federation.rows_at_the_group("flow")) == number + 1,  # type: ignore[misc]
            PATIENCE_S, "rows come as before",
        )  # fmt: skip
