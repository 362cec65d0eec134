"""Eight threads with sessions of their own, on one engine, beside a model of what each has done.

1. Seven writers share a template and have three devices each. A writer knows exactly what its
   devices hold, so every SELECT, DELETE and count of its own rows is compared at once.
2. One definer alters that template, makes and drops databases and templates of its own, and has the
   store flushed and compacted.
3. Some statements are cancelled in the middle. Then all of it happened, or nothing.
4. At the end the store is opened again and holds the same.

What a thread asserts does not depend on how the threads meet.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mainstem_engine import Engine, EngineOptions
from mainstem_engine.errors import MainstemError, NotFoundError, SqlCancelledError
from mainstem_engine.sql.result import Result
from mainstem_engine.sql.running.cancellation import Cancellation
from mainstem_engine.sql.running.executors import InProcessExecutor
from mainstem_engine.sql.session import Session

from .conftest import NOW_MS

WRITERS = 7
Rows = dict[int, tuple[int | None, str | None]]
"""(a, b) by time in ms."""


def written(before: Rows, rows: list[tuple[int, int | None, str]]) -> Rows:
    """What a device holds after these: rows of one time merge, NULL erases nothing."""
    after = dict(before)
    for time, a, b in rows:
        known = after.get(time, (None, None))[0]
        after[time] = (known if a is None else a, b)
    return after


class Client(threading.Thread):
    """Runs ``steps`` statements; the first thing that is wrong is kept."""

    def __init__(
        self, engine: Engine, executor: InProcessExecutor, number: int, steps: int
    ) -> None:
        super().__init__(name=f"client-{number}")
        self.number = number
        self.session = Session(engine, executor)
        self.steps = steps
        self.random = random.Random(number * 1_000 + steps)
        self.failure: BaseException | None = None
        self.asked: list[str] = []

    def run(self) -> None:
        try:
            for _ in range(self.steps):
                self.step()
        except (Exception, pytest.fail.Exception) as error:
            error.add_note("; ".join(self.asked[-5:]))
            self.failure = error

    def step(self) -> None:
        raise NotImplementedError

    def ask(self, sql: str, cancellation: Cancellation | None = None) -> Result:
        self.asked.append(sql)
        return self.session.execute(sql, cancellation=cancellation)


class Writer(Client):
    """``devices``: what each of its own holds; one that is not there was never made, or dropped."""

    def __init__(
        self, engine: Engine, executor: InProcessExecutor, number: int, steps: int
    ) -> None:
        super().__init__(engine, executor, number, steps)
        self.devices: dict[str, Rows] = {}

    def step(self) -> None:
        chosen = f"w{self.number}_{self.random.randrange(3)}"
        insert: Callable[[str], None] = self.insert
        others = (
            [insert] * 5
            if chosen not in self.devices
            else [insert] * 4 + [self.look] * 3 + [self.delete_range, self.delete_by_value]
            + [self.delete_by_tag, self.delete_values, self.drop, self.count, self.set_tag]
        )  # fmt: skip
        self.random.choice(others)(chosen)

    def insert(self, device: str) -> None:
        pick = self.random
        rows = [
            (pick.randrange(60) * 100, pick.choice([None, pick.randrange(100)]), pick.choice("xy"))
            for _ in range(pick.randrange(1, 6))
        ]
        values = " ".join(f"({t}, {'NULL' if a is None else a}, '{b}')" for t, a, b in rows)
        before = self.devices.get(device)
        after = written(before or {}, rows)
        tags = f"USING shared (owner, label) TAGS ({self.number}, '{device}')"
        try:
            self.ask(f"INSERT INTO {device} {tags} (ts, a, b) VALUES {values}", self.soon())
        except SqlCancelledError:
            try:
                found = self.held(device)
            except NotFoundError:
                assert before is None
                return
            assert found in (before or {}, after)
            after = found
        self.devices[device] = after

    def look(self, device: str) -> None:
        assert self.held(device) == self.devices[device]

    def delete_range(self, device: str) -> None:
        start = self.random.randrange(60) * 100
        end = start + self.random.randrange(1, 1_500)
        self.delete(device, f"{device} WHERE ts >= {start} AND ts < {end}", range(start, end))

    def delete_by_value(self, device: str) -> None:
        least = self.random.randrange(100)
        gone = [t for t, (a, _) in self.devices[device].items() if a is not None and a > least]
        self.delete(device, f"shared WHERE tbname = '{device}' AND a > {least}", gone)

    def delete_by_tag(self, device: str) -> None:
        self.delete(device, f"shared WHERE label = '{device}'", self.devices[device])

    def delete(self, device: str, what: str, times: Any) -> None:
        rows = self.devices[device]
        gone = [time for time in rows if time in times]
        assert self.ask(f"DELETE FROM {what}").rows_affected == len(gone)
        self.devices[device] = {t: row for t, row in rows.items() if t not in gone}

    def delete_values(self, device: str) -> None:
        """A row that has no value left is gone."""
        self.ask(f"DELETE FROM root.main.{device}.b WHERE time < 3000")
        self.devices[device] = {
            t: (a, None if t < 3000 else b)
            for t, (a, b) in self.devices[device].items()
            if t >= 3000 or a is not None
        }
        self.look(device)

    def drop(self, device: str) -> None:
        self.ask(f"DROP TABLE {device}")
        del self.devices[device]

    def set_tag(self, device: str) -> None:
        self.ask(f"ALTER TABLE {device} SET TAG label = '{device}'")

    def count(self, _: str) -> None:
        mine = f"FROM shared WHERE owner = {self.number}"
        rows = sum(map(len, self.devices.values()))
        assert self.ask(f"SELECT count(*) {mine}").rows() == [[rows]]
        sums = {
            device: sum(a for a, _ in held.values() if a is not None)
            for device, held in self.devices.items()
            if held
        }
        asked = self.ask(f"SELECT tbname, coalesce(sum(a), 0) {mine} GROUP BY tbname")
        assert dict(asked.rows()) == sums

    def held(self, device: str) -> Rows:
        rows = self.ask(f"SELECT time, a, b FROM root.main.{device} ORDER BY time").rows()
        return {time: (a, b) for time, a, b in rows}

    def soon(self) -> Cancellation | None:
        """Sometimes one that is cancelled at some moment, by another thread."""
        if self.random.random() > 0.2:
            return None
        cancellation = Cancellation()
        threading.Thread(target=cancellation.cancel, daemon=True).start()
        return cancellation


class Definer(Client):
    """Changes the template that the others write to, in columns that are not theirs."""

    def __init__(
        self, engine: Engine, executor: InProcessExecutor, number: int, steps: int
    ) -> None:
        super().__init__(engine, executor, number, steps)
        self.columns: set[str] = set()
        self.made = 0

    def step(self) -> None:
        self.made += 1
        choices = [
            self.add,
            self.add,
            self.widen,
            self.tags,
            self.database,
            self.tidy,
            self.describe,
        ]
        if self.columns:
            choices += [self.drop, self.rename]
        self.random.choice(choices)()

    def add(self) -> None:
        self.ask(f"ALTER STABLE shared ADD COLUMN x{self.made} DOUBLE")
        self.columns.add(f"x{self.made}")

    def drop(self) -> None:
        name = self.random.choice(sorted(self.columns))
        self.ask(f"ALTER STABLE shared DROP COLUMN {name}")
        self.columns.remove(name)

    def rename(self) -> None:
        name = self.random.choice(sorted(self.columns))
        self.ask(f"ALTER STABLE shared RENAME COLUMN {name} TO y{self.made}")
        self.columns = self.columns - {name} | {f"y{self.made}"}

    def widen(self) -> None:
        self.ask("ALTER STABLE shared MODIFY COLUMN a BIGINT")

    def tags(self) -> None:
        self.ask(f"ALTER STABLE shared ADD TAG t{self.made} TEXT")
        self.ask(f"ALTER STABLE shared RENAME TAG t{self.made} TO u{self.made}")
        self.ask(f"ALTER STABLE shared DROP TAG u{self.made}")

    def database(self) -> None:
        number = self.made
        self.ask(
            f"CREATE DATABASE db{number}; CREATE STABLE st{number} (ts TIMESTAMP, v INT) "
            f"TAGS (g INT); INSERT INTO db{number}.d USING st{number} TAGS (1) VALUES (1, {number})"
        )
        assert self.ask(f"SELECT v FROM st{number}").rows() == [[number]]
        self.ask(f"DROP DATABASE db{number}")
        assert self.ask(f"SELECT v FROM st{number}").rows() == []
        self.ask(f"DROP STABLE st{number}")

    def tidy(self) -> None:
        self.ask(self.random.choice(["FLUSH", "COMPACT DATABASE main", "TRIM DATABASE main"]))

    def describe(self) -> None:
        listed = self.ask("DESCRIBE shared").rows()
        names = {name for name, _, kind, *_ in listed if kind == "MEASUREMENT"}
        assert names == {"a", "b"} | self.columns
        self.ask("SHOW DEVICES WHERE owner > 2 OR label LIKE 'w%'")


def opened(path: Path) -> Engine:
    return Engine.open(path, EngineOptions(durability="os", clock=lambda: NOW_MS * 1_000_000))


def check_threads(path: Path, executor: InProcessExecutor, steps: int) -> None:
    with opened(path) as engine:
        Session(engine, executor).execute(
            "CREATE STABLE shared (ts TIMESTAMP, a INT, b TEXT) TAGS (owner INT, label TEXT)"
        )
        writers = [Writer(engine, executor, number, steps) for number in range(WRITERS)]
        clients: list[Client] = [*writers, Definer(engine, executor, WRITERS, steps // 2)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        failures = [client.failure for client in clients if client.failure is not None]
        if failures:
            raise failures[0]
        assert any(writer.devices for writer in writers)
    with opened(path) as engine:
        for writer in writers:
            writer.session = Session(engine, executor)
            for device in writer.devices:
                writer.look(device)


def test_threads_see_what_they_have_done(tmp_path: Path, executor: InProcessExecutor) -> None:
    check_threads(tmp_path / "data", executor, 16)


@pytest.mark.nightly
@pytest.mark.parametrize("steps", [200, 201, 202, 203])
def test_threads_for_long(tmp_path: Path, executor: InProcessExecutor, steps: int) -> None:
    check_threads(tmp_path / "data", executor, steps)


@pytest.fixture
def plant_session(engine: Engine, executor: InProcessExecutor) -> Session:
    session = Session(engine, executor)
    session.execute("CREATE STABLE m (ts TIMESTAMP, a INT, b INT) TAGS (g INT)")
    session.execute("INSERT INTO d USING m TAGS (1) VALUES (1, 2, 3)")
    return session


@pytest.mark.parametrize("asked_before", [False, True])
def test_a_query_that_a_change_overtakes_is_planned_again(
    plant_session: Session, engine: Engine, executor: InProcessExecutor, asked_before: bool
) -> None:
    names = iter(["c", "d"])

    def rename(_: object) -> list[dict[str, Any]]:
        new = next(names, None)
        if new is not None:
            engine.alter_template("m", rename={engine.catalog.table("m").shown[1].name: new})
        return []

    session = Session(engine, executor, before_query=rename)
    if asked_before:
        assert session.execute("SELECT a FROM d").rows() == [[1, 2]]
    result = session.execute("SELECT * FROM d")
    assert [column["name"] for column in result.columns] == ["time", "a", "d"]
    assert result.rows() == [[1, 2, 3]]


def test_a_query_of_a_column_that_goes_is_told_so(
    plant_session: Session, engine: Engine, executor: InProcessExecutor
) -> None:
    def drop(_: object) -> list[dict[str, Any]]:
        if engine.catalog.table("m").measurement("b") is not None:
            plant_session.execute("ALTER STABLE m DROP COLUMN b")
        return []

    with pytest.raises(MainstemError, match=r"column.*b"):
        Session(engine, executor, before_query=drop).execute("SELECT b FROM d")
