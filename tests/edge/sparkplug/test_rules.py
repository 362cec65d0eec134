"""The rules of Sparkplug B 3.0 that concern a host application, one test each."""

from __future__ import annotations

import json
import struct
from collections import Counter
from dataclasses import replace

import pytest
from paho.mqtt.enums import MQTTProtocolVersion

from mainstem_edge.collectors.message_queue import MessageQueue
from mainstem_edge.collectors.mqtt_connection import MqttConnection, MqttSettings
from mainstem_edge.collectors.sparkplug import SparkplugCollector, topics
from mainstem_edge.sparkplug import payload as payloads
from mainstem_edge.sparkplug.host import Command, Host
from mainstem_edge.sparkplug.payload import parse
from mainstem_edge.sparkplug.rows import Outcome
from mainstem_edge.sparkplug.sequence import REORDER_S
from mainstem_edge.sparkplug.topics import Address, NodeKey, address_of, is_identifier, state_topic
from mainstem_edge.testing import sparkplug_encoder as enc

T0 = 1_700_000_000_000
NS = 10**6
ARRIVED_NS = (T0 + 5) * NS
KEY = NodeKey("G", "N")


@pytest.fixture
def host() -> Host:
    return Host()


def send(
    host: Host,
    kind: str,
    *metrics: bytes,
    seq: int | None = None,
    device: str = "",
    time_ms: int | None = T0,
    now_s: float = 100.0,
) -> Outcome:
    topic = f"spBv1.0/G/{kind}/N" + (f"/{device}" if device else "")
    return host.receive(topic, enc.payload(metrics, time_ms=time_ms, seq=seq), ARRIVED_NS, now_s)


def birth(host: Host, *metrics: bytes, bd_seq: int = 0, seq: int = 0) -> Outcome:
    control = enc.metric("Node Control/Rebirth", enc.BOOLEAN, False)
    return send(host, "NBIRTH", enc.metric("bdSeq", enc.INT64, bd_seq), control, *metrics, seq=seq)


def asked(host: Host, now_s: float = 100.0) -> list[Command]:
    return host.due(now_s, T0)


# Topics


@pytest.mark.parametrize("kind", ["NBIRTH", "NDATA", "NDEATH", "NCMD"])
def test_topics_of_an_edge_node_have_no_device(kind: str) -> None:
    assert address_of(f"spBv1.0/G/{kind}/N") == Address(kind, KEY)
    assert address_of(f"spBv1.0/G/{kind}/N/D") is None


@pytest.mark.parametrize("kind", ["DBIRTH", "DDATA", "DDEATH", "DCMD"])
def test_topics_of_a_device_name_it(kind: str) -> None:
    assert address_of(f"spBv1.0/G/{kind}/N/D") == Address(kind, KEY, "D")
    assert address_of(f"spBv1.0/G/{kind}/N") is None
    assert Address(kind, KEY, "D").topic == f"spBv1.0/G/{kind}/N/D"


def test_the_state_topic_has_no_group_and_no_device() -> None:
    assert state_topic("host") == "spBv1.0/STATE/host"
    assert address_of("spBv1.0/STATE/host") is None


@pytest.mark.parametrize("text", ["", "a+b", "a/b", "a#"])
def test_identifiers_have_no_reserved_characters(text: str) -> None:
    assert not is_identifier(text)
    assert is_identifier("Pressen Halle 3")


# Sequence numbers


def test_seq_begins_with_the_birth_and_is_shared_by_all_devices(host: Host) -> None:
    birth(host)
    send(host, "DBIRTH", seq=1, device="A")
    send(host, "DBIRTH", seq=2, device="B")
    send(host, "NDATA", seq=3)
    send(host, "DDATA", seq=4, device="A")
    send(host, "DDEATH", seq=5, device="B")
    assert asked(host, 200.0) == []
    assert host.nodes[KEY].sequence.lost == 0


def test_seq_wraps_from_255_to_0(host: Host) -> None:
    birth(host)
    for number in range(1, 600):
        send(host, "NDATA", seq=number % 256)
    assert asked(host, 200.0) == []
    assert host.nodes[KEY].sequence.lost == 0


def test_seq_may_begin_with_any_number_of_0_to_255(host: Host) -> None:
    birth(host, seq=255)
    send(host, "NDATA", seq=0)
    assert asked(host, 200.0) == []


def test_a_gap_of_seq_is_measured_loss_and_asks_for_a_birth(host: Host) -> None:
    birth(host)
    send(host, "NDATA", seq=1)
    send(host, "NDATA", seq=5)
    assert asked(host, 100.0) == []  # they may be on the way still
    (command,) = asked(host, 100.0 + REORDER_S)
    assert command.topic == "spBv1.0/G/NCMD/N"
    assert host.nodes[KEY].sequence.lost == 3
    assert host.totals()["lost_messages"] == 3


def test_a_death_has_no_seq(host: Host) -> None:
    birth(host)
    send(host, "NDEATH", enc.metric("bdSeq", enc.INT64, 0))
    assert host.nodes[KEY].sequence.without == 0
    assert host.nodes[KEY].sequence.lost == 0


# bdSeq


def test_a_death_of_another_bdseq_is_ignored(host: Host) -> None:
    birth(host, enc.metric("x", enc.INT32, 1), bd_seq=4)
    assert not send(host, "NDEATH", enc.metric("bdSeq", enc.INT64, 3), time_ms=None).rows
    assert host.nodes[KEY].is_online
    assert host.nodes[KEY].deaths_ignored == 1
    assert send(host, "NDEATH", enc.metric("bdSeq", enc.INT64, 4), time_ms=None).rows
    assert not host.nodes[KEY].is_online


def test_bdseq_may_wrap(host: Host) -> None:
    for number in (255, 0):
        birth(host, bd_seq=number)
        assert host.nodes[KEY].bd_seq == number
    send(host, "NDEATH", enc.metric("bdSeq", enc.INT64, 0))
    assert not host.nodes[KEY].is_online


# Order


@pytest.mark.parametrize("kind", ["NDATA", "DDATA", "DBIRTH", "DDEATH"])
def test_anything_before_the_birth_asks_for_it(host: Host, kind: str) -> None:
    device = "D" if kind[0] == "D" else ""
    metric = enc.metric("x", enc.INT32, 1)
    outcome = send(host, kind, metric, seq=3, device=device)
    assert not outcome.rows
    assert len(outcome.unread) == 1
    assert [command.topic for command in asked(host)] == ["spBv1.0/G/NCMD/N"]


def test_data_of_a_device_before_its_birth_ask_for_it(host: Host) -> None:
    birth(host)
    assert send(host, "DDATA", enc.metric("x", enc.INT32, 1), seq=1, device="D").unread
    assert len(asked(host)) == 1


def test_a_birth_of_the_edge_node_ends_those_of_its_devices(host: Host) -> None:
    birth(host)
    send(host, "DBIRTH", enc.metric("x", enc.INT32, 1, alias=1), seq=1, device="D")
    birth(host)
    data = enc.metric(None, enc.INT32, 2, alias=1, write_kind=False)
    assert not send(host, "DDATA", data, seq=1, device="D").rows
    assert len(asked(host)) == 1


# Aliases and data types


def test_data_carry_the_alias_alone(host: Host) -> None:
    birth(host, enc.metric("Motor/rpm", enc.INT32, 1, alias=7))
    data = enc.metric(None, enc.INT32, -2, alias=7, write_kind=False)
    (row,) = send(host, "NDATA", data, seq=1).rows
    assert row.values == {"Motor/rpm": -2}


def test_an_alias_is_unique_in_the_whole_edge_node(host: Host) -> None:
    birth(host, enc.metric("x", enc.INT32, 1, alias=7))
    outcome = send(host, "DBIRTH", enc.metric("y", enc.INT32, 1, alias=7), seq=1, device="D")
    assert "alias 7" in outcome.unread[0].problem


def test_an_unknown_alias_asks_for_a_birth(host: Host) -> None:
    birth(host)
    outcome = send(host, "NDATA", enc.metric(None, enc.INT32, 1, alias=9), seq=1)
    assert outcome.unread
    assert len(asked(host)) == 1


def test_aliases_end_with_the_next_birth(host: Host) -> None:
    birth(host, enc.metric("x", enc.INT32, 1, alias=7))
    birth(host, enc.metric("x", enc.INT32, 1, alias=8))
    data = enc.metric(None, enc.INT32, 2, alias=7, write_kind=False)
    outcome = send(host, "NDATA", data, seq=1)
    assert not outcome.rows
    assert outcome.unread


def test_without_aliases_data_carry_names(host: Host) -> None:
    birth(host, enc.metric("x", enc.INT32, 1))
    (row,) = send(host, "NDATA", enc.metric("x", enc.INT32, 2, write_kind=False), seq=1).rows
    assert row.values == {"x": 2}


def test_the_data_type_of_the_birth_is_remembered(host: Host) -> None:
    birth(host, enc.metric("x", enc.INT8, 0, alias=1))
    data = enc.metric(None, enc.INT8, -100, alias=1, write_kind=False)
    (row,) = send(host, "NDATA", data, seq=1).rows
    assert row.values == {"x": -100}


def test_a_birth_must_name_data_types(host: Host) -> None:
    outcome = birth(host, enc.metric("x", enc.INT32, 1, write_kind=False))
    assert outcome.unread[0].problem == "a metric of a birth without a data type"


def test_signed_integers_are_twos_complement(host: Host) -> None:
    metrics = [
        enc.metric(f"i{kind}", kind, -1) for kind in (enc.INT8, enc.INT16, enc.INT32, enc.INT64)
    ]
    (row,) = birth(host, *metrics).rows
    assert set(row.values.values()) == {-1}


def test_arrays_are_packed_little_endian(host: Host) -> None:
    (row,) = birth(host, enc.metric("a", 23, struct.pack("<2h", -1, 2))).rows
    assert row.values == {"a": "[-1,2]"}


# Times


def test_each_metric_has_its_own_time(host: Host) -> None:
    birth(host, enc.metric("x", enc.INT32, 1, alias=1), enc.metric("y", enc.INT32, 1, alias=2))
    rows = send(
        host, "NDATA",
        enc.metric(None, enc.INT32, 1, alias=1, time_ms=T0 + 1),
        enc.metric(None, enc.INT32, 2, alias=2, time_ms=T0 + 2),
        seq=1,
    ).rows  # fmt: skip
    assert [(row.time_ns, row.values) for row in rows] == [
        ((T0 + 1) * NS, {"x": 1}), ((T0 + 2) * NS, {"y": 2}),
    ]  # fmt: skip


def test_times_are_utc_milliseconds_of_the_payload_if_a_metric_has_none(host: Host) -> None:
    (row,) = birth(host, enc.metric("x", enc.INT32, 1)).rows
    assert row.time_ns == T0 * NS


# Rebirth


def test_the_rebirth_command_is_true_and_without_seq(host: Host) -> None:
    send(host, "NDATA", seq=1)
    (command,) = asked(host)
    found = parse(command.payload)
    assert found.seq is None
    assert found.time_ms == T0
    (metric,) = found.metrics
    assert (metric.name, metric.datatype, metric.value) == (
        "Node Control/Rebirth", enc.BOOLEAN, True,
    )  # fmt: skip


def test_the_control_in_a_birth_is_no_value(host: Host) -> None:
    assert not birth(host).rows


# Historical values, nulls


def test_historical_values_are_stored_at_their_time(host: Host) -> None:
    """What is current is what is newest: an older time never takes its place."""
    birth(host, enc.metric("x", enc.INT32, 1, alias=1))
    old = enc.metric(None, enc.INT32, 5, alias=1, time_ms=T0 - 60_000, historical=True)
    (row,) = send(host, "NDATA", old, seq=1).rows
    assert row.time_ns == (T0 - 60_000) * NS
    assert row.values == {"x": 5}


def test_a_null_has_no_value(host: Host) -> None:
    birth(host, enc.metric("x", enc.INT32, 1, alias=1))
    (row,) = send(host, "NDATA", enc.metric(None, None, alias=1, null=True), seq=1).rows
    assert row.values == {"x": None}
    assert row.qualities == {"x": "bad"}


@pytest.mark.parametrize(("code", "quality"), [(192, None), (0, "bad"), (500, "stale")])
def test_the_quality_property(host: Host, code: int, quality: str | None) -> None:
    (row,) = birth(host, enc.metric("x", enc.INT32, 1, quality=code)).rows
    assert row.qualities.get("x") == quality


# Deaths


def test_a_death_makes_all_metrics_of_the_node_stale_at_host_time(host: Host) -> None:
    birth(host, enc.metric("x", enc.INT32, 1))
    send(host, "DBIRTH", enc.metric("y", enc.INT32, 1), seq=1, device="D")
    rows = send(host, "NDEATH", enc.metric("bdSeq", enc.INT64, 0), time_ms=T0 - 9999).rows
    assert {(row.source.device, row.time_ns) for row in rows} == {
        ("", ARRIVED_NS),
        ("D", ARRIVED_NS),
    }
    assert [row.qualities for row in rows] == [{"x": "stale"}, {"y": "stale"}]
    assert all(not row.values for row in rows)


def test_a_death_of_a_device_makes_only_it_stale(host: Host) -> None:
    birth(host, enc.metric("x", enc.INT32, 1))
    send(host, "DBIRTH", enc.metric("y", enc.INT32, 1), seq=1, device="D")
    rows = send(host, "DDEATH", seq=2, device="D").rows
    assert [(row.source.device, row.qualities) for row in rows] == [("D", {"y": "stale"})]
    assert host.nodes[KEY].is_online


# STATE


def test_state_is_json_with_a_time() -> None:
    assert json.loads(payloads.state(True, T0)) == {"online": True, "timestamp": T0}
    assert payloads.says_offline(payloads.state(False, T0))
    assert not payloads.says_offline(payloads.state(True, T0))
    for other in (b"OFFLINE", b"[]", b"{}", b"\xff"):
        assert not payloads.says_offline(other)


# Templates


def test_template_definitions_come_with_the_birth_of_the_node(host: Host) -> None:
    members = [enc.metric("rpm", enc.INT32)]
    metric = enc.metric("Motor", enc.TEMPLATE, enc.template(members, definition=True))
    outcome = birth(host, metric)
    assert outcome.definitions == {"Motor": {"rpm": enc.INT32}}
    assert not outcome.rows


# The session of the host


@pytest.mark.parametrize("version", [MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311])
def test_the_session_is_clean_and_the_will_is_state(version: MQTTProtocolVersion) -> None:
    settings = MqttSettings("127.0.0.1", 1, "x", topics("h", []), 30, 10)
    made = SparkplugCollector("s", [], MessageQueue(1, 1), settings=settings, host_id="h")
    will = made._state(False)
    assert (will.topic, will.qos, will.retain) == ("spBv1.0/STATE/h", 1, True)
    assert made._settings.is_clean
    connection = MqttConnection(
        replace(made._settings, will=will), version, on_messages=lambda _: None,
        on_subscribed=lambda _: None, on_copy=lambda: None, hold=lambda: False, owed=Counter(),
    )  # fmt: skip
    client = connection._client
    assert (client._will_topic, client._will_qos, client._will_retain) == (
        b"spBv1.0/STATE/h", 1, True,
    )  # fmt: skip
    options = connection._connect_options()
    if version == MQTTProtocolVersion.MQTTv5:
        assert options["clean_start"] is True
        assert options["properties"].SessionExpiryInterval == 0
    else:
        assert client._clean_session is True
    connection._close()


def test_subscriptions_are_asked_for_with_qos_1_and_leave_out_commands() -> None:
    found = dict(topics("h", ["G"]))
    assert set(found.values()) == {1}
    assert set(found) == {
        "spBv1.0/STATE/h",
        *(f"spBv1.0/G/{kind}/+" for kind in ("NBIRTH", "NDATA", "NDEATH")),
        *(f"spBv1.0/G/{kind}/+/+" for kind in ("DBIRTH", "DDATA", "DDEATH")),
    }
