"""A parent that holds some of its child's rows: each is counted once, whoever has it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mainstem_engine.columns import TIME_MAX_NS, TIME_MIN_NS
from mainstem_engine.errors import SqlCancelledError
from mainstem_engine.sql.running.cancellation import Cancellation
from mainstem_engine.sql.session import Session
from mainstem_node.config.schema import SqlConfig
from mainstem_node.federated.reading import Reading
from mainstem_node.federated.runner import QuestionRunner
from mainstem_node.federated.storage import FederatedStorage
from mainstem_sync.down.answers import Pending
from mainstem_sync.testing.down_link import DownLink
from mainstem_sync.testing.tiers import START_NS, Tiers

QUERIES = (
    "SELECT count(*), count(current), min(current), max(current), sum(voltage) FROM meters",
    "SELECT device, count(*), sum(voltage), first(current), last(current) FROM meters "
    "GROUP BY device ORDER BY device",
    "SELECT device, time, current, voltage FROM meters ORDER BY device, time",
    "SELECT count(*), max(current) FROM meters WHERE current > 1.5",
    "SELECT device, LAST(current), LAST_ROW(voltage) FROM meters PARTITION BY device",
)


class Asking:
    """The plant asks the edge. A thread stands for the link between them."""

    def __init__(self, tiers: Tiers) -> None:
        self.tiers = tiers
        tiers.write(rows=150, value=1.0)
        tiers.write("root.p.e.d2", rows=150, value=2.0)
        tiers.close()
        clock = tiers.clock
        edge = tiers.edge.federation
        self.runner = QuestionRunner(
            tiers.edge.engine, edge, SqlConfig(), monotonic=clock.monotonic
        )
        edge.down.answers.on_question = self.runner.answer
        self.link = DownLink(tiers.edge, tiers.plant)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._carry, daemon=True)
        self._thread.start()
        while tiers.plant.federation.down.questions.takers() != {"edge"}:
            time.sleep(0.001)  # the thread's first exchange

    def _carry(self) -> None:
        answers = self.tiers.edge.federation.down.answers
        questions = self.tiers.plant.federation.down.questions
        while not self._stop.wait(0.001):
            self.link.step()
            while (sending := answers.next_sending()) is not None:
                body = sending.body
                answers.sent(sending, *questions.took("edge", sending.pending.lease, body))

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def reading(self, role: str = "read") -> Reading:
        federation, clock = self.tiers.plant.federation, self.tiers.clock
        until = clock.monotonic() + 20.0
        return Reading(federation, role, "somebody", until, monotonic=clock.monotonic)

    def rows(self, sql: str, role: str = "read") -> tuple[list[Any], Reading]:
        reading = self.reading(role)
        storage: Any = FederatedStorage(self.tiers.plant.engine, reading)
        return Session(storage).execute(sql).rows(), reading

    def check(self) -> None:
        for sql in QUERIES:
            found, reading = self.rows(sql)
            assert found == self.tiers.edge.engine.sql(sql).rows(), sql
            assert reading.warnings == []


@pytest.fixture
def asking(make_tiers: Callable[..., Tiers]) -> Iterator[Asking]:
    found = Asking(make_tiers())
    yield found
    found.close()


@pytest.fixture
def make_tiers(tmp_path: Path) -> Iterator[Callable[..., Tiers]]:
    made: list[Tiers] = []

    def make(**options: Any) -> Tiers:
        made.append(Tiers(tmp_path / str(len(made)), **options))
        return made[-1]

    yield make
    for tiers in made:
        tiers.stop()


def test_what_is_verified_is_read_here_and_the_tail_is_the_owners(asking: Asking) -> None:
    asking.check()
    federation = asking.tiers.plant.federation
    through = federation.completeness(["meters"])[0]["complete_through"] * 10**6
    asked = asking.runner.answered
    storage: Any = FederatedStorage(asking.tiers.plant.engine, asking.reading())
    pieces, _ = storage.aggregate_pieces(
        "meters", {"*": ["count"]}, None, START_NS, through, every_ns=None, by_device=False
    )
    assert pieces.rows.tolist() == [300]
    assert asking.runner.answered == asked


def test_rows_that_were_delivered_and_not_verified_are_counted_once(asking: Asking) -> None:
    tiers = asking.tiers
    tiers.write(start_s=2000, rows=40, value=3.0)
    tiers.write(start_s=100, rows=10, value=9.0)  # over rows of slices that were verified
    tiers.run()
    assert len(tiers.plant.engine.scan_rows("meters")) == 340
    asking.check()


def test_rows_that_the_parent_lacks_are_the_owners(asking: Asking) -> None:
    tiers = asking.tiers
    tiers.up.cut()
    tiers.write(start_s=2000, rows=40, value=3.0)
    assert len(tiers.plant.engine.scan_rows("meters")) == 300
    asking.check()


def test_explain_says_who_would_be_asked_for_rows(asking: Asking) -> None:
    reading = asking.reading()
    storage: Any = FederatedStorage(asking.tiers.plant.engine, reading)
    session = Session(storage, explain_more=reading.lines)
    lines = [row[0] for row in session.execute("EXPLAIN SELECT note FROM meters").rows()]
    assert lines[-1] == "would ask edge for edge (complete): 1 spans of time"
    assert asking.runner.answered == 0


def test_a_statement_that_is_cancelled_ends_its_questions(asking: Asking) -> None:
    asked: list[Pending] = []
    answers = asking.tiers.edge.federation.down.answers
    answers.on_question = asked.append
    cancellation = Cancellation()
    reading = asking.reading()
    reading.check = cancellation.check
    storage: Any = FederatedStorage(asking.tiers.plant.engine, reading)
    ended: list[str] = []

    def run() -> None:
        try:
            with cancellation.calling(reading.cancel):
                Session(storage).execute(QUERIES[0], cancellation=cancellation)
        except SqlCancelledError as error:
            ended.append(error.code)

    thread = threading.Thread(target=run)
    thread.start()
    while not asked:
        time.sleep(0.001)  # the link's thread brings it
    cancellation.cancel()
    thread.join(20)
    assert ended == ["SQL_CANCELLED"]
    assert asked[0].cancelled.wait(20)


def test_a_child_that_is_away_leaves_what_is_here(asking: Asking) -> None:
    tiers = asking.tiers
    tiers.up.cut()
    tiers.write(start_s=2000, rows=40, value=3.0)
    asking.close()
    tiers.clock.advance(40)
    found, reading = asking.rows("SELECT count(*) FROM meters")
    assert found == [[300]]
    assert reading.warnings == ["edge did not answer (edge is offline): see completeness"]


def test_a_role_that_is_not_known_there_reads_nothing(asking: Asking) -> None:
    asking.tiers.write(start_s=2000, rows=40)
    found, reading = asking.rows("SELECT count(*) FROM meters", role="emperor")
    assert found == [[300]]
    assert "the role 'emperor' reads nothing here" in reading.warnings[0]


def test_a_measurement_that_is_not_known_there_is_no_null(asking: Asking) -> None:
    from mainstem_engine.model import ColumnType, Measurement

    asking.tiers.plant.engine.alter_template(
        "meters", add=[Measurement(0, "phase", ColumnType.DOUBLE)]
    )
    storage: Any = FederatedStorage(asking.tiers.plant.engine, reading := asking.reading())
    pieces, _ = storage.aggregate_pieces(
        "meters", {"phase": ["count"]}, None, TIME_MIN_NS, TIME_MAX_NS + 1,
        every_ns=None, by_device=False,
    )  # fmt: skip
    assert "has no measurement 'phase'" in reading.warnings[0]
    assert np.asarray(pieces.rows).tolist() == [300]
