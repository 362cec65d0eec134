"""A subscription: from messages to rows, devices and rejects."""

from __future__ import annotations

from typing import Any

import pytest

from mainstem_edge.reading import Reading
from mainstem_edge.subscription import Subscription, filter_matches
from mainstem_edge.testing.parts import NOW_NS, T0_MS, message, rules, subscription

NS_PER_MS = 1_000_000


def read(target: Subscription, *payloads: Any, topic: str = "plant/m1/t") -> Reading:
    (found,) = target.read([message(p, topic) for p in payloads], NOW_NS)
    return found


def reasons(found: Reading) -> list[str]:
    return [r.reason for r in [*found.failures, *found.row_rejects.values()]]


def test_rows_have_time_device_and_values() -> None:
    found = read(subscription(), {"ts": T0_MS, "temperature": 1.5}, [{"ts": T0_MS + 1, "count": 2}])
    assert found.good.all()
    assert found.time_ns.tolist() == [T0_MS * NS_PER_MS, (T0_MS + 1) * NS_PER_MS]
    assert [found.entry(row).path for row in range(2)] == ["root.plant.m1"] * 2
    assert found.newest_ns == (T0_MS + 1) * NS_PER_MS
    assert (found.received, reasons(found)) == (2, [])


def test_each_topic_is_a_device_and_its_entry_is_kept() -> None:
    target = subscription(tags={"line": "{topic[0]}", "slot": "{topic[1]}"})
    messages = [message({"count": 1}, f"plant/{name}/t") for name in ("7", "m2", "7")]
    (found,) = target.read(messages, NOW_NS)
    first, second, third = (found.entry(row) for row in range(3))
    assert first is third
    assert (first.path, dict(first.tags)) == ("root.plant.7", {"line": "plant", "slot": 7})
    assert (second.path, dict(second.tags)) == ("root.plant.m2", {"line": "plant", "slot": None})


def test_the_payload_may_name_the_device() -> None:
    inside = subscription(device="root.plant.{payload.id}", tags={"line": "{payload.where.line}"})
    found = read(inside, [{"id": 5, "count": 1, "where": {"line": "x"}}, {"id": "b", "count": 1}])
    assert [found.entry(row).path for row in range(2)] == ["root.plant.5", "root.plant.b"]
    assert dict(found.entry(0).tags) == {"line": "x"}
    assert found.prepared.rejects == []
    whole = read(subscription(), [{"device": "root.x.y", "count": 1}, {"device": "m9", "count": 1}])
    assert [whole.entry(row).path for row in range(2)] == ["root.x.y", "root.plant.m1"]
    alone = read(subscription(device=None), {"device": "root.x.y", "count": 1}, {"count": 1})
    assert reasons(alone) == ["bad_path"]


@pytest.mark.parametrize(
    "topic", ["plant/../t", "plant//t", "plant/a\\b/t", f"plant/{'x' * 300}/t"]
)
def test_a_path_that_cannot_be_formed_puts_the_row_aside(topic: str) -> None:
    found = read(subscription(), {"ts": T0_MS, "count": 1}, topic=topic)
    assert reasons(found) == ["bad_path"]
    assert found.row_rejects[0].value == {"ts": T0_MS, "count": 1}
    assert not found.good.any()


@pytest.mark.parametrize(
    ("stamp", "reason"),
    [
        (0, "time_past"),
        (7_258_118_400_000, "time_future"),
        (T0_MS + 10_000 + 300_001, "time_future"),
        ("2026-10-21T00:00:00", "time_without_zone"),
        ("soon", "bad_time"),
        (True, "bad_time"),
    ],
)
def test_times_outside_the_clock_or_unreadable_put_the_row_aside(stamp: Any, reason: str) -> None:
    found = read(subscription(), {"ts": stamp, "count": 1}, {"ts": T0_MS, "count": 2})
    assert reasons(found) == [reason]
    assert found.good.tolist() == [False, True]
    if not reason.startswith("time_") or reason == "time_without_zone":
        assert found.row_rejects[0].time_ns is None


def test_oversized_and_malformed_messages_count_as_one_row_each() -> None:
    target = subscription(message_bytes_max=100)
    found = read(target, b"x" * 101, b"{", {"count": 1}, [5], b"7")
    assert [f.reason for f in found.failures] == [
        "too_large",
        "malformed",
        "malformed",
        "malformed",
    ]
    assert found.failures[0].value.startswith("[") is False
    assert found.received == 5
    again = target.count([message(b"x" * 101), message(b"{"), message([{"count": 1}] * 3)])
    assert again == {"press": 5}


def test_a_long_payload_is_shown_by_its_beginning_size_and_hash() -> None:
    target = subscription(message_bytes_max=10)
    one, other = (read(target, b"x" * 5000 + end).failures[0].value for end in (b"a", b"b"))
    assert one.startswith("[5001 bytes, blake2b ")
    assert one != other


def test_rows_without_any_value_are_put_aside() -> None:
    found = read(subscription(), {"ts": T0_MS}, {"ts": T0_MS, "temperature": "hot"}, {"count": 1})
    assert found.good.tolist() == [False, False, True]
    assert reasons(found) == ["no_values"]  # the second one's value is a reject of its own
    assert [(r.row, r.reason) for r in found.prepared.rejects] == [(1, "wrong_type")]


def test_a_configured_field_and_arrival() -> None:
    found = read(subscription(field="at"), {"at": T0_MS, "count": 1}, {"ts": 5, "count": 1})
    assert found.time_ns.tolist() == [T0_MS * NS_PER_MS, NOW_NS]
    assert [r.measurement for r in found.prepared.rejects] == ["ts"]


def test_a_measurement_may_be_called_timestamp() -> None:
    target = subscription(template=rules(note={"source": "timestamp"}))
    found = read(target, {"ts": T0_MS, "timestamp": "a text"})
    assert found.good.all()


def test_no_messages_make_an_empty_reading() -> None:
    (found,) = subscription().read([], NOW_NS)
    assert (found.received, found.newest_ns, len(found.good)) == (0, None, 0)


@pytest.mark.parametrize(
    ("topic_filter", "topic", "matches"),
    [
        ("a/+/c", "a/b/c", True), ("a/+/c", "a/b/c/d", False), ("a/#", "a", True),
        ("a/#", "a/b/c", True), ("#", "a/b", True), ("#", "$SYS/x", False),
        ("+/x", "$SYS/x", False), ("$SYS/#", "$SYS/x", True), ("a/b", "a/b", True),
        ("a/b", "a/B", False), ("+", "", True),
        ("a/+", "a/", True), ("a/+", "a", False), ("$share/g/a/+", "a/b", True),
    ],
)  # fmt: skip
def test_topic_filters(topic_filter: str, topic: str, matches: bool) -> None:
    assert filter_matches(topic_filter, topic) is matches
