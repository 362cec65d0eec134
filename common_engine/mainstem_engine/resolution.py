"""What a flush finds out about deletes, so that the sums stay true to what is visible.

1. A delete of this node has said how many visible rows it erased. That stays right unless late rows
   came in its range: such a row may be a second one of a key, or one that lives again.
2. What a delete or slice image of another node erased is counted here: the visible rows of its
   range without it, less those with it, all earlier ones applied.

Late rows were compared (late_rows.py) as if nothing of this flush had been deleted; what is
found here corrects that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mainstem_engine.accounting import Resolution
from mainstem_engine.deletes import Tombstone, Tombstones
from mainstem_engine.inventory import BrokenPart
from mainstem_engine.model import DeviceIds, TimesNs
from mainstem_engine.scan import Selection, iterate_rows
from mainstem_engine.view import TableView

Keys = tuple[DeviceIds, TimesNs]


def resolve_deletes(
    view: TableView, earlier: Tombstones, new: Tombstones, late: Sequence[Keys]
) -> Resolution:
    """The correction by the tombstones ``new`` of this flush.

    ``view``: the older parts and the chunks that are being flushed. ``earlier``: tombstones of
    earlier flushes. ``late``: keys of the late rows of this flush. Rows in damaged parts count as
    they did before.
    """
    parts = [part for part in view.parts if not isinstance(part, BrokenPart)]
    view = replace(view, parts=parts)
    live = deleted = 0
    applied = list(earlier)
    for item in new:
        if item.rows is None or any(_touches(item, *keys) for keys in late):
            before = _count(view, Tombstones(applied), item)
            erased = before - _count(view, Tombstones([*applied, item]), item)
            if item.rows is None:
                deleted += erased
                live -= erased
            else:
                live += item.rows - erased
        applied.append(item)
    return Resolution(0, live, deleted)


def _touches(item: Tombstone, device: DeviceIds, time: TimesNs) -> bool:
    inside = (time >= item.start_ns) & (time < item.end_ns)
    if not inside.any():
        return False
    return item.devices is None or bool(np.isin(device[inside], item.devices).any())


def _count(view: TableView, tombstones: Tombstones, item: Tombstone) -> int:
    """Visible rows in the range of ``item``."""
    devices = None if item.devices is None else np.unique(item.devices)
    # Of every origin: a row that another one wrote too is still there without this one's.
    selection = Selection(devices, item.start_ns, item.end_ns, ())
    some = tombstones.overlapping(devices, item.start_ns, item.end_ns)
    return sum(len(rows) for rows in iterate_rows(replace(view, tombstones=some), selection))
