"""Making room: what is kept goes before its time, whole parts of it, and is counted and refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mainstem_engine import Engine, Template
from mainstem_engine.errors import OutOfRetentionError

OpenEngine = Callable[..., Engine]

DAY_MS = 86_400_000
DAY_NS = DAY_MS * 1_000_000
FIRST = 20_000
"""The day of the first row."""


@pytest.fixture
def engine(open_engine: OpenEngine, meters: Template) -> Engine:
    """Four days with a part each, kept for ever."""
    opened = open_engine()
    opened.create_database("root.a", duration_ns=DAY_NS)
    opened.create_template(meters)
    for day in range(4):
        times = (FIRST + day) * DAY_MS + np.arange(10) * 1000
        opened.write("meters", "root.a.d", times, {"current": np.full(10, float(day))}).wait()
    opened.flush()
    return opened


def days(engine: Engine) -> list[int]:
    found = engine.scan("meters").read_all()["time"].cast("int64").to_numpy()
    return sorted(set((found // DAY_MS - FIRST).tolist()))


def test_the_oldest_parts_go_and_stay_gone(engine: Engine, open_engine: OpenEngine) -> None:
    spans = engine.stored_spans("meters")
    assert [span.start_ns // DAY_NS - FIRST for span in spans] == [0, 1, 2, 3]
    assert all(span.bytes > 0 for span in spans)
    result = engine.give_way("meters", spans[1].end_ns)
    assert (result.rows, result.parts) == (20, 2)
    assert result.bytes == spans[0].bytes + spans[1].bytes
    assert days(engine) == [2, 3]
    assert engine.horizon_ns("meters") == spans[1].end_ns
    counts = engine.store_accounting()["meters"]
    assert counts.balanced
    assert (counts.live, counts.expired) == (20, 20)
    with pytest.raises(OutOfRetentionError):
        engine.write("meters", "root.a.d", [FIRST * DAY_MS], {"current": [1.0]})
    directory = engine.path
    engine.close()
    again = open_engine(directory)
    assert days(again) == [2, 3]
    assert again.horizon_ns("meters") == spans[1].end_ns


def test_a_part_that_ends_later_stays_whole(engine: Engine) -> None:
    spans = engine.stored_spans("meters")
    assert engine.give_way("meters", spans[0].end_ns - 1).parts == 0
    assert days(engine) == [0, 1, 2, 3]
    assert engine.give_way("meters", spans[0].end_ns).parts == 1
    assert days(engine) == [1, 2, 3]


def test_what_is_held_goes_only_when_it_is_said(engine: Engine) -> None:
    asked: list[tuple[str, int, int]] = []

    def hold(table: str, start_ns: int, end_ns: int) -> bool:
        asked.append((table, start_ns, end_ns))
        return start_ns // DAY_NS - FIRST == 1

    engine.add_part_hold("parent", hold)
    spans = engine.stored_spans("meters")
    assert engine.give_way("meters", spans[2].end_ns).parts == 1
    assert len(asked) == 3
    # What is later stays: the rows that are seen have no hole.
    assert days(engine) == [1, 2, 3]
    assert engine.give_way("meters", spans[2].end_ns, held=True).parts == 2
    assert days(engine) == [3]
    assert engine.store_accounting()["meters"].balanced


def test_rows_that_are_in_no_part_yet_are_flushed_and_stay(engine: Engine) -> None:
    late = FIRST * DAY_MS + 5 * DAY_MS
    engine.write("meters", "root.a.d", [late], {"current": [1.0]}).wait()
    engine.give_way("meters", engine.stored_spans("meters")[-1].end_ns)
    assert days(engine) == [5]


def test_an_empty_table_has_nothing_to_give(open_engine: OpenEngine, meters: Template) -> None:
    engine = open_engine()
    engine.create_template(meters)
    assert engine.stored_spans("meters") == []
    assert engine.give_way("meters", 0).parts == 0
