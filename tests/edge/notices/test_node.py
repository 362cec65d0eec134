"""An edge whose rules tell a broker and a web server, over an outage of either and a restart."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import os
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest
import yaml
from tests.edge.notices.hook import Hook
from tests.edge.notices.listener import Listener

from mainstem_edge.node import EdgeNode
from mainstem_edge.notices.webhook import SIGNATURE
from mainstem_edge.testing.mosquitto import Mosquitto, mosquitto_binary
from mainstem_node.config import load_topology

TIMEOUT_S = 20.0
SECRET = "not-for-everybody"
HOT = "root.plant.m1.alarms.hot"


async def eventually(condition: Callable[[], bool], what: str) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not condition():  # noqa: ASYNC110 - what is watched runs in threads
            await asyncio.sleep(0.02)


def edge(place: Path, broker: Mosquitto, port: int) -> EdgeNode:
    reading = {"template": "pump", "device": "root.plant.{topic}", "codec": "json"}
    document = {
        "templates": {"pump": {"measurements": {"heat": {"type": "DOUBLE"}}}},
        "nodes": [{
            "id": "edge", "tier": "edge", "listen": "127.0.0.1:0", "data_dir": "data",
            "paths": ["root.plant"], "auth": {"loopback": "open"},
            "collectors": [{"type": "http_push", "name": "m1", **reading,
                            "device": "root.plant.m1"}],
            "rules": [
                {"name": "hot", "template": "pump", "measurement": "heat", "above": 90,
                 "actions": ["mqtt", "webhook"]},
                {"name": "warm", "template": "pump", "measurement": "heat", "above": 50},
            ],
            "notify": [
                {"type": "mqtt", "url": broker.url, "retain": True},
                {"type": "webhook", "url": f"http://127.0.0.1:{port}/hooks/T0K3N",
                 "secret": "${HOOK_SECRET}",
                 "secret_headers": {"X-Key": "${HOOK_SECRET}"}},
            ],
        }],
    }  # fmt: skip
    path = place / "topology.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    topology = load_topology(path)
    return EdgeNode(topology, topology.nodes[0])


async def measure(node: EdgeNode, *heats: float) -> None:
    """Returns when the rows are durable."""
    async with aiohttp.ClientSession(f"http://127.0.0.1:{node.port}") as session:
        for heat in heats:
            async with session.post("/collect/v1/m1", json={"heat": heat}) as answer:
                assert answer.status == 200, await answer.text()


def pending(node: EdgeNode) -> list[int]:
    return [each["pending"] for each in node.status_fields()["notify"]]


@pytest.mark.broker
async def test_an_edge_tells_what_happened_while_nobody_was_there(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    unused_tcp_port: int,
) -> None:
    """Receivers are away, the edge is stopped and started; then they come back."""
    if mosquitto_binary() is None:
        assert not os.environ.get("MAINSTEM_CI"), "CI must have mosquitto"
        pytest.skip("mosquitto is not installed")
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    async with AsyncExitStack() as stack:
        await away_and_back(stack, tmp_path, unused_tcp_port)
    logged = "\n".join(record.getMessage() for record in caplog.records)
    assert "warm" in logged
    assert "T0K3N" not in logged
    assert SECRET not in logged
    assert "alarm raised (warning): hot" not in logged


async def away_and_back(stack: AsyncExitStack, place: Path, port: int) -> None:
    broker, hook = Mosquitto(place / "broker"), Hook()
    node = edge(place, broker, port)
    stack.push_async_callback(node.stop)
    await node.start()
    await measure(node, 95.0, 20.0)
    await eventually(
        lambda: all(each["failed"] for each in node.status_fields()["notify"]), "tried"
    )
    status = node.status_fields()["notify"]
    assert [each["delivered"] for each in status] == [0, 0]
    assert "T0K3N" not in json.dumps(status)
    await node.stop()
    stack.enter_context(broker)
    listener = Listener(broker.port)
    stack.callback(listener.close)
    await hook.start(stack, port=port)
    again = edge(place, broker, port)
    stack.push_async_callback(again.stop)
    await again.start()
    await eventually(lambda: pending(again) == [0, 0], "all is told")
    assert hook.changes == ["raised", "cleared"]
    await eventually(lambda: len(listener.got) == 2, "heard")
    told = [(topic, body["change"]) for topic, body in listener.got]
    assert told == [("mainstem/edge/alarms/root.plant.m1/hot", "raised"),
                    ("mainstem/edge/alarms/root.plant.m1/hot", "cleared")]  # fmt: skip
    assert [body["id"] for _, body in listener.got] == [
        json.loads(body)["id"] for _, body in hook.got
    ]
    headers, body = hook.got[0]
    seconds = headers[SIGNATURE].removeprefix("t=").partition(",")[0]
    digest = hmac.new(SECRET.encode(), f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()
    assert headers[SIGNATURE] == f"t={seconds},v1={digest}"
    assert headers["X-Key"] == SECRET
    await measure(again, 99.0)
    await eventually(lambda: pending(again) == [0, 0] and len(hook.got) == 3, "told at once")
    again.alarms.acknowledge(HOT, "ann", "on my way")
    await eventually(lambda: pending(again) == [0, 0] and len(hook.got) == 4, "seen")
    await eventually(lambda: len(listener.got) == 4, "heard")
    assert json.loads(hook.got[-1][1])["by"] == "ann"
    assert listener.got[-1][1]["change"] == hook.changes[-1] == "acknowledged"
    late = Listener(broker.port)
    stack.callback(late.close)
    await eventually(lambda: bool(late.got), "kept by the broker")
    assert [body["change"] for _, body in late.got] == ["acknowledged"]
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{again.port}/metrics") as answer,
    ):
        metrics = await answer.text()
    assert 'mainstem_notify_total{end="delivered",to="webhook"} 4.0' in metrics
    assert 'mainstem_notify_pending{to="mqtt"} 0.0' in metrics
    assert 'mainstem_notify_failed_tries_total{to="webhook"}' in metrics
