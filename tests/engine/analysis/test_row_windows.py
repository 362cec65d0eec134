"""Windows made of rows beside models that walk row by row."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstem_engine.analysis.row_windows import session_windows
from mainstem_engine.analysis.rows import Timeline
from mainstem_engine.errors import SqlError

from .timelines import partitions_of, rows_of, timeline, timelines

EXAMPLES = 80


def test_a_gap_of_exactly_the_tolerance_stays_inside() -> None:
    line = timeline([0, 10, 20, 31, 41], [41, 60])
    windows = session_windows(line, 10)
    assert rows_of(windows) == [(0, [0, 1, 2]), (0, [3, 4]), (1, [5]), (1, [6])]
    assert windows.label_ns.tolist() == windows.start_ns.tolist() == [0, 31, 41, 60]
    assert windows.end_ns.tolist() == [20, 41, 41, 60]
    assert not windows.is_exclusive
    with pytest.raises(SqlError, match="positive"):
        session_windows(line, 0)


def test_pauses_longer_than_an_integer_holds_are_pauses() -> None:
    line = timeline([-(2**63) + 1, 2**63 - 2])
    assert len(session_windows(line, 2**62)) == 2


@settings(max_examples=EXAMPLES)
@given(line=timelines(), gap=st.integers(1, 40))
def test_sessions_as_a_model_says(line: Timeline, gap: int) -> None:
    expected: list[tuple[int, list[int]]] = []
    for number, rows in enumerate(partitions_of(line)):
        for row in rows:
            if row == rows[0] or line.times[row] - line.times[row - 1] > gap:
                expected.append((number, []))
            expected[-1][1].append(row)
    assert rows_of(session_windows(line, gap)) == expected
