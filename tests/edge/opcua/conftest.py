"""A real server with two machines, and a configured edge that collects from it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from asyncua import ua

from mainstem_edge.assembly import Assembly, Workbench
from mainstem_edge.testing.opcua_plant import NOW, Edge, plant, until
from mainstem_edge.testing.opcua_server import OpcuaServer
from mainstem_engine.engine import Engine
from mainstem_node.config import load_topology
from mainstem_node.declare import declare
from mainstem_sync.receiving.quarantine import QuarantineStore

TEMPLATES = """\
templates:
  machine:
    measurements:
      temperature: {type: DOUBLE, from: Temperature}
      speed: {type: INT32, from: Motor.Speed}
      state: {type: TEXT, from: State}
      on: {type: BOOLEAN, from: Running}
  judged:
    quality: true
    measurements: {temperature: {type: DOUBLE}, speed: {type: INT32}}
"""


@pytest.fixture(scope="session")
def plant_server() -> Iterator[OpcuaServer]:
    with OpcuaServer(plant) as server:
        yield server


@pytest.fixture
def server(plant_server: OpcuaServer) -> OpcuaServer:
    """With first values a minute old."""
    at = NOW - dt.timedelta(minutes=1)
    for name in ("M1", "M2"):
        plant_server.write(f"ns=2;s={name}.T", 20.0, at=at)
        plant_server.write(f"ns=2;s={name}.Speed", ua.Variant(100, ua.VariantType.Int32), at=at)
        plant_server.write(f"ns=2;s={name}.State", "idle", at=at)
        plant_server.write(f"ns=2;s={name}.Running", False, at=at)
    return plant_server


@pytest.fixture
def configured(tmp_path: Path, engine: Engine, quarantine: QuarantineStore) -> Any:
    """An assembly of an edge whose collectors are these lines of YAML."""

    def make(collector: str) -> Assembly:
        path = tmp_path / "topology.yaml"
        path.write_text(
            f"{TEMPLATES}nodes:\n  - id: edge\n    tier: edge\n    listen: 127.0.0.1:0\n"
            f"    data_dir: data\n    collectors:\n      - {collector}\n",
            encoding="utf-8",
        )
        found = load_topology(path)
        declare(engine, found, found.nodes[0])
        return Assembly(Workbench(found, found.nodes[0], engine, quarantine))

    return make


@pytest.fixture
def collecting(configured: Any, engine: Engine) -> Any:
    """``with collecting(yaml) as edge``: begun, and connected unless told otherwise."""

    @contextmanager
    def run(collector: str, *, connected: bool = True) -> Iterator[Edge]:
        (intake,) = configured(collector).intakes()
        edge = Edge(intake, engine)
        intake.start()
        intake.collector.start()
        try:
            if connected:
                until(lambda: edge.status["state"] == "connected", lambda: edge.status)
            yield edge
        finally:
            intake.collector.pause()
            intake.drain(5)
            intake.collector.stop(5)

    return run
