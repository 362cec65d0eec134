"""Statements that ask for everything: each ends with an error, and the engine takes in rows."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from mainstem_engine import Engine
from mainstem_engine.errors import SqlError, SqlLimitError, SqlTimeoutError
from mainstem_engine.sql.running.executors import WorkerExecutor
from mainstem_engine.sql.running.sandbox import MIB, Program, SqlLimits
from mainstem_engine.sql.session import Session

DEADLINE_S = 60.0
"""How long a test waits for what must happen."""
HOSTILE_S = 2.0
"""What a hostile statement may take; those that ask how the rest is doing may take longer."""
LIMITS = SqlLimits(
    timeout_s=DEADLINE_S,
    row_limit=100_000,
    result_bytes_max=16 * MIB,
    input_bytes_max=64 * MIB,
    memory_limit_bytes=64 * MIB,
)

HOSTILE = {
    "endless recursion": "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r)"
    " SELECT count(*) FROM r",
    "a recursion that grows": "WITH RECURSIVE r(s) AS (SELECT 'x' UNION ALL SELECT s || s FROM r)"
    " SELECT max(length(s)) FROM r",
    "a long range": "SELECT count(*) FROM range(1000000000000)",
    "a text of 1.5 GB": "SELECT length(repeat('x', 1500000000))",
    "a text that is filled up": "SELECT length(lpad('x', 1500000000, 'y'))",
    "a number of 1.5 GB": "SELECT length(printf('%1500000000d', 1))",
    "many texts": "SELECT count(DISTINCT repeat(r::TEXT, 1000000)) FROM range(1000000) t(r)",
    "a cross join": "SELECT sum(a.range * b.range) FROM range(1000000) a, range(1000000) b",
    "tables without a condition": "SELECT sum(a.v * b.v) FROM m a, m b, m c, m d, m e",
    "ten million rows": "SELECT range FROM range(10000000)",
    "wide rows": "SELECT repeat('x', 10000000) FROM range(1000)",
    "a list": "SELECT length(range(1000000000))",
    "a list of all": "SELECT length(list(r)) FROM range(1000000000) t(r)",
    "a sort": "SELECT max(h) FROM (SELECT hash(r) AS h FROM range(1000000000) t(r) ORDER BY 1"
    " LIMIT 500000000)",
    "many groups": "SELECT max(n) FROM (SELECT count(*) AS n FROM range(1000000000) t(r)"
    " GROUP BY hash(r))",
    "nested lists": "SELECT sum(u) FROM (SELECT unnest(range(100000000)) AS u FROM range(1000))",
    "one long call": "SELECT levenshtein(repeat('a', 500000), repeat('b', 500000))",
    "an expression for many rows": "SELECT sum(length(regexp_replace("
    "repeat('ab', 100000 + r % 2), 'a|b', 'ccc', 'g'))) FROM range(100000000) t(r)",
    "windows without end": "SELECT count(v) FROM root.main.d GROUP BY ([0, 4000000000000), 1ms)",
    "windows in every window": "SELECT _wstart, max(v), first(v) FROM m WHERE ts >= 0"
    " INTERVAL(1000d) SLIDING(1ms)",
    "a value for every moment": "SELECT _irowts, interp(v) FROM m"
    " RANGE('1970-01-01', '2026-01-01') EVERY(1ms) FILL(LINEAR)",
    "gaps filled": "SELECT _wstart, avg(v) FROM m WHERE ts >= '1970-01-01' AND ts < '2026-01-01'"
    " INTERVAL(1ms) FILL(PREVIOUS)",
    "one clock for all": "SELECT * FROM (SELECT ts, v FROM m) a, m b, m c, m d ORDER BY a.v * b.v",
}
OUTCOMES = (SqlLimitError, SqlTimeoutError)


@pytest.fixture(scope="module")
def executor() -> Iterator[WorkerExecutor]:
    executor = WorkerExecutor(LIMITS, pool_size=3)
    # All are started before: on a busy machine that takes longer than these statements may.
    program = Program("SELECT 1", (), "UTC", (), False, LIMITS)
    answers = [executor.stream(program, lambda name: None) for _ in range(3)]
    for answer in answers:
        next(answer)
    for answer in answers:
        list(answer)
    yield executor
    executor.close()


@pytest.fixture
def session(engine: Engine, executor: WorkerExecutor) -> Session:
    session = Session(engine, executor)
    session.execute("CREATE STABLE m (ts TIMESTAMP, v DOUBLE) TAGS (place TEXT)")
    write(engine, 1, 2000)
    return session


def write(engine: Engine, start: int, count: int) -> None:
    """Rows of one device, from ``start`` ms on; returns when they are durable."""
    ids = engine.device_ids("m", ["root.main.d"], create=True)
    times = np.arange(start, start + count, dtype=np.int64)
    engine.write("m", np.repeat(ids, count), times, {"v": times.astype(np.float64)}).wait()


class Attack:
    """One hostile statement on a thread of its own; ``error`` is how it ended."""

    def __init__(self, session: Session, sql: str) -> None:
        self.error: Exception | None = None
        self.result: Any = None
        self._session, self._sql = session, sql
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.result = self._session.execute(self._sql, timeout_s=HOSTILE_S)
        except SqlError as error:
            self.error = error


def test_three_at_once_end_while_rows_are_taken_in(
    engine: Engine, session: Session, executor: WorkerExecutor
) -> None:
    names = ("a cross join", "a text of 1.5 GB", "ten million rows")
    attacks = [Attack(session, HOSTILE[name]) for name in names]
    written = 0
    while any(attack.thread.is_alive() for attack in attacks):
        write(engine, 10_000 + written, 10)
        written += 10
    assert written > 0
    assert [type(attack.error) for attack in attacks] == [
        SqlTimeoutError, SqlLimitError, SqlLimitError,
    ]  # fmt: skip
    assert session.execute("SELECT count(*) FROM m").rows() == [[2000 + written]]
    assert executor.statistics().busy == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_each_ends_and_the_next_one_is_answered(
    session: Session, executor: WorkerExecutor, name: str
) -> None:
    attack = Attack(session, HOSTILE[name])
    attack.thread.join(DEADLINE_S)
    assert isinstance(attack.error, OUTCOMES), (attack.error, attack.result)
    assert session.execute("SELECT max(v) FROM m").rows() == [[2000.0]]
    for worker in executor._idle:
        assert peak_bytes(worker.pid) < 512 * MIB


def peak_bytes(pid: int) -> int:
    """The most memory that a process had; 0 where the system does not say."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii") as file:
            lines = [line for line in file if line.startswith("VmHWM")]
    except OSError:
        return 0
    return int(lines[0].split()[1]) * 1024


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT " + "(" * 5000 + "1" + ")" * 5000,
        "SELECT " + "-" * 1 + "NOT " * 5000 + "TRUE",
        "SELECT " + "[" * 3000 + "]" * 3000,
        "SELECT 1" + " UNION ALL SELECT 1" * 3000,
        "SELECT 1 WHERE " + " AND ".join(["1 = 1"] * 3000),
        "SELECT * FROM " + "(SELECT * FROM " * 1000 + "m" + ")" * 1000,
    ],
    ids=["brackets", "not", "lists", "unions", "conditions", "sub-queries"],
)
def test_deep_texts_are_errors_or_answers(session: Session, sql: str) -> None:
    """Whatever becomes of them, this process and its stack stay whole."""
    with contextlib.suppress(SqlError):
        session.execute(sql)
    assert session.execute("SELECT 7 AS v").rows() == [[7]]
