"""``sparkplug.dcmd``: what is allowed, what is sent, and what counts as done."""

from __future__ import annotations

from typing import Any

import pytest

from mainstem_edge.actions.sparkplug_dcmd import Allowed, HostSide, SparkplugDcmd
from mainstem_edge.collectors.interface import Message
from mainstem_edge.collectors.message_queue import MessageQueue
from mainstem_edge.collectors.mqtt_connection import MqttSettings, Publication
from mainstem_edge.collectors.sparkplug import SparkplugCollector
from mainstem_edge.sparkplug.payload import parse
from mainstem_edge.testing import sparkplug_encoder as enc
from mainstem_edge.testing.parts import FakeOrigin
from mainstem_node.commanding.action import ActionError, UncertainActionError
from mainstem_node.errors import BadRequestError

T0 = 1_700_000_000_000
ARGUMENTS = {"group": "G", "node": "N", "device": "D", "metric": "Set/point", "value": -3}


class FakeConnection:
    """Answers each command with data, unless it is told not to."""

    def __init__(self, collector: SparkplugCollector) -> None:
        self.collector = collector
        self.sent: list[Publication] = []
        self.answer: int | None = -3

    def publish(self, publication: Publication) -> None:
        self.sent.append(publication)
        if self.answer is not None:
            data = enc.metric(None, enc.INT16, self.answer, alias=5, write_kind=False)
            send(self.collector, "G/DDATA/N/D", data, seq=2)


def send(collector: SparkplugCollector, topic: str, *metrics: bytes, seq: int) -> None:
    octets = enc.payload(metrics, time_ms=T0, seq=seq)
    arrived = Message(f"spBv1.0/{topic}", octets, T0 * 10**6, False, False, 0, FakeOrigin())
    collector._on_messages([arrived])


@pytest.fixture
def collector() -> SparkplugCollector:
    settings = MqttSettings("127.0.0.1", 1, "x", (), 30, 10)
    made = SparkplugCollector("s", [], MessageQueue(10, 1000), settings=settings, host_id="h")
    send(made, "G/NBIRTH/N", enc.metric("mode", enc.STRING, "a"), seq=0)
    send(made, "G/DBIRTH/N/D", enc.metric("Set/point", enc.INT16, 1, alias=5), seq=1)
    return made


@pytest.fixture
def connection(collector: SparkplugCollector) -> FakeConnection:
    made = FakeConnection(collector)
    collector._connection = made  # type: ignore[assignment]
    collector.health.connected()
    return made


def action(host: HostSide | None, *metrics: str, answer_s: float = 0.01) -> SparkplugDcmd:
    patterns = metrics or ("G/N/D/Set*", "G/N/mode")
    return SparkplugDcmd(
        [Allowed(lambda: host, patterns)], answer_s=answer_s, clock_ns=lambda: T0 * 10**6
    )


def test_a_command_has_the_alias_and_the_type_of_the_birth(
    collector: SparkplugCollector, connection: FakeConnection
) -> None:
    made = action(collector)
    made.check(ARGUMENTS)
    told = made.run(ARGUMENTS)
    assert told == {"topic": "spBv1.0/G/DCMD/N/D", "metric": "Set/point", "reported": -3}
    (sent,) = connection.sent
    assert (sent.topic, sent.qos, sent.retain) == ("spBv1.0/G/DCMD/N/D", 0, False)
    payload = parse(sent.payload)
    assert (payload.seq, payload.time_ms) == (None, T0)
    (metric,) = payload.metrics
    assert (metric.name, metric.alias, metric.datatype) == (None, 5, enc.INT16)
    assert metric.value == 2**32 - 3
    assert not collector._echoes


def test_a_metric_of_the_edge_node_itself_is_written_by_ncmd(
    collector: SparkplugCollector, connection: FakeConnection
) -> None:
    connection.answer = None
    arguments = {"group": "G", "node": "N", "metric": "mode", "value": "b"}
    made = action(collector)
    made.check(arguments)
    with pytest.raises(UncertainActionError):  # nothing was reported since
        made.run(arguments)
    assert [sent.topic for sent in connection.sent] == ["spBv1.0/G/NCMD/N"]
    assert not collector._echoes


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"metric": "other"}, "metric"),
        ({"device": "E"}, "metric"),
        ({"device": "a/b"}, "device"),
        ({"group": ""}, "group"),
        ({"node": None}, "node"),
        ({"value": None}, "value"),
        ({"value": [1]}, "value"),
        ({"retain": True}, None),
    ],
)
def test_what_is_not_allowed_is_refused(changes: dict[str, Any], field: str | None) -> None:
    with pytest.raises(BadRequestError) as raised:
        action(None).check({**ARGUMENTS, **changes})
    assert raised.value.field == field


def test_what_is_not_there_is_not_written_to(
    collector: SparkplugCollector, connection: FakeConnection
) -> None:
    with pytest.raises(ActionError, match="not running"):
        action(None).run(ARGUMENTS)
    with pytest.raises(ActionError, match="wants -32768"):
        action(collector).run({**ARGUMENTS, "value": 40_000})
    with pytest.raises(ActionError, match="not online"):
        action(collector, "*").run({**ARGUMENTS, "metric": "other"})
    send(collector, "G/DDEATH/N/D", seq=2)
    with pytest.raises(ActionError, match="not online"):
        action(collector).run(ARGUMENTS)
    send(collector, "G/DBIRTH/N/D", enc.metric("Set/point", enc.INT16, 1, alias=5), seq=3)
    collector.health.ended()
    with pytest.raises(ActionError, match="no connection"):
        action(collector).run(ARGUMENTS)
    assert not connection.sent
