"""Counters: how fast one runs now (IRATE), and how far it went (CONSUMPTION).

1. A counter only rises. A lower number than the one before means that it was reset to zero, or,
   where it is known at which number it rolls over to zero, that it did.
2. With ``rollover``, a fall is a rollover where the rise that this means is less than half the
   range; else it is a reset. After a reset the number itself is the rise.
3. A window of time counts its share of the rise from the number before it and to the number after
   it, in proportion to time: windows that touch add up to the whole, and one without a number
   between two numbers has its share too. A window made of rows counts from its first number.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mainstem_engine.analysis.function import Kind, Options, Parameter, WindowFunction
from mainstem_engine.analysis.measured import Measured, Numbers, measured, stretch_sums
from mainstem_engine.analysis.rows import Mask, Positions, Signal, Timeline, Windows
from mainstem_engine.model import TimesNs

NS_PER_S = 1_000_000_000


def irate(
    timeline: Timeline, signals: Sequence[Signal], windows: Windows, options: Options
) -> Signal:
    """The rise per second between the last two numbers of each window, float64; after a reset the
    last number per second; 0 where there is one number, or no time between them."""
    found = measured(timeline, signals[0], windows)
    rates = np.zeros(len(windows), np.float64)
    two = np.flatnonzero(found.counts() >= 2)
    last = found.end[two] - 1
    seconds = (found.times[last] - found.times[last - 1]) / NS_PER_S
    with np.errstate(invalid="ignore"):  # infinities follow IEEE 754
        rise = found.numbers[last] - found.numbers[last - 1]
    rise = np.where(rise < 0, found.numbers[last], rise)
    rates[two] = np.where(seconds > 0, rise / np.where(seconds > 0, seconds, 1.0), 0.0)
    return Signal(rates, found.has_some())


def consumption(
    timeline: Timeline, signals: Sequence[Signal], windows: Windows, options: Options
) -> Signal:
    """How far the counter went in each window, float64."""
    found = measured(timeline, signals[0], windows)
    rises = _rises(found.numbers, options["rollover"])
    total = stretch_sums(rises, found.begin, found.end - 1)
    shares, is_between = _edge_shares(found, windows, rises)
    return Signal(total + shares, found.has_some() | is_between)


def _rises(numbers: Numbers, rollover: float | None) -> Numbers:
    """The rise from each number to the next (rule 2)."""
    with np.errstate(invalid="ignore"):  # infinities follow IEEE 754
        rise = np.diff(numbers)
        if rollover is None:
            return np.where(rise < 0, numbers[1:], rise)
        rolled = rise + rollover
        is_rollover = (rolled >= 0) & (rolled < rollover / 2)
        return np.where(rise >= 0, rise, np.where(is_rollover, rolled, numbers[1:]))


def _edge_shares(found: Measured, windows: Windows, rises: Numbers) -> tuple[Numbers, Mask]:
    """What is added for the numbers around each window; and which windows have no number of their
    own, but one before and one after."""
    origin_ns, limit_ns = windows.origin_ns, windows.limit_ns
    shares = np.zeros(len(windows), np.float64)
    if origin_ns is None or limit_ns is None:
        return shares, np.zeros(len(windows), np.bool_)
    some = found.has_some()
    before, after = found.begin > found.low, found.end < found.high
    between = ~some & before & after
    times = found.times

    def add(which: Mask, row: Positions, lasts: TimesNs) -> None:
        """The part of the rise from ``row`` to the next that happens in so many ns."""
        span = np.maximum(times[row + 1] - times[row], 1)
        shares[which] += rises[row] * np.clip(lasts / span, 0.0, 1.0)

    which = some & before
    first = found.begin[which]
    add(which, first - 1, times[first] - origin_ns[which])
    which = some & after
    last = found.end[which] - 1
    add(which, last, limit_ns[which] - times[last])
    add(between, found.begin[between] - 1, (limit_ns - origin_ns)[between])
    return shares, between


FUNCTIONS = (
    WindowFunction("irate", irate),
    WindowFunction(
        "consumption",
        consumption,
        parameters=(Parameter("rollover", Kind.NUMBER, None, low=1),),
    ),
)
