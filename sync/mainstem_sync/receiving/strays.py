"""Rows of this node on devices that a child owns: put aside, so that the child's stand.

1. Only slices that differ from their owner's statement are looked at, each once while it differs.
2. What is found is durable in the quarantine (``not_owner``) before it is deleted here, by a delete
   of this node like any other: tiers above follow it.
3. More than a few are no accident: they are left for somebody to decide, and the slice stays a
   MISMATCH. So does one with rows of a third node.
4. A device that was moved to or from this node is left to moved_rows.py.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from typing import Any

import numpy as np

from mainstem_engine.catalog.templates import Table
from mainstem_engine.engine import Engine
from mainstem_engine.errors import EngineError
from mainstem_engine.model import SELF_ORIGIN, DeviceIds, Rows
from mainstem_sync.proof.prover import DamagedSlice
from mainstem_sync.receiving.covering import PUT_ASIDE
from mainstem_sync.receiving.parking import NOT_OWNER
from mainstem_sync.receiving.quarantine import QuarantineBlock, QuarantineStore
from mainstem_sync.state.follower import Follower
from mainstem_sync.state.patience import ACK_TIMEOUT_S

logger = logging.getLogger(__name__)

NS_PER_MS = 1_000_000

ROWS_MAX = 1_000
"""Rows of one slice that are taken for a mistake."""

SLICES_MAX = 20
"""However many differ: a look stays short, the rest have their turn in the next second."""


class Strays:
    """See the module. One caller at a time."""

    def __init__(self, node: str, follower: Follower, quarantine: QuarantineStore) -> None:
        self._node = node
        self._follower = follower
        self._quarantine = quarantine
        self._seen: set[DamagedSlice] = set()

    def look(self, engine: Engine, damaged: Iterable[DamagedSlice], at_ms: int) -> int:
        """Put aside what there is in ``damaged``; returns how many rows."""
        differing = {item for item in damaged if not item.summed}
        self._seen &= differing
        total = 0
        for item in sorted(differing - self._seen, key=lambda item: -item.start_ns)[:SLICES_MAX]:
            self._seen.add(item)
            try:
                total += self._put_aside(engine, item, at_ms)
            except EngineError as exc:
                logger.warning("%s: strays of %s are left: %s", self._node, item.table, exc)
        return total

    def _put_aside(self, engine: Engine, item: DamagedSlice, at_ms: int) -> int:
        table = engine.catalog.table(item.table)
        if table.replaces_rows:
            return 0  # tiers compute rollups for the devices of others
        with self._follower.lock:
            state = self._follower.origins.get(item.origin)
            theirs = None if state is None else state.maps.devices[state.maps.devices >= 0]
        if theirs is None:
            return 0
        own = engine.slice_image(table.name, SELF_ORIGIN, item.start_ns, item.end_ns).rows
        astray = np.isin(own.device, theirs.astype(np.uint32))
        if given := self._follower.moves.devices_of(self._node):
            # Devices that this node has or had are its own in their spans.
            known = engine.catalog.devices
            astray &= ~np.isin(own.device, known.lookup_all(list(given)))
        rows = own.take(astray)
        if not 0 < len(rows) <= ROWS_MAX:
            return 0
        block = own_block(self._node, engine, table, rows, at_ms)
        self._quarantine.add_blocks([block])
        found = engine.delete_rows(table, rows.device, rows.time, header={PUT_ASIDE: 1})
        found.ack.wait(ACK_TIMEOUT_S)
        logger.error(
            "%s: %d rows of %s on devices of %s were not theirs: put aside", self._node, len(rows),
            table.name, item.origin.name,
        )  # fmt: skip
        return len(rows)


def own_block(node: str, engine: Engine, table: Table, rows: Rows, at_ms: int) -> QuarantineBlock:
    """Rows of this node that are another one's, as the quarantine keeps them."""
    names = {m.id: m.name for m in table.template.measurements}
    values = [
        json.dumps(
            {
                names[key]: _plain(column.values[row])
                for key, column in rows.columns.items()
                if key in names and (column.valid is None or column.valid[row])
            },
            default=str,
        )
        for row in range(len(rows))
    ]
    return QuarantineBlock(
        node, table.name, "", NOT_OWNER, at_ms, _paths(engine, rows.device),
        (rows.time // NS_PER_MS).tolist(), values,
    )  # fmt: skip


def _paths(engine: Engine, devices: DeviceIds) -> list[str]:
    return [engine.catalog.devices.path(device) for device in devices.tolist()]


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value
