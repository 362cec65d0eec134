"""What a caller names, as what a scan needs: devices as ascending ids, times as nanoseconds."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mainstem_engine.catalog.catalog import Catalog
from mainstem_engine.catalog.templates import Table
from mainstem_engine.columns import TIME_MAX_NS, TIME_MIN_NS
from mainstem_engine.errors import NotFoundError, SchemaError
from mainstem_engine.model import DeviceIds

_ID_MAX = 2**32 - 1

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


def named_devices(devices: Any) -> DeviceIds | list[str]:
    """What a caller names, as uint32 ids or as paths: one or many of either, in a list or in an
    array of numpy or Arrow. Raises SchemaError for anything else."""
    if isinstance(devices, str):
        return [devices]
    if isinstance(devices, int | np.integer) and not isinstance(devices, bool):
        devices = np.array([devices])
    if isinstance(devices, np.ndarray) and devices.dtype.kind in "iu":
        return _checked_ids(np.atleast_1d(devices))
    try:
        # Arrow's scalars are no strings; its arrays know how to become some.
        listed = devices.to_pylist() if hasattr(devices, "to_pylist") else list(devices)
    except TypeError:
        raise _no_devices(devices) from None
    kinds = set(map(type, listed))
    if all(issubclass(kind, str) for kind in kinds):
        return listed
    if all(issubclass(kind, int | np.integer) and kind is not bool for kind in kinds):
        return _checked_ids(np.array(listed, dtype=object))
    wrong = next(item for item in listed if not isinstance(item, str))
    raise _no_devices(wrong)


def _checked_ids(ids: Any) -> DeviceIds:
    if ids.dtype == np.uint32:
        return ids  # type: ignore[no-any-return]
    # Another width would wrap around to the id of a device that was not meant.
    outside = (ids < 0) | (ids > _ID_MAX)
    if outside.any():
        raise NotFoundError(
            f"there is no device with id {ids[int(np.argmax(outside))]}",
            field="devices",
            hint="take ids from device_ids()",
        )
    found: DeviceIds = ids.astype(np.uint32)
    return found


def _no_devices(value: Any) -> SchemaError:
    return SchemaError(
        f"{value!r:.60} is no device",
        field="devices",
        hint="name devices by path, or by the ids of device_ids()",
    )


def _ids(catalog: Catalog, devices: str | Sequence[str] | DeviceIds) -> DeviceIds:
    """Ascending and distinct."""
    named = devices if isinstance(devices, str) else named_devices(devices)
    if isinstance(named, np.ndarray):
        ids = named
        if len(ids) > 1 and not bool((ids[1:] > ids[:-1]).all()):
            ids = np.unique(ids)
        return ids
    if isinstance(named, str):
        # What is asked most often, and ten times faster than looking up many.
        known = catalog.devices.id_of(named)
        return np.array([] if known is None else [known], np.uint32)
    found = catalog.devices.lookup(named)
    return found if len(found) == 1 else np.unique(found)


def bound_ns(value: int | None, precision_ns: int, default: int) -> int:
    """A bound of a range in ns; beyond what a time can be, the extreme. Raises SchemaError."""
    if value is None:
        return default
    try:
        number = operator.index(value)
    except TypeError:
        raise SchemaError(
            f"{value!r:.60} is no bound of times", hint="an integer in the table's precision is"
        ) from None
    return min(max(number * precision_ns, TIME_MIN_NS), TIME_MAX_NS + 1)
