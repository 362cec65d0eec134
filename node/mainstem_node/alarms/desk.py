"""What a node tells of the alarms of rules, and takes of people who saw them.

An acknowledgement is a row: durable when ``acknowledge`` returns, and it goes up as all rows do. It
is of the node that writes the device's rows; a tier above sends it an order (``action.py``).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from mainstem_engine.catalog.names import canonical_path
from mainstem_engine.model import Column, Rows
from mainstem_node.alarms import journal
from mainstem_node.alarms.standing import GROUPS, NS_PER_MS, Standing, State, standing
from mainstem_node.config.rules import ALARMS, RuleConfig
from mainstem_node.errors import ConflictError, MissingError

if TYPE_CHECKING:
    from mainstem_engine.engine import Engine

DURABLE_S_MAX = 30.0
COMMENT_CHARS_MAX = 1000
COUNTING_S = 0.05
COUNTING_SHARE = 0.02
"""The status is asked for every second: where counting takes longer, it may take this share of the
time."""
LISTED_MAX = 10_000
"""Alarms of one answer: some MB."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is listed: ``states``, the newest ``limit`` by change, from ``from_ns`` on."""

    states: frozenset[State] = GROUPS["open"]
    severity: str | None = None
    from_ns: int | None = None
    limit: int = 100


class AlarmDesk:
    """See the module. Its methods may wait for a disk. Thread-safe."""

    def __init__(self, engine: Engine, clock_ns: Callable[[], int]) -> None:
        self._engine = engine
        self._clock_ns = clock_ns
        self._counts: dict[str, int] = {}
        self._counted_until = float("-inf")
        self._lock = threading.Lock()
        """Of two persons one is the first. Held while a row becomes durable; nothing that follows
        the log takes it."""

    def counts(self) -> dict[str, int]:
        """How many are raised, and how many nobody has seen; of some seconds ago where there are so
        many alarms that counting them takes long."""
        if time.monotonic() < self._counted_until:
            return self._counts
        began = time.monotonic()
        found = standing(self._engine)
        self._counts = {
            name: int(np.count_nonzero(found.of(GROUPS[name])))
            for name in ("active", "unacknowledged")
        }
        took_s = time.monotonic() - began
        if took_s > COUNTING_S:
            self._counted_until = began + took_s / COUNTING_SHARE
        return self._counts

    def listed(self, wanted: Wanted) -> dict[str, Any]:
        """``alarms``, the newest change first, and ``total``, how many there are of what was asked
        for."""
        found = standing(self._engine)
        mask = found.of(wanted.states)
        if wanted.severity is not None:
            mask &= found.says(journal.SEVERITY, wanted.severity)
        if wanted.from_ns is not None:
            mask &= found.changed >= wanted.from_ns
        rows = np.flatnonzero(mask)
        newest = rows[np.argsort(-found.changed[rows], kind="stable")][: wanted.limit]
        return {
            "alarms": [self._entry(found, row) for row in newest.tolist()],
            "total": len(rows),
        }

    def rules(self, configs: Iterable[RuleConfig]) -> list[dict[str, Any]]:
        """The rules as they are written, each with how many of its alarms are in which state."""
        found = standing(self._engine)
        path = self._engine.catalog.devices.path
        names = np.array(
            [journal.source_and_rule(path(d))[1] for d in found.device.tolist()], object
        )
        listed = []
        for config in configs:
            own = names == config.name
            written = {
                name: value
                for name, value in msgspec.to_builtins(config).items()
                if value is not None
            }
            states = {
                str(state): int(np.count_nonzero(own & found.of(frozenset({state}))))
                for state in State
            }
            listed.append({**written, "alarms": states})
        return listed

    def find(self, identity: str) -> tuple[dict[str, Any], int, bool]:
        """(the alarm, when it was raised in ns, whether its rows are of another node). Raises
        MissingError."""
        found, device = self._standing(identity)
        foreign = self._engine.catalog.devices.is_foreign(device)
        return self._entry(found, 0), int(found.since[0]), foreign

    def acknowledge(
        self, identity: str, by: str, comment: str, since_ns: int | None = None
    ) -> dict[str, Any]:
        """Durable when it returns: the alarm as it stands then. ``since_ns``: the raise that was
        seen; default: the newest.

        Raises MissingError, ConflictError: raised anew since, or nothing to be seen.
        """
        with self._lock:
            found, device = self._standing(identity)
            entry, raised_ns = self._entry(found, 0), int(found.since[0])
            if since_ns is not None:
                require_newest(identity, since_ns, raised_ns)
            if entry["acknowledged_by"] is not None:
                if (entry["acknowledged_by"], entry["comment"] or "") == (by, comment):
                    return entry  # an answer that was lost
                raise ConflictError(
                    f"{identity} was acknowledged by {entry['acknowledged_by']}",
                    hint="its comment is in the table alarms",
                )
            self._write(found, device, by, comment)
        return self.find(identity)[0]

    def _standing(self, identity: str) -> tuple[Standing, int]:
        catalog = self._engine.catalog
        known = catalog.templates.get(ALARMS)
        device = None if known is None else catalog.devices.id_of(canonical_path(identity))
        if known is not None and device is not None:
            family = catalog.devices.of_family(known.family)
            if device in family:
                found = standing(self._engine, np.array([device], np.uint32))
                if len(found.device):
                    return found, device
        raise MissingError(
            f"there is no alarm {identity!r} here", hint="GET /api/v1/alarms?source=rules&state=all"
        )

    def _write(self, found: Standing, device: int, by: str, comment: str) -> None:
        # The node that raised it made the columns, unless it has an older version.
        journal.make_table(self._engine)
        ids = journal.column_ids(self._engine)
        columns = {
            ids[journal.ACKNOWLEDGED]: Column(found.since.astype(np.int64)),
            ids[journal.ACKNOWLEDGED_BY]: Column(np.array([by], object)),
        }
        if comment:
            columns[ids[journal.COMMENT]] = Column(np.array([comment], object))
        times = np.array([self._time(found, device)], np.int64)
        rows = Rows(np.array([device], np.uint32), times, columns)
        written = self._engine.write_rows(self._engine.catalog.table(ALARMS), rows, derived=True)
        written.wait(DURABLE_S_MAX)

    def _time(self, found: Standing, device: int) -> int:
        """Now, in the unit of the device's database; after the acknowledgement before it, also
        where a clock was set back."""
        databases, path = self._engine.catalog.databases, self._engine.catalog.devices.path(device)
        index = databases.index_of_path(path)
        unit_ns = NS_PER_MS if index is None else databases.at(index).precision_ns
        now_ns = self._clock_ns() // unit_ns * unit_ns
        number = found.ids.get(journal.ACKNOWLEDGED)
        column = None if number is None or found.rows is None else found.rows.columns.get(number)
        if column is None or found.rows is None or number is None:
            return now_ns
        if column.valid is not None and not column.valid[0]:
            return now_ns
        return max(now_ns, int(found.rows.column_times[number][0]) + unit_ns)

    def _entry(self, found: Standing, row: int) -> dict[str, Any]:
        return found.entry(row, self._engine.catalog.devices.path(int(found.device[row])))


def require_newest(identity: str, seen: int, raised: int) -> None:
    """ConflictError: the raise that was seen is not the newest. Times in one unit."""
    if seen < raised:
        raise ConflictError(
            f"{identity} was raised anew since", hint="look at it again, then acknowledge"
        )
