"""The host's state machine beyond the table of rules: order, limits, templates, bounds."""

from __future__ import annotations

import random

from mainstem_edge.sparkplug.host import REBIRTH_S, REBIRTHS_PER_S, Host
from mainstem_edge.sparkplug.payload import parse
from mainstem_edge.sparkplug.rows import Outcome
from mainstem_edge.sparkplug.sequence import REORDER_S, Sequence
from mainstem_edge.sparkplug.topics import NodeKey
from mainstem_edge.testing import sparkplug_encoder as enc

T0 = 1_700_000_000_000
ARRIVED_NS = (T0 + 5) * 10**6
KEY = NodeKey("G", "N")


class Plant:
    """A host, and one edge node that talks to it."""

    def __init__(self) -> None:
        self.host = Host()
        self.now_s = 100.0

    def send(
        self, kind: str, *metrics: bytes, seq: int | None = None, device: str = "", node: str = "N"
    ) -> Outcome:
        topic = f"spBv1.0/G/{kind}/{node}" + (f"/{device}" if device else "")
        octets = enc.payload(metrics, time_ms=T0, seq=seq)
        return self.host.receive(topic, octets, ARRIVED_NS, self.now_s)

    def born(self, *metrics: bytes, bd_seq: int = 0, node: str = "N") -> Outcome:
        first = enc.metric("bdSeq", enc.INT64, bd_seq)
        return self.send("NBIRTH", first, *metrics, seq=0, node=node)

    def asked(self) -> list[str]:
        return [command.topic for command in self.host.due(self.now_s, T0)]


def test_messages_that_overtake_one_another_are_not_lost() -> None:
    plant = Plant()
    plant.born(enc.metric("x", enc.INT32, 1, alias=1))
    for seq in (2, 1, 3):
        outcome = plant.send("NDATA", enc.metric(None, enc.INT32, seq, alias=1), seq=seq)
        assert len(outcome.rows) == 1
    plant.now_s += 2 * REORDER_S
    assert plant.asked() == []
    sequence = plant.host.nodes[KEY].sequence
    assert (sequence.lost, sequence.gaps) == (0, 0)


def test_a_birth_counts_what_was_still_missing() -> None:
    plant = Plant()
    plant.born()
    plant.send("NDATA", seq=4)
    plant.born()
    assert plant.host.nodes[KEY].sequence.lost == 3


def test_random_losses_are_counted_exactly() -> None:
    rng = random.Random(7)
    sequence, lost, now_s, pending = Sequence(), 0, 0.0, 0
    sequence.begin(0)
    for number in range(1, 5000):
        now_s += 0.1
        if rng.random() < 0.1:
            pending += 1
            continue
        lost, pending = lost + pending, 0
        sequence.take(number % 256, now_s)
        sequence.give_up(now_s)
    sequence.give_up(now_s + REORDER_S)
    assert sequence.lost == lost


def test_rebirths_are_asked_for_one_node_at_a_time_and_all_of_them_slowly() -> None:
    plant = Plant()
    for number in range(50):
        plant.send("NDATA", seq=1, node=f"N{number}")
        plant.send("NDATA", seq=2, node=f"N{number}")
    first = plant.asked()
    assert len(first) == REBIRTHS_PER_S
    assert plant.asked() == []
    plant.now_s += 1.0
    assert not set(first) & set(plant.asked())
    plant.now_s += 1.0
    plant.asked()
    plant.send("NDATA", seq=3, node="N0")  # it has not answered, and was asked a moment ago
    assert plant.asked() == []
    plant.now_s += REBIRTH_S
    assert plant.asked() == ["spBv1.0/G/NCMD/N0"]


def test_a_host_that_was_away_asks_those_it_knows() -> None:
    plant = Plant()
    plant.born()
    plant.born(node="M")
    plant.send("NDEATH", enc.metric("bdSeq", enc.INT64, 0), node="M")
    plant.host.connected()
    assert plant.asked() == ["spBv1.0/G/NCMD/N"]
    plant.host.connected()
    plant.born()  # it came by itself
    plant.now_s += REBIRTH_S
    assert plant.asked() == []


def test_an_instance_of_a_template_is_a_device_of_its_own() -> None:
    plant = Plant()
    members = [enc.metric("rpm", enc.INT32), enc.metric("temp", enc.DOUBLE)]
    definition = enc.metric("Motor", enc.TEMPLATE, enc.template(members, definition=True))
    first = [enc.metric("rpm", enc.INT32, 1500), enc.metric("temp", enc.DOUBLE, 60.5)]
    born = plant.born(
        definition,
        enc.metric("M1", enc.TEMPLATE, enc.template(first, reference="Motor"), alias=9, time_ms=T0),
    )
    assert born.definitions == {"Motor": {"rpm": enc.INT32, "temp": enc.DOUBLE}}
    (row,) = born.rows
    assert (row.source.instance, row.source.definition) == ("M1", "Motor")
    assert row.values == {"rpm": 1500, "temp": 60.5}
    # Data have what changed, without types.
    some = [enc.metric("rpm", enc.INT32, -7, write_kind=False)]
    data = enc.metric(None, enc.TEMPLATE, enc.template(some), alias=9, write_kind=False)
    (row,) = plant.send("NDATA", data, seq=1).rows
    assert (row.source.definition, row.values) == ("Motor", {"rpm": -7})
    # A member may have a time of its own.
    some = [enc.metric("rpm", enc.INT32, 1, write_kind=False, time_ms=T0 + 9)]
    data = enc.metric(None, enc.TEMPLATE, enc.template(some), alias=9, time_ms=T0 + 5)
    (row,) = plant.send("NDATA", data, seq=2).rows
    assert row.time_ns == (T0 + 9) * 10**6
    odd = [enc.metric("speed", enc.INT32, 1, write_kind=False)]
    data = enc.metric(None, enc.TEMPLATE, enc.template(odd), alias=9, write_kind=False)
    outcome = plant.send("NDATA", data, seq=3)
    assert not outcome.rows
    assert "does not have" in outcome.unread[0].problem


def test_two_values_of_one_time_are_two_rows() -> None:
    plant = Plant()
    plant.born(enc.metric("x", enc.INT32, 0, alias=1), enc.metric("y", enc.INT32, 0, alias=2))
    several = [
        enc.metric(None, enc.INT32, value, alias=alias, time_ms=time_ms)
        for alias, value, time_ms in ((1, 1, T0), (2, 5, T0), (1, 2, T0), (1, 3, T0 + 1))
    ]
    rows = plant.send("NDATA", *several, seq=1).rows
    assert sorted((row.time_ns - T0 * 10**6, row.values["x"]) for row in rows) == [
        (0, 1), (0, 2), (10**6, 3),
    ]  # fmt: skip


def test_what_cannot_be_read_costs_no_more_than_itself() -> None:
    plant = Plant()
    good = enc.metric("x", enc.INT32, 1, alias=1)
    outcome = plant.born(
        good,
        enc.metric("y", enc.INT32, 2, alias=1),  # the alias of another
        enc.metric(None, enc.INT32, 3),
        enc.metric("z", enc.INT32, "text"),
        enc.metric("w", 99, 1),
        enc.metric("v", enc.INT32),
    )
    assert [row.values for row in outcome.rows] == [{"x": 1}]
    assert len(outcome.unread) == 5
    assert plant.host.nodes[KEY].unread == 5
    for octets in (b"\xff\xff", b"\x0a\x05ab", b'{"not": "protobuf"}'):
        found = plant.host.receive("spBv1.0/G/NDATA/N", octets, ARRIVED_NS, plant.now_s)
        assert len(found.unread) == 1


def test_random_octets_never_raise() -> None:
    rng = random.Random(3)
    plant = Plant()
    good = enc.payload([enc.metric("x", enc.DOUBLE, 1.0, alias=1)], time_ms=T0, seq=0)
    for _ in range(2000):
        octets = bytearray(good)
        for _ in range(rng.randrange(1, 4)):
            octets[rng.randrange(len(octets))] = rng.randrange(256)
        kind = rng.choice(("NBIRTH/N", "NDATA/N", "NDEATH/N", "DBIRTH/N/D", "DDATA/N/D"))
        plant.host.receive(f"spBv1.0/G/{kind}", bytes(octets), ARRIVED_NS, plant.now_s)
    parse(good)
