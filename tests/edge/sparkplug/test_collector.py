"""The Sparkplug host at a real broker: STATE, births, commands, data, and its own absence."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from mainstem_edge.collectors.message_queue import MessageQueue
from mainstem_edge.collectors.mqtt_connection import MqttSettings
from mainstem_edge.collectors.sparkplug import SparkplugCollector, topics
from mainstem_edge.sparkplug.bundle import rows_of, unpack
from mainstem_edge.sparkplug.echo import Echo
from mainstem_edge.sparkplug.payload import Write, command
from mainstem_edge.sparkplug.rows import Source
from mainstem_edge.sparkplug.topics import NodeKey
from mainstem_edge.testing import sparkplug_encoder as enc
from mainstem_edge.testing.mosquitto import Mosquitto, mosquitto_binary
from mainstem_edge.testing.patience import TIMEOUT_S, eventually

pytestmark = pytest.mark.broker
T0 = 1_700_000_000_000
KEY = NodeKey("G", "N")


@pytest.fixture(autouse=True)
def _installed() -> None:
    if mosquitto_binary() is None:
        assert not os.environ.get("MAINSTEM_CI"), "CI must have mosquitto"
        pytest.skip("mosquitto is not installed")


class Device:
    """The other side: an edge node on paho, and everything it hears."""

    def __init__(self, broker: Mosquitto) -> None:
        self.heard: list[tuple[str, bytes, int, bool]] = []
        self._subscribed = threading.Event()
        self.client = paho.Client(CallbackAPIVersion.VERSION2, "device")
        self.client.on_message = lambda _c, _u, m: self.heard.append(
            (m.topic, bytes(m.payload), m.qos, m.retain)
        )
        self.client.on_subscribe = lambda *_: self._subscribed.set()
        self.client.connect("127.0.0.1", broker.port)
        self.client.loop_start()
        self.client.subscribe(
            [("spBv1.0/STATE/#", 1), ("spBv1.0/G/NCMD/N", 1), ("spBv1.0/G/DCMD/N/+", 1)]
        )
        assert self._subscribed.wait(TIMEOUT_S)

    def send(self, topic: str, *metrics: bytes, seq: int | None = None) -> None:
        payload = enc.payload(metrics, time_ms=T0, seq=seq)
        self.client.publish(f"spBv1.0/{topic}", payload, qos=0)

    def states(self) -> list[dict[str, object]]:
        return [json.loads(body) for topic, body, *_ in self.heard if "/STATE/" in topic]

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "broker") as started:
        yield started


@pytest.fixture
def device(broker: Mosquitto) -> Iterator[Device]:
    made = Device(broker)
    yield made
    made.close()


def make(broker: Mosquitto, protocol: str = "auto") -> SparkplugCollector:
    settings = MqttSettings(
        "127.0.0.1", broker.port, "host-client", topics("host", ["G"]), 30, 5000
    )
    return SparkplugCollector(
        "sparkplug-0", [], MessageQueue(1000, 1 << 20), settings=settings, host_id="host",
        protocol=protocol,
    )  # fmt: skip


@pytest.fixture(params=["5", "3.1.1"])
def collector(broker: Mosquitto, request: pytest.FixtureRequest) -> Iterator[SparkplugCollector]:
    made = make(broker, request.param)
    made.start()
    eventually(lambda: made.status()["state"] == "connected", "connected")
    yield made
    made.stop(5)


def test_a_session_with_an_edge_node(collector: SparkplugCollector, device: Device) -> None:
    eventually(lambda: device.states() != [], "STATE")
    topic, body, qos, _ = device.heard[0]
    assert (topic, qos) == ("spBv1.0/STATE/host", 1)
    state = json.loads(body)
    assert state["online"] is True

    # Data before a birth: the host asks, the edge node answers.
    device.send("G/NDATA/N", enc.metric("x", enc.INT32, 1), seq=4)
    eventually(lambda: any("/NCMD/" in heard[0] for heard in device.heard), "NCMD")
    topic, _, qos, retain = next(heard for heard in device.heard if "/NCMD/" in heard[0])
    assert (topic, qos, retain) == ("spBv1.0/G/NCMD/N", 0, False)
    device.send("G/NBIRTH/N", enc.metric("bdSeq", enc.INT64, 0), seq=0)
    device.send("G/DBIRTH/N/D", enc.metric("x", enc.INT32, 1, alias=1), seq=1)
    device.send("G/DDATA/N/D", enc.metric(None, enc.INT32, -2, alias=1, write_kind=False), seq=2)
    eventually(lambda: len(collector.queue) == 3, "three messages")
    bundles = [unpack(each.payload) for each in collector.queue.take(10, 1 << 20, 1)]
    assert len(bundles[0].unread) == 1
    assert [row.values for each in bundles for row in rows_of(each)] == [{"x": 1}, {"x": -2}]

    # A command goes out under the alias of the birth.
    echo = Echo(Source(KEY, "D"), "x")
    known = collector.known(KEY, "D", "x")
    assert known is not None
    octets = command([Write(known.name, known.alias, known.datatype, 7)], T0)
    assert collector.ask("spBv1.0/G/DCMD/N/D", octets, echo)
    eventually(lambda: any("/DCMD/" in heard[0] for heard in device.heard), "DCMD")
    device.send("G/DDATA/N/D", enc.metric(None, enc.INT32, 7, alias=1, write_kind=False), seq=3)
    assert echo.wait(TIMEOUT_S)
    assert echo.value == 7

    # Somebody says that the host is away: it says that it is not, with the time of its session.
    device.heard.clear()
    away = json.dumps({"online": False, "timestamp": 1})
    device.client.publish("spBv1.0/STATE/host", away, qos=1, retain=True)
    eventually(lambda: len(device.states()) == 2, "STATE again")
    assert device.states()[1] == state

    # It leaves in order.
    status = collector.status()
    assert (status["edge_nodes"], status["lost_messages"]) == (1, 0)
    assert status["nodes"][0]["state"] == "online"
    device.heard.clear()
    collector.stop(5)
    eventually(lambda: device.states() != [], "the last STATE")
    assert device.states() == [{"online": False, "timestamp": state["timestamp"]}]


def test_a_lost_host_is_declared_away_and_comes_back(broker: Mosquitto, device: Device) -> None:
    made = make(broker)
    made.start()
    try:
        eventually(lambda: device.states() != [], "STATE")
        first = device.states()[0]
        device.send("G/NBIRTH/N", enc.metric("bdSeq", enc.INT64, 0), seq=0)
        eventually(lambda: made.host.totals()["edge_nodes_online"] == 1, "a birth")
        device.heard.clear()
        connection = made._connection
        assert connection is not None
        sock: Any = connection._client.socket()
        assert sock is not None
        sock.shutdown(2)  # the connection is lost without a DISCONNECT
        eventually(lambda: len(device.states()) >= 2, "the will, and STATE again")
        will, again = device.states()[:2]
        assert will == {"online": False, "timestamp": first["timestamp"]}
        assert again["online"] is True
        # What the edge node said meanwhile is not known: it is asked.
        eventually(lambda: any("/NCMD/" in heard[0] for heard in device.heard), "NCMD")
    finally:
        made.stop(5)
