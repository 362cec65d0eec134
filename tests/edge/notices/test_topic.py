"""Changes of alarms at real brokers: mosquitto, the embedded one, and one that never answers."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.edge.notices.listener import Listener

from mainstem_edge.actions.publisher import Broker
from mainstem_edge.notices.courier import RefusedError, SendError
from mainstem_edge.notices.notice import Telling
from mainstem_edge.notices.topic import Topic
from mainstem_edge.testing.mosquitto import Mosquitto, mosquitto_binary
from mainstem_node.broker import EmbeddedBroker

DEADLINE_S = 20.0
TELLING = Telling("root.m1@5/raised", {"id": "root.m1@5/raised", "source": "root.m1", "rule": "a+"})


@pytest.fixture
def make_mosquitto(tmp_path: Path) -> Iterator[Callable[..., Mosquitto]]:
    if mosquitto_binary() is None:
        assert not os.environ.get("MAINSTEM_CI"), "CI must have mosquitto"
        pytest.skip("mosquitto is not installed")
    made: list[Mosquitto] = []

    def make(*options: str) -> Mosquitto:
        made.append(Mosquitto(tmp_path / "broker", options=("allow_anonymous true", *options)))
        made[-1].start()
        return made[-1]

    yield make
    for broker in made:
        broker.stop()


def topic(port: int, pattern: str = "alarms/{device}/{rule}", **options: object) -> Topic:
    return Topic(Broker("127.0.0.1", port, "notify", ()), pattern, **options)  # type: ignore[arg-type]


def heard(listener: Listener, count: int) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while len(listener.got) < count:
        assert time.monotonic() < deadline, listener.got
        time.sleep(0.01)


@pytest.mark.broker
@pytest.mark.parametrize("protocol", ["auto", "5", "3.1.1"])
def test_mosquitto_has_it_over_one_connection(
    make_mosquitto: Callable[..., Mosquitto], protocol: str
) -> None:
    broker = make_mosquitto()
    listener = Listener(broker.port)
    receiver = topic(broker.port, protocol=protocol)
    receiver.greet()
    for _ in range(3):
        receiver.send(TELLING)
    receiver.rest()
    heard(listener, 3)
    listener.close()
    assert listener.got == [("alarms/root.m1/a_", TELLING.fields)] * 3
    broker.stop()
    with pytest.raises(SendError, match="cannot be reached"):
        receiver.send(TELLING)
    with pytest.raises(SendError, match="cannot be reached"):
        receiver.greet()


@pytest.mark.broker
@pytest.mark.parametrize("retain", [False, True])
def test_the_last_one_is_kept_where_that_is_asked_for(
    make_mosquitto: Callable[..., Mosquitto], retain: bool
) -> None:
    broker = make_mosquitto()
    receiver = topic(broker.port, retain=retain)
    receiver.send(TELLING)
    receiver.rest()
    listener = Listener(broker.port)
    late = topic(broker.port, "after")
    late.send(TELLING)
    late.rest()
    heard(listener, 1 + retain)
    listener.close()
    assert [name for name, _ in listener.got] == ["alarms/root.m1/a_"] * retain + ["after"]


@pytest.mark.broker
def test_a_reason_of_version_5_is_a_refusal(
    make_mosquitto: Callable[..., Mosquitto], tmp_path: Path
) -> None:
    """PUBACK comes with 0x87; in 3.1.1 mosquitto says nothing of it."""
    rules = tmp_path / "acl"
    rules.write_text("topic write allowed/#\n", encoding="utf-8")
    rules.chmod(0o600)
    broker = make_mosquitto(f"acl_file {rules}")
    receiver = topic(broker.port)
    with pytest.raises(RefusedError, match="Not authorized"):
        receiver.send(TELLING)
    allowed = topic(broker.port, "allowed/{rule}")
    allowed.send(TELLING)
    allowed.rest()


def test_a_broker_of_an_older_version_has_it(tmp_path: Path) -> None:
    with EmbeddedBroker(tmp_path / "broker") as broker:
        listener = Listener(broker.port)
        receiver = topic(broker.port)
        receiver.send(TELLING)
        receiver.rest()
        heard(listener, 1)
        listener.close()
        with pytest.raises(SendError, match="does not let in"):
            topic(broker.port, protocol="5").send(TELLING)


def test_without_an_acknowledgement_it_was_not_told(silent_broker: int) -> None:
    receiver = topic(silent_broker, protocol="3.1.1", timeout_s=0.2)
    with pytest.raises(SendError, match="did not acknowledge"):
        receiver.send(TELLING)
