"""Windows made of rows: sessions, states, events, counts, variations, conditions.

1. A window starts and ends with a row, and never reaches over a partition; ``_wend`` is the time of
   its last row, but for a state that is extended.
2. Some kinds leave rows out: those whose control value is null. Such a row is in no window, so it
   is taken out of the timeline: a function then answers ``Assigned`` with the rows that stay, and
   its windows are of these.
3. All but one are found with whole arrays. A variation with a delta compares each row to the first
   of its window, which depends on the window before: that is a walk, row by row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mainstem_engine.analysis.rows import Mask, Positions, Signal, Timeline, Windows
from mainstem_engine.errors import SqlError

_KEEPS = {
    ">=": np.greater_equal,
    ">": np.greater,
    "=": np.equal,
    "<=": np.less_equal,
    "<": np.less,
}
_NS_MAX = 2**64 - 1
"""No two times are farther apart."""
KEEP_OPERATORS = tuple(_KEEPS)
"""How the length of a run is compared: CONDITION(p, KEEP >= 3)."""


@dataclass(frozen=True, slots=True)
class Assigned:
    """``rows``: int64[k], ascending, the rows of the timeline that windows are made of; None: all.
    ``timeline`` and ``windows`` are of these rows only."""

    timeline: Timeline
    windows: Windows
    rows: Positions | None = None


def session_windows(timeline: Timeline, gap_ns: int) -> Windows:
    """A pause of more than ``gap_ns`` ends a window; one of exactly as much does not."""
    if gap_ns <= 0:
        raise SqlError(
            "the gap of SESSION must be positive", field="SESSION", hint="write SESSION(ts, 10s)"
        )
    opens = timeline.is_first()
    opens[1:] |= _pauses(timeline) > np.uint64(min(gap_ns, _NS_MAX))
    return _windows_from(timeline, opens)


def state_windows(
    timeline: Timeline,
    *states: Signal,
    extend: int = 0,
    tick_ns: int = 1,
    left_out: Signal | None = None,
) -> Windows:
    """Runs of rows of one state, or of one combination of several. Nulls (of any of them) inside of
    a run join it, those before the first and after the last run too. Nulls between two runs:
    ``extend`` 0: are in no window; 1: join the run before, which lasts until one tick before the
    next; 2: join the run after, which begins one tick after the run before. Runs where ``left_out``
    is true are no windows in the end. A partition of nulls has none."""
    if extend not in (0, 1, 2):
        raise SqlError(
            "EXTEND of STATE_WINDOW is 0, 1 or 2", field="EXTEND", hint="leave it out for 0"
        )
    rows = np.flatnonzero(np.logical_and.reduce([state.mask() for state in states]))
    known = _kept(timeline, rows)
    opens = np.logical_or.reduce([_changes(known, state.take(rows)) for state in states])
    begin, last = _first_and_last(opens, rows)
    shown = None if left_out is None else np.flatnonzero(~is_true(left_out)[begin])
    partition = _partition_of(timeline, begin)
    is_first, is_last = _ends_of_runs(partition)
    begin = np.where(is_first, timeline.bounds[partition], begin)
    end = np.where(is_last, timeline.bounds[partition + 1], last + 1)
    if extend == 1:
        end[:-1] = np.where(is_last[:-1], end[:-1], begin[1:])
    elif extend == 2:
        begin[1:] = np.where(is_first[1:], begin[1:], end[:-1])
    windows = _windows_of(timeline, begin, end)
    start_ns, end_ns = windows.start_ns.copy(), windows.end_ns.copy()
    if extend == 1:
        end_ns[:-1] = np.where(is_last[:-1], end_ns[:-1], start_ns[1:] - tick_ns)
    elif extend == 2:
        start_ns[1:] = np.where(is_first[1:], start_ns[1:], end_ns[:-1] + tick_ns)
    windows = replace(windows, label_ns=start_ns, start_ns=start_ns, end_ns=end_ns)
    return windows if shown is None else windows.take(shown)


def event_windows(timeline: Timeline, starts: Signal, ends: Signal) -> Windows:
    """From the first row where ``starts`` is true to the first from there where ``ends`` is; one
    row may be both. A window that never ends is none.

    Whatever came before, nothing is open after a row that ends: so each such row closes a window if
    there is a start since the one before it.
    """
    closing = np.flatnonzero(is_true(ends)).astype(np.int64)
    opening = np.flatnonzero(is_true(starts)).astype(np.int64)
    partition = _partition_of(timeline, closing)
    since = timeline.bounds[partition]
    since[1:] = np.maximum(since[1:], closing[:-1] + 1)
    at = np.searchsorted(opening, since)
    first = np.append(opening, len(timeline))[at]
    kept = first <= closing
    return _windows_of(timeline, first[kept], closing[kept] + 1)


def count_windows(
    timeline: Timeline,
    size: int,
    slide: int | None = None,
    *,
    columns: Sequence[Signal] = (),
    keeps_tail: bool = True,
) -> Assigned:
    """Windows of ``size`` rows, one every ``slide`` rows. With ``columns``, rows where all of them
    are null are left out. ``keeps_tail``: windows that the partition ends are emitted too."""
    slide = size if slide is None else slide
    if size < 1 or not 1 <= slide <= size:
        raise SqlError(
            "a count window has at least one row, and slides by one row to its whole size",
            field="COUNT_WINDOW",
            hint="write COUNT_WINDOW(10) or COUNT_WINDOW(10, 5)",
        )
    # More rows than there are say the same, and fit into an integer.
    size, slide = min(size, len(timeline) + 1), min(slide, len(timeline) + 1)
    rows = None
    if columns:
        rows = _all_but(np.logical_or.reduce([column.mask() for column in columns]))
    kept = _kept(timeline, rows)
    lengths = np.diff(kept.bounds)
    counts = -(-lengths // slide) if keeps_tail else np.maximum((lengths - size) // slide + 1, 0)
    partition = np.repeat(np.arange(kept.partitions, dtype=np.int64), counts)
    number = np.arange(len(partition), dtype=np.int64) - np.repeat(
        np.cumsum(counts) - counts, counts
    )
    begin = kept.bounds[partition] + number * slide
    end = np.minimum(begin + size, kept.bounds[partition + 1])
    return Assigned(kept, _windows_of(kept, begin, end), rows)


def variation_windows(
    timeline: Timeline, control: Signal, delta: float = 0.0, *, ignores_null: bool = True
) -> Assigned:
    """Rows whose value differs from the first of the window by ``delta`` at most; with 0, runs of
    equal values. ``ignores_null``: rows without a value are left out; else each run of them is a
    window. Raises SqlError for a negative delta, and for a delta of text."""
    if not delta >= 0:
        raise SqlError(
            "the delta of VARIATION must not be negative", field="VARIATION", hint="write 0 or more"
        )
    if delta and control.values.dtype == object:
        raise SqlError(
            "VARIATION with a delta needs numbers", field="VARIATION", hint="leave the delta out"
        )
    rows = _all_but(control.mask()) if ignores_null else None
    kept = _kept(timeline, rows)
    values = control if rows is None else control.take(rows)
    opens = _walk_variations(kept, values, delta) if delta else _changes(kept, values)
    return Assigned(kept, _windows_from(kept, opens), rows)


def condition_windows(
    timeline: Timeline,
    condition: Signal,
    keep: tuple[str, int] = (">=", 1),
    *,
    ignores_null: bool = True,
) -> Assigned:
    """Runs of rows where the condition is true, of a length that ``keep`` allows. ``ignores_null``:
    rows where it is unknown are left out; else they end a run."""
    rows = _all_but(condition.mask()) if ignores_null else None
    kept = _kept(timeline, rows)
    holds = is_true(condition if rows is None else condition.take(rows))
    is_first = kept.is_first()
    opens = holds.copy()
    opens[1:] &= is_first[1:] | ~holds[:-1]
    closes = holds.copy()
    closes[:-1] &= is_first[1:] | ~holds[1:]
    begin = np.flatnonzero(opens).astype(np.int64)
    end = np.flatnonzero(closes).astype(np.int64) + 1
    fits = compare_lengths(end - begin, *keep)
    return Assigned(kept, _windows_of(kept, begin[fits], end[fits]), rows)


def compare_lengths(lengths: Positions, operator: str, keep: int) -> Mask:
    """Which lengths ``KEEP operator keep`` allows. Raises SqlError for an unknown operator."""
    compare = _KEEPS.get(operator)
    if compare is None:
        raise SqlError(
            f"KEEP {operator} is unknown", field="KEEP", hint=f"use {' '.join(KEEP_OPERATORS)}"
        )
    fits: Mask = compare(lengths, keep)
    return fits


def lasting_windows(
    windows: Windows,
    duration_ns: int | None = None,
    rows: int | None = None,
    *,
    any_of: bool = False,
) -> Windows:
    """TRUE_FOR: windows that last as long, and have as many rows, as is asked for; with ``any_of``
    one of both is enough."""
    asked = []
    if duration_ns is not None:
        lengths = windows.end_ns.view(np.uint64) - windows.start_ns.view(np.uint64)
        asked.append(lengths >= np.uint64(min(max(duration_ns, 0), _NS_MAX)))
    if rows is not None:
        asked.append(windows.end - windows.begin >= rows)
    if not asked:
        return windows
    return windows.take(np.flatnonzero((np.logical_or if any_of else np.logical_and).reduce(asked)))


def _pauses(timeline: Timeline) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    """ns from each row to the next: unsigned, for two times may be 584 years apart."""
    moments = timeline.times.view(np.uint64)
    return moments[1:] - moments[:-1]


def _windows_from(timeline: Timeline, opens: Mask) -> Windows:
    """Windows that touch: one from each row that opens to the row before the next."""
    begin = np.flatnonzero(opens).astype(np.int64)
    end = np.append(begin[1:], len(timeline))[: len(begin)].astype(np.int64)
    return _windows_of(timeline, begin, end)


def _windows_of(timeline: Timeline, begin: Positions, end: Positions) -> Windows:
    """Windows of rows, none empty."""
    start_ns = timeline.times[begin]
    return Windows(
        begin, end, _partition_of(timeline, begin), start_ns, start_ns, timeline.times[end - 1]
    )


def _partition_of(timeline: Timeline, rows: Positions) -> Positions:
    return np.searchsorted(timeline.bounds, rows, "right").astype(np.int64) - 1


def is_true(signal: Signal) -> Mask:
    """Unknown counts as false. Raises SqlError for a text."""
    if signal.values.dtype == object:
        raise SqlError(
            "a condition is true or false, not a text",
            field="condition",
            hint="compare it, such as state = 'run'",
        )
    return signal.values.astype(np.bool_) & signal.mask()


def _all_but(kept: Mask) -> Positions | None:
    """The rows that are kept, None for all of them."""
    return None if kept.all() else np.flatnonzero(kept).astype(np.int64)


def _kept(timeline: Timeline, rows: Positions | None) -> Timeline:
    if rows is None:
        return timeline
    bounds = np.searchsorted(rows, timeline.bounds).astype(np.int64)
    return Timeline(timeline.times[rows], bounds)


def _changes(timeline: Timeline, signal: Signal) -> Mask:
    """Rows that differ from the one before, null from a value too, and first rows."""
    values, valid = signal.values, signal.mask()
    differs = (values[1:] != values[:-1]) & valid[1:]
    if values.dtype.kind == "f":
        differs &= ~(np.isnan(values[1:]) & np.isnan(values[:-1]))
    opens = timeline.is_first()
    opens[1:] |= differs.astype(np.bool_) | (valid[1:] != valid[:-1])
    return opens


def _first_and_last(opens: Mask, rows: Positions) -> tuple[Positions, Positions]:
    """First and last of each run of ``rows``."""
    at = np.flatnonzero(opens)
    ends = np.append(at[1:], len(rows))[: len(at)] - 1
    return rows[at].astype(np.int64), rows[ends].astype(np.int64)


def _ends_of_runs(partition: Positions) -> tuple[Mask, Mask]:
    """Whether each window is the first, and the last of its partition."""
    is_first = np.ones(len(partition), np.bool_)
    is_last = np.ones(len(partition), np.bool_)
    is_first[1:] = partition[1:] != partition[:-1]
    is_last[:-1] = is_first[1:]
    return is_first, is_last


def _walk_variations(timeline: Timeline, signal: Signal, delta: float) -> Mask:
    """Rule 3. Python's own numbers: integers stay exact, and one row costs less than a call into
    numpy would."""
    opens = timeline.is_first()
    first: float | None = None
    rows = zip(opens.tolist(), signal.values.tolist(), signal.mask().tolist(), strict=True)
    for row, (begins, value, is_known) in enumerate(rows):
        if begins:
            first = value if is_known else None
            continue
        if not is_known:
            stays = first is None
        elif first is None:
            stays = False
        else:
            # Infinity minus itself is no number, and no number stays with its like only.
            stays = abs(value - first) <= delta or value == first
            stays = stays or (value != value and first != first)
        if not stays:
            opens[row] = True
            first = value if is_known else None
    return opens
