"""The life of a node: what starts, what survives a restart, what is refused, what is said."""

from __future__ import annotations

import json
import logging
import ssl
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
import yaml

from mainstem_engine.errors import LockedError, OutOfRetentionError, SchemaError
from mainstem_node.config import load_topology
from mainstem_node.errors import CredentialError, NodeError, TierError
from mainstem_node.node import Node, log_bytes_max, tier_class
from mainstem_node.server import client_context

StartNode = Callable[..., Awaitable[Node]]
T0 = 1_700_000_040_000
YEAR_NS = 365 * 86_400 * 10**9


async def write(node: Node, *times: int) -> None:
    rows = [{"time": time, "flow": 1.0} for time in times]
    group = {"template": "pump", "device": "root.plant.edge.p1", "rows": rows}
    url = f"http://127.0.0.1:{node.port}/api/v1/write"
    async with aiohttp.ClientSession() as http, http.post(url, json=group) as answer:
        assert answer.status == 200, await answer.text()
        assert (await answer.json())["accepted"] == len(times)


async def test_what_was_answered_is_there_after_a_restart(start_node: StartNode) -> None:
    node = await start_node()
    await write(node, T0, T0 + 1)
    uuid = node.engine.node_uuid
    await node.stop()
    again = await start_node()
    assert again.engine.node_uuid == uuid
    assert len(again.engine.scan_rows("pump")) == 2
    assert again.federation.accounting()["pump"]["log"]["logged"] == 2


async def test_a_data_directory_has_one_owner(start_node: StartNode) -> None:
    node = await start_node()
    with pytest.raises(LockedError) as caught:
        await start_node()
    assert caught.value.url == node.config.url


async def test_databases_templates_and_rollups_are_declared(start_node: StartNode) -> None:
    node = await start_node(
        databases={"root.plant": {"precision": "us", "keep": "100y", "duration": "1d"}},
        rollups=[{"template": "pump", "every": ["1m", "1h"], "keep": {"1h": "90y"}}],
    )
    await write(node, T0 * 1000)
    database = next(d for d in node.engine.databases if d.name == "root.plant")
    assert database.keep_ns == 100 * YEAR_NS
    names = [table.name for table in node.engine.catalog.templates.all()]
    assert names == ["pump", "pump_1m", "pump_1h"]
    assert node.engine.precision_ns("pump") == 1000
    rules = node.engine.catalog.rules
    assert [rules.keep_of(name, None) for name in names] == [None, None, 90 * YEAR_NS]


async def test_what_the_file_says_of_keep_is_set_at_every_start(
    start_node: StartNode, tmp_path: Path
) -> None:
    node = await start_node(databases={"root.plant": {"keep": "100y"}})
    await node.stop()
    document = yaml.safe_load((tmp_path / "topology.yaml").read_text())
    document["templates"]["pump"]["keep"] = "1y"
    document["nodes"][0]["databases"]["root.plant"]["keep"] = "50y"
    path = tmp_path / "less.yaml"
    path.write_text(yaml.safe_dump(document))
    topology = load_topology(path)
    node = Node(topology, topology.nodes[0])
    await node.start()
    try:
        assert node.engine.catalog.rules.keep_of("pump", None) == YEAR_NS
        assert [d.keep_ns for d in node.engine.databases] == [50 * YEAR_NS]
        table = node.engine.catalog.table("pump")
        ids = node.engine.device_ids("pump", ["root.plant.edge.p1"], create=True)
        with pytest.raises(OutOfRetentionError):
            node.engine.check_retention(table, ids, np.array([T0 * 1_000_000]))
    finally:
        await node.stop()


async def test_a_measurement_may_be_added_but_not_change_its_type(
    start_node: StartNode, tmp_path: Path
) -> None:
    node = await start_node()
    await node.stop()
    document = yaml.safe_load((tmp_path / "topology.yaml").read_text())
    pump = document["templates"]["pump"]["measurements"]
    pump["speed"] = {"type": "INT32"}
    path = tmp_path / "more.yaml"
    path.write_text(yaml.safe_dump(document))
    topology = load_topology(path)
    node = Node(topology, topology.nodes[0])
    await node.start()
    assert node.engine.catalog.table("pump").measurement("speed") is not None
    await node.stop()
    pump["flow"] = {"type": "TEXT"}
    path.write_text(yaml.safe_dump(document))
    topology = load_topology(path)
    node = Node(topology, topology.nodes[0])
    with pytest.raises(SchemaError, match="flow is stored as DOUBLE"):
        await node.start()
    await node.stop()


async def test_rollups_and_manifests_are_made_by_the_job(start_node: StartNode) -> None:
    node = await start_node(rollups=[{"template": "pump", "every": "1m", "lateness": "1s"}])
    await write(node, *range(T0, T0 + 120_000, 1000))
    await node._maintain()
    rows = node.engine.scan_rows("pump_1m")
    assert len(rows) == 2
    found = {c["table"]: c["state"] for c in node.federation.completeness()}
    assert found == {"pump": "complete", "pump_1m": "complete"}


async def test_a_stop_in_the_middle_of_a_start_leaves_nothing_behind(
    start_node: StartNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(self: Node) -> None:
        raise NodeError("no intake")

    with monkeypatch.context() as patch:
        patch.setattr(Node, "start_intake", fail)
        with pytest.raises(NodeError, match="no intake"):
            await start_node()
    # The fixture stops it: whatever is left open would fail the test as a warning.


async def test_an_address_in_use_is_named(start_node: StartNode, tmp_path: Path) -> None:
    node = await start_node()
    with pytest.raises(NodeError) as caught:
        await start_node(listen=f"127.0.0.1:{node.port}", data_dir="other")
    assert caught.value.field == "listen"


async def test_a_node_with_a_parent_needs_its_token(start_node: StartNode) -> None:
    with pytest.raises(CredentialError, match="mainstem node add edge"):
        await start_node(parent={"node": "plant", "url": "http://127.0.0.1:9"})


async def test_what_is_said_at_start(
    start_node: StartNode, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="mainstem"):
        await start_node(link={"limit": "1Mbit/s"})
    lines = [(r.message, getattr(r, "fields", {})) for r in caplog.records]
    messages = [message for message, _ in lines]
    assert any("admin token" in m for m in messages)
    assert any("need no credential" in m for m in messages)
    ready = next(f for m, f in lines if m == "ready")
    assert (ready["node"], ready["durability"]) == ("edge", "always")


async def test_an_open_listener_without_tls_is_loud_and_wants_credentials(
    start_node: StartNode, caplog: pytest.LogCaptureFixture
) -> None:
    node = await start_node(listen="0.0.0.0:0")
    assert any("WITHOUT TLS" in r.message for r in caplog.records)
    assert any("is ignored" in r.message for r in caplog.records)
    url = f"http://127.0.0.1:{node.port}/api/v1/status"
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        assert answer.status == 401


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for localhost, made by the system's openssl."""
    place = tmp_path_factory.mktemp("tls")
    cert, key = place / "cert.pem", place / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
         "subjectAltName=DNS:localhost,IP:127.0.0.1", "-out", str(cert), "-keyout", str(key)],
        check=True, capture_output=True,
    )  # fmt: skip
    key.chmod(0o600)
    return cert, key


async def test_tls(start_node: StartNode, certificate: tuple[Path, Path]) -> None:
    cert, key = certificate
    node = await start_node(tls={"cert": str(cert), "key": str(key)})
    url = f"https://127.0.0.1:{node.port}/health"
    async with aiohttp.ClientSession() as http:
        async with http.get(url, ssl=client_context(cert)) as answer:
            assert answer.status == 200
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await http.get(url, ssl=client_context(None))
        old = client_context(cert)
        old.minimum_version = ssl.TLSVersion.TLSv1_2
        async with http.get(url, ssl=old) as answer:
            assert answer.status == 200


async def test_a_client_certificate_is_asked_for(
    start_node: StartNode, certificate: tuple[Path, Path]
) -> None:
    cert, key = certificate
    node = await start_node(tls={"cert": str(cert), "key": str(key), "client_ca": str(cert)})
    url = f"https://127.0.0.1:{node.port}/health"
    async with aiohttp.ClientSession() as http:
        with pytest.raises(aiohttp.ClientError):
            await http.get(url, ssl=client_context(cert))
        async with http.get(url, ssl=client_context(cert, cert, key)) as answer:
            assert answer.status == 200


@pytest.mark.parametrize("fault", ["missing", "open", "other"])
async def test_tls_files_that_cannot_be_used(
    start_node: StartNode, certificate: tuple[Path, Path], tmp_path: Path, fault: str
) -> None:
    cert, key = certificate
    mine = tmp_path / "key.pem"
    if fault != "missing":
        mine.write_bytes(key.read_bytes() if fault == "open" else b"no key")
        mine.chmod(0o644 if fault == "open" else 0o600)
    with pytest.raises(CredentialError, match=r"key\.pem"):
        await start_node(tls={"cert": str(cert), "key": str(mine)})


def test_an_unknown_tier_names_those_that_are_installed() -> None:
    with pytest.raises(TierError, match="installed are edge, group, platform"):
        tier_class("workshop")
    assert issubclass(tier_class("edge"), Node)


IDLE = """
import asyncio, json, sys
from mainstem_node.config import load_topology
from mainstem_node.node import tier_class

async def main():
    topology = load_topology(sys.argv[1])
    node = tier_class("edge")(topology, topology.nodes[0])
    await node.start()
    await node._maintain()
    node.runtime.status()
    node.metrics.render()
    await node.stop()
    heavy = {"pyarrow", "duckdb", "sqlglot", "pandas"}
    print(json.dumps(sorted(heavy & set(sys.modules))))

asyncio.run(main())
"""


def test_an_idle_node_loads_nothing_heavy(tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    document: dict[str, Any] = {
        "templates": {"pump": {"measurements": {"flow": {"type": "DOUBLE"}}}},
        "nodes": [{"id": "edge", "tier": "edge", "listen": "127.0.0.1:0", "data_dir": "data",
                   "rollups": [{"template": "pump", "every": "1m"}]}],
    }  # fmt: skip
    path.write_text(yaml.safe_dump(document))
    done = subprocess.run(
        [sys.executable, "-c", IDLE, str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []


@pytest.mark.parametrize(
    ("limit", "expected"),
    [(None, 1 << 30), ("100GB", 10_000_000_000), ("1GB", 256 << 20)],
)
def test_the_log_has_a_tenth_of_the_disk(tmp_path: Path, limit: str | None, expected: int) -> None:
    node: dict[str, Any] = {"id": "p", "tier": "platform", "listen": "127.0.0.1:8410"}
    node["data_dir"] = "data/p"
    if limit is not None:
        node["disk"] = {"limit": limit}
    file = tmp_path / "topology.yaml"
    file.write_text(yaml.safe_dump({"federation": "f", "nodes": [node]}))
    (config,) = load_topology(file).nodes
    assert log_bytes_max(config) == expected
