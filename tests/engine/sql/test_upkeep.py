"""FLUSH, COMPACT and TRIM."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mainstem_engine import Engine
from mainstem_engine.errors import EngineError
from mainstem_engine.sql.result import Result

from .conftest import NOW_MS

Run = Callable[..., Result]
DAY_MS = 86_400_000


def parts(engine: Engine) -> int:
    return engine.statistics().parts


@pytest.mark.parametrize(
    "sql",
    [
        "FLUSH",
        "FLUSH DATABASE main",
        "FLUSH root.main, root.power TRUE ON LOCAL",
        "flush root.power",
    ],
)
def test_flush_makes_parts(engine: Engine, run: Run, sql: str) -> None:
    run("CREATE DATABASE power; CREATE TABLE t (ts TIMESTAMP, v INT)")
    run("INSERT INTO t VALUES (1, 1)")
    assert parts(engine) == 0
    result = run(sql)
    assert parts(engine) == 1
    assert bool(result.warnings) == (sql != "FLUSH")
    assert run("SELECT count(*) FROM t").rows() == [[1]]


def test_compact_joins_parts(engine: Engine, run: Run) -> None:
    run("CREATE TABLE t (ts TIMESTAMP, v INT)")
    for time in range(3):
        run(f"INSERT INTO t VALUES ({time}, 1); FLUSH")
    assert parts(engine) == 3
    run("INSERT INTO t VALUES (3, 1); COMPACT DATABASE main")
    assert parts(engine) == 1
    assert run("SELECT count(*) FROM t").rows() == [[4]]


def test_trim_removes_what_is_expired(engine: Engine, run: Run) -> None:
    run("CREATE TABLE t (ts TIMESTAMP, v INT)")
    run(f"INSERT INTO t VALUES ({NOW_MS - 100 * DAY_MS}, 1); FLUSH")
    run("ALTER TABLE t KEEP 30d")
    assert parts(engine) == 1
    run("TRIM DATABASE main")
    assert parts(engine) == 0


@pytest.mark.parametrize(
    "sql", ["FLUSH DATABASE none", "COMPACT", "COMPACT DATABASE", "TRIM t", "FLUSH ON MARS"]
)
def test_what_is_refused(run: Run, sql: str) -> None:
    with pytest.raises(EngineError):
        run(sql)
