"""Scripts of several statements: what separates them, and what stands when one fails."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from mainstem_engine import Engine
from mainstem_engine.errors import MainstemError, NotFoundError, SchemaError, SqlSyntaxError
from mainstem_engine.sql.result import Result
from mainstem_engine.sql.running.executors import InProcessExecutor
from mainstem_engine.sql.session import Session

Run = Callable[..., Result]


@pytest.mark.parametrize(
    "script",
    [
        "SELECT 1; SELECT 2",
        "SELECT 1;; ;SELECT 2;",
        "SELECT 1; -- the first\nSELECT 2; -- the second",
        "/* a */ SELECT 1 /* b */ ; /* c */ SELECT 2 /* d */; /* e */",
        "SHOW DATABASES; -- listed\n-- and\nSELECT 2",
    ],
)
def test_semicolons_and_comments_stand_anywhere(run: Run, script: str) -> None:
    assert run(script).rows() == [[2]]


@pytest.mark.parametrize("script", ["", ";", " ; ; ", "-- nothing", "; -- nothing"])
def test_a_script_without_a_statement_says_so(run: Run, script: str) -> None:
    with pytest.raises(SqlSyntaxError, match="no statement"):
        run(script)


def test_nothing_runs_of_a_script_that_cannot_be_read(run: Run) -> None:
    with pytest.raises(SqlSyntaxError):
        run("CREATE DATABASE one; SELECT FROM WHERE; CREATE DATABASE two")
    assert run("SHOW DATABASES").rows() == []


def test_what_comes_before_a_failing_statement_stands_and_the_error_says_so(run: Run) -> None:
    with pytest.raises(SchemaError) as caught:
        run(
            """
            CREATE STABLE meters (ts TIMESTAMP, a INT) TAGS (g INT);
            INSERT INTO d USING meters TAGS (1) VALUES (1, 1);
            INSERT INTO d VALUES (2, 'text');
            INSERT INTO d VALUES (3, 3);
            """
        )
    assert str(caught.value).startswith("statement 3 of 4, those before it stand: a is INT32")
    assert (caught.value.field, caught.value.hint is None) == ("a", False)
    assert run("SELECT a FROM meters").rows() == [[1]]
    with pytest.raises(NotFoundError) as first:
        run("DROP TABLE nope; SELECT 1")
    assert first.value.message.startswith("statement 1 of 2: ")
    with pytest.raises(NotFoundError) as alone:
        run("DROP TABLE nope;")
    assert "statement" not in alone.value.message


def test_parameters_are_counted_through_the_script(run: Run) -> None:
    script = "CREATE STABLE m (ts TIMESTAMP, a INT) TAGS (g INT); INSERT INTO d USING m TAGS (?)"
    run(f"{script} VALUES (?, ?)", 7, 1, 2)
    assert run("SELECT ?; SELECT a + ?, g FROM m WHERE g = ?", 0, 10, 7).rows() == [[12, 7]]
    with pytest.raises(MainstemError, match=r"statement 2 of 2.*parameter 3"):
        run("SELECT ?; SELECT ? + ?", 1, 2)


def test_use_holds_after_a_later_statement_failed(run: Run) -> None:
    with pytest.raises(NotFoundError):
        run("CREATE DATABASE power; USE power; SELECT * FROM nothing")
    run("CREATE TABLE t (ts TIMESTAMP, a INT)")
    assert run("SHOW TABLES").rows()[0][2] == "root.power.t"


def test_a_query_that_ends_late_does_not_undo_use(
    engine: Engine, executor: InProcessExecutor
) -> None:
    asked, may_go_on = threading.Event(), threading.Event()

    def wait(_: object) -> list[dict[str, object]]:
        asked.set()
        assert may_go_on.wait(30)
        return []

    session = Session(engine, executor, before_query=wait)
    slow = threading.Thread(target=session.execute, args=("SELECT 1",))
    slow.start()
    assert asked.wait(30)
    session.execute("CREATE DATABASE power")
    session.execute("USE power")
    may_go_on.set()
    slow.join(30)
    assert session.database == "root.power"


def test_an_engine_that_nobody_closes_ends_without_a_sound(tmp_path: Path) -> None:
    program = (
        "from mainstem_engine import Engine\n"
        f"engine = Engine.open({str(tmp_path / 'data')!r})\n"
        "print(engine.sql('SELECT 1').rows())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "[[1]]\n", "")
