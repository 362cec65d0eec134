"""Alarms as rows: what is stored when values come in, over filters and starts."""

from __future__ import annotations

from typing import Any, NoReturn

import pytest
from tests.edge.conftest import MakeIntake

from mainstem_edge.alarms.book import AlarmBook
from mainstem_edge.alarms.rule import EXPRESSED, SILENT, AlarmRule
from mainstem_edge.testing.parts import NOW_NS, T0_MS, FakeOrigin, message, rules
from mainstem_edge.value_memory import ValueFilter
from mainstem_engine.engine import Engine
from mainstem_engine.errors import OverloadedError, SchemaError
from mainstem_node.alarms import AlarmDesk
from mainstem_node.expressions import parse

HOT = AlarmRule("hot", 0, "temperature", above=90.0, hysteresis=5.0, severity="critical")


def send(intake: Any, *values: tuple[int, float], device: str = "m1") -> None:
    """(second, temperature), in one message; returns when it is acknowledged."""
    rows = [{"ts": T0_MS + second * 1000, "temperature": value} for second, value in values]
    origin = FakeOrigin()
    intake.process([message(rows, f"plant/{device}/t", origin=origin)])
    origin.wait(1)


def journal(engine: Engine) -> list[tuple[str, int, bool]]:
    """(device, second, raised), as stored."""
    rows = engine.scan("alarms").read_all().to_pylist()
    found = [(row["device"], (row["time"] - T0_MS) // 1000, row["raised"]) for row in rows]
    return sorted(found, key=lambda row: row[:2])


M1 = "root.plant.m1.alarms.hot"


def test_an_alarm_is_a_row_that_says_what_happened(engine: Engine, make_intake: MakeIntake) -> None:
    intake = make_intake(alarms=AlarmBook(engine, "press", [HOT]))
    send(intake, (1, 80.0), (2, 91.0), (3, 88.0), (4, 85.0))
    assert journal(engine) == [(M1, 2, True), (M1, 4, False)]
    row = engine.scan("alarms").read_all().to_pylist()[0]
    assert (row["severity"], row["measurement"], row["value"]) == ("critical", "temperature", 91.0)
    assert row["message"] == "hot: temperature of root.plant.m1 is 91"
    device = engine.catalog.devices.id_of(M1)
    assert device is not None


def test_an_alarm_that_is_raised_is_not_raised_again_after_a_start(
    engine: Engine, make_intake: MakeIntake
) -> None:
    send(make_intake(alarms=AlarmBook(engine, "press", [HOT])), (1, 91.0))
    send(make_intake(alarms=AlarmBook(engine, "press", [HOT])), (2, 92.0))
    assert journal(engine) == [(M1, 1, True)]
    send(make_intake(alarms=AlarmBook(engine, "press", [HOT])), (3, 20.0))
    send(make_intake(alarms=AlarmBook(engine, "press", [HOT])), (4, 20.0), (5, 95.0))
    assert journal(engine) == [(M1, 1, True), (M1, 3, False), (M1, 5, True)]


def test_the_same_rows_again_are_the_same_alarm(engine: Engine, make_intake: MakeIntake) -> None:
    for _ in range(2):
        send(make_intake(alarms=AlarmBook(engine, "press", [HOT])), (1, 91.0), (2, 20.0))
    assert journal(engine) == [(M1, 1, True), (M1, 2, False)]


def test_a_value_that_a_filter_drops_is_looked_at(engine: Engine, make_intake: MakeIntake) -> None:
    template = rules(temperature={"filter": ValueFilter(band=0.0)})
    stuck = AlarmRule("stuck", 0, "temperature", stuck_ns=3 * 10**9)
    intake = make_intake(template=template, alarms=AlarmBook(engine, "press", [stuck]))
    for second in range(1, 6):
        send(intake, (second, 20.0))
    assert journal(engine) == [("root.plant.m1.alarms.stuck", 4, True)]


def test_a_rule_watches_the_devices_below_its_path(engine: Engine, make_intake: MakeIntake) -> None:
    rule = AlarmRule("hot", 0, "temperature", above=90.0, under="root.plant.m1")
    intake = make_intake(alarms=AlarmBook(engine, "press", [rule]))
    send(intake, (1, 95.0), device="m2")
    send(intake, (1, 95.0), device="m1")
    assert journal(engine) == [(M1, 1, True)]


def test_a_late_row_says_nothing_after_a_start_either(
    engine: Engine, make_intake: MakeIntake
) -> None:
    """The alarm was cleared, and there is no alarm of the other device: only rows know the time."""
    send(make_intake(alarms=AlarmBook(engine, "press", [HOT])), (1, 91.0), (5, 20.0))
    send(make_intake(alarms=AlarmBook(engine, "press", [HOT])), (5, 20.0), device="m2")
    late = make_intake(alarms=AlarmBook(engine, "press", [HOT]))
    send(late, (3, 99.0))
    send(late, (3, 99.0), device="m2")
    assert journal(engine) == [(M1, 1, True), (M1, 5, False)]


def test_an_alarm_that_a_crash_took_is_raised_when_its_row_comes_again(
    engine: Engine, make_intake: MakeIntake
) -> None:
    send(make_intake(), (1, 91.0))  # stored, and nobody watched
    send(make_intake(alarms=AlarmBook(engine, "press", [HOT])), (1, 91.0))
    assert journal(engine) == [(M1, 1, True)]


def test_a_change_that_is_not_taken_costs_no_other(
    engine: Engine, make_intake: MakeIntake, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = engine.device_ids

    def refuse(table: str, paths: Any, **options: Any) -> Any:
        if any("m1.alarms" in path for path in paths):
            raise SchemaError("no such device here")
        return make(table, paths, **options)

    intake = make_intake(alarms=AlarmBook(engine, "press", [HOT]))
    monkeypatch.setattr(engine, "device_ids", refuse)
    origin, row = FakeOrigin(), {"ts": T0_MS, "temperature": 91.0}
    intake.process([message(row, f"plant/m{n}/t", origin=origin) for n in (1, 2)])
    origin.wait(2)
    assert journal(engine) == [("root.plant.m2.alarms.hot", 0, True)]


def test_what_an_overloaded_engine_did_not_take_is_stored_at_the_stop(
    engine: Engine, make_intake: MakeIntake, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = AlarmBook(engine, "press", [HOT])
    intake = make_intake(alarms=book)

    def overloaded(changes: object) -> NoReturn:
        raise OverloadedError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(book, "_append", overloaded)
        send(intake, (1, 91.0))
        assert journal(engine) == []
    intake.release()
    assert journal(engine) == [(M1, 1, True)]


def test_silence_is_a_row_with_the_time_at_which_it_was_noticed(
    engine: Engine, make_intake: MakeIntake
) -> None:
    now_s = [10]
    gone = AlarmRule("gone", None, "", missing_ns=60 * 10**9, message=SILENT)

    def clock_ns() -> int:
        return (T0_MS + now_s[0] * 1000) * 10**6

    def book() -> AlarmBook:
        return AlarmBook(engine, "press", [gone], clock_ns=clock_ns, monotonic_ns=clock_ns)

    def check(watching: AlarmBook) -> None:
        watching.check(0)
        ack = watching.write()
        if ack is not None:
            ack.wait(10)

    first = book()
    send(make_intake(alarms=first), (9, 20.0))
    now_s[0] = 71
    check(first)
    device = "root.plant.m1.alarms.gone"
    assert journal(engine) == [(device, 71, True)]
    row = engine.scan("alarms").read_all().to_pylist()[0]
    assert row["message"] == "gone: root.plant.m1 has been silent for 61 s"
    assert (row["measurement"], row["value"]) == (None, 61.0)

    now_s[0] = 500
    second = book()  # a start: it stays raised, and nothing is raised again
    check(second)
    send(make_intake(alarms=second), (10, 20.0))
    assert journal(engine) == [(device, 71, True), (device, 500, False)]


def test_an_expression_over_a_row_is_an_alarm_without_a_value(
    engine: Engine, make_intake: MakeIntake
) -> None:
    known = {"temperature": False, "pressure": False}
    rule = AlarmRule(
        "both", None, "", message=EXPRESSED,
        expression=parse("temperature > 90 AND pressure < 2", known),
        clear=parse("Temperature < 80", known),
    )  # fmt: skip
    intake = make_intake(alarms=AlarmBook(engine, "press", [rule]))
    origin = FakeOrigin()
    rows = [
        {"ts": T0_MS + second * 1000} | values
        for second, values in enumerate(
            (
                {"temperature": 95.0, "pressure": 3.0},
                {"temperature": 95.0},
                {"temperature": 95.0, "pressure": 1.0},
                {"temperature": 85.0, "pressure": 5.0},
                {"temperature": 79.0},
            )
        )
    ]
    intake.process([message(rows, "plant/m1/t", origin=origin)])
    origin.wait(1)
    device = "root.plant.m1.alarms.both"
    assert journal(engine) == [(device, 2, True), (device, 4, False)]
    row = engine.scan("alarms").read_all().to_pylist()[0]
    assert (row["measurement"], row["value"]) == ("temperature, pressure", None)
    assert row["message"] == "both: root.plant.m1, by its temperature, pressure"


def test_the_end_of_an_alarm_says_when_it_was_raised(
    engine: Engine, make_intake: MakeIntake
) -> None:
    """Also over a start, and whatever a person said of it in between."""
    send(make_intake(alarms=AlarmBook(engine, "press", [HOT])), (1, 91.0))
    AlarmDesk(engine, lambda: NOW_NS).acknowledge(M1, "ann", "")
    send(make_intake(alarms=AlarmBook(engine, "press", [HOT])), (2, 92.0), (3, 20.0), (4, 95.0))
    rows = engine.scan("alarms").read_all().to_pylist()
    assert [(row["raised"], row["since"]) for row in rows if row["raised"] is not None] == [
        (True, T0_MS + 1000), (False, T0_MS + 1000), (True, T0_MS + 4000),
    ]  # fmt: skip
