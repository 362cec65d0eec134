"""Short queries answered from Arrow are those that the executing database answers."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from mainstem_engine import Engine, EngineOptions
from mainstem_engine.errors import EngineError, SqlCancelledError, SqlLimitError, SqlTimeoutError
from mainstem_engine.sql.plan import Plan, Request
from mainstem_engine.sql.planning.planner import Planner
from mainstem_engine.sql.running import short_answers
from mainstem_engine.sql.running.cancellation import Cancellation
from mainstem_engine.sql.running.executors import InProcessExecutor
from mainstem_engine.sql.running.sandbox import Sandbox, SqlLimits
from mainstem_engine.sql.session import Session
from mainstem_engine.sql.statements import Query

SEEDS, STATEMENTS = 4, 40
STEP_MS = 500
DEVICES = ("root.main.d1", "root.main.d2", "root.main.empty", "root.main.alone")
ODD = [0.0, -0.0, float("nan"), float("inf"), -float("inf"), 1e308, -1e308, 0.1, 5e-324, None]


class Counting(Session):
    """Counts plans of short queries."""

    count = 0

    def _plan(self, query: Query, request: Request, sql: str | None = None) -> Plan:
        plan = super()._plan(query, request, sql)
        self.count += plan.short is not None
        return plan


class Long(Session):
    """Leaves everything to the executing database."""

    def _plan(self, query: Query, request: Request, sql: str | None = None) -> Plan:
        return replace(Planner(self._engine.catalog).plan(query.tree, request), short=None)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    options = EngineOptions(background=False, durability="os")
    with Engine.open(tmp_path_factory.mktemp("short"), options) as engine:
        engine.sql(
            """
            CREATE STABLE m (ts TIMESTAMP, x DOUBLE, y FLOAT, n BIGINT, i SMALLINT, u BIGINT
                UNSIGNED, b BOOL, s VARCHAR(16), at TIMESTAMP, none INT)
                TAGS (loc VARCHAR(16), grp INT);
            CREATE DATABASE root.fine PRECISION 'ns'; CREATE SCHEMA TEMPLATE fine (v DOUBLE);
            SET SCHEMA TEMPLATE fine TO root.fine;
            INSERT INTO root.fine.f(time, v) VALUES (-1, 1.5), (0, 2), (1000000001, NULL),
                (61000000000, -0.0);
            CREATE TABLE root.main.d2 USING m TAGS ('nörd', 1);
            CREATE TABLE root.main.d1 USING m TAGS ('süd', 2);
            CREATE TABLE root.main.empty USING m TAGS (NULL, NULL);
            INSERT INTO root.main.alone USING m TAGS ('nörd', NULL) (ts, x) VALUES (1500, -0.0)
            """
        )
        rng = np.random.default_rng(5)
        # The executing database loses the sign of a FLOAT's zero in arg_min: there is none in y.
        for number, device in enumerate(DEVICES[:2]):
            rows = 700
            times = (np.arange(rows) - 40) * STEP_MS + number * 120
            odd = [ODD[k] for k in rng.integers(0, len(ODD), rows)]
            x = [o if rng.random() < 0.2 else round(float(v), 2)
                 for o, v in zip(odd, rng.normal(size=rows), strict=True)]  # fmt: skip
            n = [None if rng.random() < 0.1 else int(v)
                 for v in rng.integers(-(2**62), 2**62, rows)]  # fmt: skip
            columns = {
                "x": pa.array(x, pa.float64()), "y": pa.array([v or None for v in x], pa.float32()),
                "n": pa.array(n, pa.int64()), "i": rng.integers(-5, 5, rows).astype(np.int16),
                "u": rng.integers(0, 2**63, rows).astype(np.uint64) * np.uint64(2),
                "b": rng.random(rows) < 0.5, "at": times * 3,
                "s": pa.array([None if k == 0 else f"é{k}" for k in rng.integers(0, 5, rows)]),
            }  # fmt: skip
            engine.write("m", device, times, columns).wait()
            engine.flush()
        engine.sql("INSERT INTO root.main.d1 (ts, s) VALUES (400000, 'newest')")
        yield engine


@pytest.fixture
def executor() -> Iterator[InProcessExecutor]:
    executor = InProcessExecutor()
    yield executor
    executor.close()


COLUMNS = ("time", "ts", "x", "y", "n", "i", "u", "b", "s", "at", "none", "device", "loc", "grp",
           "X", "tbname")  # fmt: skip
MEASURED = ("x", "y", "n", "i", "u", "b", "s", "at", "none")
FUNCTIONS = ("count", "min", "max", "sum", "avg", "first", "last", "last_row", "max_time")
RANGES = ("time >= 0 AND time < 100000", "time < 20000", "time >= 1e3", "ts > 5000",
          "time BETWEEN 1000 AND 1500", "time >= 100 AND time < 0")  # fmt: skip
FILTERS = ("x > 0.5", "x <= -0.0", "y <> 0.25", "n >= 0", "u < 9223372036854775808", "0 = i",
           "x BETWEEN -1 AND 1 AND i > 2", "b", "s = 'é1'", "none > 0", "y > 0.1")  # fmt: skip
WINDOWS = ("INTERVAL(1m)", "INTERVAL(10s)", "INTERVAL(7s)", "INTERVAL(1m) FILL(PREV)",
           "INTERVAL(30s) FILL(LINEAR)", "INTERVAL(20s) FILL(VALUE, 0)", "INTERVAL(1d)",
           "INTERVAL(1n)", "INTERVAL(1m, 20s)", "INTERVAL(1m) SLIDING(30s)", "SESSION(ts, 10s)",
           "GROUP BY ([0, 120000), 30s)", "GROUP BY ((-7000, 100000], 50s)",
           "GROUP BY ([1500, 61500), 15s) FILL(PREVIOUS)", "COUNT_WINDOW(50)")  # fmt: skip
BUCKETS = ("time_bucket(INTERVAL '1 minute', time)", "time_bucket(INTERVAL '7 minutes', ts)",
           "date_trunc('minute', time)", "date_trunc('day', ts)", "date_trunc('week', time)",
           "time_bucket(INTERVAL '2 days', time)", "CAST(time AS DATE)")  # fmt: skip


def table(rng: random.Random) -> tuple[str, list[str]]:
    """(table, conditions)."""
    conditions = [rng.choice(RANGES)] if rng.random() < 0.5 else []
    conditions += [rng.choice(FILTERS)] if rng.random() < 0.3 else []
    kind = rng.random()
    if kind < 0.3:
        return rng.choice(DEVICES), conditions
    if kind < 0.7:
        return "m", [*conditions, f"device = '{rng.choice(DEVICES)}'"]
    if kind < 0.8:
        return "m", [*conditions, rng.choice(("loc = 'nörd'", "grp = 2", "tbname = 'd1'"))]
    return rng.choice(("m", "m", "root.main.*")), conditions


def statement(rng: random.Random) -> str:
    source, conditions = table(rng)
    kind = rng.random()
    order = group = ""
    if kind < 0.35:
        items = ["*"] if rng.random() < 0.2 else rng.sample(COLUMNS, rng.randint(1, 4))
        order = rng.choice(("", "", "ORDER BY time", "ORDER BY ts DESC", "ORDER BY 1", "ORDER BY x",
                            "ORDER BY time DESC, x"))  # fmt: skip
    else:
        items = [f"{rng.choice(FUNCTIONS)}({rng.choice(MEASURED)})"
                 for _ in range(rng.randint(1, 3))]  # fmt: skip
        items += rng.choice(([], ["count(*)"], ["max(time)"], ["avg(x) AS q"], ["sum(i) / 2"]))
    if 0.35 <= kind < 0.6:
        bucket = rng.choice(BUCKETS)
        group = rng.choice(("", "GROUP BY device", "GROUP BY device, loc", "GROUP BY loc",
                            f"GROUP BY {bucket}", f"GROUP BY device, {bucket}"))  # fmt: skip
        if bucket in group and rng.random() < 0.8:
            items.insert(0, f"{bucket} AS w")
            order = rng.choice(("", "ORDER BY w", "ORDER BY 1 DESC"))
        if "device" in group and rng.random() < 0.6:
            items.append("device")
            order = order and order + ", device"
            order = order or rng.choice(("", "ORDER BY device DESC"))
    elif kind >= 0.6:
        partition = rng.choice(("", "", "PARTITION BY device ", "PARTITION BY tbname, loc "))
        group = partition + rng.choice(WINDOWS)
        items = rng.choice(([], ["_wstart"], ["_wstart", "_wend", "_wduration"])) + items
        items += ["device"] if "device" in partition and rng.random() < 0.4 else []
        order = rng.choice(("", "", "ORDER BY _wstart DESC"))
    if kind >= 0.6 and source.startswith("root"):
        group = group.replace("PARTITION BY device ", "").replace("PARTITION BY tbname, loc ", "")
    if kind >= 0.6 and ("PARTITION" in group or source.endswith("*")):
        order = ""  # whose windows come first is not said
    where = f"WHERE {' AND '.join(conditions)} " if conditions else ""
    limit = rng.choice(("", "", "", "LIMIT 7", "LIMIT 3 OFFSET 2", "LIMIT 0", "LIMIT 1000000"))
    if limit and group and not order:
        limit = ""  # which groups is not said
    return f"SELECT {', '.join(items)} FROM {source} {where}{group} {order} {limit}".strip()


def outcome(session: Session, sql: str, params: list[Any] | None = None) -> Any:
    """Everything that a caller sees; zeros of both signs are told apart."""
    try:
        found = session.execute(sql, params)
    except EngineError as error:
        return type(error), str(error)
    made = found.arrow()
    rows = list(zip(*(map(repr, column.to_pylist()) for column in made.columns), strict=True))
    is_ordered = "ORDER BY" in sql or " GROUP BY" not in sql or "GROUP BY (" in sql
    seen = [] if "at" in made.column_names else found.rows("rfc3339")
    return (
        found.columns, made.schema, found.warnings, rows if is_ordered else sorted(rows),
        list(map(repr, seen if is_ordered else sorted(seen, key=repr))),
    )  # fmt: skip


def is_short(engine: Engine, sql: str) -> bool:
    try:
        return "  without the executing database" in engine.sql(f"EXPLAIN {sql}").rows()[-1]
    except EngineError:
        return False


@pytest.mark.parametrize("seed", range(SEEDS))
def test_random_statements_are_answered_alike(
    engine: Engine, executor: InProcessExecutor, seed: int
) -> None:
    rng = random.Random(seed)
    short, long = Counting(engine, executor), Long(engine, executor)
    for _ in range(STATEMENTS):
        sql = statement(rng)
        assert outcome(short, sql) == outcome(long, sql), sql
    assert short.count > STATEMENTS / 10


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the executing database is asked."""
    seen: list[str] = []
    run = Sandbox.run

    def counted(self: Sandbox, program: Any, *arguments: Any) -> Any:
        seen.append(program.sql)
        return run(self, program, *arguments)

    monkeypatch.setattr(Sandbox, "run", counted)
    return seen


SHORT = (
    "SELECT LAST(x), LAST(s), LAST_ROW(n) FROM m WHERE device = 'root.main.d1'",
    "SELECT LAST(x), LAST(s), LAST_ROW(n) FROM m PARTITION BY device",
    "SELECT LAST_ROW(*) FROM root.main.d1",
    "SELECT last(x) FROM m",
    'SELECT time, x AS "é 1", s FROM root.main.d1 WHERE time >= 0 ORDER BY time',
    "SELECT * FROM root.main.d2",
    "SELECT * FROM m WHERE loc = 'nörd'",
    "SELECT x, device, loc FROM m WHERE device = 'root.main.d1' ORDER BY ts DESC LIMIT 5 OFFSET 2",
    "SELECT x FROM m LIMIT 3",
    "SELECT time, x, s FROM m WHERE x > 0.5 AND 3 >= i AND n < 0 LIMIT 20",
    "SELECT y FROM root.main.d1 WHERE u >= 9223372036854775808 AND time > 0 ORDER BY time",
    "SELECT count(*), avg(x), min(n), max(y), sum(n), sum(i) FROM m",
    "SELECT count(none), avg(none), min(none), last(none) FROM root.main.empty",
    "SELECT device, count(*), avg(y) FROM m GROUP BY device ORDER BY device",
    "SELECT time_bucket(INTERVAL '1 minute', time) AS w, avg(x) FROM m GROUP BY w ORDER BY w",
    "SELECT _wstart, avg(x), last(s) FROM m PARTITION BY device INTERVAL(1m)",
    "SELECT _wstart, _wend, count(*) FROM root.main.d1 WHERE time >= 0 INTERVAL(1m) FILL(VALUE, 0)",
    "SELECT avg(x), max(n) FROM root.main.d1 GROUP BY ([0, 300000), 10s)",
    "SELECT first(v), count(*) FROM root.fine.f",
    "SELECT LAST x, n, i, u, b, s, none FROM root.main.d1",
    "SELECT LAST x FROM root.main.*",
    "SELECT LAST y, s FROM root.main.* WHERE time > 1000",
    "SELECT LAST v FROM root.fine.f",
    "SELECT LAST x FROM root.main.empty",
    "SELECT time, v FROM root.fine.f WHERE time > 0",
)


@pytest.mark.parametrize("sql", SHORT)
def test_the_executing_database_is_not_asked(
    engine: Engine, executor: InProcessExecutor, asked: list[str], sql: str
) -> None:
    found = outcome(Session(engine, executor), sql)
    assert not asked
    assert found == outcome(Long(engine, executor), sql)
    assert asked


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT x + 1 FROM root.main.d1",
        "SELECT x FROM root.main.d1 WHERE x > n",
        "SELECT x FROM root.main.d1 WHERE x > 1 ORDER BY time DESC LIMIT 1",
        "SELECT time, x FROM m ORDER BY time",
        "SELECT DISTINCT s FROM root.main.d1",
        "SELECT time, time FROM root.main.d1",
        "SELECT x FROM root.main.d1 ORDER BY x",
        "SELECT X FROM root.main.d1 LIMIT 1",
        "SELECT avg(x) FROM root.main.d1 HAVING count(*) > 1",
        "SELECT device, last(x) FROM m WHERE device = 'root.main.d1'",
        "SELECT date_trunc('week', time) AS w, avg(x) FROM root.main.d1 GROUP BY w",
        "SELECT _wstart, median(x) FROM root.main.d1 INTERVAL(1m)",
        "SELECT x FROM root.main.d1 LIMIT 50%",
        "SELECT * FROM range(3)",
        "SELECT range FROM range(3) AS t",
        "SELECT 1",
    ],
)
def test_what_is_more_is_left_to_it(engine: Engine, sql: str) -> None:
    assert not is_short(engine, sql)


def test_means_of_a_rollup(executor: InProcessExecutor, asked: list[str], tmp_path: Path) -> None:
    with Engine.open(tmp_path, EngineOptions(background=False, durability="os")) as engine:
        engine.sql("CREATE SCHEMA TEMPLATE m (x DOUBLE, n INT32)")
        rollup = engine.create_rollup("m", "1m", 60 * 10**9)
        (device,) = engine.device_ids("m", ["root.main.d1"], create=True).tolist()
        columns = {
            "x_count": pa.array([2, 0, None, 3], pa.int64()),
            "x_sum": pa.array([5.0, 0.0, 1.0, -np.inf], pa.float64()),
            "n_count": pa.array([7, 1, 1, 1], pa.int64()),
            "n_sum": pa.array([1.0, None, -0.0, np.nan], pa.float64()),
        }
        ids = np.full(4, device, np.uint32)
        engine.write(rollup.name, ids, np.arange(4) * 60_000, columns).wait()
        for sql in (
            "SELECT time, x_mean, n_mean FROM m_1m WHERE device = 'root.main.d1' ORDER BY time",
            "SELECT * FROM m_1m WHERE device = 'root.main.d1' ORDER BY time DESC LIMIT 3",
        ):
            found = outcome(Session(engine, executor), sql)
            assert not asked
            assert found == outcome(Long(engine, executor), sql)
            asked.clear()


def test_large_tables_are_left_to_it(
    engine: Engine, executor: InProcessExecutor, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sql = "SELECT _wstart, avg(x) FROM m PARTITION BY device INTERVAL(1s) FILL(PREV)"
    expected = outcome(Session(engine, executor), sql)
    assert not asked
    for name, bound in (("TABLE_BYTES_MAX", 1_000), ("WINDOWS_MAX", 10)):
        with monkeypatch.context() as patch:
            patch.setattr(short_answers, name, bound)
            asked.clear()
            assert outcome(Session(engine, executor), sql) == expected
            assert asked


@pytest.mark.parametrize("kind", ["DOUBLE", "FLOAT"])
def test_newest_values_are_written_as_the_executing_database_does(
    executor: InProcessExecutor, asked: list[str], tmp_path: Path, kind: str
) -> None:
    plain = [0.0, 0.1, 1 / 3, 16777216.0, -100000.0, 123456.789, 0.00012, 5.0, 1e14,
             float("nan"), float("inf"), -float("inf")]  # fmt: skip
    with Engine.open(tmp_path, EngineOptions(background=False, durability="os")) as engine:
        engine.sql(f"CREATE SCHEMA TEMPLATE m (x {kind})")
        for number, value in enumerate([*plain, 1e15, 1e22, 1e-5, 5e-324]):
            engine.write("m", f"root.main.d{number}", [1], {"x": [value]}).wait()
            sql = f"SELECT LAST x FROM root.main.d{number}"
            asked.clear()
            found = outcome(Session(engine, executor), sql)
            is_asked = bool(asked)
            assert found == outcome(Long(engine, executor), sql)
            # A FLOAT has fewer digits, and others of them are zeros.
            assert is_asked == (number >= len(plain)) or kind == "FLOAT"


def test_walks_have_a_time_of_their_own(engine: Engine, asked: list[str]) -> None:
    lines = engine.sql("EXPLAIN ANALYZE SELECT avg(x) FROM root.main.d1 INTERVAL(10s)").rows()
    assert not asked
    assert any(", walks " in line for (line,) in lines)
    lines = engine.sql("EXPLAIN ANALYZE SELECT avg(x) FROM root.main.d1").rows()
    assert not any(", walks " in line for (line,) in lines)


def test_sums_that_pass_64_bits_are_left_to_it(
    engine: Engine, executor: InProcessExecutor, asked: list[str]
) -> None:
    sql = "SELECT sum(u) FROM m"
    found = Session(engine, executor).execute(sql)
    assert asked
    assert str(found.arrow().schema.field(0).type).startswith("decimal")


def test_limits_hold(engine: Engine, executor: InProcessExecutor) -> None:
    session = Session(engine, executor)
    sql = "SELECT * FROM root.main.d1"
    with pytest.raises(SqlLimitError, match="more than 10 rows"):
        session.execute(sql, row_limit=10)
    with pytest.raises(SqlLimitError, match="larger than"):
        session.execute(sql, limits=SqlLimits(result_bytes_max=100))
    cancellation = Cancellation()
    cancellation.cancel()
    for each in (sql, "SELECT avg(x) FROM m", "SELECT LAST x FROM root.main.d1"):
        with pytest.raises(SqlTimeoutError):
            session.execute(each, timeout_s=0)
        with pytest.raises(SqlCancelledError):
            session.execute(each, cancellation=cancellation)


@pytest.mark.parametrize("bad", [-1, 1.5, "x", None, True])
def test_a_parameter_that_is_no_limit_is_left_to_it(
    engine: Engine, executor: InProcessExecutor, bad: Any
) -> None:
    sql = "SELECT x FROM root.main.d1 LIMIT ?"
    expected = outcome(Long(engine, executor), sql, [bad])
    assert outcome(Session(engine, executor), sql, [bad]) == expected


def test_a_bound_plan_takes_its_own_limit(engine: Engine, executor: InProcessExecutor) -> None:
    session = Session(engine, executor)
    for limit in (3, 5, 0):
        sql = "SELECT x FROM root.main.d1 WHERE time >= ? LIMIT ?"
        assert session.execute(sql, [limit, limit]).row_count == limit
