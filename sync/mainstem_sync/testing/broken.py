"""Nodes that are broken on purpose, each in one place: what cannot fail proves nothing.

Each variant is a mistake that systems of this kind have been made with. ``broken`` puts it in place
for the time of its body; a run inside must fail for some seed soon.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from mainstem_engine import merge
from mainstem_engine.application import Application
from mainstem_engine.deletes import Tombstones
from mainstem_engine.imaging import Imaging
from mainstem_engine.model import SELF_ORIGIN, VersionedRows
from mainstem_engine.queries import Queries
from mainstem_engine.slices import DeviceKeys, SliceDigests, digest_rows
from mainstem_engine.standing_deletes import StandingDeletes
from mainstem_engine.testing.memory_log import MemoryLog
from mainstem_sync.lines.forking import Verdict
from mainstem_sync.receiving import greeting
from mainstem_sync.slices.manifest import SLICE_NS, Ints
from mainstem_sync.slices.watch import TableWatch
from mainstem_sync.slices.watched_slices import WatchedSlices

LSN_MAX = (1 << 63) - 1
PATIENCE_SLICES = 5


@contextlib.contextmanager
def broken(variant: str) -> Iterator[None]:
    """Everything inside runs with this mistake. KeyError for one that is not in VARIANTS."""
    with contextlib.ExitStack() as stack:
        for owner, name, make in VARIANTS[variant]():
            original = getattr(owner, name)
            setattr(owner, name, make(original))
            stack.callback(setattr, owner, name, original)
        yield


Change = tuple[Any, str, Callable[[Any], Any]]
"""(owner, name of its attribute, function that makes the broken one of the right one)."""


def _arrival_order_merge() -> list[Change]:
    """Of two values of one point the one wins that came last."""

    def make(_: Any) -> Any:
        def as_they_came(rows: VersionedRows, epochs: Any) -> VersionedRows:
            del epochs
            return merge.gather(rows, merge.key_order(rows.device, rows.time))

        return as_they_came

    return [(merge, "version_sorted", make)]


def _acknowledge_before_fsync() -> list[Change]:
    """What was written counts as being on disk."""
    return [
        (MemoryLog, "sync", lambda _: lambda log: None),
        (MemoryLog, "fsynced_lsn", lambda _: property(lambda log: log.committed_lsn)),
    ]


def _image_without_floor() -> list[Change]:
    """After a slice image older rows of the slice may still come in."""
    return [(StandingDeletes, "raise_floor", lambda _: lambda *args: None)]


def _image_without_refusal() -> list[Change]:
    """A slice image is applied although newer rows are here already."""

    def make(_: Any) -> Any:
        return lambda *args, **kwargs: 0

    return [(Imaging, "slice_max_lsn", make), (WatchedSlices, "newest_applied", make)]


def _tombstones_dropped_early() -> list[Change]:
    """A delete is forgotten before all that it may cover has arrived."""

    def make(needed: Any) -> Any:
        return lambda self, metas, lsn, settled: needed(self, metas, lsn, lambda _: LSN_MAX)

    return [(Tombstones, "needed", make)]


def _watermark_on_time_out() -> list[Change]:
    """A slice that stays unproven for some minutes is taken for complete."""

    def make(unproven: Any) -> Any:
        def impatient(watch: TableWatch, first: int, end: int) -> Ints:
            newest = watch.as_of_ns // watch.slice_ns - PATIENCE_SLICES
            keys: Ints = unproven(watch, first, end)
            return keys[keys >= newest]

        return impatient

    return [(TableWatch, "unproven", make)]


def _digest_of_arriving_rows() -> list[Change]:
    """Digests are summed up while rows arrive, instead of being made of what is stored."""
    kept: dict[tuple[int, str, int], list[int]] = {}

    def counting(add_rows: Any) -> Any:
        def add(
            self: Application, table: str, origin: int, rows: Any, lsn: Any, *rest: Any
        ) -> None:
            if origin != SELF_ORIGIN and len(rows):
                store = self._store
                versions = VersionedRows(
                    rows.device, rows.time, np.zeros(len(rows), np.uint16),
                    np.zeros(len(rows), np.uint64), rows.columns,
                )  # fmt: skip
                order = merge.key_order(rows.device, rows.time)
                ids = {key: key for key in rows.columns}
                found = digest_rows(
                    merge.gather(versions, order), DeviceKeys(store.catalog.devices), SLICE_NS, ids
                )
                for start, *sums in zip(*(part.tolist() for part in found), strict=True):
                    total = kept.setdefault((id(store), table, start // SLICE_NS), [0, 0, 0])
                    for at, value in enumerate(sums):
                        total[at] = (total[at] + value) % (1 << 64)
            add_rows(self, table, origin, rows, lsn, *rest)

        return add

    def remembering(slice_digests: Any) -> Any:
        def digests(
            engine: Any,
            table: str,
            origin: int,
            start: int,
            end: int,
            size: int,
            *rest: Any,
            **more: Any,
        ) -> SliceDigests:
            if origin == SELF_ORIGIN:
                found: SliceDigests = slice_digests(
                    engine, table, origin, start, end, size, *rest, **more
                )
                return found
            store = id(engine._store)  # noqa: SLF001
            sums: dict[int, list[int]] = {}
            for (whose, name, key), values in kept.items():
                at = key * SLICE_NS // size * size
                if (whose, name) == (store, table) and start <= key * SLICE_NS < end:
                    known = sums.setdefault(at, [0, 0, 0])
                    sums[at] = [(a + b) % (1 << 64) for a, b in zip(known, values, strict=True)]
            ordered = sorted(sums)
            return SliceDigests(
                np.array(ordered, np.int64),
                np.array([sums[at][0] for at in ordered], np.int64),
                np.array([sums[at][1] for at in ordered], np.uint64),
                np.array([sums[at][2] for at in ordered], np.uint64),
            )

        return digests

    return [
        (Application, "add_rows", counting),
        (Queries, "slice_digests", remembering),
    ]


def _epoch_repeated() -> list[Change]:
    """A log that went on from a backup goes on in the epoch that it had."""
    return [(greeting, "judge", lambda _: lambda table, trail, claim: Verdict())]


VARIANTS: Mapping[str, Callable[[], list[Change]]] = {
    "arrival-order merge": _arrival_order_merge,
    "acknowledge before fsync": _acknowledge_before_fsync,
    "image without floor": _image_without_floor,
    "image without refusal": _image_without_refusal,
    "tombstones dropped early": _tombstones_dropped_early,
    "epoch repeated": _epoch_repeated,
    "watermark on time-out": _watermark_on_time_out,
    "digest of arriving rows": _digest_of_arriving_rows,
}
