"""The inbox at an edge: unknown devices of a broker are kept, adopted, and go on as devices."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from mainstem_edge import inbox_reader
from mainstem_edge.assembly.mqtt import asked_for
from mainstem_edge.node import EdgeNode
from mainstem_node.broker import EmbeddedBroker
from mainstem_node.config import load_topology
from mainstem_node.config.collectors.mqtt import MqttCollectorConfig
from mainstem_node.errors import ConfigError
from mainstem_node.replay import BrokerAddress, Publisher

TIMEOUT_S = 20.0
T0 = 1_792_540_800_000


def write_topology(place: Path, url: str) -> Path:
    subscriptions = [
        {"topic": "#", "inbox": True},
        {"topic": "plant/+/t", "template": "pump", "device": "root.plant.{topic[1]}",
         "auto_create": False, "tags": {"line": "{payload.line}"}},
        {"topic": "named/+", "template": "pump", "device": "root.plant.{payload.name}"},
    ]  # fmt: skip
    measurements = {"flow": {"type": "DOUBLE", "from": "f", "scale": 0.1, "range": [0, 100]},
                    "count": {"type": "INT64"}}  # fmt: skip
    document = {
        "templates": {"pump": {"tags": {"line": "TEXT"}, "measurements": measurements}},
        "nodes": [
            {"id": "edge", "tier": "edge", "listen": "127.0.0.1:0", "data_dir": "data",
             "paths": ["root.plant"], "auth": {"loopback": "open"},
             "clock": {"future": "100000d"},
             "collectors": [{"type": "mqtt", "url": url, "subscriptions": subscriptions}]}
        ],
    }  # fmt: skip
    path = place / "topology.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


async def eventually(condition: Callable[[], bool], what: str) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not condition():  # noqa: ASYNC110 - what is watched runs in threads
            await asyncio.sleep(0.02)


@asynccontextmanager
async def running(place: Path, broker: EmbeddedBroker) -> AsyncIterator[EdgeNode]:
    topology = load_topology(write_topology(place, broker.url))
    node = EdgeNode(topology, topology.nodes[0])
    async with AsyncExitStack() as stack:
        stack.push_async_callback(node.stop)
        await node.start()
        await eventually(
            lambda: node.status_fields()["collectors"][0]["state"] == "connected", "connected"
        )
        yield node


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[EmbeddedBroker]:
    with EmbeddedBroker(tmp_path / "broker", sync_always=False) as made:
        yield made


async def publish(broker: EmbeddedBroker, topic: str, *rows: Any) -> None:
    def send() -> None:
        with Publisher(BrokerAddress.parse(broker.url)) as publisher:
            for row in rows:
                data = row if isinstance(row, bytes) else json.dumps(row).encode()
                publisher.publish(topic, data)
            publisher.drain()

    await asyncio.to_thread(send)


def shown(node: EdgeNode) -> dict[str, dict[str, Any]]:
    """The inbox by name."""
    return {each["name"]: each for each in node.runtime.inbox.listed()["devices"]}


def intake(node: EdgeNode) -> dict[str, int]:
    found: dict[str, int] = node.runtime.status()["accounting"].get("pump", {}).get("intake", {})
    return found


def stored(node: EdgeNode, device: str) -> list[tuple[Any, ...]]:
    if node.engine.catalog.devices.id_of(device) is None:
        return []
    rows = node.engine.scan("pump", devices=[device]).read_all().to_pylist()
    return [(row["time"], row["flow"], row["count"]) for row in rows]


async def test_an_unknown_device_is_kept_over_a_restart_and_adopted_by_the_rules(
    tmp_path: Path, broker: EmbeddedBroker
) -> None:
    name = "root.plant.m1"
    rows = [{"ts": T0 + n, "f": 10.0 * n, "count": n, "line": "L1"} for n in range(1, 4)]
    async with running(tmp_path, broker) as node:
        await publish(broker, "plant/m1/t", *rows, {"ts": T0 + 9, "f": 5e3, "count": 9})
        await eventually(lambda: shown(node).get(name, {}).get("rows") == 4, "in the inbox")
        await eventually(lambda: intake(node).get("quarantined") == 4, "counted")
    async with running(tmp_path, broker) as node:
        found = shown(node)[name]
        assert (found["collector"], found["topic"]) == ("mqtt-0", "plant/m1/t")
        assert found["tags"] == {"line": "L1"}
        assert (found["reasons"], found["template"]) == ({"unknown_device": 4}, "pump")
        answer = await asyncio.to_thread(node.runtime.inbox.adopt, found["id"])
        assert (answer["device"], answer["rows"], answer["left"]) == (name, 4, 0)
        # Scaled, and judged by the range, as if it had always been there.
        expected = [(T0 + n, 1.0 * n, n) for n in range(1, 4)]
        assert stored(node, name) == [*expected, (T0 + 9, None, 9)]
        counts = intake(node)
        assert (counts["received"], counts["accepted"], counts["quarantined"]) == (4, 4, 0)
        left = {(each["reason"], each["measurement"])
                for each in node.federation.quarantine.items()}  # fmt: skip
        assert ("out_of_range", "flow") in left
        assert not {"unknown_device"} & {reason for reason, _ in left}
        number = node.engine.catalog.devices.id_of(name)
        assert number is not None
        assert node.engine.catalog.devices.tags(number) == {"line": "L1"}
        await publish(broker, "plant/m1/t", {"ts": T0 + 100, "f": 70.0})
        await eventually(lambda: len(stored(node, name)) == 5, "later rows are its own")
        assert shown(node) == {}


async def test_names_without_a_path_go_where_they_were_adopted(
    tmp_path: Path, broker: EmbeddedBroker
) -> None:
    async with running(tmp_path, broker) as node:
        await publish(broker, "named/x", {"ts": T0, "count": 1})
        await eventually(lambda: "named/x" in shown(node), "in the inbox")
        found = shown(node)["named/x"]
        assert found["reasons"] == {"bad_path": 1}
        assert found["suggestion"]["device"] == "root.plant.named.x"
        await asyncio.to_thread(node.runtime.inbox.adopt, found["id"], None, "root.plant.nx")
        await publish(broker, "named/x", {"ts": T0 + 1, "count": 2})
        await eventually(lambda: len(stored(node, "root.plant.nx")) == 2, "both are there")
        # A name that forms a path can go elsewhere, too.
        await publish(broker, "plant/m9/t", {"ts": T0, "count": 1})
        await eventually(lambda: "root.plant.m9" in shown(node), "in the inbox")
        key = shown(node)["root.plant.m9"]["id"]
        await asyncio.to_thread(node.runtime.inbox.adopt, key, None, "root.plant.nine")
        await publish(broker, "plant/m9/t", {"ts": T0 + 1, "count": 2})
        await eventually(lambda: len(stored(node, "root.plant.nine")) == 2, "both are there")
    async with running(tmp_path, broker) as node:
        await publish(broker, "plant/m9/t", {"ts": T0 + 2, "count": 3})
        await publish(broker, "named/x", {"ts": T0 + 2, "count": 3})
        await eventually(
            lambda: len(stored(node, "root.plant.nine") + stored(node, "root.plant.nx")) == 6,
            "after a restart too",
        )
        assert shown(node) == {}


async def test_looking_around_finds_topics_which_become_devices(
    tmp_path: Path, broker: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox_reader, "KEPT_OF_TOPIC_MAX", 2)
    async with running(tmp_path, broker) as node:
        await publish(broker, "z2m/hall", {"ts": T0, "temp": 20.5}, {"ts": T0 + 1, "temp": 21})
        await publish(broker, "z2m/hall", {"ts": T0 + 2, "temp": 22})  # beyond the bound
        await publish(broker, "raw/level", b"7", b"not a number")
        await eventually(
            lambda: (
                {n: e["rows"] for n, e in shown(node).items()} == {"z2m/hall": 2, "raw/level": 2}
            ),
            "both are in the inbox",
        )
        assert node.status_fields()["collectors"][0]["not_kept"] == 1
        found = shown(node)["z2m/hall"]
        assert (found["collector"], found["topic"]) == ("mqtt-0", "z2m/hall")
        assert found["fields"] == {"temp": "DOUBLE"}
        answer = await asyncio.to_thread(node.runtime.inbox.adopt, found["id"], "room")
        assert (answer["template_made"], answer["device"]) == (True, "root.plant.z2m.hall")

        def temperatures() -> list[Any]:
            rows: list[Any] = node.engine.scan("room").read_all()["temp"].to_pylist()
            return rows

        assert temperatures() == [20.5, 21.0]  # at the times that the payloads say
        await publish(broker, "z2m/hall", {"ts": T0 + 3, "temp": 23.5})
        await eventually(lambda: temperatures() == [20.5, 21.0, 23.5], "later ones are rows")
        level = shown(node)["raw/level"]
        answer = await asyncio.to_thread(node.runtime.inbox.adopt, level["id"], "tank")
        assert (answer["rows"], answer["left"]) == (2, 0)
        assert node.engine.scan("tank").read_all()["level"].to_pylist() == [7]
        assert shown(node) == {}
    async with running(tmp_path, broker) as node:
        await publish(broker, "z2m/hall", {"ts": T0 + 4, "temp": 24.5})
        await eventually(
            lambda: node.engine.scan("room").read_all().num_rows == 4, "after a restart too"
        )


async def test_an_ignored_device_is_counted_and_not_kept(
    tmp_path: Path, broker: EmbeddedBroker
) -> None:
    async with running(tmp_path, broker) as node:
        await publish(broker, "plant/m1/t", {"ts": T0, "count": 1})
        await publish(broker, "noise", {"x": 1})
        await eventually(lambda: len(shown(node)) == 2, "in the inbox")
        for found in shown(node).values():
            await asyncio.to_thread(node.runtime.inbox.ignore, found["id"])
        await publish(broker, "plant/m1/t", *({"ts": T0 + n, "count": n} for n in (1, 2)))
        await publish(broker, "noise", {"x": 2})
        await eventually(
            lambda: {each["name"]: each["rows"]
                     for each in node.runtime.inbox.listed()["ignored"]}
            == {"root.plant.m1": 2, "noise": 1},
            "counted",
        )  # fmt: skip
        assert node.federation.quarantine.items() == []
        expected = {"received": 3, "accepted": 0, "filtered": 2, "quarantined": 1, "refused": 0}
        await eventually(lambda: intake(node) == expected, "in the accounts")
    async with running(tmp_path, broker) as node:
        ignored = node.runtime.inbox.listed()["ignored"]
        assert {each["rows"] for each in ignored} == {1, 2}


def test_brokers_are_not_asked_twice_for_a_topic(tmp_path: Path) -> None:
    path = write_topology(tmp_path, "mqtt://127.0.0.1:1883")
    document = yaml.safe_load(path.read_text())
    collector = document["nodes"][0]["collectors"][0]

    def asked(around: str, *others: str) -> list[str]:
        more = {"template": "pump", "device": "root.plant.x"}
        collector["subscriptions"] = [
            {"topic": around, "inbox": True}, *({"topic": t, **more} for t in others)
        ]  # fmt: skip
        path.write_text(yaml.safe_dump(document))
        (config,) = load_topology(path).nodes[0].collectors
        assert isinstance(config, MqttCollectorConfig)
        return asked_for(config)

    assert asked("#", "a/b", "+/c", "d/#", "$SYS/x") == ["#", "$SYS/x"]
    assert asked("a/#", "a/b", "a/#", "a", "b/a", "+/b") == ["a/#", "b/a", "+/b"]
    assert asked("a/+/#", "a/#", "a/+/c") == ["a/+/#", "a/#"]
    assert asked("a/+", "a/b") == ["a/+", "a/b"]


def test_a_subscription_that_looks_around_says_nothing_else(tmp_path: Path) -> None:
    path = write_topology(tmp_path, "mqtt://127.0.0.1:1883")
    document = yaml.safe_load(path.read_text())
    document["nodes"][0]["collectors"][0]["subscriptions"][0]["template"] = "pump"
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(ConfigError, match="with `inbox: true` nothing is known"):
        load_topology(path)
