"""What windows, fills and groups mean, said with pandas and plain loops over windows.

Nothing of the engine is used. A *partition* is a frame of rows in order of time, with the column
``t`` in ms; a *window* its label, its rows, and its edges where it has some.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped] # its types come with stubs of their own

Frame = Any
Series = Any
"""Of pandas."""
Cell = Any
DAY_MS = 86_400_000


@dataclass(frozen=True)
class Window:
    """``rows`` of the partition ``whole``; ``edges``: (origin, limit) of a window of time."""

    label: int
    rows: Frame
    whole: Frame
    edges: tuple[int, int] | None = None


Windows = Callable[[Frame], Iterator[Window]]
Aggregate = Callable[[Window], Cell]


def between(frame: Frame, low: int, high: int, *, right: bool = False) -> Frame:
    """Rows from ``low`` to ``high``, without the one or the other."""
    if right:
        return frame[(frame.t > low) & (frame.t <= high)]
    return frame[(frame.t >= low) & (frame.t < high)]


# Windows


def ranges(low: int, high: int, width: int, step: int, *, right: bool) -> Windows:
    def make(frame: Frame) -> Iterator[Window]:
        frame = between(frame, low, high, right=right)
        for start in range(low, high, step):
            end = min(start + width, high)
            rows = between(frame, start, end, right=right)
            yield Window(end if right else start, rows, frame, (start, end))

    return make


def intervals(
    width: int, sliding: int, offset: int, span: tuple[int, int] | None = None
) -> Windows:
    """``span``: empty windows too, from that of its first moment to that of its last."""

    def make(frame: Frame) -> Iterator[Window]:
        if len(frame) == 0:
            return
        low, high = span or (int(frame.t.min()), int(frame.t.max()))
        start = (low - offset - width) // sliding * sliding + offset
        while start <= high:
            end = start + width
            rows = between(frame, start, end)
            if len(rows) or (span is not None and end > low):
                yield Window(start, rows, frame, (start, end))
            start += sliding

    return make


def calendar(frequency: str, zone: str) -> Windows:
    """Days (``D``) or months (``MS``) of a zone."""

    def make(frame: Frame) -> Iterator[Window]:
        if len(frame) == 0:
            return
        ends = pd.to_datetime([frame.t.min(), frame.t.max()], unit="ms", utc=True)
        first, last = ends.tz_convert(zone).normalize()
        if frequency == "MS":
            first = first.replace(day=1)
        margin = pd.Timedelta(days=40)
        edges = pd.date_range(first, last + margin, freq=frequency)
        moments = [int(edge.timestamp() * 1000) for edge in edges]
        for start, end in itertools.pairwise(moments):
            rows = between(frame, start, end)
            if len(rows):
                yield Window(start, rows, frame, (start, end))

    return make


def runs(opens: Callable[[list[dict[str, Cell]], dict[str, Cell]], bool]) -> Windows:
    """``opens``: whether a row begins a window, given the rows of the last one."""

    def make(frame: Frame) -> Iterator[Window]:
        found: list[list[int]] = []
        inside: list[dict[str, Cell]] = []
        for number, row in enumerate(frame.to_dict("records")):
            if not inside or opens(inside, row):
                found.append([])
                inside = []
            found[-1].append(number)
            inside.append(row)
        for numbers in found:
            rows = frame.iloc[numbers]
            yield Window(int(rows.t.iloc[0]), rows, frame)

    return make


def sessions(gap: int) -> Windows:
    return runs(lambda inside, row: row["t"] - inside[-1]["t"] > gap)


def states(column: str) -> Windows:
    """Nulls are in a window only between equal values, and at the ends."""

    def make(frame: Frame) -> Iterator[Window]:
        known = [i for i, value in enumerate(frame[column]) if value is not None]
        groups: list[list[int]] = []
        for i in known:
            if not groups or frame[column].iloc[groups[-1][-1]] != frame[column].iloc[i]:
                groups.append([])
            groups[-1].append(i)
        for number, group in enumerate(groups):
            first = 0 if number == 0 else group[0]
            last = len(frame) - 1 if number == len(groups) - 1 else group[-1]
            rows = frame.iloc[first : last + 1]
            yield Window(int(rows.t.iloc[0]), rows, frame)

    return make


def events(starts: Callable[[Frame], Series], ends: Callable[[Frame], Series]) -> Windows:
    def make(frame: Frame) -> Iterator[Window]:
        begins, closes = starts(frame).tolist(), ends(frame).tolist()
        first = None
        for i in range(len(frame)):
            if first is None and begins[i]:
                first = i
            if first is not None and closes[i]:
                rows = frame.iloc[first : i + 1]
                yield Window(int(rows.t.iloc[0]), rows, frame)
                first = None

    return make


def counts(size: int, slide: int, *, drops_tail: bool, column: str | None) -> Windows:
    def make(frame: Frame) -> Iterator[Window]:
        if column is not None:
            frame = frame[frame[column].notna()]
        for first in range(0, len(frame), slide):
            rows = frame.iloc[first : first + size]
            if len(rows) == size or not drops_tail:
                yield Window(int(rows.t.iloc[0]), rows, frame)

    return make


def variations(column: str, delta: float) -> Windows:
    make = runs(lambda inside, row: abs(row[column] - inside[0][column]) > delta)
    return lambda frame: make(frame[frame[column].notna()])


def conditions(holds: Callable[[Frame], Series], column: str, least: int) -> Windows:
    """Rows where ``column`` is null are left out."""

    def make(frame: Frame) -> Iterator[Window]:
        frame = frame[frame[column].notna()]
        truth = holds(frame)
        for _, rows in frame.groupby((truth != truth.shift()).cumsum(), sort=False):
            if truth.loc[rows.index[0]] and len(rows) >= least:
                yield Window(int(rows.t.iloc[0]), rows, frame)

    return make


# Aggregates


def present(window: Window, column: str) -> Series:
    return window.rows[column].dropna()


def number(value: Cell) -> Cell:
    """Of numpy: NaN is null."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    return value.item() if hasattr(value, "item") else value


def of(column: str, compute: Callable[[Series], Cell]) -> Aggregate:
    def run(window: Window) -> Cell:
        values = present(window, column)
        return number(compute(values)) if len(values) else None

    return run


def twa(column: str) -> Aggregate:
    def run(window: Window) -> Cell:
        inside = present(window, column).astype(float)
        if len(inside) == 0:
            return None
        known = window.whole[window.whole[column].notna()]
        times, values = known.t.to_numpy(float), known[column].to_numpy(float)
        own = window.rows.loc[inside.index].t.to_numpy(float)
        low, high = own[0], own[-1]
        if window.edges is not None:
            low = max(window.edges[0], times[0])
            high = min(window.edges[1], times[-1])
        if low == high:
            return float(inside.mean())
        inner = times[(times > low) & (times < high)]
        at = np.concatenate(([low], inner, [high]))
        return float(np.trapezoid(np.interp(at, times, values), at) / (high - low))

    return run


def elapsed_s(window: Window) -> Cell:
    if len(window.rows) == 0:
        return None
    low, high = int(window.rows.t.iloc[0]), int(window.rows.t.iloc[-1])
    if window.edges is not None:
        low = max(window.edges[0], int(window.whole.t.iloc[0]))
        high = min(window.edges[1], int(window.whole.t.iloc[-1]))
    return (high - low) // 1000


AGGREGATES: dict[str, Aggregate] = {
    "count(*)": lambda window: len(window.rows),
    "count(a)": lambda window: len(present(window, "a")),
    "count(s)": lambda window: len(present(window, "s")),
    "sum(n)": of("n", lambda values: int(values.sum())),
    "avg(a)": of("a", pd.Series.mean),
    "avg(n)": of("n", lambda values: float(values.astype(float).mean())),
    "min(a)": of("a", pd.Series.min),
    "max(n)": of("n", lambda values: int(values.max())),
    "spread(a)": of("a", lambda values: values.max() - values.min()),
    "stddev(a)": of("a", pd.Series.std),
    "median(a)": of("a", pd.Series.median),
    "first(a)": of("a", lambda values: values.iloc[0]),
    "last(a)": of("a", lambda values: values.iloc[-1]),
    "last(s)": of("s", lambda values: values.iloc[-1]),
    "first(s)": of("s", lambda values: values.iloc[0]),
    "last_row(n)": lambda window: _last_row(window, "n"),
    "max_time(a)": of("a", lambda values: values.index[-1]),
    "count(DISTINCT s)": lambda window: present(window, "s").nunique(),
    "count(*) FILTER (WHERE a > 0)": lambda window: int((present(window, "a") > 0).sum()),
    "max(a) - min(a)": of("a", lambda values: values.max() - values.min()),
    "twa(a)": twa("a"),
    "elapsed(ts, 1s)": elapsed_s,
}
"""What can be asked of a window. The index of a frame is its time."""
NUMBERS = ("avg(a)", "min(a)", "spread(a)", "first(a)", "last(a)", "avg(n)", "median(a)")
"""Those that make floats."""


def _last_row(window: Window, column: str) -> Cell:
    if len(window.rows) == 0:
        return None
    value = window.rows[column].iloc[-1]
    return None if pd.isna(value) else int(value)


# Fills


def fill(rows: list[list[Cell]], mode: str, values: list[Cell], time: int) -> None:
    """Fills the cells after ``time``, the position of the label, of one partition in order."""
    for position in range(time + 1, len(rows[0]) if rows else 0):
        column = [row[position] for row in rows]
        known = [i for i, value in enumerate(column) if value is not None]
        for i in [i for i, value in enumerate(column) if value is None]:
            before = max((k for k in known if k < i), default=None)
            after = min((k for k in known if k > i), default=None)
            rows[i][position] = _filled(
                mode, rows, column, (i, before, after, time), values[position - time - 1 :]
            )


def _filled(
    mode: str,
    rows: list[list[Cell]],
    column: list[Cell],
    at: tuple[int, int | None, int | None, int],
    values: list[Cell],
) -> Cell:
    i, before, after, time = at
    if mode == "PREV":
        return None if before is None else column[before]
    if mode == "NEXT":
        return None if after is None else column[after]
    if mode == "VALUE":
        return values[0]
    if mode == "LINEAR" and before is not None and after is not None:
        t0, t, t1 = rows[before][time], rows[i][time], rows[after][time]
        return column[before] + (column[after] - column[before]) * (t - t0) / (t1 - t0)
    return None
