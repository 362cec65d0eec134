"""``mqtt.publish`` against a real broker, none, and one that never answers."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from mainstem_edge.actions.mqtt_publish import PAYLOAD_BYTES_MAX, MqttPublish
from mainstem_edge.actions.publisher import Broker
from mainstem_node.broker import EmbeddedBroker
from mainstem_node.commanding.action import ActionError, UncertainActionError
from mainstem_node.errors import BadRequestError

DEADLINE_S = 20.0


def publish(port: int, topics: Sequence[str] = ("valves/+/set",), **more: float) -> MqttPublish:
    return MqttPublish([Broker("127.0.0.1", port, "test-command", topics)], **more)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker(tmp_path_factory.mktemp("broker")) as started:
        yield started


def test_a_message_arrives_once(broker: EmbeddedBroker) -> None:
    arrived: list[tuple[str, bytes]] = []
    ready, got = threading.Event(), threading.Event()

    def on_message(client: mqtt.Client, userdata: object, message: mqtt.MQTTMessage) -> None:
        arrived.append((message.topic, bytes(message.payload)))
        got.set()

    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.on_connect = lambda client, *_: client.subscribe("valves/#", 1)
    client.on_subscribe = lambda *_: ready.set()
    client.on_message = on_message
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    try:
        assert ready.wait(DEADLINE_S)
        action = publish(broker.port)
        arguments = {"topic": "valves/v1/set", "payload": {"to": "open"}}
        action.check(arguments)
        told = action.run(arguments)
        assert told == {"broker": f"127.0.0.1:{broker.port}", "topic": "valves/v1/set"}
        assert got.wait(DEADLINE_S)
        action.run({"topic": "valves/v2/set", "payload": "text"})
    finally:
        client.disconnect()
        client.loop_stop()
    assert arrived[0] == ("valves/v1/set", b'{"to": "open"}')
    assert len([each for each in arrived if each[0] == "valves/v1/set"]) == 1


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({}, "topic"),
        ({"topic": 3}, "topic"),
        ({"topic": "valves/+/set"}, "topic"),
        ({"topic": "other/v1/set"}, "topic"),
        ({"topic": "valves/v1/set/more"}, "topic"),
        ({"topic": "valves/v1/set", "retain": "yes"}, "retain"),
        ({"topic": "valves/v1/set", "payload": "x" * (PAYLOAD_BYTES_MAX + 1)}, "payload"),
        ({"topic": "valves/v1/set", "qos": 2}, None),
    ],
)
def test_what_is_not_allowed_is_refused(arguments: dict[str, Any], field: str | None) -> None:
    with pytest.raises(BadRequestError) as raised:
        publish(1).check(arguments)
    assert raised.value.field == field


def test_without_a_broker_nothing_was_done(unused_tcp_port: int) -> None:
    with pytest.raises(ActionError):
        publish(unused_tcp_port).run({"topic": "valves/v1/set"})


def test_nobody_knows_what_became_of_a_message_without_an_answer(silent_broker: int) -> None:
    with pytest.raises(UncertainActionError):
        publish(silent_broker, answer_s=0.2).run({"topic": "valves/v1/set"})


def test_a_password_is_in_no_text() -> None:
    assert "secret" not in repr(Broker("h", 1, "c", (), "user", "secret"))
