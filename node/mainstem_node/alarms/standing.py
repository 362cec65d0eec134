"""How the alarms of a node stand now, from the newest values of the table.

The states are those of ISA-18.2: raised and not seen by anybody, raised and acknowledged, over
before anybody saw it, and normal: over and acknowledged.

An alarm is acknowledged when the newest acknowledgement is of the newest raise, or of a later one.
All is computed on columns; only what is listed becomes Python objects.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mainstem_engine.model import BoolMask, Column, DeviceIds, TimesNs
from mainstem_node.alarms import journal
from mainstem_node.config.rules import ALARMS
from mainstem_node.plain import plain_value

if TYPE_CHECKING:
    from mainstem_engine.engine import Engine
    from mainstem_engine.last_values import LastRows

NS_PER_MS = 1_000_000
NEVER = np.iinfo(np.int64).min


class State(enum.StrEnum):
    """Of one alarm."""

    ACTIVE_UNACKNOWLEDGED = "active_unacknowledged"
    ACTIVE_ACKNOWLEDGED = "active_acknowledged"
    CLEARED_UNACKNOWLEDGED = "cleared_unacknowledged"
    NORMAL = "normal"


_STATES = tuple(State)
GROUPS: dict[str, frozenset[State]] = {
    "open": frozenset(_STATES[:3]),
    "active": frozenset(_STATES[:2]),
    "acknowledged": frozenset({State.ACTIVE_ACKNOWLEDGED}),
    "unacknowledged": frozenset({State.ACTIVE_UNACKNOWLEDGED, State.CLEARED_UNACKNOWLEDGED}),
    "cleared": frozenset({State.CLEARED_UNACKNOWLEDGED, State.NORMAL}),
    "all": frozenset(_STATES),
    **{state.value: frozenset({state}) for state in _STATES},
}
"""What may be asked for by name."""


@dataclass(frozen=True, slots=True)
class Standing:
    """n alarms, one per device: times in ns; ``code`` int8[n], places in State."""

    device: DeviceIds
    code: npt.NDArray[np.int8]
    since: TimesNs
    changed: TimesNs
    rows: LastRows | None
    ids: dict[str, int]

    def of(self, states: frozenset[State]) -> BoolMask:
        """bool[n]"""
        return np.isin(self.code, [_STATES.index(state) for state in states])

    def says(self, name: str, text: str) -> BoolMask:
        """bool[n]: the newest value of a column of texts is this."""
        column = self._column(name)
        if column is None:
            return np.zeros(len(self.device), np.bool_)
        same: BoolMask = column.mask() & (column.values == text)
        return same

    def entry(self, row: int, path: str) -> dict[str, Any]:
        """One alarm as it is listed; times in ms."""
        source, rule = journal.source_and_rule(path)
        state = _STATES[self.code[row]]
        is_seen = state in (State.ACTIVE_ACKNOWLEDGED, State.NORMAL)
        seen_at = self._time(journal.ACKNOWLEDGED, row) if is_seen else None
        return {
            "id": path,
            "state": str(state),
            "source": source,
            "rule": rule,
            "severity": self._value(journal.SEVERITY, row),
            "measurement": self._value(journal.MEASUREMENT, row),
            "value": self._value(journal.VALUE, row, at=int(self.changed[row])),
            "message": self._value(journal.MESSAGE, row),
            "since": int(self.since[row]) // NS_PER_MS,
            "changed": int(self.changed[row]) // NS_PER_MS,
            "acknowledged_at": seen_at,
            "acknowledged_by": self._value(journal.ACKNOWLEDGED_BY, row) if is_seen else None,
            "comment": self._comment(row) if is_seen else None,
        }

    def _comment(self, row: int) -> Any:
        """That of the newest acknowledgement, not of one before it."""
        assert self.rows is not None
        seen_ns = int(self.rows.column_times[self.ids[journal.ACKNOWLEDGED]][row])
        return self._value(journal.COMMENT, row, at=seen_ns)

    def _column(self, name: str) -> Column | None:
        number = self.ids.get(name)
        return None if number is None or self.rows is None else self.rows.columns.get(number)

    def _value(self, name: str, row: int, at: int | None = None) -> Any:
        """None where it is null; ``at``: or is of another time."""
        column = self._column(name)
        if column is None or (column.valid is not None and not column.valid[row]):
            return None
        assert self.rows is not None
        if at is not None and int(self.rows.column_times[self.ids[name]][row]) != at:
            return None
        value = column.values[row]
        return plain_value(value.item() if isinstance(value, np.generic) else value)

    def _time(self, name: str, row: int) -> int | None:
        assert self.rows is not None
        return int(self.rows.column_times[self.ids[name]][row]) // NS_PER_MS


def standing(engine: Engine, devices: DeviceIds | None = None) -> Standing:
    """The alarms that this node holds, its own and those that came from below."""
    catalog = engine.catalog
    nothing = np.empty(0, np.int64)
    if catalog.templates.get(ALARMS) is None:
        return Standing(np.empty(0, np.uint32), np.empty(0, np.int8), nothing, nothing, None, {})
    ids = journal.column_ids(engine)
    if devices is None:
        devices = catalog.devices.of_family(catalog.table(ALARMS).family)
    _, rows = engine.newest_values(ALARMS, devices)
    raised, changed = _newest(rows, ids.get(journal.RAISED))
    is_active = (changed != NEVER) & raised.astype(np.bool_)
    began, begun_at = _newest(rows, ids.get(journal.SINCE))
    since = np.where(begun_at == changed, began, changed).astype(np.int64)
    seen, seen_at = _newest(rows, ids.get(journal.ACKNOWLEDGED))
    is_seen = (seen_at != NEVER) & (seen >= since)
    code = (np.where(is_active, 0, 2) + is_seen).astype(np.int8)
    there = changed != NEVER
    if there.all():
        return Standing(rows.device, code, since, changed, rows, ids)
    return standing(engine, rows.device[there])


def _newest(rows: LastRows, number: int | None) -> tuple[npt.NDArray[Any], TimesNs]:
    """The newest values of a column and their times; NEVER where there is none."""
    column = None if number is None else rows.columns.get(number)
    if column is None or number is None:
        none = np.full(len(rows.device), NEVER)
        return none, none
    return column.values, np.where(column.mask(), rows.column_times[number], NEVER)
