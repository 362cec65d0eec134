"""What the kinds of rules say of values: where the condition holds, and where it is over.

Pure: a series in, masks out. ``may_hold`` answers for a whole batch from its extremes, so that a
rule over quiet values costs a comparison.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mainstem_edge.alarms.series import Motion, Series
from mainstem_engine.model import AnyArray, BoolMask, Column
from mainstem_node.expressions import Expression

HELD_MAX_NS = np.iinfo(np.int64).max
"""Nothing is the same for so long."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of n values: ``hot`` where the condition holds, ``calm`` where it is over; neither is inside
    the hysteresis. Where ``hot_known`` (``calm_known``) is False, nothing is known of it."""

    hot: BoolMask
    calm: BoolMask
    hot_known: BoolMask | None = None
    calm_known: BoolMask | None = None

    def take(self, keep: AnyArray) -> Verdict:
        masks = (self.hot, self.calm, self.hot_known, self.calm_known)
        hot, calm, *known = (None if each is None else each[keep] for each in masks)
        assert hot is not None
        assert calm is not None
        return Verdict(hot, calm, *known)


@dataclass(frozen=True, slots=True)
class Within:
    """Values that no rule has to look at: ``low`` to ``high``, no number changing by more than
    ``slope`` a second nor being the same for ``held_ns``. NaN: it looks at all."""

    high: float = math.inf
    low: float = -math.inf
    slope: float = math.inf
    held_ns: int = HELD_MAX_NS

    def of_both(self, other: Within) -> Within:
        """What is within both."""
        high, low = np.minimum(self.high, other.high), np.maximum(self.low, other.low)
        slope, held_ns = min(self.slope, other.slope), min(self.held_ns, other.held_ns)
        return Within(float(high), float(low), slope, held_ns)


class Condition(Protocol):
    """One kind of rule."""

    @property
    def within(self) -> Within:
        """Values for which it does not hold."""

    def may_hold(self, series: Series) -> bool:
        """False when it holds for no value."""

    def verdict(self, series: Series) -> Verdict: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """NaN says neither."""

    above: float | None
    below: float | None
    hysteresis: float

    @property
    def within(self) -> Within:
        return Within(
            math.inf if self.above is None else self.above,
            -math.inf if self.below is None else self.below,
        )

    def may_hold(self, series: Series) -> bool:
        return (self.above is not None and series.high > self.above) or (
            self.below is not None and series.low < self.below
        )

    def verdict(self, series: Series) -> Verdict:
        values = series.values
        hot = np.zeros(len(values), np.bool_)
        calm = ~np.isnan(values)
        if self.above is not None:
            hot |= values > self.above
            calm &= values <= self.above - self.hysteresis
        if self.below is not None:
            hot |= values < self.below
            calm &= values >= self.below + self.hysteresis
        return Verdict(hot, calm)


@dataclass(frozen=True, slots=True)
class Rate:
    per_s: float

    @property
    def within(self) -> Within:
        return Within(slope=self.per_s)

    def may_hold(self, series: Series) -> bool:
        return _motion(series).slope_max > self.per_s

    def verdict(self, series: Series) -> Verdict:
        motion = _motion(series)
        hot = motion.known & (motion.slope > self.per_s)
        return Verdict(hot, motion.known & ~hot)


@dataclass(frozen=True, slots=True)
class Stuck:
    for_ns: int

    @property
    def within(self) -> Within:
        return Within(held_ns=self.for_ns)

    def may_hold(self, series: Series) -> bool:
        return _motion(series).held_max_ns >= self.for_ns

    def verdict(self, series: Series) -> Verdict:
        motion = _motion(series)
        return Verdict(motion.held_ns >= self.for_ns, motion.changed)


def expressed(
    expression: Expression,
    clear: Expression | None,
    columns: Mapping[str, Column | None],
    count: int,
) -> Verdict:
    """Of n rows by an expression; what is null is not known. Without ``clear`` it is over where it
    is false; with it, where that is true and the expression is not."""
    found = expression.evaluate(columns, count)
    hot, known = found.values, found.mask()
    if clear is None:
        return Verdict(hot, known & ~hot, known, known)
    over = clear.evaluate(columns, count)
    return Verdict(hot, over.values & ~hot, known, over.mask())


def _motion(series: Series) -> Motion:
    assert series.motion is not None  # the track was made to follow it
    return series.motion
