"""Three tiers are killed at random under load, and every acknowledged point is there exactly once.

1. 100,000 numbered points are published at QoS 1, in bursts, to a durable broker.
2. Meanwhile each tier is killed with -9 ten times, with slowed syncs, and links drop ten times.
3. Every 250 ms each node that is up is asked for its status, the child before its parent: the
   accounting sums hold, and no parent has acknowledged more than it applied.
4. Afterwards all three tiers hold every point that the broker acknowledged, once, with its value;
   the minutes computed at the edge count every point, and the group says that all is complete.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from tiers import write_topology
from whole_river import NodeProcess, free_ports, wait_for

from mainstem_node.broker import EmbeddedBroker
from mainstem_node.relay import LinkRelay
from mainstem_sync.state import accounting

pytestmark = [pytest.mark.crash, pytest.mark.slow]

POINTS = int(os.environ.get("MAINSTEM_KILL_POINTS", "100000"))
KILLS_PER_TIER = int(os.environ.get("MAINSTEM_KILLS", "10"))
LINK_DROPS = 10
DEVICES = 50
SAMPLE_EVERY_S = 0.25
DRAIN_TIMEOUT_S = 180.0
BASE_MS = 1_792_540_800_000
"""Event times are fixed, so that a failing run can be compared with the next."""

TIERS = ("edge", "plant", "group")


def topology(place: Path, ports: dict[str, int]) -> dict[str, Any]:
    """An edge that sends raw rows and one-minute rollups all the way up."""
    exports = [
        {"template": "counter", "mode": "raw"},
        {"template": "counter", "mode": "rollup", "every": "1m"},
    ]
    common = {
        "storage": {"flush_every": "5s", "flush_bytes": "2MiB"},
        "auth": {"loopback": "open"},
    }
    return {
        "federation": "river",
        "templates": {
            "counter": {"measurements": {"n": {"type": "INT64"}, "half": {"type": "DOUBLE"}}}
        },
        "nodes": [
            {
                "id": "group",
                "tier": "group",
                "listen": f"127.0.0.1:{ports['group']}",
                "data_dir": "data/group",
                **common,
            },
            {
                "id": "plant",
                "tier": "platform",
                "listen": f"127.0.0.1:{ports['plant']}",
                "data_dir": "data/plant",
                "parent": {
                    "node": "group",
                    "url": f"http://127.0.0.1:{ports['plant_link']}",
                    "token_file": "secrets/plant",
                },
                "export": exports,
                **common,
            },
            {
                "id": "edge",
                "tier": "edge",
                "listen": f"127.0.0.1:{ports['edge']}",
                "data_dir": "data/edge",
                "parent": {
                    "node": "plant",
                    "url": f"http://127.0.0.1:{ports['edge_link']}",
                    "token_file": "secrets/edge",
                },
                "paths": ["root.plant.line"],
                "collectors": [
                    {
                        "type": "mqtt",
                        "url": f"mqtt://127.0.0.1:{ports['mqtt']}",
                        "subscriptions": [
                            {
                                "topic": "line/+/counter",
                                "codec": "json",
                                "template": "counter",
                                "device": "root.plant.line.{topic[1]}",
                                "time": {"field": "ts", "unit": "ms"},
                            }
                        ],
                    }
                ],
                "rollups": [{"template": "counter", "every": ["1m"], "lateness": "2s"}],
                "export": exports,
                **common,
            },
        ],
    }


class Publisher(threading.Thread):
    """Publishes the numbered points in bursts and remembers which ones the broker acknowledged."""

    def __init__(self, port: int, seed: int) -> None:
        super().__init__(name="publisher", daemon=True)
        self.acknowledged = 0
        self.finished = threading.Event()
        self._port = port
        self._rng = random.Random(seed)

    def run(self) -> None:
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id="numbered", protocol=mqtt.MQTTv311
        )
        client.max_inflight_messages_set(200)
        client.connect("127.0.0.1", self._port)
        client.loop_start()
        number = 0
        while number < POINTS:
            burst = min(POINTS - number, self._rng.randint(200, 4000))
            receipts = [self.publish(client, number + i) for i in range(burst)]
            for receipt in receipts:
                receipt.wait_for_publish(60)
                self.acknowledged += receipt.is_published()
            number += burst
            # Pauses let queues run empty, so that kills also meet idle tiers.
            time.sleep(self._rng.random() * 0.6)
        client.disconnect()
        client.loop_stop()
        self.finished.set()

    @staticmethod
    def publish(client: mqtt.Client, number: int) -> mqtt.MQTTMessageInfo:
        payload = f'{{"ts":{BASE_MS + number * 10},"n":{number},"half":{number / 2}}}'
        return client.publish(f"line/d{number % DEVICES:02}/counter", payload, qos=1)


class Sampler(threading.Thread):
    """Asks every node for its status, child before parent, and collects what does not hold."""

    def __init__(self, nodes: dict[str, NodeProcess]) -> None:
        super().__init__(name="sampler", daemon=True)
        self.samples = 0
        self.problems: list[str] = []
        self.stopping = threading.Event()
        self._nodes = nodes

    def run(self) -> None:
        while not self.stopping.wait(SAMPLE_EVERY_S):
            seen = {name: self._nodes[name].status() for name in TIERS}
            for child, parent in (("edge", "plant"), ("plant", "group")):
                self.compare(seen[child], seen[parent])
            for name, status in seen.items():
                if status is not None:
                    self.samples += 1
                    found = accounting.check(status["accounting"])
                    self.problems.extend(f"{name}: {problem}" for problem in found)

    def compare(self, child: dict[str, Any] | None, parent: dict[str, Any] | None) -> None:
        """What a child was acknowledged, its parent has applied when it is asked later."""
        if child is None or parent is None or child["delivery"] is None:
            return
        acked = child["delivery"]["acked_lsn"]
        entry = next((c for c in parent["children"] if c["node"] == child["node"]), None)
        if entry is None:
            if acked:
                self.problems.append(f"{parent['node']} has forgotten {child['node']}")
            return
        delivery = entry["delivery"]
        if delivery["applied_lsn"] < max(acked, delivery["acked_lsn"]):
            self.problems.append(f"{child['node']} acked {acked}, {parent['node']}: {delivery}")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    for log in sorted(tmp_path.glob("*.log")):
        print(f"--- {log.name}\n{log.read_text(errors='replace')[-2000:]}")


def torment(nodes: dict[str, NodeProcess], relays: list[LinkRelay], rng: random.Random) -> None:
    """Kills each tier and drops links in random order, each as often as the test promises."""
    actions = [*TIERS] * KILLS_PER_TIER + ["link"] * LINK_DROPS
    rng.shuffle(actions)
    for action in actions:
        time.sleep(rng.uniform(0.2, 1.5))
        if action == "link":
            relay = rng.choice(relays)
            relay.cut()
            time.sleep(rng.uniform(0.1, 1.0))
            relay.restore()
        else:
            nodes[action].kill()
            time.sleep(rng.uniform(0.0, 0.5))
            nodes[action].start()
            nodes[action].wait_ready()


def contents(node: NodeProcess) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Every stored number with the time, device and half that it should have; sorted by number."""
    rows = node.sql("SELECT n, time, device, half FROM counter ORDER BY n")
    numbers = np.array([row[0] for row in rows], dtype=np.int64)
    wrong = [
        row
        for row in rows
        if row[1] != BASE_MS + row[0] * 10
        or row[2] != f"root.plant.line.d{row[0] % DEVICES:02}"
        or row[3] != row[0] / 2
    ]
    return numbers, np.array([row[0] for row in wrong], dtype=np.int64)


def is_settled(group: NodeProcess) -> bool:
    """Minutes and raw rows are verified at the group, and the minutes count every point."""
    counted = "SELECT sum(n_count), sum(n_sum) FROM counter_1m"
    answer = group.request("/api/v1/sql", {"sql": counted})
    [[count, total]] = answer["rows"]
    status = group.status()
    assert status is not None
    states = {each["table"]: each["state"] for each in status["completeness"]}
    return (
        states == {"counter": "complete", "counter_1m": "complete"}
        and count == POINTS
        and total == POINTS * (POINTS - 1) // 2
    )


def test_nothing_is_lost_doubled_or_wrong_when_tiers_are_killed(place: Path) -> None:
    seed = int(os.environ.get("MAINSTEM_KILL_SEED", "20261122"))
    names = ("group", "plant", "edge", "plant_link", "edge_link", "mqtt")
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    config = write_topology(place, topology(place, ports))
    nodes = {name: NodeProcess(name, ports[name], config, place / f"{name}.log") for name in TIERS}
    relays = [
        LinkRelay(ports["edge_link"], ("127.0.0.1", ports["plant"])),
        LinkRelay(ports["plant_link"], ("127.0.0.1", ports["group"])),
    ]
    publisher, sampler = Publisher(ports["mqtt"], seed), Sampler(nodes)
    with EmbeddedBroker(place / "broker", port=ports["mqtt"]):
        try:
            for relay in relays:
                relay.start()
            for name in reversed(TIERS):
                nodes[name].start()
            for name in reversed(TIERS):
                nodes[name].wait_ready()
            nodes["edge"].wait_subscribed()
            sampler.start()
            publisher.start()
            torment(nodes, relays, random.Random(seed))
            assert publisher.finished.wait(DRAIN_TIMEOUT_S), "the broker acknowledges everything"
            assert publisher.acknowledged == POINTS
            for name in TIERS:
                wait_for(
                    lambda name=name: (
                        nodes[name].sql("SELECT count(*) FROM counter")[0][0]  # type: ignore[misc]
                        >= POINTS
                    ),
                    DRAIN_TIMEOUT_S,
                    f"{name} holds every point",
                )
            for name in TIERS:
                numbers, wrong = contents(nodes[name])
                assert wrong.tolist() == [], f"{name}: wrong device, time or value"
                assert np.array_equal(numbers, np.arange(POINTS)), f"{name}: lost or doubled"
            wait_for(lambda: is_settled(nodes["group"]), DRAIN_TIMEOUT_S, "the group is complete")
            sampler.stopping.set()
            sampler.join()
            assert sampler.problems == []
            assert sampler.samples > 100
            assert [nodes[name].stop() for name in TIERS] == [0, 0, 0]
        finally:
            sampler.stopping.set()
            for node in nodes.values():
                if node.process is not None and node.process.poll() is None:
                    node.kill()
            for relay in relays:
                relay.close()
