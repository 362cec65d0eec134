"""What users of IoTDB and TDengine rely on, case by case, through SQL."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mainstem_engine import Engine, EngineOptions
from mainstem_engine.errors import EngineError

from .adapted import RULED_OTHERWISE, STATEMENTS, SUPER_TABLES
from .compare import same_rows
from .setting import METERS, Setting

CASES: dict[str, dict[str, Any]] = {
    case["id"]: case
    for line in (Path(__file__).parent / "cases.jsonl").read_text(encoding="utf-8").splitlines()
    if (case := json.loads(line))
}
NOW_MS = 1_800_000_000_000
"""The clock of cases that set none: after all of their rows."""
_OWN_TESTS = frozenset(
    {
        "iotdb-del-01",
        "iotdb-ttl-03",
        "iotdb-tpl-02",
        "iotdb-tpl-04",
        "iotdb-tpl-05",
        "iotdb-tpl-06",
        "td-elapsed-03",
        "td-int-04",
        "td-keep-01",
        "td-null-01",
        "td-ses-02",
        "td-ses-04",
        "td-ses-05",
        "td-ses-06",
    }
)
"""Cases whose expected answer is no table: see the tests below."""


class Clock:
    """What the engine takes for now."""

    def __init__(self) -> None:
        self.now_ms = NOW_MS

    def __call__(self) -> int:
        return self.now_ms * 1_000_000


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def engine(tmp_path: Path, clock: Clock) -> Iterator[Engine]:
    with Engine.open(tmp_path / "data", EngineOptions(clock=clock)) as opened:
        yield opened


def set_up(engine: Engine, name: str, clock: Clock, changes: dict[str, str] | None = None) -> None:
    """Runs the steps of a case; ``changes`` replaces statements of it."""
    case = CASES[name]
    setting = Setting(engine, case, SUPER_TABLES.get(name))
    for step in case["setup_rows"]:
        if "clock_ms" in step:
            clock.now_ms = step["clock_ms"]
        elif "op" in step:
            statement = (changes or {}).get(step["op"], step["op"])
            engine.sql(METERS if statement == "same meters stable" else statement)
        elif "query" not in step:
            setting.write(step)


def rows_of(engine: Engine, statement: str) -> list[list[Any]]:
    return [list(row) for row in engine.sql(statement).rows("integer")]


@pytest.mark.parametrize("name", [name for name in CASES if name not in _OWN_TESTS])
def test_case(engine: Engine, clock: Clock, name: str) -> None:
    case = CASES[name]
    expected = case["expected"]
    set_up(engine, name, clock)
    ruling = RULED_OTHERWISE.get(name)
    if ruling is not None:
        if expected.get("error"):
            engine.sql(case["sql_original"])
        rows = expected.get("rows") if ruling.rows is None else ruling.rows
        found = rows_of(engine, ruling.statement)
        assert same_rows(found, rows, ordered=True, tolerance=1e-9), found
        return
    statement = STATEMENTS.get(name, case["sql_original"])
    if expected.get("error"):
        with pytest.raises(EngineError):
            engine.sql(statement)
        return
    found = rows_of(engine, statement)
    assert same_rows(
        found,
        expected["rows"],
        ordered=expected.get("ordered", True),
        tolerance=expected.get("tolerance", 1e-9),
    ), f"{statement}\nfound    {found}\nexpected {expected['rows']}"


@pytest.mark.parametrize("name", ["td-ses-02", "td-ses-04", "td-ses-05", "td-ses-06"])
def test_sessions(engine: Engine, clock: Clock, name: str) -> None:
    set_up(engine, name, clock)
    found = rows_of(engine, CASES[name]["sql_original"])
    sessions, first_count = CASES[name]["expected"]["rows"][0]
    assert (len(found), found[0][-1]) == (sessions, first_count)


def test_windows_that_slide(engine: Engine, clock: Clock) -> None:
    set_up(engine, "td-int-04", clock)
    assert len(rows_of(engine, CASES["td-int-04"]["sql_original"])) == 24


def test_windows_without_rows_are_left_out(engine: Engine, clock: Clock) -> None:
    set_up(engine, "td-elapsed-03", clock)
    assert len(rows_of(engine, "select count(*) from t1 interval(10m)")) == 101
    assert len(rows_of(engine, "select count(*) from t1 interval(35s)")) == 1000


def test_rows_older_than_keep_are_refused(engine: Engine, clock: Clock) -> None:
    set_up(engine, "td-keep-01", clock)
    engine.sql("CREATE TABLE d.t (ts TIMESTAMP, v INT)")
    with pytest.raises(EngineError):
        engine.sql(CASES["td-keep-01"]["sql_original"])
    engine.sql("INSERT INTO d.t VALUES (now-9d, 1)")
    assert len(rows_of(engine, "SELECT v FROM d.t")) == 1


def test_functions_of_nulls(engine: Engine, clock: Clock) -> None:
    set_up(engine, "td-null-01", clock)

    def over(function: str, first: str, last: str) -> list[list[Any]]:
        where = f"ts >= '2020-{first}T00:00:00Z' AND ts <= '2020-{last}T23:59:59Z'"
        return rows_of(engine, f"select {function} from tm1 where {where}")

    assert over("twa(k)", "11-19", "12-09") == []
    assert over("min(k)", "11-19", "12-20") == [[1]]
    assert over("apercentile(k, 50)", "10-30", "12-09") == [[-1000.0]]


def test_deletes_of_ranges_that_overlap(engine: Engine, clock: Clock) -> None:
    set_up(engine, "iotdb-del-01", clock)
    assert len(rows_of(engine, "SELECT s0 FROM root.vehicle2.d0 WHERE s0 IS NOT NULL")) == 100
    others = "s1 IS NOT NULL OR s2 IS NOT NULL OR s3 IS NOT NULL"
    assert len(rows_of(engine, f"SELECT s1, s2, s3 FROM root.vehicle2.d0 WHERE {others}")) == 50


def test_last_values_end_with_their_time_to_live(engine: Engine, clock: Clock) -> None:
    case = CASES["iotdb-ttl-03"]
    setting = Setting(engine, case, None)
    for step in case["setup_rows"]:
        if "device" in step:
            setting.write(step)
    before = [row[:3] for row in rows_of(engine, case["sql_original"])]
    assert [[t, s, float(v)] for t, s, v in before] == case["expected"]["rows_before"]
    engine.sql("set ttl to root.sg 1")
    assert rows_of(engine, case["sql_original"]) == case["expected"]["rows_after"]


def series_of(engine: Engine, pattern: str) -> list[list[Any]]:
    result = engine.sql(f"SHOW TIMESERIES {pattern}")
    names = [column["name"] for column in result.columns]
    wanted = [names.index(name) for name in ("timeseries", "type", "encoding")]
    return sorted([row[position] for position in wanted] for row in result.rows())


def test_activated_devices_have_all_series_of_their_template(engine: Engine, clock: Clock) -> None:
    # Encodings by default are ours, and devices are always aligned.
    set_up(engine, "iotdb-tpl-02", clock)
    expected = CASES["iotdb-tpl-02"]["expected"]
    found = [[name, kind] for name, kind, _ in series_of(engine, "root.sg1.**")]
    assert found == [row[:2] for row in expected["series"]]
    assert rows_of(engine, "COUNT TIMESERIES root.sg1.**") == [[5]]
    devices = [row[0] for row in rows_of(engine, "SHOW DEVICES root.sg1.**")]
    assert sorted(devices) == [row[0] for row in expected["devices"]]


EXTENDS = {"CREATE DATABASE root.sg1": "CREATE DATABASE root.sg1 WITH (auto_extend='on')"}
"""A template is extended by INSERT only where the database says so."""


def test_a_template_is_extended_by_insert(engine: Engine, clock: Clock) -> None:
    set_up(engine, "iotdb-tpl-04", clock, EXTENDS)
    assert rows_of(engine, "count timeseries root.sg1.**") == [[3]]


def test_an_empty_template_is_extended(engine: Engine, clock: Clock) -> None:
    set_up(engine, "iotdb-tpl-05", clock, EXTENDS)
    found = [[name, kind] for name, kind, _ in series_of(engine, "root.sg*.*.s*")]
    assert found == CASES["iotdb-tpl-05"]["expected"]["series"]


def test_alter_extends_active_devices(engine: Engine, clock: Clock) -> None:
    set_up(engine, "iotdb-tpl-06", clock)
    assert series_of(engine, "root.db.**") == CASES["iotdb-tpl-06"]["expected"]["series"]


def test_every_adaptation_names_a_case() -> None:
    assert set(STATEMENTS) | set(RULED_OTHERWISE) | set(SUPER_TABLES) | _OWN_TESTS <= set(CASES)
    assert not set(STATEMENTS) & set(RULED_OTHERWISE)
