"""The rules of one template over history, by the code that watches live rows (board.py).

1. History has event times only, so a row counts as having arrived at its time.
2. A clock that goes along is what rules about silence see: rows are cut where a device was silent
   for long enough, and the board looks for silence at just that time.
3. Alarms are what they would have been if the node had started at the beginning: delays and
   silence begin there, and a device is watched from its first row on.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from mainstem_edge.alarms.board import RuleBoard
from mainstem_edge.alarms.rule import AlarmRule, Transition
from mainstem_edge.alarms.series import NEVER
from mainstem_edge.alarms.silence import Surroundings
from mainstem_engine.model import Column, DeviceIds, TimesNs


class Replay:
    """``names``: of the measurements by id. Devices are numbered as they come."""

    def __init__(self, rules: Sequence[AlarmRule], names: Mapping[int, str]) -> None:
        self._now_ns = 0
        self._ids: dict[str, int] = {}
        self._paths: list[str] = []
        self._limits_ns = sorted({r.missing_ns for r in rules if r.missing_ns is not None})
        self._newest: TimesNs = np.empty(0, np.int64)
        clock = Surroundings(
            clock_ns=lambda: self._now_ns, monotonic_ns=lambda: self._now_ns, unit_ns=1
        )
        self._board = RuleBoard(rules, self.path, names=names, around=clock)

    def path(self, device: int) -> str:
        return self._paths[device]

    def ids(self, paths: Sequence[str]) -> DeviceIds:
        """uint32[n]: the numbers of devices, new ones included."""
        for path in paths:
            if path not in self._ids:
                self._ids[path] = len(self._paths)
                self._paths.append(path)
        return np.array([self._ids[path] for path in paths], np.uint32)

    def feed(
        self, devices: DeviceIds, times: TimesNs, columns: Mapping[int, Column], until_ns: int
    ) -> list[Transition]:
        """All rows before ``until_ns`` that were not fed yet, in any order."""
        order = np.argsort(times, kind="stable")
        devices, times = devices[order], times[order]
        columns = {key: column.take(order) for key, column in columns.items()}
        looks, cuts = self._silences(devices, times, until_ns)
        bounds = np.unique(np.concatenate([looks, cuts, times[:1]]))
        found: list[Transition] = []
        for begin_ns, end_ns in itertools.pairwise([*bounds.tolist(), until_ns]):
            self._now_ns = begin_ns
            rows = slice(*np.searchsorted(times, (begin_ns, end_ns)).tolist())
            part = {key: column.take(rows) for key, column in columns.items()}
            found += self._board.observe(devices[rows], times[rows], part, times[rows])
            # Who speaks just now is not silent.
            while self._board.silence is not None and (more := self._board.silence.check()):
                found += more
        return found

    def _silences(
        self, devices: DeviceIds, times: TimesNs, until_ns: int
    ) -> tuple[TimesNs, TimesNs]:
        """(times at which a device has been silent for long enough, times of rows after that)."""
        nothing = np.empty(0, np.int64)
        if not self._limits_ns:
            return nothing, nothing
        more = np.full(len(self._paths) - len(self._newest), NEVER)
        newest = np.concatenate([self._newest, more])
        # As rows: what was before, the rows themselves, and the end.
        heard = np.flatnonzero(newest != NEVER)
        here = np.union1d(heard, devices)
        who = np.concatenate([heard, devices, here]).astype(np.int64)
        when = np.concatenate([newest[heard], times, np.full(len(here), until_ns)])
        is_row = np.zeros(len(who), np.bool_)
        is_row[len(heard) : len(heard) + len(devices)] = True
        order = np.lexsort((when, who))
        who, when, is_row = who[order], when[order], is_row[order]
        same = who[1:] == who[:-1]
        gaps = np.where(same, when[1:] - when[:-1], 0)
        looks = []
        for limit_ns in self._limits_ns:
            due = when[:-1][gaps > limit_ns] + limit_ns
            looks.append(due[due > self._now_ns])
        cuts = when[1:][(gaps > self._limits_ns[0]) & is_row[1:]]
        newest[devices] = times  # in the order of time: the newest stays
        self._newest = newest
        return np.concatenate(looks), cuts
