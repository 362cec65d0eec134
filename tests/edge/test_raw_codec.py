"""One value a message: what it is called, and what it stands for by the template's type."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from mainstem_edge.decode.interface import VALUE_KEY, KnownNames
from mainstem_edge.decode.json_codec import JsonCodec
from mainstem_edge.decode.raw_codec import VALUE_BYTES_MAX, RawCodec
from mainstem_edge.patterns import PathPattern, Pattern
from mainstem_edge.payload_time import TimeReader
from mainstem_edge.reading import Reading
from mainstem_edge.row_checks import ClockBounds
from mainstem_edge.subscription import MakeCodec, Subscription
from mainstem_edge.testing.parts import NOW_NS, message, rules


def read(
    *messages: tuple[str, Any],
    measurement: str = "{topic[-1]}",
    make: MakeCodec = RawCodec,
) -> Reading:
    found = Subscription(
        "plant/#",
        rules(),
        make,
        device=PathPattern("root.{topic[0]}.{topic[1]}"),
        measurement=Pattern(measurement),
        times=TimeReader(not_times=rules().source_names),
        clock=ClockBounds(0, 300 * 10**9),
    )
    (reading,) = found.read([message(payload, topic) for topic, payload in messages], NOW_NS)
    return reading


def columns(reading: Reading) -> dict[str, Sequence[Any]]:
    """Values by name, None where a row has none."""
    names = {rule.id: rule.name for rule in rules().measurements}
    return {
        names[number]: [
            value if column.valid is None or column.valid[row] else None
            for row, value in enumerate(column.values.tolist())
        ]
        for number, column in reading.prepared.columns.items()
    }


def test_the_topic_names_the_measurement() -> None:
    found = read(
        ("plant/m1/temperature", b" 23.5\n"),
        ("plant/m2/count", b"12"),
        ("plant/m1/running", b"ON"),
        ("plant/m1/note", b"12"),
        ("plant/m2/running", b"false"),
        ("plant/m2/Temperature", b"-1e3"),
    )
    assert columns(found) == {
        "temperature": [23.5, None, None, None, None, -1000.0],
        "count": [None, 12, None, None, None, None],
        "running": [None, None, True, None, False, None],
        "note": [None, None, None, "12", None, None],
    }
    assert [found.entry(row).path for row in (0, 1)] == ["root.plant.m1", "root.plant.m2"]
    assert found.time_ns.tolist() == [NOW_NS] * 6


def test_a_fixed_name_and_one_that_the_template_does_not_have() -> None:
    assert columns(read(("plant/m1", b"5"), measurement="pressure")) == {"pressure": [5.0]}
    found = read(("plant/m1/noise", b"5"), ("plant/m1/device", b"root.x"), ("plant/m1/ts", b"1"))
    assert [(r.measurement, r.reason, r.value) for r in found.prepared.rejects] == [
        ("noise", "unknown_measurement", "5"), ("device", "unknown_measurement", "root.x"),
        ("ts", "unknown_measurement", "1"),
    ]  # fmt: skip
    assert {found.entry(row).path for row in range(3)} == {"root.plant.m1"}
    assert not found.good.any()


@pytest.mark.parametrize("payload", [b"warm", b"NaN", b"1_0", b"0x10", b"23,5"])
def test_what_is_no_number_is_put_aside(payload: bytes) -> None:
    found = read(("plant/m1/temperature", payload), ("plant/m1/temperature", b"1"))
    assert [(r.row, r.reason) for r in found.prepared.rejects] == [(0, "wrong_type")]
    assert found.good.tolist() == [False, True]


@pytest.mark.parametrize("payload", [b"", b" \n", b"\xff\x00", b"7" * (VALUE_BYTES_MAX + 1)])
def test_what_is_no_value_is_malformed(payload: bytes) -> None:
    found = read(("plant/m1/count", payload), ("plant/m1/count", b"7" * 9))
    assert [reject.reason for reject in found.failures] == ["malformed"]
    assert len(found.decoded) == 1


def test_the_longest_text_is_a_value() -> None:
    decoded = RawCodec(KnownNames(())).decode([b"x" * VALUE_BYTES_MAX])
    assert len(decoded.columns[VALUE_KEY][0]) == VALUE_BYTES_MAX


def test_a_json_value_is_named_by_topic_or_payload() -> None:
    found = read(
        ("plant/m1/temperature", {"ts": 1_792_540_800_000, "value": 4}),
        ("plant/m1/running", {"value": True}),
        ("plant/m1/count", {"count": 3}),
        make=JsonCodec,
    )
    assert columns(found) == {
        "temperature": [4.0, None, None], "running": [None, True, None], "count": [None, None, 3],
    }  # fmt: skip
    assert found.time_ns[0] == 1_792_540_800_000 * 10**6
    named = read(
        ("plant/m1", {"sensor": "pressure", "value": 6.5}),
        ("plant/m1", {"value": 7}),
        ("plant/m1", {"sensor": "count", "value": 7}),
        make=JsonCodec,
        measurement="{payload.sensor}",
    )
    assert columns(named) == {"pressure": [6.5, None, None], "count": [None, None, 7]}
    assert [(r.row, r.measurement) for r in named.prepared.rejects] == [(1, "value")]
