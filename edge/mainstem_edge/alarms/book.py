"""The alarm rules of one template, and what they write.

1. Every batch of good rows is shown to each rule, before filters drop what did not change.
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
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mainstem_edge.alarms.rule import AlarmRule
from mainstem_edge.alarms.watch import NEVER, RuleWatch, Transition
from mainstem_engine.catalog.names import is_below
from mainstem_engine.consumers import Ack
from mainstem_engine.engine import Engine
from mainstem_engine.errors import EngineError, OverloadedError
from mainstem_engine.model import (
    BoolMask,
    Column,
    ColumnType,
    DeviceIds,
    Measurement,
    Rows,
    Tag,
    Template,
    TimesNs,
)
from mainstem_node.config.rules import ALARMS

log = logging.getLogger("mainstem.alarms")

RAISED, SEVERITY, MEASUREMENT, VALUE, MESSAGE = range(5)
TEMPLATE = Template(
    ALARMS,
    (
        Measurement(RAISED, "raised", ColumnType.BOOLEAN),
        Measurement(SEVERITY, "severity", ColumnType.TEXT),
        Measurement(MEASUREMENT, "measurement", ColumnType.TEXT),
        Measurement(VALUE, "value", ColumnType.DOUBLE),
        Measurement(MESSAGE, "message", ColumnType.TEXT),
    ),
    (Tag("source"), Tag("rule")),
)
WAITING_MAX = 10_000
"""Changes that wait for an overloaded engine; some megabytes. The oldest go first, logged."""


class AlarmBook:
    """Watches the rows of the template ``table``. Not thread-safe: the caller serialises."""

    def __init__(self, engine: Engine, table: str, rules: Sequence[AlarmRule]) -> None:
        self._engine = engine
        if engine.catalog.templates.get(ALARMS) is None:
            engine.create_template(TEMPLATE, if_not_exists=True)
        active = self._active()
        newest = self._newest(table)
        self._watches = [RuleWatch(rule, active.get(rule.name), newest) for rule in rules]
        self._below: dict[str, BoolMask] = {}
        self._waiting: list[Transition] = []

    def observe(self, devices: DeviceIds, times: TimesNs, columns: Mapping[int, Column]) -> None:
        """Rows in any order; their changes wait for ``write``."""
        if not len(devices):
            return
        order = np.lexsort((times, devices))
        devices, times = devices[order], times[order]
        for watch in self._watches:
            column = columns.get(watch.rule.measurement)
            if column is None:
                continue
            keep = None if column.valid is None else column.valid[order]
            if watch.rule.under is not None:
                inside = self._inside(watch.rule.under, devices)
                keep = inside if keep is None else keep & inside
            values = column.values[order].astype(np.float64)
            if keep is None:
                self._waiting += watch.observe(devices, times, values)
            else:
                self._waiting += watch.observe(devices[keep], times[keep], values[keep])

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
        texts = [_message(each, path) for each, path in zip(changes, sources, strict=True)]
        columns = {
            RAISED: Column(np.array([each.raised for each in changes], np.bool_)),
            SEVERITY: _text([each.rule.severity for each in changes]),
            MEASUREMENT: _text([each.rule.measurement_name for each in changes]),
            VALUE: Column(np.array([each.value for each in changes], np.float64)),
            MESSAGE: _text(texts),
        }
        times = np.array([each.time_ns for each in changes], np.int64)
        table = self._engine.catalog.table(ALARMS)
        ack = self._engine.write_rows(table, Rows(ids, times, columns), derived=True)
        for each, text in zip(changes, texts, strict=True):
            word = "raised" if each.raised else "cleared"
            level = logging.WARNING if each.raised else logging.INFO
            log.log(level, "alarm %s (%s): %s", word, each.rule.severity, text)
        return ack

    def _newest(self, table: str) -> TimesNs:
        """By device id, just before the newest stored row: that one may come again, and its alarm
        not have been stored."""
        ids = self._engine.catalog.devices.of_family(self._engine.catalog.table(table).family)
        newest = np.full(int(ids.max()) + 1 if len(ids) else 0, NEVER)
        times = self._engine.newest_times(table, ids)
        newest[ids] = np.where(times == NEVER, NEVER, times - 1)
        return newest

    def _active(self) -> dict[str, dict[int, int]]:
        """By rule: devices whose alarm is raised, and since when."""
        catalog = self._engine.catalog
        ids = catalog.devices.of_family(catalog.table(ALARMS).family)
        _, rows = self._engine.newest_values(ALARMS, ids)
        raised = rows.columns.get(RAISED)
        found: dict[str, dict[int, int]] = {}
        if raised is None:
            return found
        for row in np.flatnonzero(raised.values).tolist():
            path = catalog.devices.path(int(rows.device[row]))
            source, _, name = path.rpartition(f".{ALARMS}.")
            device = catalog.devices.id_of(source) if source else None
            if device is not None:
                found.setdefault(name, {})[device] = int(rows.time[row])
        return found

    def _inside(self, under: str, devices: DeviceIds) -> BoolMask:
        """bool[n]: devices below a path. What is known of an id is kept: a path does not change."""
        known = self._below.get(under, np.empty(0, np.bool_))
        if (count := int(devices[-1]) + 1) > len(known):
            path = self._engine.catalog.devices.path
            more = [is_below(path(device), under) for device in range(len(known), count)]
            known = self._below[under] = np.concatenate([known, np.array(more, np.bool_)])
        return known[devices]


def _text(values: Sequence[str]) -> Column:
    return Column(np.array(values, object))


def _message(change: Transition, device: str) -> str:
    rule = change.rule
    words: dict[str, Any] = {
        "device": device, "rule": rule.name, "measurement": rule.measurement_name,
        "value": f"{change.value:g}", "severity": rule.severity,
    }  # fmt: skip
    text = rule.message
    for name, word in words.items():
        text = text.replace(f"{{{name}}}", str(word))
    return text
