"""The alarm rules of one template, and what they write.

1. Every batch of good rows is shown to the rules (board.py), before filters drop what did not
   change; silence is looked at now and then.
2. A change of an alarm is a row of the table ``alarms``: device ``DEVICE.alarms.RULE``, the time of
   the value that made it. So alarms are stored, exported, proven and queried as all rows are, and
   a change that is written twice is one row.
3. Rows are appended after those that caused them. While the engine is overloaded they wait here,
   for the next batch or the stop; after a crash in between, the newest row of the device, when it
   comes again, or the next value raises or clears the alarm.
4. After a start an alarm is what its newest row says, and what is older than the newest stored row
   of its device is late. A delay that had not passed starts anew.

A change that cannot be written is logged and dropped, by itself: an alarm never stops the intake.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from mainstem_edge.alarms.board import Before, RuleBoard
from mainstem_edge.alarms.rule import AlarmRule, Transition, message
from mainstem_edge.alarms.series import NEVER
from mainstem_edge.alarms.silence import Surroundings
from mainstem_engine.columns import TIME_MIN_NS
from mainstem_engine.consumers import Ack
from mainstem_engine.engine import Engine
from mainstem_engine.errors import EngineError, OverloadedError
from mainstem_engine.model import (
    Column,
    DeviceIds,
    Rows,
    TimesNs,
)
from mainstem_node.alarms import journal
from mainstem_node.alarms.standing import GROUPS, standing
from mainstem_node.config.rules import ALARMS

log = logging.getLogger("mainstem.alarms")

WAITING_MAX = 10_000
"""Changes that wait for an overloaded engine; some megabytes. The oldest go first, logged."""


class AlarmBook:
    """Watches the rows of the template ``table``. Not thread-safe: the caller serialises.

    ``owner(path)``: the other node that a device belongs to by now, or None.
    """

    def __init__(
        self,
        engine: Engine,
        table: str,
        rules: Sequence[AlarmRule],
        *,
        owner: Callable[[str], str | None] = lambda path: None,
        clock_ns: Callable[[], int] = time.time_ns,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._engine = engine
        journal.make_table(engine)
        devices = engine.catalog.devices
        path = devices.path
        found = engine.catalog.table(table)
        self.board = RuleBoard(
            rules,
            path,
            names={m.id: m.name for m in found.shown},
            before=(before := self._before(table)),
            around=Surroundings(
                newest=lambda ids: engine.newest_times(table, ids),
                is_elsewhere=lambda device: owner(path(device)) is not None,
                clock_ns=clock_ns,
                monotonic_ns=monotonic_ns,
                unit_ns=max((d.precision_ns for d in engine.catalog.databases), default=10**6),
            ),
        )
        self._waiting: list[Transition] = []
        self._since = {
            (rule, device): since_ns
            for rule, raised in before.active.items()
            for device, since_ns in raised.items()
        }
        """When each alarm that stands was raised."""

    def observe(self, devices: DeviceIds, times: TimesNs, columns: Mapping[int, Column]) -> None:
        """Rows in any order; their changes wait for ``write``."""
        self._waiting += self.board.observe(devices, times, columns)

    def check(self, behind_ns: int) -> None:
        """Looks for silent devices; the changes wait for ``write``. ``behind_ns``: see there."""
        if self.board.silence is not None:
            self._waiting += self.board.silence.check(behind_ns)

    def write(self) -> Ack | None:
        """Appends what waits. None when there was nothing, or nothing could be taken now."""
        if not self._waiting:
            return None
        ack: Ack | None
        try:
            ack = self._append(self._waiting)
        except OverloadedError:
            lost = len(self._waiting) - WAITING_MAX
            if lost > 0:
                del self._waiting[:lost]
                log.error("%d changes of alarms were dropped: the engine is overloaded", lost)
            return None
        except EngineError:
            ack = self._one_by_one()
        self._waiting = []
        return ack

    def _one_by_one(self) -> Ack | None:
        """After a change that the engine does not take: the others are stored."""
        last: Ack | None = None
        for change in self._waiting:
            try:
                last = self._append([change])
            except EngineError as error:
                log.error("a change of alarm %s was not stored: %s", change.rule.name, error)
        return last

    def _append(self, changes: Sequence[Transition]) -> Ack:
        sources = [self._engine.catalog.devices.path(each.device) for each in changes]
        names = [each.rule.name for each in changes]
        paths = [f"{path}.{ALARMS}.{name}" for path, name in zip(sources, names, strict=True)]
        tags = {"source": sources, "rule": names}
        ids = self._engine.device_ids(ALARMS, paths, tags=tags, create=True, durable=False)
        texts = [message(each, path) for each, path in zip(changes, sources, strict=True)]
        begun = self._begun(changes)
        named = {
            journal.RAISED: Column(np.array([each.raised for each in changes], np.bool_)),
            journal.SEVERITY: _text([each.rule.severity for each in changes]),
            journal.MEASUREMENT: _text([", ".join(each.rule.reads) for each in changes]),
            journal.VALUE: _numbers([each.value for each in changes]),
            journal.MESSAGE: _text(texts),
            journal.SINCE: Column(np.array(begun, np.int64)),
        }
        numbers = journal.column_ids(self._engine)
        columns = {numbers[name]: column for name, column in named.items() if name in numbers}
        times = np.array([each.time_ns for each in changes], np.int64)
        alarms = self._engine.catalog.table(ALARMS)
        ack = self._engine.write_rows(alarms, Rows(ids, times, columns), derived=True)
        for each, text, since_ns in zip(changes, texts, begun, strict=True):
            self._since[each.rule.name, each.device] = since_ns
            if not each.raised:
                del self._since[each.rule.name, each.device]
            word = "raised" if each.raised else "cleared"
            level = logging.WARNING if each.raised else logging.INFO
            if each.rule.logs:
                log.log(level, "alarm %s (%s): %s", word, each.rule.severity, text)
        return ack

    def _begun(self, changes: Sequence[Transition]) -> list[int]:
        """Of each change, when the alarm was raised that begins or ends with it."""
        since: dict[tuple[str, int], int] = {}
        found = []
        for each in changes:
            key = each.rule.name, each.device
            if each.raised:
                since[key] = each.time_ns
            found.append(since.get(key, self._since.get(key, each.time_ns)))
        return found

    def _before(self, table: str) -> Before:
        """Newest times are just before the newest stored row: that one may come again, and its
        alarm not have been stored."""
        devices = self._engine.catalog.devices
        ids = devices.of_family(self._engine.catalog.table(table).family)
        newest = np.full(int(ids.max()) + 1 if len(ids) else 0, NEVER)
        times = self._engine.newest_times(table, ids)
        has_rows = times >= TIME_MIN_NS
        newest[ids] = np.where(has_rows, times - 1, NEVER)
        own = [device for device in ids[has_rows].tolist() if not devices.is_foreign(device)]
        return Before(newest, self._active(), np.array(own, np.uint32))

    def _active(self) -> dict[str, dict[int, int]]:
        """By rule: devices whose alarm is raised, and since when."""
        catalog, found = self._engine.catalog, standing(self._engine)
        active: dict[str, dict[int, int]] = {}
        for row in np.flatnonzero(found.of(GROUPS["active"])).tolist():
            source, name = journal.source_and_rule(catalog.devices.path(int(found.device[row])))
            device = catalog.devices.id_of(source) if source else None
            if device is not None:
                active.setdefault(name, {})[device] = int(found.changed[row])
        return active


def _text(values: Sequence[str]) -> Column:
    """Nothing is null."""
    found = np.array(values, object)
    return Column(found, found != "")


def _numbers(values: Sequence[float]) -> Column:
    """NaN is null."""
    found = np.array(values, np.float64)
    return Column(found, ~np.isnan(found))
