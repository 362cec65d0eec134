"""Plans and trees that are kept: the same answers as made anew, whatever changes in between."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mainstem_engine import Engine
from mainstem_engine.errors import NotFoundError
from mainstem_engine.sql.plan import Request
from mainstem_engine.sql.planning import plan_cache
from mainstem_engine.sql.planning.plan_cache import (
    PLANS_MAX,
    TREES_MAX,
    PlanCache,
    revisions_of,
)
from mainstem_engine.sql.planning.planner import Planner
from mainstem_engine.sql.result import Result
from mainstem_engine.sql.statements import Query
from mainstem_engine.sql.times import parse_zone

Run = Callable[..., Result]

STATEMENTS = (
    "SELECT device, count(*), avg(s1), max(s2) FROM car GROUP BY device",
    "SELECT * FROM root.beijing.** ORDER BY time",
    "SELECT s1 FROM root.beijing.d1 WHERE time >= 1500",
    "SELECT LAST s1, s2 FROM root.beijing.d2",
    "SELECT time_bucket(1h, ts) AS hour, avg(current) FROM meters GROUP BY hour",
    "SELECT location, sum(voltage) FROM meters WHERE location = 'north' GROUP BY location",
    "WITH a AS (SELECT s1 AS x FROM car WHERE s1 > 5) SELECT x FROM a JOIN car ON car.s1 = a.x",
    "SELECT count(*) FROM car WHERE time < now() - 1h",
)


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The kinds of trees that were planned."""
    seen: list[str] = []
    plan = Planner.plan

    def counted(self: Planner, tree: Any, request: Request, text: str | None = None) -> Any:
        seen.append(tree.key)
        return plan(self, tree, request, text)

    monkeypatch.setattr(Planner, "plan", counted)
    return seen


def request(*params: Any, database: str = "root.default", time_zone: str = "UTC") -> Request:
    return Request(database, time_zone, parse_zone(time_zone), 10**18, params)


@pytest.mark.parametrize("sql", STATEMENTS)
def test_an_answer_stays_the_same(own_plant: Run, sql: str) -> None:
    first = own_plant(sql)
    for _ in range(2):
        again = own_plant(sql)
        assert sorted(again.rows()) == sorted(first.rows())
        assert again.columns == first.columns
        assert (again.tables, again.range_ns) == (first.tables, first.range_ns)


def test_a_statement_is_planned_once(own_plant: Run, planned: list[str]) -> None:
    for _ in range(3):
        own_plant(STATEMENTS[0])
    assert len(planned) == 1
    own_plant(STATEMENTS[0] + " ")
    assert len(planned) == 2


@pytest.mark.parametrize("sql", STATEMENTS)
def test_planning_changes_no_kept_tree(engine: Engine, own_plant: Run, sql: str) -> None:
    plans = PlanCache()
    written = repr(plans.statements(sql))
    for _ in range(2):
        (statement,) = plans.statements(sql)
        assert isinstance(statement, Query)
        Planner(engine.catalog).plan(statement.tree, request())
        assert repr(plans.statements(sql)) == written
    (kept,), (other,) = plans.statements(sql), plans.statements(sql)
    assert isinstance(kept, Query)
    assert isinstance(other, Query)
    mine, others = set(map(id, kept.tree.walk())), set(map(id, other.tree.walk()))
    assert not mine & others


def test_a_new_device_is_seen(own_plant: Run) -> None:
    sql = "SELECT device, count(*) FROM root.beijing.** GROUP BY device"
    before = own_plant(sql).row_count
    own_plant("INSERT INTO root.beijing.d9(time, s1) VALUES (1000, 1)")
    assert own_plant(sql).row_count == before + 1


def test_a_changed_template_is_seen(own_plant: Run) -> None:
    sql = "SELECT * FROM car ORDER BY time LIMIT 1"
    before = [column["name"] for column in own_plant(sql).columns]
    own_plant("ALTER SCHEMA TEMPLATE car ADD (s3 INT64)")
    assert [column["name"] for column in own_plant(sql).columns] == [*before, "s3"]


@pytest.mark.parametrize(
    ("sql", "is_kept"),
    [
        ("SELECT count(*) FROM car", True),
        ("SELECT avg(s1) FROM car GROUP BY device", True),
        ("SELECT s1 FROM car WHERE device = 'root.beijing.d1'", True),
        ("SELECT s1 FROM root.beijing.d1", True),
        ("SELECT _wstart, avg(s1) FROM root.beijing.d1 INTERVAL(1m)", True),
        ("SELECT s1 FROM root.beijing.d1 WHERE device = 'root.beijing.d2'", False),
        ("SELECT count(*) FROM car WHERE device IN ('root.beijing.d1', 'root.beijing.new')", False),
        ("SELECT count(*) FROM car WHERE device LIKE 'root.beijing.n%'", False),
        ("SELECT count(s1) FROM car WHERE tbname = 'new'", False),
        ("SELECT count(s1) FROM root.beijing.*", False),
        ("SELECT count(s1) FROM root.**", False),
        ("SELECT count(*) FROM beijing.car", False),
        ("SELECT LAST s1 FROM root.beijing.*", False),
        ("SELECT avg(s1) FROM root.beijing.** GROUP BY LEVEL = 1", False),
        ("SELECT a.s1 FROM root.beijing.d1 a JOIN root.beijing.* b USING (time)", False),
    ],
)
def test_a_device_more_takes_the_plans_that_it_can_change(
    own_plant: Run, planned: list[str], sql: str, is_kept: bool
) -> None:
    own_plant(sql)
    own_plant("INSERT INTO root.beijing.new(time, s1) VALUES (5, 5)")
    planned.clear()
    found = own_plant(sql)
    assert (not planned) == is_kept
    fresh = own_plant(f"{sql} -- planned for itself")
    assert (found.columns, found.rows()) == (fresh.columns, fresh.rows())


def test_a_template_in_another_database_has_another_precision(own_plant: Run) -> None:
    sql = "SELECT max(time) FROM car"
    assert own_plant(sql).precision_ns == 1_000_000
    own_plant(
        "CREATE DATABASE root.fine PRECISION 'ns'; SET SCHEMA TEMPLATE car TO root.fine;"
        "INSERT INTO root.fine.f(time, s1) VALUES (7000000000, 1)"
    )
    assert own_plant(sql).precision_ns == 1
    assert own_plant(sql).rows() == [[7_000_000_000]]


def test_a_device_that_is_gone_is_not_found(own_plant: Run) -> None:
    sql = "SELECT s1 FROM root.beijing.d1"
    assert own_plant(sql).row_count == 2
    own_plant("DROP TABLE root.beijing.d1")
    with pytest.raises(NotFoundError):
        own_plant(sql)


def test_a_table_that_comes_later_is_found(own_plant: Run) -> None:
    with pytest.raises(NotFoundError):
        own_plant("SELECT count(*) FROM later")
    own_plant("CREATE SCHEMA TEMPLATE later (a INT32)")
    assert own_plant("SELECT count(*) FROM later").rows() == [[0]]


def test_parameters_are_told_apart_by_value_and_type(own_plant: Run) -> None:
    kinds = [own_plant("SELECT typeof(?)", value).rows()[0][0] for value in (1, True, 1, "1", 1.0)]
    assert kinds[0] == kinds[2]
    assert len(set(kinds)) == 4
    sql = "SELECT s1 FROM root.beijing.d1 WHERE time >= ?"
    assert [own_plant(sql, low).row_count for low in (0, 1500, 0, 2500)] == [2, 1, 2, 0]
    signs = [own_plant("SELECT CAST(? AS VARCHAR)", zero).rows()[0][0] for zero in (0.0, -0.0)]
    assert signs == ["0.0", "-0.0"]


def test_zone_and_database_are_part_of_it(own_plant: Run) -> None:
    sql = "SELECT date_trunc('day', time) AS day, count(*) FROM car GROUP BY day"
    utc = own_plant(sql).rows()
    assert own_plant(sql, time_zone="Asia/Tokyo").rows() != utc
    assert own_plant(sql).rows() == utc
    assert own_plant("SELECT s1 FROM d1", database="root.beijing").row_count == 2
    with pytest.raises(NotFoundError):
        own_plant("SELECT s1 FROM d1", database="root.default")


def test_what_asks_for_the_clock_is_not_kept(own_plant: Run, planned: list[str]) -> None:
    for sql in ("SELECT now()", "SELECT current_date", "SELECT count(*), now() FROM car"):
        planned.clear()
        own_plant(sql)
        own_plant(sql)
        assert len(planned) == 2, sql


def test_what_is_kept_is_bounded(engine: Engine, own_plant: Run) -> None:
    plans = PlanCache()
    catalog = engine.catalog
    for number in range(max(PLANS_MAX, TREES_MAX) + 5):
        sql = f"SELECT s1 FROM car LIMIT {number}"
        (statement,) = plans.statements(sql)
        assert isinstance(statement, Query)
        plan = Planner(catalog).plan(statement.tree, request())
        plans.keep(sql, request(), catalog, revisions_of(catalog), plan)
    assert len(plans._plans) == PLANS_MAX
    assert len(plans._trees) == TREES_MAX
    assert plans.plan("SELECT s1 FROM car LIMIT 0", request(), catalog) is None
    assert plans.plan(sql, request(), catalog) is plan


def test_a_large_plan_is_not_kept(
    engine: Engine, own_plant: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_cache, "PLAN_BYTES_MAX", 64)
    plans, catalog = PlanCache(), engine.catalog
    (statement,) = plans.statements("SELECT * FROM car")
    assert isinstance(statement, Query)
    plan = Planner(catalog).plan(statement.tree, request())
    plans.keep("SELECT * FROM car", request(), catalog, revisions_of(catalog), plan)
    assert plans.plan("SELECT * FROM car", request(), catalog) is None


def test_a_plan_made_while_the_catalog_changed_is_not_found(engine: Engine, own_plant: Run) -> None:
    plans, catalog = PlanCache(), engine.catalog
    revisions = revisions_of(catalog)
    (statement,) = plans.statements("SELECT * FROM car")
    assert isinstance(statement, Query)
    plan = Planner(catalog).plan(statement.tree, request())
    own_plant("ALTER SCHEMA TEMPLATE car ADD (s3 INT64)")
    plans.keep("SELECT * FROM car", request(), catalog, revisions, plan)
    assert plans.plan("SELECT * FROM car", request(), catalog) is None


def test_a_script_is_not_taken_for_its_last_statement(own_plant: Run) -> None:
    script = "USE root.beijing; SELECT s1 FROM d1"
    assert own_plant(script).row_count == own_plant(script).row_count == 2
