"""One rule over batches, against a plain model that goes row by row."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstem_edge.alarms.rule import AlarmRule
from mainstem_edge.alarms.watch import RuleWatch

S = 1_000_000_000
LIMIT = AlarmRule("hot", 0, "temperature", above=10.0)
Row = tuple[int, int, float]
"""Device, time in s, value."""


class Model:
    """What the documentation says, for one device, in words of lists."""

    def __init__(self, rule: AlarmRule) -> None:
        self.rule = rule
        self.raised = False
        self.rows: list[tuple[int, float]] = []
        self.since: int | None = None

    def see(self, time_ns: int, value: float) -> bool | None:
        if self.rows and time_ns <= self.rows[-1][0]:
            return None
        self.rows.append((time_ns, value))
        holds = self.is_over() if self.raised else self.is_met()
        if not holds:
            self.since = None
            return None
        self.since = time_ns if self.since is None else self.since
        delay = self.rule.clear_delay_ns if self.raised else self.rule.delay_ns
        if time_ns - self.since < delay:
            return None
        self.raised, self.since = not self.raised, None
        return self.raised

    def is_met(self) -> bool:
        rule, value = self.rule, self.rows[-1][1]
        if rule.rate is not None:
            return self.slope() is not None and (self.slope() or 0.0) > rule.rate
        if rule.stuck_ns is not None:
            begin = self.rows[-1][0]
            for time_ns, earlier in reversed(self.rows):
                if earlier != value:
                    break
                begin = time_ns
            return len(self.rows) > 1 and self.rows[-1][0] - begin >= rule.stuck_ns
        above = rule.above is not None and value > rule.above
        return above or (rule.below is not None and value < rule.below)

    def is_over(self) -> bool:
        rule, value = self.rule, self.rows[-1][1]
        if rule.rate is not None:
            return self.slope() is not None and (self.slope() or 0.0) <= rule.rate
        if rule.stuck_ns is not None:
            return value != self.rows[-2][1]
        high, low = rule.above, rule.below
        return (high is None or value <= high - rule.hysteresis) and (
            low is None or value >= low + rule.hysteresis
        )

    def slope(self) -> float | None:
        if len(self.rows) < 2:
            return None
        (t0, v0), (t1, v1) = self.rows[-2:]
        return abs(v1 - v0) / ((t1 - t0) / 1e9)


def changes(watch: RuleWatch, rows: list[Row]) -> list[tuple[int, int, bool]]:
    rows = sorted(rows, key=lambda row: row[:2])
    found = watch.observe(
        np.array([row[0] for row in rows], np.uint32),
        np.array([row[1] * S for row in rows], np.int64),
        np.array([row[2] for row in rows], np.float64),
    )
    return [(each.device, each.time_ns // S, each.raised) for each in found]


RULES = st.sampled_from(
    [
        LIMIT,
        replace(LIMIT, hysteresis=2.0),
        replace(LIMIT, above=None, below=4.0, hysteresis=1.0),
        replace(LIMIT, below=3.0, hysteresis=1.0),
        replace(LIMIT, above=None, rate=2.0),
        replace(LIMIT, above=None, stuck_ns=3 * S),
    ]
)


def batches(rng: random.Random, count: int) -> list[list[Row]]:
    """Mostly a value a second and device, some of them late, some twice in one batch."""
    found: list[list[Row]] = []
    for second in range(count):
        rows = [(device, second, float(rng.randrange(15))) for device in range(3)]
        rows += [(device, second - 1, float(rng.randrange(15))) for device in range(3)]
        if found and rng.random() < 0.3:  # constant for a while
            rows = [(device, second, 12.0) for device in range(3)]
        wanted = [row for row in rows if rng.random() < 0.8]
        if found and rng.random() < 0.4:
            found[-1] += wanted
        else:
            found.append(wanted)
    return found


@given(RULES, st.integers(0, 4), st.integers(0, 4), st.randoms(use_true_random=False))
def test_a_rule_does_what_the_model_does(
    rule: AlarmRule, delay_s: int, clear_s: int, rng: random.Random
) -> None:
    rule = replace(rule, delay_ns=delay_s * S, clear_delay_ns=clear_s * S)
    watch, models = RuleWatch(rule), {device: Model(rule) for device in range(3)}
    for batch in batches(random.Random(rng.getrandbits(32)), 60):
        expected = []
        for device, time, value in sorted(batch, key=lambda row: row[:2]):
            raised = models[device].see(time * S, value)
            if raised is not None:
                expected.append((device, time, raised))
        assert changes(watch, batch) == expected


def test_late_rows_raise_nothing() -> None:
    watch = RuleWatch(LIMIT)
    assert changes(watch, [(0, 10, 5.0)]) == []
    assert changes(watch, [(0, 9, 50.0)]) == []
    assert changes(watch, [(0, 11, 50.0)]) == [(0, 11, True)]
    assert changes(watch, [(0, 10, 5.0)]) == []


def test_a_nan_neither_raises_nor_clears() -> None:
    watch = RuleWatch(LIMIT)
    rows = [(0, 1, math.nan), (0, 2, 11.0), (0, 3, math.nan), (0, 4, 1.0)]
    assert changes(watch, rows) == [(0, 2, True), (0, 4, False)]


@pytest.mark.parametrize("rule", [replace(LIMIT, above=None, stuck_ns=S), LIMIT])
def test_an_alarm_that_was_raised_before_the_start_is_not_raised_again(rule: AlarmRule) -> None:
    watch = RuleWatch(rule, {0: 5 * S})
    assert changes(watch, [(0, 6, 11.0), (0, 8, 11.0)]) == []
    assert changes(watch, [(0, 9, 2.0)]) == [(0, 9, False)]
