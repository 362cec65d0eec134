"""The rules of a board over batches, against a plain model that goes row by row."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstem_edge.alarms.board import Before, RuleBoard
from mainstem_edge.alarms.rule import AlarmRule
from mainstem_engine.model import Column
from mainstem_node.expressions import parse

S = 1_000_000_000
NAMES = {0: "temperature", 1: "pressure"}
LIMIT = AlarmRule("hot", 0, "temperature", above=10.0)
Row = tuple[int, int, float | None, float | None]
"""Device, time in s, temperature, pressure."""
Asked = Callable[[float | None, float | None], bool | None]


def expressed(text: str, clear: str | None = None) -> AlarmRule:
    known = dict.fromkeys(NAMES.values(), False)
    over = None if clear is None else parse(clear, known)
    return AlarmRule("both", None, "", expression=parse(text, known), clear=over)


def both(first: bool | None, second: bool | None) -> bool | None:
    """AND of SQL."""
    if first is False or second is False:
        return False
    return None if first is None or second is None else True


def over(limit: float, value: float | None) -> bool | None:
    return None if value is None else value > limit


SAYS: Mapping[str, Asked] = {
    "temperature > 10 AND pressure > 7": lambda t, p: both(over(10, t), over(7, p)),
    "temperature + pressure < 6": lambda t, p: None if t is None or p is None else t + p < 6,
    "pressure > 12 IS NOT NULL AND temperature > 4": lambda t, p: both(p is not None, over(4, t)),
}


class Model:
    """What the documentation says, for one device, in words of lists."""

    def __init__(self, rule: AlarmRule) -> None:
        self.rule = rule
        self.raised = False
        self.newest: int | None = None
        self.rows: list[tuple[int, float]] = []
        self.since: int | None = None
        self.learned: list[float] = []
        self.turn: float = -math.inf

    def see(self, time_ns: int, value: float | None, other: float | None) -> bool | None:
        if self.is_nothing(value, other):
            return None
        if self.newest is not None and time_ns <= self.newest:
            return None
        self.newest = time_ns
        holds = self.expressed(value, other)
        if self.rule.expression is None and value is not None:
            self.rows.append((time_ns, value))
            usual = self.usual()
            if self.rule.deviation is not None and time_ns // self.rule.every_ns > self.turn:
                self.turn = time_ns // self.rule.every_ns
                self.learned.append(value)
            if self.rule.deviation is not None:
                return self.stepped(time_ns, self.deviates(value, usual))
            holds = self.is_over() if self.raised else self.is_met()
        return None if holds is None else self.stepped(time_ns, holds)

    def usual(self) -> tuple[float, float] | None:
        """Mean and deviation of what was learned, newer values weighing more."""
        count = self.rule.memory_ns // self.rule.every_ns
        if len(self.learned) < max(2, count):
            return None
        keep = math.exp(-1 / count)
        weights = [(1 - keep) * keep**age for age in range(len(self.learned) - 1)]
        weights = [*weights, keep ** (len(self.learned) - 1)][::-1]
        mean = sum(w * v for w, v in zip(weights, self.learned, strict=True))
        squares = sum(w * (v - mean) ** 2 for w, v in zip(weights, self.learned, strict=True))
        return mean, max(math.sqrt(squares), self.rule.noise)

    def deviates(self, value: float, usual: tuple[float, float] | None) -> bool:
        """What is waited for: unusual while it is off, usual while it is on."""
        if usual is None:
            return False
        away, limit = abs(value - usual[0]), self.rule.deviation or 0.0
        if self.raised:
            return away <= (limit - self.rule.hysteresis) * usual[1]
        return away > limit * usual[1] > 0

    def stepped(self, time_ns: int, holds: bool) -> bool | None:
        if not holds:
            self.since = None
            return None
        self.since = time_ns if self.since is None else self.since
        delay = self.rule.clear_delay_ns if self.raised else self.rule.delay_ns
        if time_ns - self.since < delay:
            return None
        self.raised, self.since = not self.raised, None
        return self.raised

    def is_nothing(self, value: float | None, other: float | None) -> bool:
        rule = self.rule
        if rule.expression is None:
            return value is None
        texts = [each.text for each in (rule.expression, rule.clear) if each is not None]
        return all(SAYS[text](value, other) is None for text in texts)

    def expressed(self, value: float | None, other: float | None) -> bool | None:
        """What is waited for, of an expression."""
        rule = self.rule
        if rule.expression is None:
            return None
        hot = SAYS[rule.expression.text](value, other)
        if not self.raised:
            return hot
        if rule.clear is None:
            return None if hot is None else not hot
        calm = SAYS[rule.clear.text](value, other)
        return None if calm is None else calm and hot is not True

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


Change = tuple[str, int, int, bool]


def board_of(*rules: AlarmRule, before: Before | None = None) -> RuleBoard:
    return RuleBoard(rules, lambda device: f"root.d{device}", names=NAMES, before=before)


def changes(board: RuleBoard, rows: list[tuple[int, int, float]]) -> list[tuple[int, int, bool]]:
    """Of one rule, by (device, second, temperature)."""
    found = observed(board, [(*row, None) for row in rows])
    return [(device, second, raised) for _, device, second, raised in found]


def observed(board: RuleBoard, rows: list[Row]) -> list[Change]:
    found = board.observe(
        np.array([row[0] for row in rows], np.uint32),
        np.array([row[1] * S for row in rows], np.int64),
        {number: column([row[2 + number] for row in rows]) for number in NAMES},
    )
    return [(each.rule.name, each.device, each.time_ns // S, each.raised) for each in found]


def column(values: list[float | None]) -> Column:
    valid = np.array([value is not None for value in values], np.bool_)
    found = np.array([0.0 if value is None else value for value in values])
    return Column(found) if valid.all() else Column(found, valid)


KINDS = (
    LIMIT,
    replace(LIMIT, hysteresis=2.0),
    replace(LIMIT, above=None, below=4.0, hysteresis=1.0),
    replace(LIMIT, below=3.0, hysteresis=1.0),
    replace(LIMIT, above=None, rate=2.0),
    replace(LIMIT, above=None, stuck_ns=3 * S),
    replace(LIMIT, above=None, deviation=1.3, hysteresis=0.4, memory_ns=9 * S, every_ns=2 * S),
    replace(LIMIT, above=None, deviation=1.1, noise=4.5, memory_ns=5 * S, every_ns=S),
    *map(expressed, SAYS),
    expressed("temperature > 10 AND pressure > 7", "temperature + pressure < 6"),
    expressed("temperature > 10 AND pressure > 7", "pressure > 12 IS NOT NULL AND temperature > 4"),
)
RULES = st.lists(
    st.tuples(st.sampled_from(KINDS), st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=4
)


def batches(rng: random.Random, count: int) -> list[list[Row]]:
    """Mostly a value a second and device, some of them late, some twice in one batch, some null."""
    found: list[list[Row]] = []

    def value() -> float | None:
        return None if rng.random() < 0.15 else float(rng.randrange(15))

    for second in range(count):
        rows = [(device, second, value(), value()) for device in range(3)]
        rows += [(device, second - 1, value(), value()) for device in range(3)]
        if found and rng.random() < 0.3:  # constant for a while
            rows = [(device, second, 12.0, 12.0) for device in range(3)]
        wanted = [row for row in rows if rng.random() < 0.8]
        if found and rng.random() < 0.4:
            found[-1] += wanted
        else:
            found.append(wanted)
    for batch in found:
        batch.sort(key=lambda row: row[:2]) if rng.random() < 0.5 else rng.shuffle(batch)
    return found


@given(RULES, st.randoms(use_true_random=False))
def test_rules_do_what_the_model_does(
    kinds: list[tuple[AlarmRule, int, int]], rng: random.Random
) -> None:
    rules = [
        replace(rule, name=f"{at}", delay_ns=delay_s * S, clear_delay_ns=clear_s * S)
        for at, (rule, delay_s, clear_s) in enumerate(kinds)
    ]
    board = board_of(*rules)
    models = {(rule.name, device): Model(rule) for rule in rules for device in range(3)}
    for batch in batches(random.Random(rng.getrandbits(32)), 60):
        expected = []
        for rule in rules:
            for device, time, *values in sorted(batch, key=lambda row: row[:2]):
                raised = models[rule.name, device].see(time * S, *values)
                if raised is not None:
                    expected.append((rule.name, device, time, raised))
        assert sorted(observed(board, batch)) == sorted(expected)


def test_late_rows_raise_nothing() -> None:
    board = board_of(LIMIT)
    assert changes(board, [(0, 10, 5.0)]) == []
    assert changes(board, [(0, 9, 50.0)]) == []
    assert changes(board, [(0, 11, 50.0)]) == [(0, 11, True)]
    assert changes(board, [(0, 10, 5.0)]) == []


def test_a_nan_neither_raises_nor_clears() -> None:
    board = board_of(LIMIT)
    rows = [(0, 1, math.nan), (0, 2, 11.0), (0, 3, math.nan), (0, 4, 1.0)]
    assert changes(board, rows) == [(0, 2, True), (0, 4, False)]


def test_rules_of_one_measurement_have_devices_of_their_own() -> None:
    board = board_of(replace(LIMIT, name="all"), replace(LIMIT, name="one", under="root.d1"))
    found = observed(board, [(0, 1, 11.0, None), (1, 1, 11.0, None)])
    assert sorted(found) == [("all", 0, 1, True), ("all", 1, 1, True), ("one", 1, 1, True)]


@pytest.mark.parametrize("rule", [replace(LIMIT, above=None, stuck_ns=S), LIMIT])
def test_an_alarm_that_was_raised_before_the_start_is_not_raised_again(rule: AlarmRule) -> None:
    board = board_of(rule, before=Before(active={rule.name: {0: 5 * S}}))
    assert changes(board, [(0, 4, 1.0)]) == []
    assert changes(board, [(0, 6, 11.0), (0, 8, 11.0)]) == []
    assert changes(board, [(0, 9, 2.0)]) == [(0, 9, False)]


def test_a_row_of_which_nothing_is_known_does_not_end_the_waiting() -> None:
    rule = replace(expressed("temperature > 10 AND pressure > 7"), delay_ns=2 * S)
    unknown: Row = (0, 2, None, 9.0)
    begun = [(0, 1, 11.0, 8.0), unknown, (0, 3, 11.0, 8.0)]
    assert observed(board_of(rule), begun) == [("both", 0, 3, True)]
    ended: list[Row] = [(0, 1, 11.0, 8.0), (0, 2, None, 1.0), (0, 3, 11.0, 8.0)]
    assert observed(board_of(rule), ended) == []
