"""Giving up what cannot be read of a part, while the engine runs.

1. *Look*: every block of the parts that may hold rows of the time in question is read. Nothing is
   changed: the caller writes down what will be gone before it is.
2. *Write*: what can be read of a damaged part becomes a new part (repair_part.py).
3. *Commit*: one record of the part list puts the new part in the place of the old one, and counts
   the rows that are gone as ``lost_local``. A crash finds all of it or nothing.
4. *Publish*, under the store's state lock, then *unlink*: whoever reads the old part keeps it.

Only parts without rows of this node are given up: those of another node can be had from it again.
The caller sees to it that no compaction and no expiry runs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mainstem_engine.errors import CorruptionError
from mainstem_engine.inventory import AnyPart
from mainstem_engine.losses import Losses
from mainstem_engine.model import SELF_ORIGIN
from mainstem_engine.part.reader import Part
from mainstem_engine.repair_part import Salvage, salvage_part

if TYPE_CHECKING:
    from mainstem_engine.store import Store

logger = logging.getLogger(__name__)

SPANS_MAX = 64
"""Stretches that are named of one part; of more the last goes to the end of the part."""

Still = Callable[[], AbstractContextManager[object]]
"""Inside it nothing else changes which parts there are."""


@dataclass(frozen=True, slots=True)
class DamagedPart:
    """A part with blocks that cannot be read. ``spans``: [start, end) in ns of their rows,
    ascending; ``own``: it holds rows of this node, too."""

    table: str
    name: str
    spans: tuple[tuple[int, int], ...]
    own: bool


def damaged_parts(store: Store, table: str, start_ns: int, end_ns: int) -> list[DamagedPart]:
    """The damaged parts of a table that may hold rows of [start, end)."""
    found = []
    with store.state_lock:
        parts = list(store.inventory.of_table(table))
    for part in parts:
        meta = part.meta
        if meta.time_min_ns < end_ns and meta.time_max_ns >= start_ns:
            spans = _damaged_spans(part)
            if spans:
                found.append(DamagedPart(table, meta.name, spans, SELF_ORIGIN in meta.lsn))
    return found


def _damaged_spans(part: AnyPart) -> tuple[tuple[int, int], ...]:
    whole = (part.meta.time_min_ns, part.meta.time_max_ns + 1)
    if not isinstance(part, Part):
        return (whole,)
    spans: list[tuple[int, int]] = []
    try:
        index, keys = part.blocks, list(part.types)
        for number in range(len(index)):
            try:
                part.read([number], keys)
            except CorruptionError:
                first, last = index.time_min_ns.item(number), index.time_max_ns.item(number)
                spans.append((first, last + 1))
    except CorruptionError:
        return (whole,)
    joined: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if joined and (start <= joined[-1][1] or len(joined) == SPANS_MAX):
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return tuple(joined)


def set_aside(store: Store, table: str, names: Collection[str], still: Still) -> int:
    """Gives up what cannot be read of these parts, and of them only what is of other nodes;
    returns how many rows are gone. Raises OSError, then parts not yet done are as they were."""
    with store.state_lock:
        parts = [p for p in store.inventory.of_table(table) if p.meta.name in names]
    return sum(_set_aside(store, part, still) for part in parts if SELF_ORIGIN not in part.meta.lsn)


def _set_aside(store: Store, part: AnyPart, still: Still) -> int:
    inventory, meta = store.inventory, part.meta
    salvage = _salvaged(store, part)
    added = [] if salvage.meta is None else [salvage.meta]
    opened = inventory.open_written(added)
    with still():
        losses = Losses.of(inventory.facts).plus({meta.table: salvage.lost_rows}, ())
        inventory.record(added, [meta.name], facts=losses.to_facts())
        store.publish_losses(losses, opened, [meta.name])
        inventory.unlink([meta])
    logger.error(
        "part %s of %s is damaged: %d of its %d rows were given up",
        meta.name, meta.table, salvage.lost_rows, meta.rows,
    )  # fmt: skip
    return salvage.lost_rows


def _salvaged(store: Store, part: AnyPart) -> Salvage:
    meta = part.meta
    directory = store.inventory.path_of(meta).parent
    known = {item.id: item for item in store.catalog.table(meta.table).template.measurements}
    name = store.inventory.next_name()
    return salvage_part(store.fs, directory, meta, directory, name, known)
