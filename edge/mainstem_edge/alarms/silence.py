"""Devices that bring no rows: the rules ``missing``.

1. A silent device has no event time. What counts is the monotonic clock of this node since the last
   arrival of a row, whatever the time in it: a row of yesterday is a sign of life.
2. When the node starts, every device that has rows was heard just now: a node that was down itself
   does not call all its devices silent, and one that stays silent is named once the time passed.
3. A device without a row is not waited for. One that another node owns by now is let go.
4. Rows that came another way (posted) are found in the store: a device whose newest row there is
   recent is not silent.
5. Looked at now and then (``check``), never by row. Raised at the wall clock's time of noticing;
   over with the first row, at the time of its arrival.

Bounded: DEVICES_MAX devices, 8 bytes each by id; CHANGES_MAX alarms a check, the others follow with
the next one. Not thread-safe: the caller serialises.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mainstem_edge.alarms.rule import AlarmRule, Transition
from mainstem_edge.alarms.series import NEVER
from mainstem_engine.model import BoolMask, DeviceIds, TimesNs

log = logging.getLogger("mainstem.alarms")

DEVICES_MAX = 200_000
"""Of one template: a check of so many takes a millisecond."""
CHANGES_MAX = 1000
"""A broker that is down silences all its devices in one second: what that writes is spread."""


def _never(devices: DeviceIds) -> TimesNs:
    return np.full(len(devices), NEVER)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What rules about silence ask. ``newest(devices)``: times of the newest stored rows, below 0
    without one; ``is_elsewhere(device)``: another node owns it; ``unit_ns``: the precision of
    stored times."""

    newest: Callable[[DeviceIds], TimesNs] = _never
    is_elsewhere: Callable[[int], bool] = lambda device: False
    clock_ns: Callable[[], int] = time.time_ns
    monotonic_ns: Callable[[], int] = time.monotonic_ns
    unit_ns: int = 1_000_000


@dataclass(frozen=True, slots=True)
class _Raised:
    """An alarm, and the newest stored row of its device then."""

    at_ns: int
    newest_ns: int


class SilenceWatch:
    """The rules ``missing`` of one template. ``devices``: those that have rows when it begins;
    ``active``: by rule, devices whose alarm is raised, and since when;
    ``inside(under, devices)``: which are below a path."""

    def __init__(
        self,
        rules: Sequence[AlarmRule],
        around: Surroundings,
        devices: DeviceIds,
        active: Mapping[str, Mapping[int, int]],
        inside: Callable[[str, DeviceIds], BoolMask],
    ) -> None:
        self._rules = rules
        self._around = around
        self._inside = inside
        self._heard: TimesNs = np.empty(0, np.int64)
        self._watched = 0
        self._active = {rule.name: self._raised(active.get(rule.name, {})) for rule in rules}
        raised = [device for each in self._active.values() for device in each]
        known = np.union1d(devices, np.array(raised, np.uint32)).astype(np.uint32)
        self._hear(known, around.monotonic_ns())

    def active(self, rule: AlarmRule) -> DeviceIds:
        return np.array(sorted(self._active[rule.name]), np.uint32)

    def observe(self, devices: DeviceIds, arrived_ns: TimesNs | None = None) -> list[Transition]:
        """Rows of these devices (any number of each) came in: now, or each at a time, ascending."""
        now_ns = self._around.monotonic_ns()
        at: int | TimesNs = now_ns if arrived_ns is None else arrived_ns
        if not any(self._active.values()):
            self._hear(devices, at)
            return []
        found: list[Transition] = []
        for rule in self._rules:
            active = self._active[rule.name]
            raised = np.fromiter(active, np.uint32, len(active))
            again = np.intersect1d(devices, raised).tolist()
            found += [self._cleared(rule, device, now_ns) for device in again]
        self._hear(devices, at)
        return found

    def check(self, behind_ns: int = 0) -> list[Transition]:
        """Who has become silent. ``behind_ns``: so old is what has arrived and was not observed."""
        now_ns = self._around.monotonic_ns() - behind_ns
        found: list[Transition] = []
        for rule in self._rules:
            found += self._heard_otherwise(rule, now_ns)
            found += self._silent(rule, now_ns, CHANGES_MAX - len(found))
        return found

    def _raised(self, since: Mapping[int, int]) -> dict[int, _Raised]:
        devices = np.array(list(since), np.uint32)
        newest = self._around.newest(devices).tolist()
        return {d: _Raised(at, row) for (d, at), row in zip(since.items(), newest, strict=True)}

    def _silent(self, rule: AlarmRule, now_ns: int, count_max: int) -> list[Transition]:
        assert rule.missing_ns is not None
        active = self._active[rule.name]
        late = (self._heard != NEVER) & (self._heard <= now_ns - rule.missing_ns)
        late[[device for device in active if device < len(late)]] = False
        devices = np.flatnonzero(late).astype(np.uint32)
        if rule.under is not None and len(devices):
            devices = devices[self._inside(rule.under, devices)]
        devices = devices[: max(0, count_max)]
        newest = self._around.newest(devices)
        silent = ~self._recent(rule, devices, newest, now_ns)
        devices, newest = devices[silent], newest[silent]
        found = []
        for device, row_ns in zip(devices.tolist(), newest.tolist(), strict=True):
            if self._around.is_elsewhere(device):
                self._heard[device] = NEVER
                self._watched -= 1
                continue
            seconds = (now_ns - int(self._heard[device])) / 1e9
            time_ns = self._now_ns()
            active[device] = _Raised(time_ns, row_ns)
            found.append(Transition(rule, device, time_ns, True, round(seconds, 3)))
        return found

    def _heard_otherwise(self, rule: AlarmRule, now_ns: int) -> list[Transition]:
        """Alarms that are over by rows which were not observed."""
        active = self._active[rule.name]
        if not active:
            return []
        devices = np.fromiter(active, np.uint32, len(active))
        newest = np.array([each.newest_ns for each in active.values()], np.int64)
        again = devices[self._around.newest(devices) > newest]
        found = [self._cleared(rule, device, now_ns) for device in again.tolist()]
        self._hear(again, now_ns)
        return found

    def _recent(
        self, rule: AlarmRule, devices: DeviceIds, newest: TimesNs, now_ns: int
    ) -> BoolMask:
        """Which devices have a stored row that is not older than the rule allows. They count as
        heard then. A row of the future (a clock that is wrong) says nothing."""
        assert rule.missing_ns is not None
        age = self._around.clock_ns() - np.maximum(newest, 0)
        recent: BoolMask = (age >= 0) & (age < rule.missing_ns)
        self._heard[devices[recent]] = now_ns - age[recent]
        return recent

    def _cleared(self, rule: AlarmRule, device: int, now_ns: int) -> Transition:
        raised = self._active[rule.name].pop(device)
        seconds = (now_ns - int(self._heard[device])) / 1e9
        # The journal has one row a time: the end must be newer, whatever the wall clock did.
        time_ns = max(self._now_ns(), raised.at_ns + self._around.unit_ns)
        return Transition(rule, device, time_ns, False, round(max(0.0, seconds), 3))

    def _now_ns(self) -> int:
        now_ns = self._around.clock_ns()
        return now_ns - now_ns % self._around.unit_ns

    def _hear(self, devices: DeviceIds, at: int | TimesNs) -> None:
        if not len(devices):
            return
        if (count := int(devices.max()) + 1) > len(self._heard):
            more = max(count, 2 * len(self._heard)) - len(self._heard)
            self._heard = np.concatenate([self._heard, np.full(more, NEVER)])
        new = np.unique(devices[self._heard[devices] == NEVER])
        room = DEVICES_MAX - self._watched
        self._heard[devices] = at
        if len(new) > room:
            log.error("only %d devices are watched for silence", DEVICES_MAX)
            self._heard[new[room:]] = NEVER
        self._watched += min(len(new), room)
