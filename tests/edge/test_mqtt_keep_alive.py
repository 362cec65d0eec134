"""Keep-alives of a connection: nothing read on purpose is no silence, a broker that is gone is."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import MQTTProtocolVersion

from mainstem_edge.collectors.interface import Message
from mainstem_edge.collectors.mqtt_connection import ConnectionEnd, MqttConnection, MqttSettings
from mainstem_edge.testing.mosquitto import Mosquitto, mosquitto_binary
from mainstem_edge.testing.patience import eventually
from mainstem_node.replay import BrokerAddress, Publisher

pytestmark = pytest.mark.broker

KEEPALIVE_S = 60
MESSAGES = 50


class Reading:
    """A connection that runs in a thread, by a clock of paho that is put forward."""

    def __init__(self, broker: Mosquitto, monkeypatch: pytest.MonkeyPatch) -> None:
        self.holds = False
        self.arrived: list[Message] = []
        self.turns = 0
        self.end: ConnectionEnd | None = None
        self._ahead_s = 0.0
        clock = paho.time_func
        monkeypatch.setattr(paho, "time_func", lambda: clock() + self._ahead_s)
        self.subscribed = threading.Event()
        settings = MqttSettings(
            "127.0.0.1", broker.port, "edge", (("plant/#", 1),), KEEPALIVE_S, in_flight=100
        )
        self.connection = MqttConnection(
            settings,
            MQTTProtocolVersion.MQTTv5,
            on_messages=self.arrived.extend,
            on_subscribed=lambda _present: self.subscribed.set(),
            on_copy=lambda: None,
            hold=lambda: self.holds,
            owed=Counter(),
            on_turn=self._turn,
        )
        self.thread = threading.Thread(target=self._run)
        self.thread.start()
        assert self.subscribed.wait(10)

    def _run(self) -> None:
        self.end = self.connection.run()

    def _turn(self) -> None:
        self.turns += 1

    def later(self, seconds: float) -> None:
        """So much later by the clock, and looked at since, or over."""
        self._ahead_s += seconds
        looked = self.turns + 2
        self.connection.wake()
        eventually(lambda: self.turns >= looked or self.end is not None, "it has looked")

    def stop(self) -> None:
        self.connection.stop()
        self.thread.join(10)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    if mosquitto_binary() is None:
        pytest.skip("mosquitto is not installed")
    with Mosquitto(tmp_path / "broker", saves=False) as started:
        yield started


def test_a_connection_that_holds_for_long_is_not_given_up(
    broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is slow: for minutes nothing is read, so that no answer to a ping is either."""
    reading = Reading(broker, monkeypatch)
    reading.holds = True
    reading.later(1.0)
    with Publisher(BrokerAddress.parse(broker.url)) as publisher:
        for number in range(MESSAGES):
            publisher.publish(f"plant/m{number}", b"1")
        publisher.drain()
    for _ in range(6):
        reading.later(KEEPALIVE_S * 0.7)
    assert reading.end is None
    assert reading.arrived == []
    reading.holds = False
    reading.connection.wake()
    eventually(lambda: len(reading.arrived) == MESSAGES, "all messages")
    reading.stop()
    assert reading.end is not None
    assert reading.end.problem == "stopped"


def test_a_broker_that_answers_no_ping_is_gone(
    broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading = Reading(broker, monkeypatch)
    os.kill(broker.pid, signal.SIGSTOP)
    try:
        for _ in range(4):
            reading.later(KEEPALIVE_S * 0.7)
        reading.thread.join(10)
        assert reading.end is not None
        assert "Keep alive" in reading.end.problem
        assert reading.end.subscribed
    finally:
        os.kill(broker.pid, signal.SIGCONT)
