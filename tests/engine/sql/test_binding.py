"""Plans that are bound to other values answer as plans that are made for them."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Iterator
from typing import Any

import pytest

from mainstem_engine import Engine, EngineOptions
from mainstem_engine.errors import EngineError
from mainstem_engine.sql.plan import Plan, Request
from mainstem_engine.sql.planning.plan_cache import SHAPE_PLANS_MAX, SHAPES_MAX, PlanCache
from mainstem_engine.sql.planning.planner import Planner
from mainstem_engine.sql.running.executors import InProcessExecutor
from mainstem_engine.sql.select.literals import literal_value, split_text
from mainstem_engine.sql.session import Session
from mainstem_engine.sql.statements import Query
from mainstem_engine.sql.times import parse_zone

NOW_NS = 1_792_540_900_000_000_000
STATEMENTS = 9

SHAPES = (
    "SELECT LAST(s1), LAST_ROW(s2) FROM car WHERE device = {d}",
    "SELECT time, s1 FROM car WHERE device = {d} AND time >= {t} AND time < {t} ORDER BY time",
    "SELECT s1, s2 FROM root.beijing.d1 WHERE time BETWEEN {t} AND {t}",
    "SELECT s1, s2 FROM {p} WHERE time >= {t} ORDER BY time",
    "SELECT * FROM {p} WHERE time < {t} AND device = {d} LIMIT 2",
    "SELECT LAST(s1), LAST_ROW(s2) FROM {p}",
    "SELECT _wstart, avg(s1), tbname FROM {p} WHERE time >= {t} INTERVAL(1m)",
    "SELECT device, count(*), d1.s1 FROM {p} GROUP BY 1, 3 ORDER BY ALL",
    "SELECT * FROM root.beijing.** WHERE {t} < time ORDER BY time, s1",
    "SELECT device, count(*), avg(s1) FROM car WHERE time > {t} GROUP BY device ORDER BY device",
    "SELECT time_bucket(1h, time) AS w, avg(s1) FROM car WHERE device = {d} AND time < {t}"
    " GROUP BY w ORDER BY w",
    "SELECT date_trunc('day', time) AS w, max(s1), count(s2) FROM car WHERE time >= {t}"
    " GROUP BY w ORDER BY w",
    "SELECT _wstart, avg(s1) FROM car WHERE device = {d} AND time >= {t} AND time < {t}"
    " INTERVAL(1s)",
    "SELECT _wstart, avg(s1) FROM car WHERE device = {d} AND time >= {t} AND time < {t}"
    " INTERVAL(1s) FILL(PREV)",
    "SELECT time, diff(s1) FROM car WHERE device = {d} AND time >= {t}",
    "SELECT time, s1 FROM car WHERE device IN ({d}, {d}) AND s1 > {n} ORDER BY time DESC LIMIT {n}",
    "SELECT count(*) FROM car WHERE time > now() - 2h AND time <= {t}",
    "SELECT count(*) FROM car WHERE time > now() - {n} * INTERVAL '1 minute'",
    "SELECT location, avg(voltage) FROM meters WHERE location = {g} AND ts >= {t} GROUP BY ALL",
    "SELECT tbname, voltage FROM meters WHERE tbname = {g} AND device = {d} ORDER BY 2",
    "SELECT device, s1 FROM car WHERE (device = {d} OR device = {d}) AND time >= {t} ORDER BY 1, 2",
    "WITH a AS (SELECT * FROM car WHERE device = {d} AND time >= {t}), b AS"
    " (SELECT * FROM car WHERE device = {d} AND time >= {t})"
    " SELECT a.time, a.s1, b.s1 FROM a JOIN b ON a.time = b.time ORDER BY ALL",
    "SELECT a.time, a.s1, b.s2 FROM root.beijing.d1 a JOIN root.beijing.d2 b USING (time)"
    " WHERE time >= {t} ORDER BY 1",
    "SELECT (SELECT count(*) FROM car WHERE time < {t}), 5, {n} AS x",
    "SELECT time, v FROM fine WHERE device = {d} AND time >= {t} AND time < {t} ORDER BY time",
    "SELECT _wstart, count(*) FROM fine WHERE time >= {t} INTERVAL(2s)",
    "SELECT s1 FROM car WHERE device LIKE {d} AND time != {t} ORDER BY s1",
    "SELECT s1 + {n} AS x FROM car WHERE time >= TIMESTAMP {t} AND s1 < {n} ORDER BY x",
    "SELECT time, s1 FROM (SELECT time, device, s1 FROM car) WHERE device = {d} AND time > {t}"
    " ORDER BY time",
    "SELECT device, last(s1) FROM car WHERE time >= {t} AND device = {d} GROUP BY device"
    " HAVING count(*) > {n}",
    "SELECT _wstart, count(s1) FROM car WHERE time >= {t} AND time < {t} PARTITION BY device"
    " SESSION(time, 10s) ORDER BY 1, 2",
)
DEVICES = (
    "root.beijing.d1", "root.beijing.d2", "root.beijing.d3", "root.beijing.d4", "root.nowhere.d",
    "root.default.d1001", "root.fine.f1", "root.fine.f2", "", "root.beijing.%",
)  # fmt: skip
TIMES: tuple[Any, ...] = (
    0, 1_000, 1_500, 3_000, 7_201_000, -5, 2**62, 10**15, 90_000_000_000,
    "1970-01-01T00:00:01Z", "1970-01-01 00:00:02", "1970-01-01T01:00:02.5+01:00", "2026-10-20",
    "1970-01-01T00:00:01.000000001Z", "9999-12-31", "not a time", "",
)  # fmt: skip
TEXTS = ("north", "south", "d1001", "d1002", "none")
PATHS = ("root.beijing.d1", "root.beijing.d2", "root.beijing.d3", "root.default.d1001",
         "root.fine.f1", "root.nowhere.d", "root.beijing")  # fmt: skip
NUMBERS: tuple[Any, ...] = (0, 1, 2, 5, 1.5)
PARAMETERS: tuple[Any, ...] = (
    None, True, 1_500.0, b"x", dt.datetime(1970, 1, 1, 0, 0, 2),  # noqa: DTZ001 -- read in the request's zone
    dt.datetime(1970, 1, 1, 0, 0, 2, tzinfo=dt.UTC),
)  # fmt: skip
KINDS = {"d": DEVICES, "t": TIMES, "g": TEXTS, "n": NUMBERS, "p": PATHS}


class Clock:
    now_ns = NOW_NS


class Anew(Session):
    """Plans every statement for its own values."""

    def _plan(self, query: Query, request: Request, sql: str | None = None) -> Plan:
        return super()._plan(query, request)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    options = EngineOptions(background=False, durability="os", clock=lambda: Clock.now_ns)
    with Engine.open(tmp_path_factory.mktemp("bound") / "data", options) as engine:
        now_ms = NOW_NS // 1_000_000
        engine.sql(
            f"""
            CREATE DATABASE root.beijing; CREATE DATABASE root.fine PRECISION 'ns';
            CREATE SCHEMA TEMPLATE car (s1 INT32 UNIT='rpm', s2 FLOAT);
            CREATE SCHEMA TEMPLATE fine (v INT64);
            SET SCHEMA TEMPLATE car TO root.beijing; SET SCHEMA TEMPLATE fine TO root.fine;
            INSERT INTO root.beijing.d1(time, s1, s2) VALUES (1000, 1, 1.5), (2000, NULL, 2.5),
                (7200000, 4, 4), (7201000, 9, 1), ({now_ms - 60_000}, 5, 5);
            INSERT INTO root.beijing.d2(time, s1, s2) VALUES (1000, 10, NULL), (3000, 30, 3.5);
            INSERT INTO root.beijing.d3(time, s1, s2) VALUES (90000000000, 7, 8);
            INSERT INTO root.fine.f1(time, v) VALUES (1000000000, 1), (1000000001, 2);
            INSERT INTO root.fine.f2(time, v) VALUES (3000000000, 3);
            CREATE STABLE meters (ts TIMESTAMP, current FLOAT, voltage INT)
                TAGS (location TEXT, groupid INT);
            INSERT INTO d1001 USING meters TAGS ('north', 2) VALUES (1000, 10.5, 219)
                (2000, 11, 220)
                d1002 USING meters TAGS ('south', 3) VALUES (1000, 12.25, 221) (3000, NULL, 222)
            """
        )
        yield engine


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that were planned."""
    seen: list[str] = []
    plan = Planner.plan

    def counted(self: Planner, tree: Any, request: Request, text: str | None = None) -> Any:
        seen.append(text or "")
        return plan(self, tree, request, text)

    monkeypatch.setattr(Planner, "plan", counted)
    return seen


def outcome(session: Session, sql: str, params: list[Any], zone: str) -> Any:
    """Everything that a caller sees."""
    try:
        found = session.execute(sql, params, time_zone=zone)
    except EngineError as error:
        return type(error), str(error)
    rows = found.rows()
    about = (found.columns, sorted(found.tables), found.range_ns, found.warnings)
    return about, rows if "ORDER BY" in sql else sorted(map(repr, rows))


def filled(shape: str, rng: random.Random, *, as_parameters: bool) -> tuple[str, list[Any]]:
    """A statement with values."""
    pieces = shape.split("{")
    text, params = pieces[0], []
    for piece in pieces[1:]:
        choices = KINDS[piece[0]]
        # Most values are plain, so that plans are bound.
        value = rng.choice(choices if rng.random() < 0.4 else choices[:3])
        if piece[0] == "p":
            text += value + piece[2:]
        elif as_parameters:
            params.append(rng.choice(PARAMETERS) if rng.random() < 0.1 else value)
            text += "?" + piece[2:]
        else:
            text += (f"'{value}'" if isinstance(value, str) else str(value)) + piece[2:]
    return text, params


@pytest.mark.parametrize("shape", SHAPES)
def test_a_bound_plan_answers_as_one_made_anew(
    engine: Engine, executor: InProcessExecutor, shape: str
) -> None:
    rng = random.Random(shape)
    kept, anew = Session(engine, executor), Anew(engine, executor)
    for number in range(STATEMENTS):
        sql, params = filled(shape, rng, as_parameters=number % 3 == 2)
        zone = rng.choice(("UTC", "UTC", "Europe/Berlin"))
        Clock.now_ns = NOW_NS + rng.randrange(0, 3) * 3_600 * 10**9
        expected = outcome(anew, sql, params, zone)
        assert outcome(kept, sql, params, zone) == expected, (sql, params, zone)


OPEN = (
    ("SELECT LAST(s1) FROM car WHERE device = {d}", 2),
    ("SELECT time, s1 FROM car WHERE device = {d} AND time >= {t} AND time < {e} ORDER BY time", 2),
    ("SELECT s1 FROM root.beijing.d1 WHERE time BETWEEN {t} AND {e}", 2),
    ("SELECT device, avg(s1) FROM car WHERE time >= {t} GROUP BY device", 2),
    ("SELECT s1 AS x, device FROM {p} WHERE time >= {t} ORDER BY time", 2),
    ("SELECT _wstart, avg(s1) FROM {p} WHERE time >= {t} INTERVAL(1s)", 2),
    ("SELECT LAST(s1) FROM {p}", 0),
    ("SELECT _wstart, avg(s1) FROM car WHERE device = {d} AND time >= {t} INTERVAL(1s)", 2),
    ("SELECT count(*) FROM car WHERE time > now() - 2h", 0),
)


@pytest.mark.parametrize(("shape", "literals"), OPEN)
def test_other_values_are_not_planned_again(
    engine: Engine, executor: InProcessExecutor, planned: list[str], shape: str, literals: int
) -> None:
    session, anew = Session(engine, executor), Anew(engine, executor)
    values = [
        {"d": "root.beijing.d1", "t": 0, "e": 1_500, "p": "root.beijing.d1"},
        {"d": "root.beijing.d2", "t": 1_000, "e": 1_500, "p": "root.beijing.d2"},
        {"d": "root.beijing.d2", "t": 2_000, "e": 9_000, "p": "root.beijing.d3"},
    ]
    for number, each in enumerate(values):
        Clock.now_ns = NOW_NS + number * 10**9
        named = {**each, "d": f"'{each['d']}'"}
        expected = outcome(anew, shape.format(**named), [], "UTC")
        planned.clear()
        assert outcome(session, shape.format(**named), [], "UTC") == expected
        assert len(planned) == (number == 0)
        params = [each[key] for key in "dte" if "{" + key + "}" in shape]
        planned.clear()
        asked = shape.format(d="?", t="?", e="?", p=each["p"])
        assert outcome(session, asked, params, "UTC") == expected
        assert len(planned) == (number == 0 and literals > 0)


def test_values_that_are_not_open_are_planned_again(
    engine: Engine, executor: InProcessExecutor, planned: list[str]
) -> None:
    session = Session(engine, executor)
    for limit in (1, 2, 3):
        assert session.execute(f"SELECT s1 FROM car LIMIT {limit}").row_count == limit
        assert session.execute("SELECT s1 FROM car LIMIT ?", [limit]).row_count == limit
    assert len(planned) == 6
    # A device more, another precision, one of another template.
    planned.clear()
    for device in ("root.beijing.d1", "root.nowhere.d", "root.fine.f1"):
        session.execute(f"SELECT s1 FROM car WHERE device = '{device}'")
    assert len(planned) == 3


def test_a_finer_constant_is_planned_again(
    engine: Engine, executor: InProcessExecutor, planned: list[str]
) -> None:
    session = Session(engine, executor)
    rows = []
    for end in ("01.5Z", "01Z", "01.000000001Z", "00.999999999Z"):
        sql = f"SELECT time FROM root.beijing.d2 WHERE time < '1970-01-01T00:00:{end}'"
        rows.append(session.execute(sql).row_count)
    assert rows == [1, 0, 1, 0]
    assert len(planned) == 2


def test_a_changed_catalog_is_seen(engine: Engine, executor: InProcessExecutor) -> None:
    session = Session(engine, executor)
    sql = "SELECT s1 FROM car WHERE device = '{}' AND time >= {}"
    assert session.execute(sql.format("root.beijing.d1", 0)).row_count == 4 + 1
    session.execute("INSERT INTO root.beijing.d8(time, s1) VALUES (1, 1)")
    assert session.execute(sql.format("root.beijing.d8", 1)).row_count == 1


def test_what_is_kept_is_bounded(engine: Engine, executor: InProcessExecutor) -> None:
    plans = PlanCache()
    session = Session(engine, executor, plans=plans)
    for number in range(SHAPES_MAX + 3):
        session.execute(f"SELECT s1 AS a{number} FROM car WHERE time = 7")
    for limit in range(SHAPE_PLANS_MAX + 3):
        session.execute(f"SELECT s1 FROM car WHERE time = 7 LIMIT {limit}")
    assert len(plans._open) == SHAPES_MAX
    assert max(map(len, plans._open.values())) == SHAPE_PLANS_MAX


@pytest.mark.parametrize(
    ("sql", "literals"),
    [
        ("a = 'x' AND b >= 15", ("'x'", "15")),
        ("a = 'it''s' AND b < 2.5", ()),
        ('"quoted 5" = 5 AND `7` = 8', ("5", "8")),
        ("t >= 2026-10-03T06:00:00Z AND t < 1h", ()),
        ("a = E'x' AND a1 = $2 AND x < -3", ()),
        ("a IN ('x','y',3)", ("'x'", "'y'", "3")),
        ("SELECT s FROM root.a.b_2 WHERE x", ("root.a.b_2",)),
        ("from\n root.a;", ("root.a",)),
        ("FROM root.a.* FROM root.a.`b` FROM root.a.2 FROM root.a-b FROM a.b FROM root", ()),
        ("'FROM root.a' = \"FROM root.b\"", ("'FROM root.a'",)),
        ("a = '" + "9" * 5 + "' AND b = " + "9" * 19, ("'99999'",)),
    ],
)
def test_what_a_literal_is(sql: str, literals: tuple[str, ...]) -> None:
    text = split_text(sql)
    assert text is not None
    assert text.literals == literals
    assert [literal_value(found) for found in literals] == [
        found[1:-1] if found[0] == "'" else int(found) if found.isdecimal() else found
        for found in literals
    ]
    for start, number in text.places.items():
        assert sql.startswith(text.literals[number], start)


def test_a_path_that_stands_elsewhere_is_not_open(
    engine: Engine, executor: InProcessExecutor
) -> None:
    session, anew = Session(engine, executor), Anew(engine, executor)
    for device in ("d1", "d2"):
        path = f"root.beijing.{device}"
        for sql in (
            f"SELECT count(*) /* FROM {path} */ FROM {path}",
            f"SELECT 'it''s FROM {path}' FROM `root`.beijing.d1",
            f"SELECT {device}.s1 FROM {path}",
            f"SELECT s1 FROM {path} {device} WHERE {device}.s1 > 0",
            f"SELECT avg(s1) FROM {path} GROUP BY LEVEL = 2",
            f"SELECT s1 FROM {path}, root.beijing.d3",
            f"SELECT (SELECT count(*) FROM {path}), count(*) FROM {path}",
        ):
            assert outcome(session, sql, [], "UTC") == outcome(anew, sql, [], "UTC"), sql


def test_a_text_is_made_of_its_pieces_and_literals() -> None:
    text = split_text("SELECT 1, 'a' FROM t WHERE x = 22")
    assert text is not None
    pieces = text.pieces.split("\0")
    whole = "".join(a + b for a, b in zip(pieces, (*text.literals, ""), strict=True))
    assert whole == "SELECT 1, 'a' FROM t WHERE x = 22"
    assert split_text("a\0b") is None
    assert split_text("x" * 5_000) is None


def test_a_plan_without_its_text_has_no_binding(engine: Engine) -> None:
    (statement,) = PlanCache().statements("SELECT s1 FROM car WHERE time > 5")
    request = Request("root.default", "UTC", parse_zone("UTC"), NOW_NS)
    plan = Planner(engine.catalog).plan(statement.tree, request)  # type: ignore[union-attr]
    assert plan.binding is None
    assert "$" not in plan.sql
