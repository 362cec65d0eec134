"""Late rows: what became of those that were not newer than all before them.

1. When such a row arrives nobody knows whether its (device, time) is stored already. The head keeps
   its key, and the flush compares it with the head's rows and the older parts.
2. Of each key one row counts as live: the one that was so at once if there is one, else one of the
   late rows unless an older part has the key. The others are overwritten.
3. Of older parts only blocks that may hold a key are read, and of them only the keys' columns.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mainstem_engine.accounting import Resolution
from mainstem_engine.deletes import NONE, Tombstones
from mainstem_engine.head import TableHead
from mainstem_engine.inventory import AnyPart, blocks_of
from mainstem_engine.merge import key_order, match_keys, run_starts
from mainstem_engine.model import DeviceIds, TimesNs, VersionedRows

LOOKUP_ROWS = 1 << 18
"""Keys of older parts that are compared at a time, which bounds the memory of a late backfill."""


class LateRows:
    """The late keys of one head, handed out in order of device and time.

    ``parts``: older ones of the table. ``erased``: tombstones of earlier flushes.
    """

    def __init__(
        self, head: TableHead, parts: Sequence[AnyPart], erased: Tombstones = NONE
    ) -> None:
        self._parts = parts
        self._erased = erased
        device = np.concatenate([np.empty(0, np.uint32), *(late[0] for late in head.late)])
        time = np.concatenate([np.empty(0, np.int64), *(late[1] for late in head.late)])
        order = key_order(device, time)
        self._device, self._time = device[order], time[order]
        self._next = 0

    def resolve(self, rows: VersionedRows) -> Resolution:
        """What became of the late rows among ``rows``: the next of the head in order of device and
        time, none left out; all rows of a key are in one call."""
        if not len(rows):
            return Resolution()
        first, last = self._next, self._end(rows.device[-1], rows.time[-1])
        self._next = last
        if first == last:
            return Resolution()
        device, time = self._device[first:last], self._time[first:last]
        starts = run_starts(device, time)
        late_rows = np.diff(np.append(starts, len(device)))
        key_device, key_time = device[starts], time[starts]
        all_starts = run_starts(rows.device, rows.time)
        all_rows = np.diff(np.append(all_starts, len(rows)))
        among = match_keys(rows.device[all_starts], rows.time[all_starts], key_device, key_time)
        open_keys = all_rows[among] <= late_rows
        older = keys_in_parts(key_device[open_keys], key_time[open_keys], self._parts, self._erased)
        live = int(np.count_nonzero(open_keys)) - int(np.count_nonzero(older))
        return Resolution(len(device), live)

    def _end(self, device: np.uint32, time: np.int64) -> int:
        """How many keys are at or before (device, time)."""
        low = int(self._device.searchsorted(device, side="left"))
        high = int(self._device.searchsorted(device, side="right"))
        return low + int(self._time[low:high].searchsorted(time, side="right"))


def keys_in_parts(
    device: DeviceIds, time: TimesNs, parts: Sequence[AnyPart], erased: Tombstones = NONE
) -> npt.NDArray[np.bool_]:
    """Which of the keys (sorted, distinct) have a row in one of the parts that is not ``erased``.

    Only blocks whose device and time range holds one of the keys are read, and of them only the
    columns of the key, unless single values were deleted.
    """
    found = np.zeros(len(device), np.bool_)
    if not len(device):
        return found
    devices = np.unique(device)
    start_ns, end_ns = int(time.min()), int(time.max()) + 1
    for part in parts:
        hit = blocks_of(part, devices, start_ns, end_ns)
        if hit is None:
            continue
        whole, blocks = hit
        index = whole.blocks
        low = np.searchsorted(device, index.device_min[blocks], side="left")
        high = np.searchsorted(device, index.device_max[blocks], side="right")
        wanted = [
            int(block)
            for block, a, b in zip(blocks, low, high, strict=True)
            if _any_between(time[a:b], index.time_min_ns[block], index.time_max_ns[block])
        ]
        standing = erased.of_part(whole.meta)
        for group in _block_groups(wanted, index.rows):
            needed = whole.types if standing.partial else ()
            stored = whole.read(group, needed, versions=bool(standing))
            stored = standing.erase(stored, whole.meta.applied)
            place = match_keys(device, time, stored.device, stored.time)
            found[place[place >= 0]] = True
    return found


def _any_between(times: TimesNs, low: int, high: int) -> bool:
    return bool(((times >= low) & (times <= high)).any())


def _block_groups(blocks: Sequence[int], rows: npt.NDArray[np.uint32]) -> Sequence[list[int]]:
    """Blocks in groups of about LOOKUP_ROWS rows."""
    groups: list[list[int]] = []
    size = LOOKUP_ROWS
    for block in blocks:
        if size >= LOOKUP_ROWS:
            groups.append([])
            size = 0
        groups[-1].append(block)
        size += int(rows[block])
    return groups
