"""Filters in the intake: what is stored, put aside and counted, over restarts too."""

from __future__ import annotations

from typing import Any

import pytest
from tests.edge.conftest import MakeIntake

from mainstem_edge.testing.parts import T0_MS, FakeOrigin, message, recorded_counts, rules, stored
from mainstem_edge.value_memory import ValueFilter
from mainstem_engine.engine import Engine
from mainstem_engine.model import ColumnType
from mainstem_sync.receiving.quarantine import QuarantineStore

DEVICE = "root.plant.m1"


def send(intake: Any, *rows: dict[str, Any]) -> None:
    """Rows of one device in one message; returns when they are acknowledged."""
    origin = FakeOrigin()
    intake.process([message(list(rows), origin=origin)])
    origin.wait(1)


def row(second: int, **values: Any) -> dict[str, Any]:
    return {"ts": T0_MS + second * 1000, **values}


def times(engine: Engine, name: str) -> list[tuple[int, Any]]:
    """(second, value) of stored values."""
    return [
        ((each["time"] - T0_MS) // 1000, each[name])
        for each in stored(engine, DEVICE)
        if each.get(name) is not None
    ]


def test_a_value_that_came_too_fast_is_put_aside_and_counted(
    engine: Engine, quarantine: QuarantineStore, make_intake: MakeIntake
) -> None:
    template = rules(temperature={"filter": ValueFilter(max_rate=1.0)})
    intake = make_intake(template=template)
    send(intake, row(0, temperature=20.0), row(1, temperature=90.0, count=5))
    send(intake, row(2, temperature=95.0), row(3, temperature=21.0))
    assert times(engine, "temperature") == [(0, 20.0), (3, 21.0)]
    assert times(engine, "count") == [(1, 5)]
    items = quarantine.items()
    assert sorted((i["reason"], i["measurement"], i["value"]) for i in items) == [
        ("rate_of_change", "temperature", 90.0),
        ("rate_of_change", "temperature", 95.0),
    ]
    counts = recorded_counts(engine)
    assert counts["values_quarantined"] == 2
    assert (counts["received"], counts["accepted"]) == (4, 3)
    assert (counts["quarantined"], counts["filtered"]) == (1, 0)


def test_what_a_door_held_is_stored_when_it_is_needed_and_when_all_stops(
    engine: Engine, make_intake: MakeIntake
) -> None:
    template = rules(temperature={"filter": ValueFilter(door=0.1)})
    intake = make_intake(template=template)
    send(intake, *(row(second, temperature=float(second)) for second in range(5)))
    assert times(engine, "temperature") == [(0, 0.0)]
    send(intake, row(5, temperature=0.0))
    assert times(engine, "temperature") == [(0, 0.0), (4, 4.0)]
    intake.release()
    assert times(engine, "temperature") == [(0, 0.0), (4, 4.0), (5, 0.0)]
    counts = recorded_counts(engine)
    assert (counts["received"], counts["filtered"]) == (6, 5)
    assert counts["accepted"] == 1  # the two that were restored are derived rows


def test_increments_of_a_counter_go_on_after_a_restart(
    engine: Engine, make_intake: MakeIntake
) -> None:
    increment = (0, ColumnType.DOUBLE)  # into temperature
    template = rules(
        count={"filter": ValueFilter(increment=increment, rollover=1000)},
        temperature={"computed": True},
    )
    send(make_intake(template=template), row(0, count=990), row(1, count=995))
    send(make_intake(template=template), row(2, count=3), row(3, count=5))
    assert times(engine, "temperature") == [(1, 5.0), (2, 8.0), (3, 2.0)]


@pytest.mark.parametrize("late", [0, 1])
def test_a_late_row_is_kept_whole_and_has_no_increment(
    engine: Engine, make_intake: MakeIntake, late: int
) -> None:
    rule = ValueFilter(band=10.0, max_rate=0.1, increment=(0, ColumnType.DOUBLE))
    template = rules(count={"filter": rule}, temperature={"computed": True})
    intake = make_intake(template=template)
    send(intake, row(5, count=1))
    send(intake, row(late, count=100))
    assert times(engine, "count") == [(late, 100), (5, 1)]
    assert times(engine, "temperature") == []
