"""An edge that waits for its devices is small: what it has not imported, and what it holds."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from whole_river import START_TIMEOUT_S, NodeProcess, free_ports, wait_for

OWN_BYTES_MAX = 56_000_000
"""Memory that nobody else can have while the process lives."""

RSS_BYTES_MAX = 76_000_000
"""With 16 MB of the libraries' pages, or 21 right after an installation. A start maps 25 MB of
them, or 30; code that it only needed itself is given back (footprint.py)."""

ABSENT = (
    "duckdb", "pyarrow", "sqlglot", "pandas",  # the first query
    "typer", "pydantic", "rich",  # the command line
    "prometheus_client", "importlib.metadata",  # the first scrape
    "difflib",  # a mistake in the configuration
    "numpy.ma", "mainstem_engine.check", "mainstem_engine.backup", "mainstem_node.commands",
    "asyncua", "pymodbus", "serial", "confluent_kafka", "river", "google.protobuf",
    "mainstem_edge.collectors.sparkplug", "mainstem_edge.collectors.modbus",
    "mainstem_edge.collectors.kafka", "mainstem_edge.collectors.opcua",
    "mainstem_edge.actions.sparkplug_dcmd",
)  # fmt: skip
"""With what is below them. Each is a megabyte or more, or belongs to who has such a collector."""


class IdleEdge(NodeProcess):
    """`mainstem run` as it is installed, which says what it imports."""

    def start(self) -> None:
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-X", "importtime", "-m", "mainstem_node", "run",
                 "-c", str(self.config)],
                stdout=log, stderr=log,
            )  # fmt: skip

    def imported(self) -> set[str]:
        lines = self.log.read_text(errors="replace").splitlines()
        return {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time")}

    def held_bytes(self, field: str) -> int:
        """``field`` of /proc/PID/status, such as VmRSS."""
        assert self.process is not None
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        (kib,) = (int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))
        return kib << 10


def compile_packages() -> None:
    """As an installer does it: a process that compiles what it imports holds megabytes more."""
    packages = ("mainstem_engine", "mainstem_sync", "mainstem_node", "mainstem_edge")
    found = [importlib.util.find_spec(name) for name in packages]
    places = [place for spec in found if spec for place in spec.submodule_search_locations or ()]
    subprocess.run([sys.executable, "-m", "compileall", "-q", *places], check=True, timeout=120)


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IdleEdge]:
    compile_packages()
    place = tmp_path_factory.mktemp("idle")
    port, broker = free_ports(2)
    document = {
        "templates": {"machine": {"measurements": {"temperature": {"type": "DOUBLE"}}}},
        "nodes": [{
            "id": "edge", "tier": "edge", "listen": f"127.0.0.1:{port}", "data_dir": "data",
            "auth": {"loopback": "open"},
            "rollups": [{"template": "machine", "every": ["1m"]}],
            "collectors": [{
                "type": "mqtt", "url": f"mqtt://127.0.0.1:{broker}",
                "subscriptions": [{"topic": "plant/+", "template": "machine", "codec": "json",
                                   "device": "root.plant.{topic[1]}"}],
            }],
        }],
    }  # fmt: skip
    config = place / "edge.yaml"
    config.write_text(yaml.safe_dump(document))
    edge = IdleEdge("edge", port, config, place / "edge.log")
    edge.start()
    try:
        edge.wait_ready()
        wait_for(
            lambda: "ConnectionRefused" in edge.log.read_text(errors="replace"),
            START_TIMEOUT_S, "the collector has looked for its broker",
        )  # fmt: skip
        yield edge
    finally:
        edge.kill()


def test_an_idle_edge_has_not_imported_what_it_does_not_use(idle: IdleEdge) -> None:
    imported = idle.imported()
    assert "mainstem_edge.intake" in imported
    found = {
        name for name in imported for each in ABSENT if name == each or name.startswith(f"{each}.")
    }
    assert found == set()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
@pytest.mark.parametrize(("field", "most"), [("RssAnon", OWN_BYTES_MAX), ("VmRSS", RSS_BYTES_MAX)])
def test_an_idle_edge_is_small(idle: IdleEdge, field: str, most: int) -> None:
    """Once it has come to rest: what a start needed is given back after it, and a collector looks
    for its broker before that."""
    first = idle.held_bytes(field)
    wait_for(
        lambda: idle.held_bytes(field) <= most,
        START_TIMEOUT_S, f"{field} is {most:,} bytes or fewer; at first it was {first:,}",
    )  # fmt: skip
