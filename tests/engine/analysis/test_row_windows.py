"""Windows made of rows beside models that walk row by row."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstem_engine.analysis.row_windows import (
    Assigned,
    condition_windows,
    count_windows,
    event_windows,
    lasting_windows,
    session_windows,
    state_windows,
    variation_windows,
)
from mainstem_engine.analysis.rows import Signal, Timeline, Windows
from mainstem_engine.errors import SqlError

from .timelines import partitions_of, rows_of, signal, signals, timeline, timelines

EXAMPLES = 50
TEMPERATURES = signal(
    *(35.7, 35.8, 35.4, 36.4, 36.8, 36.8, 37.8, 37.5, 37.4, 37.9, 38.0, 38.8, 38.6, 38.4, 38.3),
    *(None, None, None),
    *(38.2, 37.5, 37.4, 36.8, 37.4, 37.8, 37.9, 36.9, 38.2, 39.2, 9.8, 10.2),
)
CHARGING = signal(
    *(1, 1, 0, 0, 1, 1, 1, None, 1, 1),
    *(None, None, None, None, None, None, None, None),
    *(1, 1, None, None, None, 1, 1),
)


def kept_rows(assigned: Assigned) -> list[tuple[int, list[int]]]:
    """Rows of the whole timeline in each window."""
    rows = range(len(assigned.timeline)) if assigned.rows is None else assigned.rows.tolist()
    return [(p, [rows[i] for i in inside]) for p, inside in rows_of(assigned.windows)]


def sizes(windows: Windows) -> list[int]:
    found: list[int] = (windows.end - windows.begin).tolist()
    return found


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
    assert len(session_windows(line, 2**70)) == 1
    assert len(lasting_windows(session_windows(line, 2**70), 2**70)) == 0


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


STATES = signal(None, 1, None, 1, None, 2, 2, 1, None)


@pytest.mark.parametrize(
    ("extend", "expected"),
    [
        (0, [(0, 3000, 4), (5000, 6000, 2), (7000, 8000, 2)]),
        (1, [(0, 4999, 5), (5000, 6999, 2), (7000, 8000, 2)]),
        (2, [(0, 3000, 4), (3001, 6000, 3), (6001, 8000, 2)]),
    ],
)
def test_states_are_extended_over_nulls(extend: int, expected: list[tuple[int, int, int]]) -> None:
    line = timeline([i * 1000 for i in range(9)])
    windows = state_windows(line, STATES, extend=extend)
    found = zip(windows.start_ns, windows.end_ns, sizes(windows), strict=True)
    assert [tuple(int(part) for part in row) for row in found] == expected
    assert windows.label_ns.tolist() == windows.start_ns.tolist()


def test_states_of_a_partition_do_not_reach_the_next() -> None:
    line = timeline([1, 2], [], [3], [4, 5])
    for extend in (0, 1, 2):
        windows = state_windows(line, signal("a", "a", None, "a", None), extend=extend)
        assert rows_of(windows) == [(0, [0, 1]), (3, [3, 4])]
    with pytest.raises(SqlError, match="EXTEND"):
        state_windows(line, signal(1, 1, 1, 1, 1), extend=3)


def test_states_of_several_keys_and_one_that_is_left_out() -> None:
    line = timeline(list(range(8)))
    first = signal(1, 1, 1, 2, 2, 1, 1, None)
    second = signal("a", "a", "b", "b", None, "a", "a", "a")
    runs = [(0, [0, 1]), (0, [2]), (0, [3]), (0, [5, 6, 7])]
    assert rows_of(state_windows(line, first, second)) == runs
    b_s = Signal(second.values == "b", second.valid)
    assert rows_of(state_windows(line, first, second, left_out=b_s)) == [runs[0], runs[3]]
    wide = state_windows(line, first, second, extend=1, left_out=b_s)
    assert list(zip(wide.start_ns, wide.end_ns, strict=True)) == [(0, 1), (5, 7)]


def test_events() -> None:
    line = timeline([1, 2, 3, 4, 5, 6])
    starts = signal(True, False, False, False, True, None)
    ends = signal(False, False, False, True, False, None)
    assert rows_of(event_windows(line, starts, ends)) == [(0, [0, 1, 2, 3])]
    two = timeline([1, 2, 3], [4, 5, 6])
    assert rows_of(event_windows(two, starts, ends)) == []
    both = signal(True, False, True, True, False, True)
    assert rows_of(event_windows(line, both, both)) == [(0, [0]), (0, [2]), (0, [3]), (0, [5])]


def test_counts_emit_their_tail_or_drop_it() -> None:
    line = timeline(list(range(8)), [9])
    sliding = count_windows(line, 4, 2).windows
    assert sizes(sliding) == [4, 4, 4, 2, 1]
    assert sliding.start_ns.tolist() == [0, 2, 4, 6, 9]
    assert sizes(count_windows(line, 3, keeps_tail=False).windows) == [3, 3]
    assert sizes(count_windows(line, 10**30, keeps_tail=True).windows) == [8, 1]
    assert sizes(count_windows(line, 10**30, keeps_tail=False).windows) == []
    for size, slide in ((0, None), (3, 0), (3, 4)):
        with pytest.raises(SqlError, match="at least one row"):
            count_windows(line, size, slide)


def test_counts_leave_out_rows_without_a_value() -> None:
    line = timeline(list(range(9)))
    column = signal(0, 9, 0, None, 0, 0, 9, None, 0)
    assert kept_rows(count_windows(line, 3, columns=[column])) == [
        (0, [0, 1, 2]),
        (0, [4, 5, 6]),
        (0, [8]),
    ]
    other = signal(None, None, None, 1, None, None, None, None, None)
    either = count_windows(line, 4, columns=[column, other])
    assert kept_rows(either)[0] == (0, [0, 1, 2, 3])


def test_variations_by_a_delta_compare_with_the_first_row() -> None:
    line = timeline(list(range(30)))
    found = variation_windows(line, TEMPERATURES, 1, ignores_null=False)
    assert sizes(found.windows) == [4, 5, 6, 3, 3, 3, 3, 1, 2]
    without = variation_windows(line, TEMPERATURES, 1)
    assert [rows for _, rows in kept_rows(without)][2:4] == [
        [9, 10, 11, 12, 13, 14, 18, 19, 20],
        [21, 22, 23],
    ]
    exact = signal(2**53, 2**53 + 1, 2**53 + 2)
    assert sizes(variation_windows(timeline([1, 2, 3]), exact, 1).windows) == [2, 1]


def test_variations_of_text_have_no_delta() -> None:
    line = timeline([1, 2, 3])
    text = signal("a", "a", "b")
    assert sizes(variation_windows(line, text).windows) == [2, 1]
    with pytest.raises(SqlError, match="numbers"):
        variation_windows(line, text, 1)
    for delta in (-1.0, float("nan")):
        with pytest.raises(SqlError, match="negative"):
            variation_windows(line, signal(1, 2, 3), delta)


def test_conditions_keep_runs_of_a_length() -> None:
    line = timeline(list(range(25)))
    charging = Signal(CHARGING.values == 1, CHARGING.valid)
    found = condition_windows(line, charging, (">=", 3), ignores_null=False)
    assert kept_rows(found) == [(0, [4, 5, 6])]
    idle = Signal(CHARGING.values == 0, CHARGING.valid)
    assert kept_rows(condition_windows(line, idle, ("=", 2))) == [(0, [2, 3])]
    assert kept_rows(condition_windows(line, charging, (">", 2))) == [
        (0, [4, 5, 6, 8, 9, 18, 19, 23, 24])
    ]
    assert len(condition_windows(line, charging, ("<", 3), ignores_null=False).windows) == 4
    with pytest.raises(SqlError, match="KEEP"):
        condition_windows(line, charging, ("!=", 2))


def test_short_windows_are_dropped() -> None:
    line = timeline([0, 1, 20, 21, 22, 40, 60, 65])
    sessions = session_windows(line, 10)
    assert sizes(lasting_windows(sessions, 2)) == [3, 2]
    assert sizes(lasting_windows(sessions, None, 2)) == [2, 3, 2]
    assert sizes(lasting_windows(sessions, 2, 3)) == [3]
    assert sizes(lasting_windows(sessions, 5, 3, any_of=True)) == [3, 2]
    assert lasting_windows(sessions) is sessions


def drawn(data: st.DataObject, line: Timeline, values: st.SearchStrategy[object]) -> Signal:
    return data.draw(signals(len(line), values))


SMALL = st.one_of(st.none(), st.integers(0, 3))
TRUTH = st.one_of(st.none(), st.booleans())


@settings(max_examples=EXAMPLES)
@given(data=st.data(), line=timelines(), extend=st.integers(0, 2))
def test_states_as_a_model_says(data: st.DataObject, line: Timeline, extend: int) -> None:
    state = drawn(data, line, SMALL)
    expected: list[tuple[int, list[int]]] = []
    for number, rows in enumerate(partitions_of(line)):
        runs: list[list[int]] = []
        pending: list[int] = []
        last: object = None
        for row in rows:
            if not state.mask()[row]:
                pending.append(row)
            elif runs and state.values[row] == last:
                runs[-1] += [*pending, row]
                pending = []
            else:
                if runs and extend == 1:
                    runs[-1] += pending
                runs.append([*(pending if not runs or extend == 2 else []), row])
                pending = []
            if state.mask()[row]:
                last = state.values[row]
        if runs:
            runs[-1] += pending
        expected += [(number, run) for run in runs]
    assert rows_of(state_windows(line, state, extend=extend)) == expected


@settings(max_examples=EXAMPLES)
@given(data=st.data(), line=timelines())
def test_events_as_a_model_says(data: st.DataObject, line: Timeline) -> None:
    starts, ends = drawn(data, line, TRUTH), drawn(data, line, TRUTH)
    expected: list[tuple[int, list[int]]] = []
    for number, rows in enumerate(partitions_of(line)):
        inside: list[int] | None = None
        for row in rows:
            if inside is None and starts.values[row] and starts.mask()[row]:
                inside = []
            if inside is not None:
                inside.append(row)
                if ends.values[row] and ends.mask()[row]:
                    expected.append((number, inside))
                    inside = None
    assert rows_of(event_windows(line, starts, ends)) == expected


@settings(max_examples=EXAMPLES)
@given(
    data=st.data(),
    line=timelines(),
    size=st.integers(1, 6),
    slide=st.integers(1, 6),
    tail=st.booleans(),
)
def test_counts_as_a_model_says(
    data: st.DataObject, line: Timeline, size: int, slide: int, tail: bool
) -> None:
    column = drawn(data, line, SMALL)
    slide = min(size, slide)
    expected: list[tuple[int, list[int]]] = []
    for number, rows in enumerate(partitions_of(line)):
        counted = [row for row in rows if column.mask()[row]]
        for begin in range(0, len(counted), slide):
            inside = counted[begin : begin + size]
            if tail or len(inside) == size:
                expected.append((number, inside))
    found = count_windows(line, size, slide, columns=[column], keeps_tail=tail)
    assert kept_rows(found) == expected


@settings(max_examples=EXAMPLES)
@given(data=st.data(), line=timelines(), delta=st.integers(0, 2), ignores_null=st.booleans())
def test_variations_as_a_model_says(
    data: st.DataObject, line: Timeline, delta: int, ignores_null: bool
) -> None:
    control = drawn(data, line, SMALL)
    expected: list[tuple[int, list[int]]] = []
    for number, rows in enumerate(partitions_of(line)):
        first: object = "none"
        for row in rows:
            value = int(control.values[row]) if control.mask()[row] else None
            if value is None and ignores_null:
                continue
            if isinstance(first, int) and value is not None:
                opens = abs(value - first) > delta
            else:
                opens = first != value
            if opens:
                expected.append((number, []))
                first = value
            expected[-1][1].append(row)
    found = variation_windows(line, control, delta, ignores_null=ignores_null)
    assert kept_rows(found) == expected


@settings(max_examples=EXAMPLES)
@given(data=st.data(), line=timelines(), least=st.integers(1, 4), ignores_null=st.booleans())
def test_conditions_as_a_model_says(
    data: st.DataObject, line: Timeline, least: int, ignores_null: bool
) -> None:
    condition = drawn(data, line, TRUTH)
    expected: list[tuple[int, list[int]]] = []
    for number, rows in enumerate(partitions_of(line)):
        runs: list[list[int]] = [[]]
        for row in rows:
            if not condition.mask()[row] and ignores_null:
                continue
            if condition.mask()[row] and condition.values[row]:
                runs[-1].append(row)
            else:
                runs.append([])
        expected += [(number, run) for run in runs if len(run) >= least]
    found = condition_windows(line, condition, (">=", least), ignores_null=ignores_null)
    assert kept_rows(found) == expected
