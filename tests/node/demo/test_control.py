"""Links of a running demo are cut and restored from outside, and only with its token."""

from __future__ import annotations

import asyncio
import json
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import yaml

from mainstem_node.config import load_topology
from mainstem_node.config.collectors.mqtt import MqttCollectorConfig
from mainstem_node.demo.control import CUT, FILE_NAME, RESTORE, LinkControl, change_link
from mainstem_node.demo.factory import DemoError, DemoFactory, prepare


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[DemoFactory]:
    factory = prepare(tmp_path / "demo", 18400)
    control = LinkControl(factory)
    await control.start()
    yield factory
    await control.stop()
    factory.close()


async def test_a_link_is_cut_and_restored(running: DemoFactory) -> None:
    answer = await asyncio.to_thread(change_link, running.directory, "plant_a", CUT)
    assert answer == {"node": "plant_a", "parent": "group", "state": "cut", "base": 18400}
    assert running.relays["plant_a"].is_cut
    assert not running.relays["plant_b"].is_cut
    await asyncio.to_thread(change_link, running.directory, "plant_a", RESTORE)
    assert not running.relays["plant_a"].is_cut


async def test_a_node_without_a_link_is_named(running: DemoFactory) -> None:
    with pytest.raises(DemoError, match=r"'group' has no link.*plant_a_press"):
        await asyncio.to_thread(change_link, running.directory, "group", CUT)


async def test_the_control_needs_its_token(running: DemoFactory) -> None:
    file = running.directory / FILE_NAME
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    port = json.loads(file.read_text())["port"]
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"http://127.0.0.1:{port}/links/plant_a/cut") as answer,
    ):
        assert answer.status == 401
    assert not running.relays["plant_a"].is_cut


def test_without_a_demo_the_remedy_is_named(tmp_path: Path) -> None:
    with pytest.raises(DemoError, match=r"no demo runs in .*mainstem demo"):
        change_link(tmp_path, "plant_a", CUT)


def test_the_demo_runs_the_example_on_its_own_ports_through_relays(tmp_path: Path) -> None:
    factory = prepare(tmp_path, 20000)
    try:
        topology = load_topology(factory.topology)
        ports = {node.id: node.listen.port for node in topology.nodes}
        assert ports == {
            "group": 20000, "plant_a": 20010, "plant_b": 20020,
            "plant_a_press": 20011, "plant_a_paint": 20012, "plant_b_boiler": 20021,
        }  # fmt: skip
        assert factory.broker_port == 20090
        for node in topology.nodes:
            for collector in node.collectors:
                assert isinstance(collector, MqttCollectorConfig)
                assert collector.url == f"mqtt://127.0.0.1:{factory.broker_port}"
            if node.parent is not None:
                assert node.parent.url == (f"http://127.0.0.1:{factory.relays[node.id].port}",)
    finally:
        factory.close()


def test_the_example_stands_on_its_own() -> None:
    from mainstem_node.demo.factory import TOPOLOGY_NAME, example_directory

    path = example_directory() / TOPOLOGY_NAME
    topology = load_topology(path)
    assert len(topology.nodes) == 6
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert {node["id"] for node in document["nodes"]} == {node.id for node in topology.nodes}


def test_a_port_that_is_used_is_named(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 20120)),
        pytest.raises(DemoError, match=r"port 20120 cannot be used .*--port-base"),
    ):
        prepare(tmp_path, 20100)


def test_a_port_base_without_room_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DemoError, match="leaves no room"):
        prepare(tmp_path, 65500)
