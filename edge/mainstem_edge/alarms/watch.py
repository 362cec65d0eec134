"""One rule over batches of rows.

1. Rows come sorted by device and time. What is not newer than what the rule saw of its device is
   late and says nothing of now: it is passed over.
2. Signals of all rows are computed at once. Of devices that are normal and have no value for which
   the condition holds nothing more is done; only the others go through the state machine.

Per device it holds the newest time, and for ``rate`` and ``stuck`` the newest value, in arrays by
device id: 8 to 24 bytes. Not thread-safe: the caller serialises.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mainstem_edge.alarms.machine import AlarmState, Phase
from mainstem_edge.alarms.rule import AlarmRule, Signal
from mainstem_engine.model import BoolMask, DeviceIds, TimesNs

NEVER = np.iinfo(np.int64).min
Floats = npt.NDArray[np.float64]
Signals = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Transition:
    """An alarm was raised or cleared by the value at ``time_ns`` of ``device``."""

    rule: AlarmRule
    device: int
    time_ns: int
    raised: bool
    value: float


class RuleWatch:
    """``active``: devices whose alarm was raised when this process began, and when that was.
    ``newest``: times by device id; what is not newer is late from the beginning."""

    def __init__(
        self,
        rule: AlarmRule,
        active: dict[int, int] | None = None,
        newest: TimesNs | None = None,
    ) -> None:
        self.rule = rule
        self._states: dict[int, AlarmState] = {}
        self._newest: TimesNs = np.empty(0, np.int64)
        self._value: Floats = np.empty(0, np.float64)
        self._run: TimesNs = np.empty(0, np.int64)
        if newest is not None:
            self._grow(len(newest))
            self._newest[: len(newest)] = newest
        for device, time_ns in (active or {}).items():
            self._grow(device + 1)
            self._newest[device] = max(time_ns, int(self._newest[device]))
            self._states[device] = AlarmState(Phase.ACTIVE)

    def observe(self, devices: DeviceIds, times: TimesNs, values: Floats) -> list[Transition]:
        """n rows in the order of device and time."""
        if not len(devices):
            return []
        self._grow(int(devices[-1]) + 1)
        fresh = times > self._newest[devices]
        fresh[1:] &= (devices[1:] != devices[:-1]) | (times[1:] != times[:-1])
        if not fresh.all():
            devices, times, values = devices[fresh], times[fresh], values[fresh]
            if not len(devices):
                return []
        first = np.ones(len(devices), np.bool_)
        first[1:] = devices[1:] != devices[:-1]
        signals = self._signals(devices, times, values, first)
        last = np.append(first[1:], True)
        self._newest[devices[last]] = times[last]
        return self._stepped(devices, times, values, signals)

    def _stepped(
        self, devices: DeviceIds, times: TimesNs, values: Floats, signals: Signals
    ) -> list[Transition]:
        touched = np.unique(devices[signals == Signal.HOT])
        if self._states:
            known = np.fromiter(self._states, np.int64, len(self._states))
            touched = np.union1d(touched, known)
        if not len(touched):
            return []
        rule, found = self.rule, []
        for row in np.flatnonzero(np.isin(devices, touched)).tolist():
            device, time_ns = int(devices[row]), int(times[row])
            state = self._states.get(device) or self._states.setdefault(device, AlarmState())
            signal = Signal(int(signals[row]))
            raised = state.step(signal, time_ns, rule.delay_ns, rule.clear_delay_ns)
            if raised is not None:
                found.append(Transition(rule, device, time_ns, raised, float(values[row])))
            if state.phase is Phase.NORMAL:
                del self._states[device]
        return found

    def _signals(
        self, devices: DeviceIds, times: TimesNs, values: Floats, first: BoolMask
    ) -> Signals:
        rule = self.rule
        if rule.rate is None and rule.stuck_ns is None:
            return _limits(rule, values)
        before, earlier = np.roll(values, 1), np.roll(times, 1)
        before[first], earlier[first] = self._value[devices[first]], self._newest[devices[first]]
        known = (earlier != NEVER) & ~np.isnan(before) & ~np.isnan(values)
        last = np.append(first[1:], True)
        self._value[devices[last]] = values[last]
        if rule.rate is not None:
            seconds = np.where(known, times - np.where(known, earlier, 0), 1) / 1e9
            with np.errstate(invalid="ignore", over="ignore"):
                hot = known & (np.abs(values - before) / seconds > rule.rate)
            return np.where(hot, Signal.HOT, np.where(known, Signal.CALM, Signal.BETWEEN))
        changed = known & (values != before)
        begins = changed | ~known
        begin = np.where(begins, times, 0)
        carried = first & ~begins
        begin[carried] = self._run[devices[carried]]
        # The newest beginning at or before each row; every device has one in its first row.
        begin = begin[np.maximum.accumulate(np.where(begins | first, np.arange(len(times)), 0))]
        self._run[devices[last]] = begin[last]
        hot = times - begin >= (rule.stuck_ns or 0)
        signals = np.where(hot & ~begins, Signal.HOT, Signal.BETWEEN)
        return np.where(changed, Signal.CALM, signals)

    def _grow(self, count: int) -> None:
        have = len(self._newest)
        if count <= have:
            return
        more = max(count, 2 * have) - have
        self._newest = np.concatenate([self._newest, np.full(more, NEVER)])
        if self.rule.rate is not None or self.rule.stuck_ns is not None:
            self._value = np.concatenate([self._value, np.full(more, np.nan)])
            self._run = np.concatenate([self._run, np.zeros(more, np.int64)])


def _limits(rule: AlarmRule, values: Floats) -> Signals:
    """NaN says neither."""
    hot = np.zeros(len(values), np.bool_)
    calm = ~np.isnan(values)
    if rule.above is not None:
        hot |= values > rule.above
        calm &= values <= rule.above - rule.hysteresis
    if rule.below is not None:
        hot |= values < rule.below
        calm &= values >= rule.below + rule.hysteresis
    signals = np.where(calm, Signal.CALM, Signal.BETWEEN)
    return np.where(hot, Signal.HOT, signals)
