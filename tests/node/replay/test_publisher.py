"""The publisher's ledger: every message is acknowledged, refused or still outstanding."""

from __future__ import annotations

from typing import Any

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from mainstem_node.replay import BrokerAddress, BrokerError, Publisher

SUCCESS = ReasonCode(PacketTypes.PUBACK)
DENIED = ReasonCode(PacketTypes.PUBACK, "Not authorized")


class FakeClient:
    """paho's part: gives out message ids; ``early`` answers before publish() returns."""

    def __init__(self, publisher: Publisher, early: bool = False) -> None:
        self._publisher = publisher
        self._early = early
        self.mid = 0

    def publish(self, topic: str, payload: bytes, qos: int) -> Any:
        self.mid += 1
        if self._early:
            self._publisher._published(None, None, self.mid, SUCCESS, None)  # type: ignore[arg-type]
        return type("Info", (), {"rc": 0, "mid": self.mid})()


def connected(early: bool = False, **options: Any) -> Publisher:
    publisher = Publisher(BrokerAddress("localhost", 1883), **options)
    publisher._client = FakeClient(publisher, early)  # type: ignore[assignment]
    return publisher


def test_an_answer_that_overtakes_publish_is_counted() -> None:
    tokens: list[Any] = []
    publisher = connected(early=True, on_acknowledged=tokens.append)
    publisher.publish("a", b"1", "first")
    publisher.drain()
    assert tokens == ["first"]
    assert publisher.statistics().acknowledged == 1


def test_a_refusal_is_not_an_acknowledgement() -> None:
    publisher = connected()
    publisher.publish("a", b"1")
    publisher.publish("a", b"2")
    publisher._published(None, None, 2, SUCCESS, None)  # type: ignore[arg-type]
    publisher._published(None, None, 1, DENIED, None)  # type: ignore[arg-type]
    publisher.drain()
    counted = publisher.statistics()
    assert (counted.messages, counted.acknowledged, counted.refused) == (2, 1, 1)
    assert counted.first_refusal == "Not authorized"


def test_a_silent_broker_is_given_up_on() -> None:
    publisher = connected(window=2, stall_timeout_s=0.01)
    publisher.publish("a", b"1")
    publisher.publish("a", b"2")
    with pytest.raises(BrokerError, match="2 messages without one"):
        publisher.publish("a", b"3")
    with pytest.raises(BrokerError, match="no acknowledgement"):
        publisher.drain()


@pytest.mark.parametrize(
    ("url", "host", "port", "tls"),
    [
        ("mqtt://h", "h", 1883, False),
        ("h:1884", "h", 1884, False),
        ("mqtts://h", "h", 8883, True),
        ("mqtt://u:p%40@[::1]:9", "::1", 9, False),
    ],
)
def test_addresses(url: str, host: str, port: int, tls: bool) -> None:
    address = BrokerAddress.parse(url)
    assert (address.host, address.port, address.tls) == (host, port, tls)
    assert "p@" not in str(address)


@pytest.mark.parametrize("url", ["http://h", "mqtt://", "mqtt://h:x", ""])
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(BrokerError):
        BrokerAddress.parse(url)
