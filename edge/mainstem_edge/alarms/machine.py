"""The states of one rule's alarms: normal, pending, active, clearing.

1. The condition holds: normal becomes pending; once it has held for the delay, active (raised).
2. It is over: active becomes clearing; once it was over for the clear delay, normal (cleared).
3. A value that says neither, or the opposite, ends a pending or clearing state where it began.

Time is event time: it goes on with the values only. A byte for each device, by id.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from mainstem_engine.model import DeviceIds

NORMAL, PENDING, ACTIVE, CLEARING = range(4)
"""Odd: waiting for a delay to pass. ACTIVE and above: raised."""

Phases = npt.NDArray[np.uint8]


class AlarmStates:
    """``delay_ns``, ``clear_delay_ns``: of the rule. ``active``: devices whose alarm is raised."""

    def __init__(self, delay_ns: int, clear_delay_ns: int, active: Iterable[int] = ()) -> None:
        self._delay_ns = delay_ns
        self._clear_delay_ns = clear_delay_ns
        self._phase: Phases = np.zeros(0, np.uint8)
        self._since: dict[int, int] = {}
        self.busy = 0
        """Devices that are not normal."""
        for device in active:
            self._grow(device + 1)
            self._set(device, ACTIVE)

    def __getitem__(self, devices: DeviceIds) -> Phases:
        """uint8[n] of devices that are sorted."""
        if len(devices) and int(devices[-1]) >= len(self._phase):
            self._grow(int(devices[-1]) + 1)
        return self._phase[devices]

    def active(self) -> DeviceIds:
        """Ascending: devices whose alarm is raised."""
        return np.flatnonzero(self._phase >= ACTIVE).astype(np.uint32)

    def is_raised(self, device: int) -> bool:
        return device < len(self._phase) and bool(self._phase[device] >= ACTIVE)

    def step(self, device: int, holds: bool, time_ns: int) -> bool | None:
        """One value, later than the last. ``holds``: what is waited for (the condition while the
        alarm is normal, its end while it is raised). True: raised, False: cleared, None: neither.
        """
        phase = int(self._phase[device])
        raised = phase >= ACTIVE
        settled = ACTIVE if raised else NORMAL
        if not holds:
            if phase != settled:
                self._set(device, settled)
            return None
        since_ns = self._since.get(device, time_ns)
        if time_ns - since_ns < (self._clear_delay_ns if raised else self._delay_ns):
            if phase == settled:
                self._set(device, settled + 1)
                self._since[device] = time_ns
            return None
        self._set(device, NORMAL if raised else ACTIVE)
        return not raised

    def _set(self, device: int, phase: int) -> None:
        self.busy += (phase != NORMAL) - int(self._phase[device] != NORMAL)
        self._phase[device] = phase
        self._since.pop(device, None)

    def _grow(self, count: int) -> None:
        if count > (have := len(self._phase)):
            more = np.zeros(max(count, 2 * have) - have, np.uint8)
            self._phase = np.concatenate([self._phase, more])
