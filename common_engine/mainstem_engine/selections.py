"""What a caller names, as what a scan needs: devices as ascending ids, times as nanoseconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mainstem_engine.catalog.catalog import Catalog
from mainstem_engine.catalog.templates import Table
from mainstem_engine.columns import TIME_MAX_NS, TIME_MIN_NS
from mainstem_engine.errors import NotFoundError
from mainstem_engine.model import DeviceIds

DevicesLike = str | Sequence[str] | DeviceIds | None
"""Devices as callers name them: a path, paths, ids; None for all of the table."""


def select_devices(
    catalog: Catalog, table: Table, devices: DevicesLike, tags: Mapping[str, Any] | None
) -> DeviceIds | None:
    """Ascending uint32 of the table's devices that are named and carry the tags; None for all.

    Names and ids that are no devices of the table are left out. NotFoundError for an unknown tag.
    """
    chosen: DeviceIds | None = None
    if devices is not None:
        chosen = _ids(catalog, devices)
        if not catalog.devices.all_in_family(chosen, table.family):
            chosen = np.intersect1d(chosen, catalog.devices.of_family(table.family))
    if tags:
        for name in tags:
            if table.tag(name) is None:
                raise NotFoundError(f"template {table.name} has no tag {name!r}", field=name)
        matching = catalog.devices.matching(table.family, tags)
        chosen = matching if chosen is None else np.intersect1d(chosen, matching)
    return chosen


def _ids(catalog: Catalog, devices: str | Sequence[str] | DeviceIds) -> DeviceIds:
    """Ascending and distinct."""
    if isinstance(devices, np.ndarray) and devices.dtype.kind in "iu":
        ids = np.atleast_1d(devices)
        if len(ids) > 1 and not bool((ids[1:] > ids[:-1]).all()):
            ids = np.unique(ids)
        return ids.astype(np.uint32, copy=False)
    if isinstance(devices, str):
        # What is asked most often, and ten times faster than looking up many.
        known = catalog.devices.id_of(devices)
        return np.array([] if known is None else [known], np.uint32)
    paths = [str(path) for path in devices]
    found = catalog.devices.lookup(paths)
    return found if len(found) == 1 else np.unique(found)


def bound_ns(value: int | None, precision_ns: int, default: int) -> int:
    """A bound of a range in ns; beyond what a time can be, the extreme."""
    if value is None:
        return default
    return min(max(int(value) * precision_ns, TIME_MIN_NS), TIME_MAX_NS + 1)
