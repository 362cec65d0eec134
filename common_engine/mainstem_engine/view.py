"""What a query sees of one table: the same rows however long it takes.

A view holds the chunks of the head and the parts as they were at one instant. Both are only ever
appended to or replaced, so nothing that happens later changes what a view shows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from mainstem_engine.deletes import NONE, Tombstones
from mainstem_engine.head import Chunk
from mainstem_engine.inventory import AnyPart
from mainstem_engine.memory import MemoryBudget
from mainstem_engine.model import ColumnType, DeviceIds
from mainstem_engine.retention import Cutoff


@dataclass(frozen=True, slots=True)
class TableView:
    """``devices``: all of the table, ascending. ``epochs`` uint32 by index of the origin.
    ``whole_rows``: the newest version of a row replaces all of it (rollup tables).
    ``types``: the table's types at this instant by measurement id; older parts and chunks may hold
    narrower ones. ``tombstones``: what was deleted and is still in parts or chunks; false when
    nothing was. ``cutoff``: rows before it are expired; None when none are. ``memory``: what scans
    take their steps' memory from; None: nobody counts."""

    table: str
    whole_rows: bool
    devices: DeviceIds
    chunks: Sequence[Chunk]
    parts: Sequence[AnyPart]
    epochs: npt.NDArray[np.uint32]
    types: Mapping[int, ColumnType] = field(default_factory=dict)
    tombstones: Tombstones = NONE
    cutoff: Cutoff | None = None
    memory: MemoryBudget | None = None
