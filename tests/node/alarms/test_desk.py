"""How alarms stand, from the rows of the table, and what an acknowledgement makes of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mainstem_engine.engine import Engine
from mainstem_engine.model import Column, ColumnType, Measurement, Rows, Tag, Template
from mainstem_node.alarms import AlarmDesk, journal
from mainstem_node.alarms.desk import Wanted
from mainstem_node.alarms.standing import GROUPS
from mainstem_node.config.rules import ALARMS, RuleConfig
from mainstem_node.errors import ConflictError, MissingError

MS = 10**6
HOT = "root.plant.m1.alarms.hot"
ALL = Wanted(GROUPS["all"])


class Clock:
    """Of people: far behind the events of these tests, unless a test sets it."""

    ms = 5

    def __call__(self) -> int:
        return self.ms * MS


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with Engine.open(tmp_path / "data") as opened:
        yield opened


@pytest.fixture
def desk(engine: Engine, clock: Clock) -> AlarmDesk:
    return AlarmDesk(engine, clock)


def change(
    engine: Engine, ms: int, since_ms: int | None = None, *, path: str = HOT, severity: str = "info"
) -> None:
    """A raise at ``ms``, or the end of the one at ``since_ms``."""
    journal.make_table(engine)
    ids = engine.device_ids(ALARMS, [path], create=True)
    number = journal.column_ids(engine)
    columns = {
        number[journal.RAISED]: Column(np.array([since_ms is None])),
        number[journal.VALUE]: Column(np.array([float(ms)])),
        number[journal.SEVERITY]: Column(np.array([severity], object)),
        number[journal.SINCE]: Column(np.array([(since_ms or ms) * MS], np.int64)),
    }
    rows = Rows(ids, np.array([ms * MS], np.int64), columns)
    engine.write_rows(engine.catalog.table(ALARMS), rows, derived=True).wait()


def state(desk: AlarmDesk) -> str:
    (alarm,) = desk.listed(ALL)["alarms"]
    return str(alarm["state"])


def test_the_four_states(engine: Engine, desk: AlarmDesk, clock: Clock) -> None:
    change(engine, 10)
    assert state(desk) == "active_unacknowledged"
    clock.ms = 12
    desk.acknowledge(HOT, "ann", "on my way")
    assert state(desk) == "active_acknowledged"
    change(engine, 20, 10)
    assert state(desk) == "normal"
    change(engine, 30)
    assert state(desk) == "active_unacknowledged"
    change(engine, 40, 30)
    assert state(desk) == "cleared_unacknowledged"
    clock.ms = 50
    desk.acknowledge(HOT, "bob", "")
    (alarm,) = desk.listed(ALL)["alarms"]
    assert alarm == {
        "id": HOT, "state": "normal", "source": "root.plant.m1", "rule": "hot",
        "severity": "info", "measurement": None, "value": 40.0, "message": None, "since": 30,
        "changed": 40, "acknowledged_at": 50, "acknowledged_by": "bob", "comment": None,
    }  # fmt: skip


def test_changes_of_a_backlog_are_not_seen_before_they_came(
    engine: Engine, desk: AlarmDesk, clock: Clock
) -> None:
    """The person saw the raise of 10, at 1000. What happened at 20 came later."""
    change(engine, 10)
    clock.ms = 1000
    desk.acknowledge(HOT, "ann", "")
    change(engine, 15, 10)
    change(engine, 20)
    assert state(desk) == "active_unacknowledged"
    change(engine, 30, 20)
    assert state(desk) == "cleared_unacknowledged"
    desk.acknowledge(HOT, "ann", "")
    assert state(desk) == "normal"


def test_a_clock_that_was_set_back_hides_no_acknowledgement(
    engine: Engine, desk: AlarmDesk, clock: Clock
) -> None:
    change(engine, 10)
    clock.ms = 1000
    desk.acknowledge(HOT, "ann", "first")
    change(engine, 20)
    clock.ms = 500
    desk.acknowledge(HOT, "bob", "second")
    (alarm,) = desk.listed(ALL)["alarms"]
    assert (alarm["state"], alarm["comment"]) == ("active_acknowledged", "second")


def test_the_raise_stays_in_the_journal(engine: Engine, desk: AlarmDesk, clock: Clock) -> None:
    change(engine, 10)
    clock.ms = 12
    desk.acknowledge(HOT, "ann", "seen")
    rows = engine.scan(ALARMS).read_all().to_pylist()
    assert [(row["raised"], row["since"], row["acknowledged"]) for row in rows] == [
        (True, 10, None), (None, None, 10),
    ]  # fmt: skip
    assert (rows[1]["acknowledged_by"], rows[1]["comment"]) == ("ann", "seen")


def test_who_comes_second_is_told(engine: Engine, desk: AlarmDesk) -> None:
    change(engine, 10)
    desk.acknowledge(HOT, "ann", "seen")
    assert desk.acknowledge(HOT, "ann", "seen")["acknowledged_by"] == "ann"
    assert len(engine.scan(ALARMS).read_all()) == 2
    with pytest.raises(ConflictError, match="by ann"):
        desk.acknowledge(HOT, "bob", "seen")
    change(engine, 20)
    with pytest.raises(ConflictError, match="raised anew"):
        desk.acknowledge(HOT, "bob", "seen", since_ns=10 * MS)
    with pytest.raises(MissingError):
        desk.acknowledge("root.plant.m1.alarms.cold", "bob", "")


def test_what_is_asked_for(engine: Engine, desk: AlarmDesk) -> None:
    for number in range(4):
        path = f"root.plant.m{number}.alarms.hot"
        change(engine, 10 + number, path=path, severity="critical" if number == 3 else "info")
    change(engine, 50, 11, path=HOT)

    def paths(wanted: Wanted) -> list[int]:
        return [int(each["source"][-1]) for each in desk.listed(wanted)["alarms"]]

    assert paths(ALL) == [1, 3, 2, 0]
    assert paths(Wanted(GROUPS["active"])) == [3, 2, 0]
    assert paths(Wanted(GROUPS["cleared"])) == [1]
    assert paths(Wanted(severity="critical")) == [3]
    assert paths(Wanted(from_ns=12 * MS)) == [1, 3, 2]
    assert paths(Wanted(limit=2)) == [1, 3]
    assert desk.listed(Wanted(limit=2))["total"] == 4
    assert desk.counts() == {"active": 3, "unacknowledged": 4}


def test_rules_with_the_states_of_their_alarms(engine: Engine, desk: AlarmDesk) -> None:
    change(engine, 10)
    rules = [RuleConfig(name=name, template="press", missing=MS) for name in ("hot", "cold")]
    hot, cold = desk.rules(rules)
    assert hot["alarms"]["active_unacknowledged"] == 1
    assert set(cold["alarms"].values()) == {0}
    assert (cold["name"], cold["template"], "above" in cold) == ("cold", "press", False)


def test_a_table_of_an_earlier_version(engine: Engine, desk: AlarmDesk) -> None:
    """Without ``since``, and what is acknowledged."""
    old = (Measurement(0, "raised", ColumnType.BOOLEAN), Measurement(1, "value", ColumnType.DOUBLE))
    engine.create_template(Template(ALARMS, old, (Tag("source"), Tag("rule"))))
    ids = engine.device_ids(ALARMS, [HOT], create=True)
    rows = Rows(ids, np.array([10 * MS], np.int64), {0: Column(np.array([True]))})
    engine.write_rows(engine.catalog.table(ALARMS), rows, derived=True).wait()
    assert state(desk) == "active_unacknowledged"
    desk.acknowledge(HOT, "ann", "")
    assert state(desk) == "active_acknowledged"


def test_without_the_table(desk: AlarmDesk) -> None:
    assert desk.listed(ALL) == {"alarms": [], "total": 0}
    assert desk.counts() == {"active": 0, "unacknowledged": 0}
