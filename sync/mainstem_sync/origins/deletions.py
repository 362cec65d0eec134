"""Deletes of children: whose rows they mean here, which slices they touch, what of them goes up.

1. A DEL record is resolved by the owner: device ids and times. The ids are mapped as those of rows
   are; devices that the child may not write to, and columns that conflict here, hold none of its
   rows and are left out.
2. It may arrive before rows that it covers: versions decide, the engine remembers it.
3. A delete touches every slice in which it found rows, as rows touch the slices they are in.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from mainstem_engine.erasures import Erasure, decode_erasure, erasure_payload
from mainstem_engine.filesystem import Buffer, byte_view
from mainstem_engine.model import BoolMask
from mainstem_sync.errors import UnknownSchemaError
from mainstem_sync.origins.origin_state import CONFLICT, DENIED, UNMAPPED, OriginMaps, TableMap


def map_erasure(erasure: Erasure, table: TableMap, maps: OriginMaps) -> Erasure | None:
    """With local ids; None when nothing here is meant. Raises UnknownSchemaError for what the maps
    do not know."""
    measurements = None
    if erasure.measurements is not None:
        unknown = [key for key in erasure.measurements if key not in table.measurements]
        if unknown:
            raise UnknownSchemaError(f"a delete in {table.name} has unknown measurements {unknown}")
        local = {table.measurements[key].local for key in erasure.measurements}
        measurements = tuple(sorted(local - {CONFLICT}))
        if not measurements:
            return None
    mapped = replace(erasure, table=table.local, measurements=measurements)
    if erasure.devices is None:
        return mapped
    device = maps.local_devices(erasure.devices)
    if bool((device == UNMAPPED).any()):
        raise UnknownSchemaError(f"a delete in {table.name} names a device that is not known here")
    keep = device != DENIED
    if not keep.any():
        return None
    return _with_devices(mapped, device, keep)


def scoped_payload(payload: Buffer, select: BoolMask | None) -> Buffer | None:
    """The payload of a DEL record for those of its devices that go up; None when none does.

    ``select``: by entry of the record's devices, None for all.
    """
    if select is None or select.all():
        return payload
    if not select.any():
        return None
    erasure = decode_erasure(payload)
    assert erasure.devices is not None
    times = None if erasure.times is None else erasure.times[select]
    ends = None if erasure.ends is None else erasure.ends[select]
    some = replace(erasure, devices=erasure.devices[select], times=times, ends=ends)
    return b"".join(map(byte_view, erasure_payload(some)))


def _with_devices(erasure: Erasure, device: npt.NDArray[np.int64], keep: BoolMask) -> Erasure:
    """The entries at ``keep`` with these ids, in the order that the engine wants."""
    devices = device[keep].astype(np.uint32)
    if erasure.times is None:
        return replace(erasure, devices=np.unique(devices))
    times = erasure.times[keep]
    order = np.lexsort((times, devices))
    ends = None if erasure.ends is None else erasure.ends[keep][order]
    return replace(erasure, devices=devices[order], times=times[order], ends=ends)
