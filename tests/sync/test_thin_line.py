"""How much of a thin link with a long way a backlog gets, and what live rows wait for beside it."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest

from mainstem_engine.model import ColumnType, Measurement, Template
from mainstem_sync.sending.flight import Lane
from mainstem_sync.state.exports import Export
from mainstem_sync.testing.agenda import START_NS, Agenda
from mainstem_sync.testing.memory_nodes import MemoryNode
from mainstem_sync.testing.thin_line import ThinLine

RATE, WAY_S = 125_000.0, 0.15
"""1 Mbit/s, 300 ms there and back."""
VALUES = 10
BACKLOG, LIVE = "backlog", "live"
LIVE_EVERY_S = 0.005
"""2,000 points a second."""
FRAME_S = 0.25
"""Of link time: what may be before a live row."""
LOOK_S = 0.02
"""How often somebody looks what the parent holds."""
LIVE_FROM_S = 1.0
"""The HELLO is answered: what is written now is live."""


class Pair:
    """An edge and its parent; what the parent holds is looked at as time goes on."""

    def __init__(self) -> None:
        self.agenda = Agenda()
        exports = (Export(BACKLOG), Export(LIVE))
        self.edge = MemoryNode(
            "edge", self.agenda, random.Random(1), exports=exports, parent=True, paths=["root.p"]
        )
        self.plant = MemoryNode("plant", self.agenda, random.Random(2))
        for node in (self.edge, self.plant):
            node.start()
        columns = tuple(Measurement(0, f"m{n}", ColumnType.DOUBLE) for n in range(VALUES))
        for name in (BACKLOG, LIVE):
            self.edge.engine.create_template(Template(name, columns))
        self.made: list[float] = []
        self.late: list[float] = []
        self.agenda.after(LIVE_FROM_S, self.live)

    @property
    def p99_s(self) -> float:
        """Of live rows, from their making until they are held above."""
        return sorted(self.late)[len(self.late) * 99 // 100]

    def backlog(self, records: int, rows: int) -> None:
        """Records that compress as those of slow sensors with noise do."""
        noise = np.random.default_rng(3)
        ids = self.edge.engine.device_ids(BACKLOG, ["root.p.a"], create=True)
        for number in range(records):
            step = np.arange(number * rows, (number + 1) * rows)
            values = {
                f"m{n}": np.round(50 + np.sin(step / 200 + n) + noise.normal(0, 0.2, rows), 2)
                for n in range(VALUES)
            }
            times = START_NS // 10**6 - 10**9 + step * 1000
            self.edge.engine.write(BACKLOG, np.repeat(ids, rows), times, values)
            self.edge.commit()

    def live(self) -> None:
        """One row, and another one in a moment."""
        number = len(self.made)
        ids = self.edge.engine.device_ids(LIVE, ["root.p.b"], create=True)
        values = {f"m{n}": np.array([float(number + n)]) for n in range(VALUES)}
        self.edge.engine.write(LIVE, ids, [START_NS // 10**6 + number], values)
        self.made.append(self.agenda.now_s)
        self.agenda.after(LIVE_EVERY_S, self.live)

    def held(self, table: str) -> int:
        sums = self.plant.federation.accounting().get(table, {})
        return int(sums.get("log", {}).get("from_children", 0))

    def look(self) -> None:
        """When each live row was there."""
        for number in range(len(self.late), self.held(LIVE)):
            self.late.append(self.agenda.now_s - self.made[number])

    def until(self, condition: Callable[[], bool], seconds: float) -> None:
        end = self.agenda.now_s + seconds
        while not condition():
            assert self.agenda.now_s < end, f"not within {seconds:g} s"
            self.agenda.run_until(self.agenda.now_s + LOOK_S)
            self.look()


@pytest.fixture(scope="module")
def idle_p99_s() -> float:
    """Live rows with nothing beside them."""
    pair = Pair()
    ThinLine(pair.agenda, pair.edge, pair.plant, RATE, WAY_S)
    pair.until(lambda: len(pair.late) >= 500, 30)
    return pair.p99_s


@pytest.mark.parametrize(("records", "rows"), [(5, 10_000), (200, 250)], ids=["large", "small"])
def test_a_backlog_gets_four_fifths_of_a_thin_link_and_live_rows_pass_it(
    records: int, rows: int, idle_p99_s: float
) -> None:
    """Records that go in pieces, and records of which many make a request."""
    pair = Pair()
    pair.backlog(records, rows)
    line = ThinLine(pair.agenda, pair.edge, pair.plant, RATE, WAY_S)
    pair.until(lambda: pair.held(BACKLOG) == records * rows, 60)
    first = next(each.first_s for each in line.carried if each.lane is Lane.HISTORY)
    last = pair.agenda.now_s
    settled = first + 4 * WAY_S  # one request is answered: what the link carries is known
    # Beside it are live rows, and the headers of packets and requests: four percent each.
    assert line.share(Lane.HISTORY, settled, last - WAY_S) >= 0.8
    assert line.idle_s(settled, last - WAY_S) < 0.03 * (last - settled)
    assert len(pair.late) > 500
    assert pair.p99_s < 2 * idle_p99_s + FRAME_S
