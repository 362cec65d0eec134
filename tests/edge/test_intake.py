"""The intake: what is stored, put aside and counted, and when a message is acknowledged."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from mainstem_edge.decode.interface import Decoded
from mainstem_edge.intake import Intake
from mainstem_edge.testing.gated_filesystem import GatedFilesystem
from mainstem_edge.testing.parts import (
    NOW_NS,
    T0_MS,
    FakeCollector,
    FakeOrigin,
    message,
    recorded_counts,
    rules,
    stored,
    subscription,
)
from mainstem_edge.value_memory import ValueFilter
from mainstem_engine.engine import Engine
from mainstem_engine.errors import OverloadedError, SchemaError
from mainstem_sync.receiving.quarantine import QuarantineStore
from mainstem_sync.receiving.retry import QuarantineRetry

MakeIntake = Callable[..., Intake]


def process(intake: Intake, engine: Engine, *payloads: Any, **options: Any) -> FakeOrigin:
    """One batch; returns once everything of it is acknowledged."""
    origin = FakeOrigin()
    intake.process([message(p, origin=origin, **options) for p in payloads])
    origin.wait(len(payloads))
    return origin


def check_sum(counts: dict[str, int]) -> None:
    assert counts["received"] == (
        counts["accepted"] + counts["filtered"] + counts["quarantined"] + counts["refused"]
    )


def test_rows_are_stored_with_their_share_of_the_accounting(
    make_intake: MakeIntake, engine: Engine
) -> None:
    intake = make_intake(subscription(tags={"line": "{topic[0]}"}))
    process(
        intake, engine,
        {"ts": T0_MS, "temperature": 20.25, "running": True},
        [{"ts": T0_MS + 1, "count": 7}, {"ts": T0_MS + 2, "note": "ö", "pressure": 0.1}],
    )  # fmt: skip
    common = {"device": "root.plant.m1", "line": "plant"}
    rows = stored(engine)
    assert [row.pop("time") for row in rows] == [T0_MS + n for n in range(3)]
    assert rows[:2] == [
        {**common, "temperature": 20.25, "running": True},
        {**common, "count": 7},
    ]
    assert recorded_counts(engine) == {
        "accepted": 3, "received": 3, "filtered": 0, "quarantined": 0, "refused": 0,
        "values_quarantined": 0, "late": 0, "redelivered": 0,
    }  # fmt: skip


def test_rows_of_a_new_device_wait_for_an_engine_that_is_overloaded(
    make_intake: MakeIntake,
    engine: Engine,
    quarantine: QuarantineStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    intake = make_intake()
    make, refused = engine.device_ids, list[int]()

    def slow(*arguments: Any, **options: Any) -> Any:
        if len(refused) < 2:
            refused.append(1)
            raise OverloadedError("the disk is slow", retry_after_s=0.001)
        return make(*arguments, **options)

    monkeypatch.setattr(engine, "device_ids", slow)
    process(intake, engine, {"ts": T0_MS, "count": 1})
    assert [row["count"] for row in stored(engine)] == [1]
    assert (len(refused), quarantine.items()) == (2, [])


def test_bad_input_is_put_aside_and_the_good_flow_goes_on(
    make_intake: MakeIntake, engine: Engine, quarantine: QuarantineStore
) -> None:
    intake = make_intake()
    good = [{"ts": T0_MS + n, "temperature": float(n)} for n in range(20)]
    bad = [
        b'{"temperature":',
        {"ts": T0_MS, "temperature": "hot", "count": 1},
        {"ts": T0_MS + 100, "count": 1.5},
        b"x" * (2 << 20),
        {"ts": 86_400_000, "count": 1},
        {"ts": 7_258_118_400_000, "count": 1},
        {"ts": T0_MS + 101, "count": 1, "humidity": 5},
        {"ts": T0_MS + 102},
    ]
    process(intake, engine, *good, *bad)
    process(intake, engine, {"count": 1}, topic="plant/../t")
    counts = recorded_counts(engine)
    check_sum(counts)
    assert counts["received"] == len(good) + len(bad) + 1
    assert counts["accepted"] == len(good) + 2
    assert counts["quarantined"] == 7
    assert counts["values_quarantined"] == 3
    found = {item["reason"]: item for item in quarantine.items()}
    assert sorted(found) == [
        "bad_path", "malformed", "no_values", "time_future", "time_past", "too_large",
        "unknown_measurement", "wrong_type",
    ]  # fmt: skip
    assert found["unknown_measurement"] | {"id": "", "at": 0} == {
        "id": "", "at": 0, "node": "edge", "table": "press", "device": "root.plant.m1",
        "time": T0_MS + 101, "measurement": "humidity", "reason": "unknown_measurement", "value": 5,
    }  # fmt: skip
    assert json.loads(found["time_past"]["value"]) == {"ts": 86_400_000, "count": 1}
    assert found["too_large"]["value"].startswith("[2097152 bytes")
    assert engine.catalog.devices.id_of("root.plant.m1") == 0
    assert len(engine.catalog.devices) == 1


def test_thousands_of_bad_messages_take_no_room_from_good_ones(
    make_intake: MakeIntake, engine: Engine, quarantine: QuarantineStore
) -> None:
    intake = make_intake()
    mixed: list[Any] = []
    for n in range(5000):
        mixed.append(b'{"broken": %d' % n)
        if n % 10 == 0:
            mixed.append({"ts": T0_MS + n, "count": n})
    origin = process(intake, engine, *mixed)
    counts = recorded_counts(engine)
    assert (counts["accepted"], counts["quarantined"]) == (500, 5000)
    assert len(origin.acknowledged) == 5500
    statistics = quarantine.statistics()
    assert statistics.items == 5000
    assert statistics.entries < 10
    assert {item["value"] for item in quarantine.items(limit=9999)} == {
        f'{{"broken": {n}' for n in range(5000)
    }
    assert intake.oldest_waiting_ns() is None


def test_a_message_is_acknowledged_only_when_its_rows_are_durable(
    make_intake: MakeIntake, engine: Engine, fs: GatedFilesystem
) -> None:
    intake = make_intake()
    process(intake, engine, {"ts": T0_MS, "count": 1})
    fs.gate.clear()
    origin = FakeOrigin()
    intake.process([message({"ts": T0_MS + 1, "count": 2}, origin=origin, number=7)])
    assert fs.waiting.wait(10)
    assert origin.acknowledged == []
    assert intake.oldest_waiting_ns() == NOW_NS
    fs.gate.set()
    assert origin.wait(1) == [7]


def test_a_message_is_nowhere_at_no_moment(
    make_intake: MakeIntake, engine: Engine, fs: GatedFilesystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It becomes a batch between two looks: at what is queued, and at what is a batch."""
    intake = make_intake()
    process(intake, engine, {"ts": T0_MS, "count": 1})
    fs.gate.clear()
    queue, origin = intake.collector.queue, FakeOrigin()
    queue.put([message({"ts": T0_MS + 1, "count": 2}, origin=origin, number=7)])
    look = queue.oldest_arrival_ns

    def late() -> int | None:
        intake.process(queue.take(1, 1 << 20, 0))
        return look()

    monkeypatch.setattr(queue, "oldest_arrival_ns", late)
    assert intake.oldest_waiting_ns() == NOW_NS
    fs.gate.set()
    assert origin.wait(1) == [7]


def test_quarantine_is_durable_before_the_record_is_appended(
    make_intake: MakeIntake, engine: Engine, quarantine: QuarantineStore
) -> None:
    intake = make_intake()
    quarantine.close()
    before = engine.log.appended_lsn
    origin = FakeOrigin()
    with pytest.raises(Exception, match="quarantine is closed"):
        intake.process([message(b"{", origin=origin)])
    assert engine.log.appended_lsn == before
    assert origin.acknowledged == []


def test_when_the_log_fails_nothing_more_is_acknowledged(
    make_intake: MakeIntake, engine: Engine
) -> None:
    intake = make_intake()
    origin = FakeOrigin()
    collector = intake.collector
    assert isinstance(collector, FakeCollector)
    intake.start()
    engine.close()
    collector.queue.put([message({"ts": T0_MS, "count": 1}, origin=origin)])
    assert intake.drain(10) is False
    assert "closed" in intake.failure
    assert origin.acknowledged == []
    assert collector.paused
    assert intake.status()["state"] == "failed"
    assert not intake.is_drained


def test_a_message_that_went_through_is_filtered(make_intake: MakeIntake, engine: Engine) -> None:
    intake = make_intake()
    payload = [{"count": 1}, {"count": 2}]  # without a time of its own
    process(intake, engine, payload)
    process(intake, engine, payload, redelivered=True, repeated=True)
    process(intake, engine, {"count": 3}, redelivered=True)  # new to this process: stored
    counts = recorded_counts(engine)
    check_sum(counts)
    assert (counts["received"], counts["filtered"], counts["redelivered"]) == (5, 2, 2)
    assert counts["accepted"] == 3


def test_messages_that_no_subscription_wants_are_put_aside_and_acknowledged(
    make_intake: MakeIntake, engine: Engine, quarantine: QuarantineStore
) -> None:
    intake = make_intake()
    process(intake, engine, {"count": 1}, topic="other/topic")
    (item,) = quarantine.items()
    assert (item["reason"], item["table"]) == ("unknown_topic", "")
    assert (item["device"], item["value"]) == ("other/topic", '{"count": 1}')
    assert engine.store_accounting() == {}


def test_the_first_matching_subscription_counts(make_intake: MakeIntake, engine: Engine) -> None:
    intake = make_intake(
        subscription("plant/m1/t", "root.first.{topic[1]}"),
        subscription("plant/#", "root.second.{topic[1]}"),
    )
    process(intake, engine, {"ts": T0_MS, "count": 1})
    process(intake, engine, {"ts": T0_MS, "count": 1}, topic="plant/m2/t")
    assert [row["device"] for row in stored(engine)] == ["root.first.m1", "root.second.m2"]


def test_late_rows_are_counted_and_stored(make_intake: MakeIntake, engine: Engine) -> None:
    intake = make_intake()
    process(intake, engine, *({"ts": T0_MS + n, "count": n} for n in (5, 9, 7, 8, 10, 10)))
    counts = recorded_counts(engine)
    assert (counts["late"], counts["accepted"], counts["filtered"]) == (2, 5, 1)
    restarted = make_intake()
    process(restarted, engine, {"ts": T0_MS + 6, "count": 6})
    assert recorded_counts(engine)["late"] == 3


def test_unchanged_rows_are_filtered_and_counted(make_intake: MakeIntake, engine: Engine) -> None:
    template = rules(temperature={"filter": ValueFilter(band=1.0)})
    intake = make_intake(template=template)
    steps = [20.0, 20.5, 20.9, 21.5, 21.4]
    process(intake, engine, *({"ts": T0_MS + n, "temperature": v} for n, v in enumerate(steps)))
    process(intake, engine, {"ts": T0_MS + 9, "temperature": 21.6, "count": 1})
    rows = stored(engine)
    assert [row.get("temperature") for row in rows] == [20.0, 21.5, None]
    counts = recorded_counts(engine)
    assert (counts["received"], counts["accepted"], counts["filtered"]) == (6, 3, 3)


def test_devices_beyond_the_limit_and_unknown_ones_are_put_aside(
    make_intake: MakeIntake, engine: Engine, quarantine: QuarantineStore
) -> None:
    intake = make_intake(devices_per_minute=2)
    for number in range(4):
        process(intake, engine, {"ts": T0_MS, "count": 1}, topic=f"plant/m{number}/t")
    closed = make_intake(subscription(create=False))
    process(closed, engine, {"ts": T0_MS, "count": 2}, topic="plant/m9/t")
    process(closed, engine, {"ts": T0_MS + 1, "count": 2}, topic="plant/m1/t")
    assert [item["reason"] for item in quarantine.items()] == [
        "unknown_device", "device_limit", "device_limit",
    ]  # fmt: skip
    counts = recorded_counts(engine)
    check_sum(counts)
    assert (counts["accepted"], counts["quarantined"]) == (3, 3)


def test_a_device_of_another_node_is_put_aside(
    make_intake: MakeIntake, engine: Engine, quarantine: QuarantineStore
) -> None:
    intake = make_intake(owner=lambda path: "other")
    process(intake, engine, {"ts": T0_MS, "count": 1})
    assert [item["reason"] for item in quarantine.items()] == ["not_owner"]


def test_rows_of_a_moved_device_are_put_aside_outside_its_times(
    make_intake: MakeIntake, engine: Engine, quarantine: QuarantineStore
) -> None:
    moved_ns = (T0_MS + 1) * 1_000_000
    intake = make_intake(outside=lambda ids, times: times >= moved_ns)
    for at in (T0_MS, T0_MS + 1, T0_MS + 2):
        process(intake, engine, {"ts": at, "count": 1})
    assert engine.scan_rows("press").time.tolist() == [T0_MS * 1_000_000]
    items = quarantine.items()
    assert [item["reason"] for item in items] == ["not_owner"] * 2
    assert {item["time"] for item in items} == {T0_MS + 1, T0_MS + 2}


def test_times_are_cut_to_the_precision_of_the_database(
    make_intake: MakeIntake, engine: Engine
) -> None:
    intake = make_intake()
    process(intake, engine, {"ts": T0_MS * 1000 + 999, "count": 1})
    assert engine.scan_rows("press").time.tolist() == [T0_MS * 1_000_000]


def test_a_defect_costs_the_message_that_meets_it(
    make_intake: MakeIntake,
    engine: Engine,
    quarantine: QuarantineStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    target = subscription()
    codec = target._codec
    plain = codec.decode

    def decode(payloads: Sequence[bytes]) -> Decoded:
        if any(b"666" in payload for payload in payloads):
            raise ZeroDivisionError("defect")
        return plain(payloads)

    monkeypatch.setattr(codec, "decode", decode)
    intake = make_intake(target)
    process(intake, engine, *({"ts": T0_MS + n, "count": n} for n in (1, 666, 2)))
    assert [row["count"] for row in stored(engine)] == [1, 2]
    (item,) = quarantine.items()
    assert item["reason"] == "malformed"
    assert "ZeroDivisionError" in item["value"]
    check_sum(recorded_counts(engine))


def test_a_defect_behind_the_memory_does_not_make_rows_look_repeated(
    make_intake: MakeIntake, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, calls = engine.write_rows, []

    def write_rows(table: Any, rows: Any, **options: Any) -> Any:
        calls.append(len(rows))
        if len(calls) == 1:
            raise KeyError("defect")
        return plain(table, rows, **options)

    monkeypatch.setattr(engine, "write_rows", write_rows)
    process(make_intake(), engine, *({"ts": T0_MS + n, "count": n} for n in range(3)))
    assert [row["count"] for row in stored(engine)] == [0, 1, 2]
    assert recorded_counts(engine)["late"] == 0


def test_many_values_of_one_kind_are_one_entry(
    make_intake: MakeIntake, engine: Engine, quarantine: QuarantineStore
) -> None:
    rows = [{"ts": T0_MS + n, "count": n, "humidity": n} for n in range(200)]
    process(make_intake(), engine, rows)
    statistics = quarantine.statistics()
    assert (statistics.entries, statistics.items) == (1, 200)
    assert recorded_counts(engine)["values_quarantined"] == 200
    assert {item["value"] for item in quarantine.items()} == set(range(200))


def test_a_full_disk_is_waited_for(
    make_intake: MakeIntake,
    engine: Engine,
    quarantine: QuarantineStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mainstem_edge.table_intake.DISK_RETRY_S", 0.0)
    plain, calls = quarantine.add, []

    def add(items: Any) -> list[str]:
        calls.append(1)
        if len(calls) < 3:
            raise OSError(28, "No space left on device")
        return plain(items)

    monkeypatch.setattr(quarantine, "add", add)
    process(make_intake(), engine, b"{")
    assert len(calls) == 3
    assert quarantine.statistics().items == 1


def test_rows_that_the_store_refuses_are_put_aside(
    make_intake: MakeIntake,
    engine: Engine,
    quarantine: QuarantineStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = engine.write_rows

    def write_rows(table: Any, rows: Any, **options: Any) -> Any:
        if len(rows):
            raise SchemaError("no")
        return plain(table, rows, **options)

    monkeypatch.setattr(engine, "write_rows", write_rows)
    process(make_intake(), engine, {"ts": T0_MS, "count": 5})
    (item,) = quarantine.items()
    assert item["reason"] == "refused_by_store"
    assert json.loads(item["value"]) == {"problem": "no", "count": 5}
    counts = recorded_counts(engine)
    assert (counts["received"], counts["accepted"], counts["quarantined"]) == (1, 0, 1)


def test_the_thread_takes_what_is_queued_and_drains(
    make_intake: MakeIntake, engine: Engine
) -> None:
    intake = make_intake()
    origin = FakeOrigin()
    intake.start()
    for number in range(50):
        row = {"ts": T0_MS + number, "count": number}
        intake.collector.queue.put([message(row, origin=origin)])
    assert intake.drain(20)
    assert intake.is_drained
    assert len(origin.acknowledged) == 50
    assert len(stored(engine)) == 50


def test_an_empty_array_is_acknowledged_and_leaves_no_record(
    make_intake: MakeIntake, engine: Engine
) -> None:
    before = engine.log.appended_lsn
    process(make_intake(), engine, [])
    assert engine.log.appended_lsn == before


def test_newest_events_are_those_of_a_connection(make_intake: MakeIntake, engine: Engine) -> None:
    intake = make_intake()
    first = process(intake, engine, {"ts": T0_MS + 5, "count": 1}, {"ts": T0_MS, "count": 1})
    assert intake.newest_event_ns(first) == (T0_MS + 5) * 1_000_000
    second = process(intake, engine, {"ts": T0_MS + 1, "count": 1})
    assert intake.newest_event_ns(first) is None
    assert intake.newest_event_ns(second) == (T0_MS + 1) * 1_000_000


def test_rows_older_than_what_is_kept_are_put_aside(
    make_intake: MakeIntake, engine: Engine, quarantine: QuarantineStore
) -> None:
    intake = make_intake(subscription())
    old = {"ts": 1_000_000_000_000, "temperature": 1.0}
    process(intake, engine, old)
    assert len(stored(engine)) == 1
    engine.set_keep("press", engine.options.clock() - 1_100_000_000 * 10**9)
    assert stored(engine) == []
    process(intake, engine, {**old, "ts": old["ts"] + 1}, {"ts": T0_MS, "temperature": 2.0})
    assert [row["time"] for row in stored(engine)] == [T0_MS]
    (item,) = quarantine.items()
    assert (item["reason"], item["device"]) == ("expired", "root.plant.m1")
    counts = recorded_counts(engine)
    assert counts["quarantined"] == 1
    check_sum(counts)


def test_case_30_a_row_whose_time_has_expired_is_put_aside_by_who_collects_it(
    make_intake: MakeIntake, engine: Engine, quarantine: QuarantineStore
) -> None:
    """Case 30 of what the protocol must survive, at the door: the time is not whole any more, so
    that a row of it could make a rollup of nothing, also when more is kept from then on."""
    intake = make_intake(subscription())
    old = {"ts": 1_000_000_000_000, "temperature": 1.0}
    process(intake, engine, old)
    engine.flush()
    engine.set_keep("press", engine.options.clock() - 1_100_000_000 * 10**9)
    assert engine.expire().rows == 1
    engine.set_keep("press", None)
    process(intake, engine, {**old, "ts": old["ts"] - 1}, {"ts": T0_MS, "temperature": 2.0})
    assert [row["time"] for row in stored(engine)] == [T0_MS]
    (item,) = quarantine.items()
    assert (item["reason"], item["device"]) == ("too_late", "root.plant.m1")
    assert recorded_counts(engine)["quarantined"] == 1


def test_case_11_with_a_wrong_clock_rows_are_put_aside_and_come_back(
    make_intake: MakeIntake, engine: Engine, quarantine: QuarantineStore
) -> None:
    """Case 11 of what the protocol must survive, at the door: an edge boots in 1970. What has a
    time of its own is ahead of it, what has none would lie in 1970: both are put aside, durably,
    before their source hears of it. Then the clock is set, and a retry stores the first."""
    now_ns = [60 * 10**9]
    intake = make_intake(clock_ns=lambda: now_ns[0])
    own = [{"ts": T0_MS + n, "temperature": float(n)} for n in range(5)]
    process(intake, engine, *own)
    process(intake, engine, {"temperature": 7.0}, arrived_ns=now_ns[0])
    assert stored(engine) == []
    assert sorted(item["reason"] for item in quarantine.items()) == [
        *["time_future"] * 5, "time_past",
    ]  # fmt: skip
    counts = recorded_counts(engine)
    assert (counts["received"], counts["quarantined"]) == (6, 6)
    now_ns[0] = NOW_NS
    process(intake, engine, {"ts": T0_MS + 5, "temperature": 5.0})
    items = {item["id"]: item for item in quarantine.items()}
    waiting = [key for key, item in items.items() if item["reason"] == "time_future"]
    follower: Any = None  # what was received is no matter here
    retry = QuarantineRetry("edge", lambda: engine, follower, quarantine, follower, follower).retry
    assert {found["state"] for found in retry(waiting)} == {"retried"}
    assert [row["time"] for row in stored(engine)] == [T0_MS + n for n in range(6)]
    (left,) = quarantine.items()
    assert json.loads(left["value"]) == {"temperature": 7.0}
    check_sum(recorded_counts(engine))
