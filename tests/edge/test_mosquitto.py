"""The MQTT collector against mosquitto: MQTT 5, its window, users, access lists and TLS."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mainstem_edge.collectors.interface import Message
from mainstem_edge.collectors.message_queue import MessageQueue
from mainstem_edge.collectors.mqtt import MqttCollector, tls_context
from mainstem_edge.collectors.mqtt_connection import MqttSettings
from mainstem_edge.testing.mosquitto import Mosquitto, mosquitto_binary
from mainstem_edge.testing.parts import T0_MS, subscription
from mainstem_edge.testing.patience import TIMEOUT_S, eventually, taken
from mainstem_node.replay import BrokerAddress, Publisher

pytestmark = pytest.mark.broker


@pytest.fixture(autouse=True)
def _installed() -> None:
    if mosquitto_binary() is None:
        assert not os.environ.get("MAINSTEM_CI"), "CI must have mosquitto"
        pytest.skip("mosquitto is not installed")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "broker") as started:
        yield started


@pytest.fixture
def collectors() -> Iterator[list[MqttCollector]]:
    """Those put here end with the test."""
    made: list[MqttCollector] = []
    yield made
    for collector in made:
        collector.stop(5)


def make(broker: Mosquitto, protocol: str = "auto", **options: Any) -> MqttCollector:
    defaults: dict[str, Any] = {
        "host": "127.0.0.1", "port": broker.port, "client_id": "mainstem-edge",
        "topics": (("plant/+/t", 1),), "keepalive_s": 30, "in_flight": 5000,
    }  # fmt: skip
    return MqttCollector(
        "mqtt-0",
        MqttSettings(**{**defaults, **options}),
        [subscription()],
        MessageQueue(10_000, 64 << 20),
        protocol=protocol,
    )


def connect(collector: MqttCollector) -> None:
    collector.start()
    eventually(lambda: collector.status()["state"] == "connected", "connected")


def publish(broker: Mosquitto, numbers: range, url: str | None = None) -> None:
    with Publisher(BrokerAddress.parse(url or broker.url)) as publisher:
        for number in numbers:
            payload = json.dumps({"ts": T0_MS + number, "count": number}).encode()
            publisher.publish("plant/m1/t", payload)
        publisher.drain()


def counts_of(messages: list[Message]) -> list[int]:
    return [json.loads(message.payload)["count"] for message in messages]


def acknowledge(messages: list[Message]) -> None:
    for message in messages:
        message.origin.acknowledge([message.id])


@pytest.mark.parametrize(("protocol", "used"), [("auto", "5"), ("5", "5"), ("3.1.1", "3.1.1")])
def test_the_session_keeps_what_is_not_acknowledged(
    broker: Mosquitto, collectors: list[MqttCollector], protocol: str, used: str
) -> None:
    first = make(broker, protocol)
    collectors.append(first)
    connect(first)
    assert first.status()["protocol"] == used
    publish(broker, range(10))
    acknowledge(taken(first, 10)[:4])
    first.stop(5)
    publish(broker, range(10, 15))  # while the edge is away
    second = make(broker, protocol)
    collectors.append(second)
    connect(second)
    again = taken(second, 11)
    assert counts_of(again) == list(range(4, 15))
    assert all(message.redelivered for message in again[:6])


@pytest.mark.parametrize(
    ("protocol", "broker_max", "in_flight"), [("5", 1000, 20), ("3.1.1", 20, 1000)]
)
def test_no_more_is_in_flight_than_the_window_allows(
    tmp_path: Path,
    collectors: list[MqttCollector],
    protocol: str,
    broker_max: int,
    in_flight: int,
) -> None:
    """Version 5: what the edge asks for. Before it: what the broker is set to."""
    with Mosquitto(tmp_path / "limited", in_flight_max=broker_max) as broker:
        collector = make(broker, protocol, in_flight=in_flight)
        collectors.append(collector)
        connect(collector)
        publish(broker, range(50))
        first = taken(collector, 20)
        # What the broker sends beyond the window would come before what it sends to this one.
        witness = make(broker, protocol, client_id="witness")
        collectors.append(witness)
        connect(witness)
        publish(broker, range(50, 51))
        taken(witness, 1)
        assert collector.status()["messages"] == 20
        acknowledge(first)
        assert counts_of(taken(collector, 20)) == list(range(20, 40))
        for each in collectors:
            each.stop(5)


def test_a_lost_connection_marks_what_comes_again(
    broker: Mosquitto, collectors: list[MqttCollector]
) -> None:
    collector = make(broker)
    collectors.append(collector)
    connect(collector)
    publish(broker, range(3))
    stale = taken(collector, 3)
    broker.stop()
    eventually(lambda: collector.status()["state"] == "waiting", "noticed")
    broker.start()
    eventually(lambda: collector.status()["connects"] == 2, "back")
    assert collector.status()["sessions_lost"] == 0
    again = taken(collector, 3)
    assert counts_of(again) == [0, 1, 2]
    assert all(message.repeated for message in again)
    acknowledge(stale)  # under identifiers of a connection that has ended
    acknowledge(again[:2])
    collector.stop(5)
    later = make(broker)
    collectors.append(later)
    connect(later)
    assert counts_of(taken(later, 1)) == [2]


def test_a_second_client_of_the_same_name_takes_over(
    broker: Mosquitto, collectors: list[MqttCollector]
) -> None:
    first, second = make(broker), make(broker)
    collectors += [first, second]
    connect(first)
    connect(second)
    eventually(lambda: first.status()["disconnects"] >= 1, "the first is cut off")
    eventually(lambda: first.status()["connects"] >= 2, "and comes back after a pause")


def test_a_lost_session_is_said_aloud(
    tmp_path: Path, collectors: list[MqttCollector], caplog: pytest.LogCaptureFixture
) -> None:
    broker = Mosquitto(tmp_path / "broker")
    with broker:
        collector = make(broker)
        collectors.append(collector)
        connect(collector)
    shutil.rmtree(tmp_path / "broker")
    with broker:
        eventually(lambda: collector.status()["connects"] == 2, "back")
        assert collector.status()["sessions_lost"] == 1
        assert "no longer had the session" in caplog.text
        collector.stop(5)


def test_users_and_access_lists(tmp_path: Path, collectors: list[MqttCollector]) -> None:
    place = tmp_path / "broker"
    place.mkdir()
    (place / "users").write_text("edge:right\n")
    subprocess.run(["mosquitto_passwd", "-U", str(place / "users")], check=True)
    (place / "acl").write_text("user edge\ntopic read plant/#\n")
    options = [
        "allow_anonymous false", f"password_file {place}/users", f"acl_file {place}/acl",
    ]  # fmt: skip
    with Mosquitto(place, options=options) as broker:
        right = make(broker, username="edge", password="right")
        wrong = make(broker, username="edge", password="wrong", client_id="wrong")
        nobody = make(broker, client_id="nobody")
        collectors += [right, wrong, nobody]
        connect(right)
        wrong.start()
        nobody.start()
        for refused in (wrong, nobody):
            eventually(lambda each=refused: each.status()["disconnects"] >= 1, "refused")  # type: ignore[misc]
            assert "ot authori" in refused.status()["last_error"]
            assert "wrong'" not in str(refused.status())
        for collector in collectors:
            collector.stop(5)


# paho leaves the socket of a handshake that failed to the garbage collector.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl.SSLSocket")
def test_tls_verifies_the_broker(tmp_path: Path, collectors: list[MqttCollector]) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    place = tmp_path / "broker"
    place.mkdir()
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-keyout", "key.pem", "-out", "cert.pem", "-days", "2", "-subj", "/CN=broker",
         "-addext", "subjectAltName=IP:127.0.0.1"],
        cwd=place, check=True, capture_output=True,
    )  # fmt: skip
    options = ["allow_anonymous true", f"certfile {place}/cert.pem", f"keyfile {place}/key.pem"]
    with Mosquitto(place, options=options, scheme="mqtts") as broker:
        trusted = make(broker, tls=tls_context(place / "cert.pem", None, None))
        stranger = make(broker, client_id="stranger", tls=tls_context(None, None, None))
        collectors += [trusted, stranger]
        connect(trusted)
        stranger.start()
        eventually(lambda: stranger.status()["disconnects"] >= 1, "refused")
        assert "certificate verify failed" in stranger.status()["last_error"]
        big = b"x" * 200_000  # many TLS records: what is decrypted and not yet read is not left
        publish_over_tls(place, broker, big)
        assert [len(message.payload) for message in taken(trusted, 20)] == [len(big)] * 20
        for collector in collectors:
            collector.stop(5)


def publish_over_tls(place: Path, broker: Mosquitto, payload: bytes) -> None:
    import paho.mqtt.client as paho
    from paho.mqtt.enums import CallbackAPIVersion

    client = paho.Client(CallbackAPIVersion.VERSION2, client_id="raw")
    client.tls_set(str(place / "cert.pem"))
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    for info in [client.publish("plant/m1/t", payload, qos=1) for _ in range(20)]:
        info.wait_for_publish(TIMEOUT_S)
    client.disconnect()
    client.loop_stop()
