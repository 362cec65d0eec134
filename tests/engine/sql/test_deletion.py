"""DELETE: what it means, what is pushed down, what is refused."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstem_engine import Engine
from mainstem_engine.errors import (
    NotFoundError,
    NotOwnerError,
    SchemaError,
    SqlCancelledError,
    SqlError,
    SqlSyntaxError,
    SqlUnsupportedError,
)
from mainstem_engine.model import Origin
from mainstem_engine.sql.result import Result
from mainstem_engine.sql.running.cancellation import Cancellation
from mainstem_engine.sql.running.executors import InProcessExecutor
from mainstem_engine.sql.session import Session

from .conftest import NOW_MS, make_plant, open_engine, runner
from .predicates import fill, predicates

Run = Callable[..., Result]
NIGHTLY = bool(os.environ.get("MAINSTEM_NIGHTLY"))


def left(run: Run, table: str = "meters") -> list[tuple[Any, Any]]:
    found = run(f"SELECT tbname, time FROM {table} ORDER BY 1, 2").rows()
    return [(name, time) for name, time in found]


ALL = [("d1001", 1000), ("d1001", 2000), ("d1002", 1000), ("d1002", 3000)]


@pytest.mark.parametrize(
    ("where", "gone"),
    [
        ("", ALL),
        ("WHERE ts < 2000", [ALL[0], ALL[2]]),
        ("WHERE ts <= '1970-01-01T00:00:01Z'", [ALL[0], ALL[2]]),
        ("WHERE time BETWEEN 1500 AND 3000 AND location = 'north'", [ALL[1]]),
        ("WHERE time IN (1000, 3000)", [ALL[0], ALL[2], ALL[3]]),
        ("WHERE groupid IN (3, 9)", [ALL[2], ALL[3]]),
        ("WHERE tbname = 'd1001'", [ALL[0], ALL[1]]),
        ("WHERE device LIKE '%1002' AND ts > 1000", [ALL[3]]),
        ("WHERE voltage > 220", [ALL[2], ALL[3]]),
        ("WHERE voltage % 2 = 1 AND ts < 3000 AND location <> 'x'", [ALL[0], ALL[2]]),
        ("WHERE current IS NULL", [ALL[3]]),
        ("WHERE current > 11 OR (location = 'north' AND ts = 1000)", [ALL[0], ALL[2]]),
        ("WHERE meters.voltage = 219", [ALL[0]]),
        ("WHERE ts > now()", []),
        ("WHERE ts < -9223372036854775808", []),
        ("WHERE ts < -1000000000000000000000000000000", []),
        ("WHERE ts > 1000000000000000000000000000000", []),
        ("WHERE ts >= -1000000000000000000000000000000", ALL),
        ("WHERE ts < 1000000000000000000000000000000", ALL),
        ("WHERE ts > 2000 AND ts < 2000", []),
        ("WHERE ts < '1970-01-01T00:00:01.0000001Z'", [ALL[0], ALL[2]]),
        ("WHERE NOT (voltage > 219)", [ALL[0]]),
        ("WHERE TRUE", ALL),
        ("WHERE FALSE", []),
        ("WHERE NULL", []),
        ("WHERE voltage = 1000", []),
        ("WHERE location = 'nowhere'", []),
        ("WHERE ts + INTERVAL '1 second' = '1970-01-01T00:00:03Z'", [ALL[1]]),
    ],
)
def test_rows_of_a_template(own_plant: Run, where: str, gone: list[Any]) -> None:
    before = own_plant(f"SELECT count(*) FROM meters {where}").rows()[0][0]
    result = own_plant(f"DELETE FROM meters {where}")
    assert result.rows_affected == len(gone) == before
    assert left(own_plant) == [row for row in ALL if row not in gone]
    assert own_plant(f"DELETE FROM meters {where}").rows_affected == 0


@pytest.mark.parametrize("flushed", [False, True])
def test_rows_of_a_device_and_of_a_pattern(own_plant: Run, engine: Engine, flushed: bool) -> None:
    if flushed:
        engine.flush()
    assert own_plant("DELETE FROM root.beijing.d1 WHERE time < 1500").rows_affected == 1
    assert own_plant("SELECT time FROM root.beijing.d1").rows() == [[2000]]
    assert own_plant("DELETE FROM d1001 WHERE voltage = 219").rows_affected == 1
    assert own_plant("DELETE FROM root.beijing.** WHERE s2 > 3").rows_affected == 1
    assert own_plant("SELECT time FROM root.beijing.d2").rows() == [[1000]]
    assert own_plant("DELETE FROM root.**").rows_affected == 5
    assert left(own_plant) == []


def test_a_pattern_over_templates_reads_missing_columns_as_null(own_plant: Run) -> None:
    assert own_plant("DELETE FROM root.** WHERE voltage >= 222 OR s1 = 30").rows_affected == 2
    assert own_plant("DELETE FROM root.** WHERE location = 'x' AND ts > 0").rows_affected == 0
    assert own_plant("DELETE FROM root.** WHERE voltage IS NULL AND time = 2000").rows_affected == 1
    assert left(own_plant, "car") == [("d1", 1000), ("d2", 1000)]


def test_values_of_measurements(own_plant: Run) -> None:
    assert own_plant("DELETE FROM root.beijing.d1.s2 WHERE time <= 1000").rows_affected == 1
    assert own_plant("SELECT s1, s2 FROM root.beijing.d1").rows() == [
        [1000, 1, None],
        [2000, None, 2.5],
    ]
    both = "DELETE FROM root.beijing.d2.s1, root.beijing.d2.s2 WHERE time = 3000"
    assert own_plant(both).rows_affected == 1
    assert own_plant("SELECT time FROM root.beijing.d2").rows() == [[1000]]
    own_plant("DELETE FROM root.beijing.*.s1")
    assert own_plant("SELECT LAST s1 FROM root.beijing.**").rows() == []
    assert own_plant("DELETE FROM meters.current WHERE voltage = 220").rows_affected == 1
    assert own_plant("DELETE FROM root.beijing.d1.*").rows_affected == 1
    assert own_plant("SELECT time FROM root.beijing.d1").rows() == []


def test_several_values_of_one_device(own_plant: Run) -> None:
    assert own_plant("DELETE FROM root.beijing.d2.s1, s2 WHERE time = 3000").rows_affected == 1
    assert own_plant("SELECT time FROM root.beijing.d2").rows() == [[1000]]
    own_plant("DELETE FROM root.bei*.d1.s* WHERE time <= 1000")
    assert own_plant("SELECT time FROM root.beijing.d1").rows() == [[2000]]
    with pytest.raises(NotFoundError, match="no table s9"):
        own_plant("DELETE FROM root.beijing.d1.s1, s9")


def test_a_series_loses_its_values_and_stays_declared(own_plant: Run) -> None:
    result = own_plant("DELETE TIMESERIES root.beijing.d1.s2")
    assert (result.rows_affected, len(result.warnings)) == (2, 1)
    assert own_plant("SELECT s1, s2 FROM root.beijing.d1").rows() == [[1000, 1, None]]
    with pytest.raises(SqlUnsupportedError, match="is no series"):
        own_plant("DELETE TIMESERIES root.beijing.d1")
    own_plant("DELETE TIMESERIES root.beijing.**")
    assert own_plant("SELECT count(*) FROM car").rows() == [[0]]


def test_parameters_and_zones(own_plant: Run) -> None:
    assert (
        own_plant("DELETE FROM meters WHERE ts = ? AND voltage = ?", 1000, 221).rows_affected == 1
    )
    local = "DELETE FROM meters WHERE ts < '1970-01-01T08:00:02'"
    assert own_plant(local, time_zone="Asia/Shanghai").rows_affected == 1
    with pytest.raises(SqlError, match="no value for parameter"):
        own_plant("DELETE FROM meters WHERE voltage = ?")


@pytest.mark.parametrize(
    ("sql", "error", "message"),
    [
        ("DELETE FROM nothing", NotFoundError, "there is no table"),
        ("DELETE FROM root.nothing.**", NotFoundError, "no device matches"),
        ("DELETE FROM meters WHERE nothing = 1", NotFoundError, "no column 'nothing'"),
        ("DELETE FROM root.beijing.d1.s9", NotFoundError, "no measurement s9"),
        (
            "DELETE FROM meters WHERE ts IN (SELECT ts FROM meters)",
            SqlUnsupportedError,
            "sub-query",
        ),
        ("DELETE FROM meters WHERE voltage = (SELECT 1)", SqlUnsupportedError, "sub-query"),
        ("DELETE FROM meters WHERE voltage > avg(voltage)", SqlUnsupportedError, "aggregate"),
        (
            "DELETE FROM meters WHERE voltage > lag(voltage) OVER ()",
            SqlUnsupportedError,
            "aggregate",
        ),
        ("DELETE FROM meters WHERE getenv('HOME') = 'x'", SqlUnsupportedError, "getenv"),
        (
            "DELETE FROM meters WHERE read_text('/etc/passwd') = 'x'",
            SqlUnsupportedError,
            "read_text",
        ),
        ("DELETE FROM meters WHERE no_such_function(voltage)", SqlError, "no_such_function"),
        ("DELETE FROM meters WHERE voltage > 5 + 'x'", SqlError, "type casts"),
        ("DELETE FROM meters LIMIT 3", SqlSyntaxError, "LIMIT"),
        ("DELETE meters", SqlUnsupportedError, "DELETE FROM"),
    ],
)
def test_what_is_refused_deletes_nothing(
    own_plant: Run, sql: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        own_plant(sql)
    assert left(own_plant) == ALL


def test_rollups_and_rows_of_other_nodes_are_not_deleted(own_plant: Run, engine: Engine) -> None:
    engine.create_rollup("meters", "1m", 60 * 10**9)
    with pytest.raises(SchemaError, match="delete from meters"):
        own_plant("DELETE FROM meters_1m")
    rows = engine.scan_rows("meters").take(np.zeros(1, np.intp))
    rows.time[:] = 5000 * 10**6
    engine._store.application.add_foreign_rows("meters", Origin("c" * 32, "edge"), rows, 1, 1)
    with pytest.raises(NotOwnerError, match="edge"):
        own_plant("DELETE FROM meters WHERE voltage > 0")
    assert own_plant("DELETE FROM meters WHERE ts < 5000").rows_affected == 4


def test_a_condition_is_put_to_this_process_whatever_runs_the_queries(engine: Engine) -> None:
    other: Any = type("Pool", (), {"limits": InProcessExecutor().limits, "close": lambda s: None})()
    make_plant(runner(Session(engine)))
    session = Session(engine, other)
    assert session.execute("DELETE FROM meters WHERE voltage = 220").rows_affected == 1
    session.close()


def test_many_rows_are_asked_for_in_batches(run: Run, engine: Engine) -> None:
    run("CREATE STABLE t (ts TIMESTAMP, x INT) TAGS (a TEXT)")
    count = 300_000
    engine.write("t", "root.main.d", list(range(count)), {"x": list(range(count))}).wait()
    engine.flush()
    assert run("DELETE FROM t WHERE x % 100000 < 5 AND ts <= ?", NOW_MS).rows_affected == 15
    assert run("SELECT count(*) FROM t").rows() == [[count - 15]]


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory, executor: InProcessExecutor) -> Iterator[Session]:
    """A session over the odd devices."""
    with open_engine(tmp_path_factory.mktemp("deletion")) as engine:
        yield Session(engine, executor)


@settings(max_examples=1000 if NIGHTLY else 20, deadline=None)
@given(predicates("m"), st.sampled_from(["UTC", "Europe/Berlin"]))
def test_exactly_the_rows_that_a_select_finds_are_deleted(
    odd: Session, condition: str, zone: str
) -> None:
    def rows(where: str) -> list[list[Any]]:
        text = f"SELECT device, time, v, ref FROM m WHERE {where} ORDER BY 1, 2"
        return odd.execute(text, time_zone=zone).rows()

    fill(odd)
    found, others = rows(condition), rows(f"({condition}) IS NOT TRUE")
    result = odd.execute(f"DELETE FROM m WHERE {condition}", time_zone=zone)
    assert result.rows_affected == len(found)
    assert rows("TRUE") == others


class Leaving(InProcessExecutor):
    """Whoever asked goes away when the first rows are looked at."""

    cancellation = Cancellation()

    def execute(self, program: Any, open_input: Any, cancellation: Any = None) -> Any:
        self.cancellation.cancel()
        return super().execute(program, open_input, cancellation)


def test_a_delete_that_is_cancelled_deletes_nothing(engine: Engine) -> None:
    executor = Leaving()
    session = Session(engine, executor)
    make_plant(runner(session))
    with pytest.raises(SqlCancelledError):
        session.execute("DELETE FROM meters WHERE voltage > 0", cancellation=executor.cancellation)
    assert left(runner(session)) == ALL
    executor.close()
