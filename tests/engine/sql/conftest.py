"""What the tests of the SQL front end share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mainstem_engine import Engine, EngineOptions
from mainstem_engine.sql.result import Result
from mainstem_engine.sql.running.executors import InProcessExecutor
from mainstem_engine.sql.session import Session

NOW_MS = 1_792_540_900_000
"""The clock of these tests: 2026-10-21T00:01:40Z."""

Run = Callable[..., Result]


@pytest.fixture(scope="session")
def executor() -> Iterator[InProcessExecutor]:
    """One for all tests: making the executing database costs more than a test."""
    executor = InProcessExecutor()
    yield executor
    executor.close()


def open_engine(path: Path) -> Engine:
    options = EngineOptions(background=False, durability="os", clock=lambda: NOW_MS * 1_000_000)
    return Engine.open(path, options)


def runner(session: Session) -> Run:
    """Runs a script; positional arguments are its parameters."""

    def run(sql: str, *params: Any, **options: Any) -> Result:
        return session.execute(sql, params, **options)

    return run


def make_plant(run: Run) -> None:
    """The tables of the contract's examples."""
    run(
        """
        CREATE DATABASE root.beijing;
        CREATE SCHEMA TEMPLATE car (s1 INT32 UNIT='rpm', s2 FLOAT);
        SET SCHEMA TEMPLATE car TO root.beijing;
        INSERT INTO root.beijing.d1(time, s1, s2) VALUES (1000, 1, 1.5), (2000, NULL, 2.5);
        INSERT INTO root.beijing.d2(time, s1, s2) VALUES (1000, 10, NULL), (3000, 30, 3.5);
        CREATE STABLE meters (ts TIMESTAMP, current FLOAT, voltage INT)
            TAGS (location TEXT, groupid INT);
        INSERT INTO d1001 USING meters TAGS ('north', 2) VALUES (1000, 10.5, 219) (2000, 11, 220)
            d1002 USING meters TAGS ('south', 3) VALUES (1000, 12.25, 221) (3000, NULL, 222)
        """
    )


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """An empty engine of the test's own."""
    with open_engine(tmp_path / "data") as engine:
        yield engine


@pytest.fixture
def run(engine: Engine, executor: InProcessExecutor) -> Run:
    """Runs SQL on ``engine``."""
    return runner(Session(engine, executor))


@pytest.fixture
def own_plant(run: Run) -> Run:
    """Runs SQL on a plant of the test's own, for tests that change it."""
    make_plant(run)
    return run


@pytest.fixture(scope="session")
def plant_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A plant that all tests share and none changes."""
    with open_engine(tmp_path_factory.mktemp("plant")) as engine:
        executor = InProcessExecutor()
        make_plant(runner(Session(engine, executor)))
        executor.close()
        yield engine


@pytest.fixture
def plant(plant_engine: Engine, executor: InProcessExecutor) -> Run:
    """Runs SQL on the shared plant."""
    return runner(Session(plant_engine, executor))
