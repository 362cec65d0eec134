"""Rows of this node on a device that was moved, outside its spans: put aside where they were made.

1. What is found is durable in the quarantine (``not_owner``) before it is deleted here, by a delete
   of this node like any other: every tier above follows it.
2. Rows of tables that are computed are left: they follow from the others.
3. A row that was written while the move came is found later: as long as a device has rows of this
   node beyond its last span there is something to look for.
"""

from __future__ import annotations

import numpy as np

from mainstem_engine.catalog.templates import Table
from mainstem_engine.engine import Engine
from mainstem_engine.model import SELF_ORIGIN, TimesNs
from mainstem_sync.receiving.covering import PUT_ASIDE
from mainstem_sync.receiving.quarantine import QuarantineStore
from mainstem_sync.receiving.strays import own_block
from mainstem_sync.state.moves import ALWAYS, Moves, Span
from mainstem_sync.state.patience import ACK_TIMEOUT_S

ROWS_PER_LOOK = 10_000
"""Rows that are put aside at a time: a few megabytes as text."""


class MovedRows:
    """See the module. One caller at a time."""

    def __init__(self, node: str, moves: Moves, quarantine: QuarantineStore) -> None:
        self._node = node
        self._moves = moves
        self._quarantine = quarantine
        self._seen: dict[tuple[str, str], int] = {}

    def put_aside(self, engine: Engine, device: str, at_ms: int) -> int:
        """All that there is of a device; returns how many rows."""
        found = 0
        for table in _tables(engine, device):
            for span in _gaps(self._moves.spans(device, self._node)):
                found += self._put_aside(engine, table, device, span, at_ms)
        return found

    def look(self, engine: Engine, at_ms: int) -> int:
        """What was written since, of all devices that this node gave away."""
        found = 0
        for device in self._moves.devices_of(self._node):
            spans = self._moves.spans(device, self._node)
            end_ns = spans[-1][1] if spans else ALWAYS[0]
            if end_ns == ALWAYS[1]:
                continue
            number = engine.catalog.devices.id_of(device)
            for table in _tables(engine, device):
                newest = int(engine.newest_times(table.name, np.array([number], np.uint32))[0])
                place = device, table.name
                if newest < end_ns or self._seen.get(place) == newest:
                    continue
                span = end_ns, ALWAYS[1]
                found += self._put_aside(engine, table, device, span, at_ms)
                self._seen[place] = newest
        return found

    def _put_aside(self, engine: Engine, table: Table, device: str, span: Span, at_ms: int) -> int:
        number = engine.catalog.devices.id_of(device)
        if number is None:
            return 0
        ids = np.array([number], np.uint32)
        start_ns, end_ns = span
        times: TimesNs = engine.scan_rows(
            table.name, devices=ids, origin=SELF_ORIGIN, start_ns=start_ns, end_ns=end_ns,
            measurement_ids=(),
        ).time  # fmt: skip
        for at in range(0, len(times), ROWS_PER_LOOK):
            some = times[at : at + ROWS_PER_LOOK]
            rows = engine.scan_rows(
                table.name, devices=ids, origin=SELF_ORIGIN, start_ns=int(some[0]),
                end_ns=int(some[-1]) + 1,
            )  # fmt: skip
            self._quarantine.add_blocks([own_block(self._node, engine, table, rows, at_ms)])
            gone = engine.delete_rows(table, rows.device, rows.time, header={PUT_ASIDE: 1})
            gone.ack.wait(ACK_TIMEOUT_S)
        return len(times)


def _tables(engine: Engine, device: str) -> list[Table]:
    """The tables that have rows of a device, but for those that are computed."""
    number = engine.catalog.devices.id_of(device)
    if number is None:
        return []
    family = engine.catalog.devices.family_name(number).casefold()
    return [
        table
        for table in engine.catalog.templates.all()
        if table.family.casefold() == family and not table.replaces_rows
    ]


def _gaps(spans: tuple[Span, ...]) -> list[Span]:
    """What lies between and around ``spans``, which ascend."""
    found, at = [], ALWAYS[0]
    for start_ns, end_ns in spans:
        if at < start_ns:
            found.append((at, start_ns))
        at = end_ns
    return [*found, (at, ALWAYS[1])] if at < ALWAYS[1] else found
