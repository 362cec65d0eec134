"""One rule over batches of rows: of values, or of an expression over rows.

Masks say of all rows at once where the condition holds and where it is over. Only devices whose
alarm could change by that go through the state machine, row by row: those that are normal and have
a value for which it holds, that are raised and have one for which it is over, or that wait.
"""

from __future__ import annotations

import numpy as np

from mainstem_edge.alarms.conditions import Condition, Limits, Rate, Stuck, Verdict, Within
from mainstem_edge.alarms.deviation import Deviation
from mainstem_edge.alarms.machine import ACTIVE, AlarmStates
from mainstem_edge.alarms.rule import AlarmRule, Transition
from mainstem_edge.alarms.series import Series
from mainstem_engine.model import BoolMask, DeviceIds


class RuleWatch:
    """``active``: devices whose alarm was raised when this process began."""

    def __init__(self, rule: AlarmRule, active: DeviceIds | tuple[int, ...] = ()) -> None:
        self.rule = rule
        self._states = AlarmStates(rule.delay_ns, rule.clear_delay_ns, map(int, active))
        self._condition = None if rule.measurement is None else _condition(rule)

    def active(self) -> DeviceIds:
        return self._states.active()

    @property
    def moves(self) -> bool:
        """Whether it looks at how values move."""
        return isinstance(self._condition, Rate | Stuck)

    @property
    def is_busy(self) -> bool:
        """Whether it looks at all values: an alarm is raised or waits for a delay, or it learns."""
        return self._states.busy > 0 or isinstance(self._condition, Deviation)

    @property
    def within(self) -> Within:
        """What it does not look at while it is not busy."""
        assert self._condition is not None
        return self._condition.within

    def has_to_look(self, series: Series) -> bool:
        """False when no alarm can change by these values."""
        assert self._condition is not None
        return self._states.busy > 0 or self._condition.may_hold(series)

    def observe(self, series: Series, inside: BoolMask | None) -> list[Transition]:
        """``inside``: rows of devices that the rule is about; None for all."""
        assert self._condition is not None
        if inside is not None and self.rule.deviation is not None and not inside.all():
            if not inside.any():
                return []
            series, inside = series.take(inside), None  # nothing is learned of the others
        return self.judge(series, self._condition.verdict(series), inside)

    def judge(self, series: Series, verdict: Verdict, inside: BoolMask | None) -> list[Transition]:
        """The changes by n rows, in their order."""
        phases = self._states[series.devices]
        raised = phases >= ACTIVE
        trigger = np.where(raised, verdict.calm, verdict.hot) | (phases & 1 == 1)
        if inside is not None:
            trigger &= inside
        if not trigger.any():
            return []
        rows = np.flatnonzero(np.isin(series.devices, series.devices[trigger]))
        known = (verdict.hot_known, verdict.calm_known)
        found = []
        for row in rows.tolist():
            device = int(series.devices[row])
            is_raised = self._states.is_raised(device)
            says = known[is_raised]
            if says is not None and not says[row]:
                continue
            holds = bool((verdict.calm if is_raised else verdict.hot)[row])
            time_ns = int(series.times[row])
            change = self._states.step(device, holds, time_ns)
            if change is not None:
                value = float(series.values[row])
                found.append(Transition(self.rule, device, time_ns, change, value))
        return found


def _condition(rule: AlarmRule) -> Condition:
    """Of a rule that watches one measurement."""
    if rule.deviation is not None:
        return Deviation(rule.deviation, rule.hysteresis, rule.noise, rule.memory_ns, rule.every_ns)
    if rule.rate is not None:
        return Rate(rule.rate)
    if rule.stuck_ns is not None:
        return Stuck(rule.stuck_ns)
    return Limits(rule.above, rule.below, rule.hysteresis)
