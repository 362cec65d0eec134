"""Any text has an answer or a refusal that says why, here and in a worker."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings

from mainstem_engine import Engine
from mainstem_engine.errors import EngineError
from mainstem_engine.sql.program import SqlLimits
from mainstem_engine.sql.running.executors import InProcessExecutor, WorkerExecutor
from mainstem_engine.sql.session import Session

from .conftest import open_engine
from .statement_strategies import STATEMENTS

LEAKS = re.compile(r"mainstem_\d|LINE \d|Candidate|object at 0x|Traceback")
LIMITS = SqlLimits(timeout_s=5.0, row_limit=100_000)
SETUP = """
CREATE STABLE m (ts TIMESTAMP, x DOUBLE, y BIGINT, s TEXT, b BOOL) TAGS (loc TEXT, g INT);
INSERT INTO d1 USING m TAGS ('a', 1) VALUES (1000, 1.5, 1, 'r', true) (2000, 2.5, 2, 'r', true)
    (3500, 4, null, 's', false) (9000, 7, 3, 's', null);
INSERT INTO d2 USING m TAGS ('b', 2) VALUES (-1500, 10, 9223372036854775807, 'p', true)
    (2600, null, -9223372036854775807, null, false);
CREATE TABLE empty USING m TAGS (null, null);
CREATE TABLE other (ts TIMESTAMP, x FLOAT, device_value INT, time2 BOOL);
INSERT INTO other VALUES (1000, 1, 1, true) (5000, 2, 2, false);
CREATE TABLE odd (ts TIMESTAMP, `a#t` INT, `_wstart` DOUBLE, `x y` TEXT);
INSERT INTO odd VALUES (1000, 1, 1, 'a') (2000, 2, 2, 'b');
"""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    path: Path = tmp_path_factory.mktemp("fuzz")
    with open_engine(path) as opened:
        opened.sql(SETUP)
        yield opened


@pytest.fixture(scope="module")
def session(engine: Engine) -> Iterator[Session]:
    executor = InProcessExecutor(LIMITS)
    yield Session(engine, executor)
    executor.close()


@pytest.fixture(scope="module")
def worker_session(engine: Engine) -> Iterator[Session]:
    executor = WorkerExecutor(LIMITS)
    yield Session(engine, executor)
    executor.close()


def check(session: Session, sql: str) -> None:
    refused: EngineError | None = None
    try:
        session.execute(sql, (1, 2, 3)).rows()
    except EngineError as error:
        refused = error
    if refused is not None:
        assert refused.hint, f"{sql}: {refused} has no hint"
        assert LEAKS.search(str(refused)) is None, f"{sql}: {refused}"


@given(sql=STATEMENTS)
@settings(max_examples=120, deadline=None, derandomize=True)
def test_any_text_is_answered_or_refused(session: Session, sql: str) -> None:
    check(session, sql)


@given(sql=STATEMENTS)
@settings(max_examples=25, deadline=None, derandomize=True)
def test_any_text_is_answered_or_refused_by_a_worker(worker_session: Session, sql: str) -> None:
    check(worker_session, sql)


@pytest.mark.nightly
@given(sql=STATEMENTS)
@settings(max_examples=20_000, deadline=None)
def test_many_texts_are_answered_or_refused(session: Session, sql: str) -> None:
    check(session, sql)
