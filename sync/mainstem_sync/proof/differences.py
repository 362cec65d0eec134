"""Which points differed: what is stored of a slice, beside the image that repairs it.

1. A statement says that a slice differs, not where. The image that is asked for to repair it is all
   that its owner has: beside the rows that it is about to replace it names every point.
2. Only slices that were a MISMATCH lately are compared so; images of owed slices replace what is
   not there yet, and say nothing about errors.
3. What was found is kept until the process ends, the newest DIFFERENCES_MAX points, and logged.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mainstem_engine.engine import Engine
from mainstem_engine.errors import CorruptionError, OverloadedError
from mainstem_engine.images import SliceImage
from mainstem_engine.model import Column, Rows, VersionedRows
from mainstem_engine.slices import canonical_bits
from mainstem_sync.origins.origin_state import OriginState
from mainstem_sync.proof.prover import DamagedSlice
from mainstem_sync.state.boundaries import Boundaries
from mainstem_sync.state.moves import Moves
from mainstem_sync.wire.messages import OriginKey

logger = logging.getLogger(__name__)

DIFFERENCES_MAX = 1_000
"""Points that are remembered: 300 kB."""

POINTS_MAX = 50
"""Points that one image names; where more differ, the slice itself says more than a list."""

ROWS_MAX = 500_000
"""Rows of a slice that are compared: some tens of milliseconds, and some megabytes."""

LATELY_S = 60.0
"""An image may come just after its slice was stated anew, and before it was scanned again."""

NS_PER_MS = 1_000_000

ALTERED, MISSING, ADDED = "altered", "missing", "added"


@dataclass(frozen=True, slots=True)
class Difference:
    """One point. ``what``: ``altered``, ``missing`` here, or ``added`` here; ``here`` is what was
    stored, ``owner`` what its owner has, None for nothing."""

    node: str
    table: str
    device: str
    measurement: str
    time_ns: int
    what: str
    here: Any
    owner: Any

    def show(self, at_ms: int) -> dict[str, Any]:
        return {
            "node": self.node,
            "table": self.table,
            "device": self.device,
            "measurement": self.measurement,
            "time": self.time_ns // NS_PER_MS,
            "what": self.what,
            "here": _plain(self.here),
            "owner": _plain(self.owner),
            "at": at_ms,
        }


class Differences:
    """What images have named. Thread-safe; ``monotonic`` in s."""

    def __init__(self, node: str, monotonic: Callable[[], float], moves: Moves) -> None:
        self._node = node
        self._moves = moves
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._found: dict[tuple[str, str, str, int], tuple[Difference, int]] = {}
        self._differing: dict[tuple[OriginKey, str, int], float] = {}

    def differ(self, damaged: Iterable[DamagedSlice]) -> None:
        """These slices are a MISMATCH now."""
        now = self._monotonic()
        with self._lock:
            seen = {(item.origin, item.table, item.start_ns): now for item in damaged}
            for key, at in self._differing.items():
                if now - at <= LATELY_S:
                    seen.setdefault(key, at)
            self._differing = seen

    def of(self, engine: Engine, state: OriginState, image: SliceImage) -> list[Difference]:
        """What is stored of an image's range and is not what the image says, at most POINTS_MAX
        points. ``image`` with the ids of this node. Nothing where no slice of it differed, or where
        the rows of one instant go on in another image."""
        watch = state.watches.get(image.table)
        if watch is None:
            return []
        size = watch.slice_ns
        with self._lock:
            hit = any(
                (origin, table) == (state.key, image.table)
                and start < image.end_ns
                and start + size > image.start_ns
                for origin, table, start in self._differing
            )
        if not hit:
            return []
        boundaries = Boundaries(self._moves, state.key.name, engine.catalog.devices)
        return _differences(engine, state, image, size, boundaries)

    def note(self, found: list[Difference], at_ms: int) -> None:
        """These points were repaired."""
        if not found:
            return
        with self._lock:
            for item in found:
                key = (item.table, item.device, item.measurement, item.time_ns)
                self._found.pop(key, None)
                self._found[key] = item, at_ms
            for key in list(self._found)[: max(0, len(self._found) - DIFFERENCES_MAX)]:
                del self._found[key]
        shown = "; ".join(
            f"{i.device}.{i.measurement} at {i.time_ns // NS_PER_MS} ms was {i.what}: "
            f"{_plain(i.here)!r} here, {_plain(i.owner)!r} at its owner"
            for i in found[:3]
        )
        more = f"; and {len(found) - 3} more" if len(found) > 3 else ""
        logger.error("%s: %s: %s%s", self._node, found[0].table, shown, more)

    def between(self, start_ns: int | None, end_ns: int | None) -> list[dict[str, Any]]:
        """Points of [start, end), the newest found first."""
        with self._lock:
            found = list(self._found.values())
        return [
            item.show(at_ms)
            for item, at_ms in reversed(found)
            if (start_ns is None or item.time_ns >= start_ns)
            and (end_ns is None or item.time_ns < end_ns)
        ]


def _differences(
    engine: Engine, state: OriginState, image: SliceImage, slice_ns: int, boundaries: Boundaries
) -> list[Difference]:
    rows = image.rows
    is_cut = (image.end_ns - image.start_ns) % slice_ns != 0
    is_one_instant = len(rows) > 0 and rows.time.min() == rows.time.max()
    if image.part or len(rows) > ROWS_MAX or (is_cut and is_one_instant):
        return []
    table = engine.catalog.table(image.table)
    theirs = state.maps.devices[state.maps.devices >= 0]
    known = np.intersect1d(engine.catalog.devices.of_family(table.family), theirs)
    devices = np.union1d(known, rows.device).astype(np.uint32)
    try:
        stored = engine.stored_rows(image.table, devices, image.start_ns, image.end_ns)
    except (CorruptionError, OverloadedError):
        return []
    outside = boundaries.outside(stored.device, stored.time)
    if outside is not None:  # of another owner of a device that was moved
        stored = stored.take(~outside)
    names = {item.id: item.name for item in table.template.measurements}
    return [
        Difference(
            state.key.name, table.name, engine.catalog.devices.path(device), names[key], time_ns,
            what, here, owner,
        )
        for device, time_ns, key, what, here, owner in _compare(stored, rows)
        if key in names
    ]  # fmt: skip


_Point = tuple[int, int, int, str, Any, Any]


def _compare(stored: VersionedRows, stated: Rows) -> list[_Point]:
    """(device, time, measurement id, what, value stored, value stated) of what differs, in order of
    device and time. No side has two rows of one device and time."""
    device = np.concatenate([stored.device, stated.device])
    time = np.concatenate([stored.time, stated.time])
    row = np.concatenate([np.arange(len(stored)), np.arange(len(stated))])
    side = np.repeat(np.array([0, 1]), [len(stored), len(stated)])
    order = np.lexsort((side, time, device))
    device, time, row, side = device[order], time[order], row[order], side[order]
    first = np.ones(len(time), np.bool_)
    first[1:] = (device[1:] != device[:-1]) | (time[1:] != time[:-1])
    place = np.cumsum(first) - 1
    at: list[npt.NDArray[np.int64]] = []
    for number in (0, 1):
        rows = np.full(int(first.sum()), -1, np.int64)
        rows[place[side == number]] = row[side == number]
        at.append(rows)
    found: list[_Point] = []
    device, time = device[first], time[first]
    for key in dict.fromkeys((*stored.columns, *stated.columns)):
        here, here_bits = _bits(stored.columns.get(key), at[0])
        owner, owner_bits = _bits(stated.columns.get(key), at[1])
        differs = (here != owner) | (here & owner & (here_bits != owner_bits))
        for number in np.flatnonzero(differs)[:POINTS_MAX].tolist():
            what = ALTERED if here[number] and owner[number] else ADDED
            if not here[number]:
                what = MISSING
            was = stored.columns[key].values[at[0][number]] if here[number] else None
            said = stated.columns[key].values[at[1][number]] if owner[number] else None
            found.append((int(device[number]), int(time[number]), key, what, was, said))
    return sorted(found, key=lambda point: point[:3])[:POINTS_MAX]


def _bits(
    column: Column | None, rows: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.uint64]]:
    """(whether there is a value, its canonical bits) at ``rows``; -1 for no row."""
    there = rows >= 0
    bits = np.zeros(len(rows), np.uint64)
    if column is None:
        return np.zeros(len(rows), np.bool_), bits
    if column.valid is not None:
        there[there] = column.valid[rows[there]]
    bits[there] = canonical_bits(column.take(rows[there]))
    return there, bits


def _plain(value: Any) -> Any:
    """As JSON has it; what it has not, as text."""
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
