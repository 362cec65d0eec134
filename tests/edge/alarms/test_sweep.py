"""What is settled for all rules at once changes nothing: the same changes and alarms as the exact
way, for rules of every kind."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from unittest.mock import patch

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstem_edge.alarms.board import Before, RuleBoard
from mainstem_edge.alarms.rule import AlarmRule, Transition
from mainstem_edge.alarms.series import Batch
from mainstem_edge.alarms.silence import Surroundings
from mainstem_edge.alarms.sweep import Sweep
from mainstem_engine.model import Column, DeviceIds, TimesNs
from mainstem_node.expressions import parse

S = 1_000_000_000
NAMES = {0: "temperature", 1: "pressure", 2: "count"}
EXPRESSION = parse("temperature > 9 AND pressure > 6", dict.fromkeys(NAMES.values(), False))
PLAIN = AlarmRule("", 0, "temperature")
KINDS = (
    replace(PLAIN, above=9.0),
    replace(PLAIN, above=9.0, hysteresis=2.0),
    replace(PLAIN, below=3.0, hysteresis=1.0),
    replace(PLAIN, above=8.5, below=3.5),
    replace(PLAIN, above=math.inf),
    replace(PLAIN, rate=1.5),
    replace(PLAIN, rate=0.0),
    replace(PLAIN, stuck_ns=4 * S),
    replace(PLAIN, deviation=1.3, hysteresis=0.4, memory_ns=9 * S, every_ns=2 * S),
    replace(PLAIN, missing_ns=5 * S),
    replace(PLAIN, measurement=None, measurement_name="", expression=EXPRESSION),
)
DEVICES = (0, 1, 2, 70_000)
"""One whose number has more than 16 bits."""
ODD = (2.0, 10.0, 1e308, -1e308, math.inf, -math.inf, math.nan)


@dataclass(frozen=True, slots=True)
class Rows:
    devices: DeviceIds
    times: TimesNs
    columns: Mapping[int, Column]
    arrived_ns: TimesNs


def rows_of(rng: random.Random, second: int, oddness: float) -> Rows:
    """Mostly quiet values of the seconds from then on; some late, some twice, some null."""
    places = [
        (device, second * S + step * S // 2)
        for step in range(rng.choice((1, 1, 2, 5)))
        for device in DEVICES
        if rng.random() < 0.8
    ] or [(0, second * S)]
    if rng.random() < oddness:
        places += [(device, at - rng.randrange(3) * S) for device, at in places[:2]]
    if rng.random() < 0.5:
        rng.shuffle(places)
    count = len(places)

    def value() -> float:
        return rng.choice(ODD) if rng.random() < oddness / 4 else 6.0 + rng.randrange(5) / 4

    columns = {}
    masks = [np.ones(count, np.bool_), np.array([rng.random() < 0.7 for _ in places])]
    for number in NAMES:
        if rng.random() < 0.1:
            continue
        still = rng.random() < 0.6
        found = np.array([6.0 if still and rng.random() < 0.9 else value() for _ in places])
        if number == 2:
            found = np.array([rng.randrange(4, 9) for _ in places], np.int64)
        valid = None if rng.random() < 0.4 else rng.choice(masks)
        columns[number] = Column(found) if valid is None else Column(found, valid)
    devices, times = np.array(places, np.int64).T
    arrived = np.full(count, second * S)
    return Rows(devices.astype(np.uint32), times.copy(), columns, arrived)


class Side:
    """A board that starts anew now and then, as a node does."""

    def __init__(self, rules: list[AlarmRule]) -> None:
        self.rules = rules
        self.now_ns = 0
        self.newest = np.full(max(DEVICES) + 1, np.iinfo(np.int64).min)
        self.active: dict[str, dict[int, int]] = {rule.name: {} for rule in rules}
        self.start()

    def start(self) -> None:
        clock = Surroundings(clock_ns=lambda: self.now_ns, monotonic_ns=lambda: self.now_ns)
        before = Before(self.newest.copy(), self.active)
        self.board = RuleBoard(
            self.rules, lambda device: f"root.d{device}", names=NAMES, before=before, around=clock
        )

    def see(self, rows: Rows) -> list[Transition]:
        self.now_ns = int(rows.arrived_ns[0])
        found = self.board.observe(rows.devices, rows.times, rows.columns, rows.arrived_ns)
        if self.board.silence is not None:
            found += self.board.silence.check()
        np.maximum.at(self.newest, rows.devices, rows.times)
        for each in found:
            if each.raised:
                self.active[each.rule.name][each.device] = each.time_ns
            else:
                del self.active[each.rule.name][each.device]
        return found

    def stands(self) -> list[tuple[list[int], bool]]:
        return [(watch.active().tolist(), watch.is_busy) for watch in self.board.watches]


def shown(found: list[Transition]) -> list[tuple[str, int, int, bool, str]]:
    """Comparable: a value may be NaN."""
    return [(c.rule.name, c.device, c.time_ns, c.raised, repr(c.value)) for c in found]


RULE = st.tuples(
    st.sampled_from(KINDS), st.integers(0, 2), st.integers(0, 3), st.integers(0, 3), st.booleans()
)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(RULE, min_size=1, max_size=6), st.integers(0, 2**32), st.sampled_from((0.0, 0.1, 0.5))
)
def test_what_is_settled_at_once_is_as_the_exact_way_has_it(
    kinds: list[tuple[AlarmRule, int, int, int, bool]], seed: int, oddness: float
) -> None:
    rules = []
    for at, (kind, number, delay, clear, under) in enumerate(kinds):
        if kind.measurement is not None:
            kind = replace(kind, measurement=number, measurement_name=NAMES[number])
        waits = replace(kind, name=f"{at}", delay_ns=delay * S, clear_delay_ns=clear * S)
        rules.append(replace(waits, under="root.d1") if under else waits)
    rng = random.Random(seed)
    fast, exact = Side(rules), Side(rules)
    for second in range(30):
        rows = rows_of(rng, second, oddness)
        found = fast.see(rows)
        with patch.object(Sweep, "settle", return_value=set()):
            assert shown(exact.see(rows)) == shown(found)
        assert fast.stands() == exact.stands()
        if rng.random() < 0.05:
            fast.start()
            exact.start()


def test_values_within_all_limits_are_settled_at_once() -> None:
    rules = [replace(kind, name=f"{at}") for at, kind in enumerate(KINDS[:8]) if kind.rate != 0.0]
    rules += [replace(rule, measurement=1, measurement_name=NAMES[1]) for rule in rules]
    side = Side(rules)
    settled: list[set[int]] = []
    settle = Sweep.settle

    def keep(sweep: Sweep, batch: Batch, columns: Mapping[int, Column]) -> set[int]:
        settled.append(settle(sweep, batch, columns))
        return settled[-1]

    with patch.object(Sweep, "settle", autospec=True) as asked:
        asked.side_effect = keep
        for second, value in enumerate((6.0, 6.5, 6.0, 10.0, 6.0, 6.5, 6.0)):
            devices, times = np.arange(3, dtype=np.uint32), np.full(3, second * S)
            columns = {0: Column(np.full(3, value)), 1: Column(np.full(3, 6.0 + second / 4))}
            side.see(Rows(devices, times, columns, times))
    # The first are new; then one leaves its limits, comes back too fast, and then slowly.
    assert settled == [set(), {0, 1}, {0, 1}, {1}, {1}, {1}, {0, 1}]
