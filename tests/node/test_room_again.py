"""A full disk ends the log of a process, not the work of its node: it goes on when there is room.

A log that fails otherwise stays failed: nobody knows what such a disk does next.
"""

from __future__ import annotations

import asyncio
import errno
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest
import yaml

from mainstem_engine import filesystem
from mainstem_node.config import load_topology
from mainstem_node.host import NodeHost
from mainstem_node.node import Node

DEADLINE_S = 30.0
T0 = 1_700_000_040_000


class Usage(NamedTuple):
    total: int
    used: int
    free: int


class Disk:
    """Takes bytes, or has no room."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = False
        self._write = filesystem._writev
        monkeypatch.setattr(filesystem, "_writev", self.write)
        monkeypatch.setattr(shutil, "disk_usage", self.usage)

    def write(self, *arguments: Any) -> int:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self._write(*arguments)

    def usage(self, path: Path) -> Usage:
        assert path.is_dir()
        return Usage(1 << 40, 0, 0 if self.full else 1 << 30)


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[NodeHost]:
    section = {
        "id": "edge", "tier": "edge", "listen": "127.0.0.1:0", "data_dir": "data",
        "paths": ["root.p"], "auth": {"loopback": "open"},
    }  # fmt: skip
    templates = {"pump": {"measurements": {"flow": {"type": "DOUBLE"}}}}
    path = tmp_path / "topology.yaml"
    path.write_text(yaml.safe_dump({"templates": templates, "nodes": [section]}))

    def make(topology: Any, config: Any, host: NodeHost) -> Node:
        return Node(topology, config, host=host)

    host = NodeHost(load_topology(path), "edge", make, clock_ns=time.time_ns, room_look_s=0.02)
    await host.start()
    yield host
    await host.stop()


async def write(host: NodeHost, time_ms: int) -> int:
    """The status of the answer."""
    assert host.node is not None
    group = {
        "template": "pump", "device": "root.p.d", "rows": [{"time": time_ms, "flow": 1.0}],
    }  # fmt: skip
    url = f"http://127.0.0.1:{host.node.port}/api/v1/write"
    async with aiohttp.ClientSession() as http, http.post(url, json=group) as answer:
        return answer.status


async def test_a_node_goes_on_when_there_is_room_again(
    host: NodeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    assert await write(host, T0) == 200
    failed = host.node
    assert failed is not None
    disk.full = True
    assert await write(host, T0 + 1) == 503
    assert failed.lacked_room()
    assert len(failed.engine.scan_rows("pump")) == 1, "reads go on"
    disk.full = False
    deadline = time.monotonic() + DEADLINE_S
    while host.node is None or host.node is failed or not host.node._ready:
        assert time.monotonic() < deadline, "the node is started anew"
        await asyncio.sleep(0.01)
    assert await write(host, T0 + 2) == 200
    times = host.node.engine.scan_rows("pump").time.tolist()
    assert set(times) >= {T0 * 10**6, (T0 + 2) * 10**6}


async def test_a_log_that_failed_otherwise_stays_failed(
    host: NodeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> int:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(filesystem, "_writev", fail)
    assert await write(host, T0) == 503
    assert host.node is not None
    assert not host.node.lacked_room()
