"""The alarm rules of one template, over batches of good rows: what was raised and cleared.

Rows in, changes out: nothing is stored and nobody is asked, so ``mainstem rule test`` runs the same
code over history.

1. Measurements that a batch says nothing new of are settled together (sweep.py). Of the others,
   rules on one measurement share what the batch says of it (series.py).
2. Expressions are computed over whole batches; a row for which neither is known is passed over.
3. Silence is looked at by ``check``, not by rows.

Not thread-safe: the caller serialises.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mainstem_edge.alarms.conditions import expressed
from mainstem_edge.alarms.rule import AlarmRule, Transition
from mainstem_edge.alarms.series import NEVER, Batch, Seen, Series, Track
from mainstem_edge.alarms.silence import SilenceWatch, Surroundings
from mainstem_edge.alarms.sweep import Sweep
from mainstem_edge.alarms.watch import RuleWatch
from mainstem_engine.catalog.names import is_below
from mainstem_engine.model import BoolMask, Column, DeviceIds, TimesNs


@dataclass(frozen=True, slots=True)
class Before:
    """What is known when a board begins. ``newest``: times by device id, what is not newer is
    late; ``active``: by rule, devices whose alarm is raised, and since when; ``devices``: those
    that have rows."""

    newest: TimesNs = field(default_factory=lambda: np.empty(0, np.int64))
    active: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    devices: DeviceIds = field(default_factory=lambda: np.empty(0, np.uint32))


class RuleBoard:
    """``names``: of the measurements by id, as expressions call them; ``path(device)``: where it
    is."""

    def __init__(
        self,
        rules: Sequence[AlarmRule],
        path: Callable[[int], str],
        *,
        names: Mapping[int, str] | None = None,
        before: Before | None = None,
        around: Surroundings | None = None,
    ) -> None:
        before = before or Before()
        self._path = path
        self._ids = {name.casefold(): number for number, name in (names or {}).items()}
        self._below: dict[str, BoolMask] = {}
        newest = _not_before(before, rules)
        self._expressions: list[tuple[RuleWatch, Track]] = []
        self.watches: list[RuleWatch] = []
        for rule in rules:
            if rule.missing_ns is not None:
                continue
            watch = RuleWatch(rule, tuple(before.active.get(rule.name, ())))
            self.watches.append(watch)
            if rule.measurement is None:
                self._expressions.append((watch, Track(Seen(newest))))
        watched: dict[int, list[RuleWatch]] = {}
        for watch in self.watches:
            if watch.rule.measurement is not None:
                watched.setdefault(watch.rule.measurement, []).append(watch)
        moving = [number for number, own in watched.items() if any(w.moves for w in own)]
        lines = [*moving, *(number for number in watched if number not in moving)]
        seen = Seen(newest, len(lines), len(moving))
        self._tracks = {
            number: (Track(seen, lines.index(number)), own) for number, own in watched.items()
        }
        self._sweep = Sweep(seen, {number: watched[number] for number in lines})
        silent = [rule for rule in rules if rule.missing_ns is not None]
        self.silence: SilenceWatch | None = None
        if silent:
            self.silence = SilenceWatch(
                silent, around or Surroundings(), before.devices, before.active, self._inside
            )

    def observe(
        self,
        devices: DeviceIds,
        times: TimesNs,
        columns: Mapping[int, Column],
        arrived_ns: TimesNs | None = None,
    ) -> list[Transition]:
        """Rows in any order. The changes are in the order of the rules. ``arrived_ns``: when each
        row arrived, ascending; default now."""
        if not len(devices):
            return []
        found = [] if self.silence is None else self.silence.observe(devices, arrived_ns)
        batch = Batch.of(devices, times)
        settled = self._sweep.settle(batch, columns)
        for number, (track, watches) in self._tracks.items():
            if number in settled:
                continue
            column = columns.get(number)
            series = None if column is None else track.fresh(batch, column)
            if series is None:
                continue
            for watch in watches:
                if watch.has_to_look(series):
                    found += watch.observe(series, self._about(watch.rule, series))
            self._sweep.ask(number)
        for watch, track in self._expressions:
            found += self._expressed(watch, track, batch, columns)
        return found

    def _expressed(
        self, watch: RuleWatch, track: Track, batch: Batch, columns: Mapping[int, Column]
    ) -> list[Transition]:
        rule = watch.rule
        assert rule.expression is not None
        names = {*rule.expression.names, *(() if rule.clear is None else rule.clear.names)}
        given = {name: columns.get(self._ids.get(name.casefold(), -1)) for name in names}
        verdict = expressed(rule.expression, rule.clear, given, batch.count)
        assert verdict.hot_known is not None
        assert verdict.calm_known is not None
        known = verdict.hot_known | verdict.calm_known
        series = track.fresh(batch, Column(np.full(batch.count, np.nan), known))
        if series is None:
            return []
        return watch.judge(series, verdict.take(series.rows), self._about(rule, series))

    def _about(self, rule: AlarmRule, series: Series) -> BoolMask | None:
        return None if rule.under is None else self._inside(rule.under, series.devices)

    def _inside(self, under: str, devices: DeviceIds) -> BoolMask:
        """bool[n]: devices below a path, sorted. What is known of an id is kept: a path does not
        change."""
        known = self._below.get(under, np.empty(0, np.bool_))
        if (count := int(devices[-1]) + 1) > len(known):
            more = [is_below(self._path(device), under) for device in range(len(known), count)]
            known = self._below[under] = np.concatenate([known, np.array(more, np.bool_)])
        return known[devices]


def _not_before(before: Before, rules: Sequence[AlarmRule]) -> TimesNs:
    """An alarm of a value may be newer than the newest stored row: a filter may have dropped that
    value. Alarms of silence have this node's time, not that of values."""
    alarms = [before.active.get(rule.name, {}) for rule in rules if rule.missing_ns is None]
    highest = max((device for each in alarms for device in each), default=-1)
    never = np.full(max(0, highest + 1 - len(before.newest)), NEVER)
    newest: TimesNs = np.concatenate([before.newest, never])
    for each in alarms:
        for device, time_ns in each.items():
            newest[device] = max(int(newest[device]), time_ns)
    return newest
