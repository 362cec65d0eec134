"""Statistics of windows that the executing database lacks: COUNT_IF, TIME_DURATION, LEASTSQUARES.

1. COUNT_IF counts runs of rows that follow each other in a window and fulfil a condition; a run
   counts if it is as long as is asked for. Rows where the condition is unknown end a run, or are
   passed over (``ignoreNull``, the default). Without a length it counts the rows.
2. TIME_DURATION is the time from the first to the last value that is not null.
3. LEASTSQUARES is the line nearest to the numbers in their order, over ``start``, ``start + step``
   and so on, as the text ``{slop:..., intercept:...}``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mainstem_engine.analysis.function import TICK, Kind, Options, Parameter, WindowFunction
from mainstem_engine.analysis.measured import measured
from mainstem_engine.analysis.row_windows import KEEP_OPERATORS, compare_lengths, is_true
from mainstem_engine.analysis.rows import Signal, Timeline, Windows, positions, present


def count_if(
    timeline: Timeline, signals: Sequence[Signal], windows: Windows, options: Options
) -> Signal:
    """int64 per window; 0 where there is none."""
    condition = signals[0]
    holds = is_true(condition)
    begin, end = windows.begin, windows.end
    if options["keep"] is None:
        running = np.concatenate(([0], np.cumsum(holds)))
        return Signal(running[end] - running[begin])
    if options["ignore_null"]:
        known = np.flatnonzero(condition.mask())
        begin, end = np.searchsorted(known, begin), np.searchsorted(known, end)
        holds = holds[known]
    # Rows of all windows one after the other: a run that a window cuts is shorter in it.
    rows = positions(begin, end)
    lengths = end - begin
    held = holds[rows]
    is_first = np.zeros(len(rows), np.bool_)
    starts = np.cumsum(lengths) - lengths
    is_first[starts[lengths > 0]] = True
    opens = held.copy()
    opens[1:] &= is_first[1:] | ~held[:-1]
    closes = held.copy()
    closes[:-1] &= is_first[1:] | ~held[1:]
    first, last = np.flatnonzero(opens), np.flatnonzero(closes)
    counted = first[compare_lengths(last - first + 1, options["operator"], options["keep"])]
    window = np.repeat(np.arange(len(windows)), lengths)[counted]
    return Signal(np.bincount(window, minlength=len(windows)).astype(np.int64))


def time_duration(
    timeline: Timeline, signals: Sequence[Signal], windows: Windows, options: Options
) -> Signal:
    """int64, in whole ``unit``s; null where there is no value."""
    values = present(timeline, signals[0])
    begin = np.searchsorted(values.rows, windows.begin)
    end = np.searchsorted(values.rows, windows.end)
    some = end > begin
    times = values.timeline.times
    lasted = np.zeros(len(windows), np.int64)
    lasted[some] = (times[end[some] - 1] - times[begin[some]]) // options["unit"]
    return Signal(lasted, some)


def leastsquares(
    timeline: Timeline, signals: Sequence[Signal], windows: Windows, options: Options
) -> Signal:
    """A text per window; null where there are fewer than two numbers."""
    found = measured(timeline, signals[0], windows)
    start, step = options["start"], options["step"]
    counts = found.counts()
    enough = counts >= 2
    rows = positions(found.begin, found.end)
    window = np.repeat(np.arange(len(windows)), counts)
    numbers = found.numbers[rows]
    # Around their middle the abscissae add up to nothing, and no digits are lost.
    middle = (counts - 1) / 2
    place = rows - found.begin[window] - middle[window]
    size = np.maximum(counts, 2).astype(np.float64)
    mean = np.bincount(window, numbers, minlength=len(windows)) / size
    product = np.bincount(window, place * (numbers - mean[window]), minlength=len(windows))
    slope = product / (size * (size * size - 1) / 12) / step
    intercept = mean - slope * (start + step * middle)
    texts = np.full(len(windows), "", object)
    for i in np.flatnonzero(enough):  # one text per window
        texts[i] = f"{{slop:{slope[i]:.6f}, intercept:{intercept[i]:.6f}}}"
    return Signal(texts, enough)


_UNIT = Parameter("unit", Kind.DURATION, TICK, low=1)

FUNCTIONS = (
    WindowFunction(
        "count_if",
        count_if,
        parameters=(
            Parameter("keep", Kind.INTEGER, None, low=0),
            Parameter("ignore_null", Kind.FLAG, True),
            Parameter("operator", Kind.TEXT, ">=", KEEP_OPERATORS),
        ),
    ),
    WindowFunction("time_duration", time_duration, parameters=(_UNIT,), takes_text=True),
    WindowFunction(
        "leastsquares",
        leastsquares,
        parameters=(
            Parameter("start", Kind.NUMBER, 1.0),
            Parameter("step", Kind.NUMBER, 1.0),
        ),
    ),
)
