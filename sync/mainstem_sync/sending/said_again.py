"""What an owner said about slices, said again by a node that relays it.

The owner's manifests were in a part of this node's log that is gone. What is known of them is in
the watch of the table: per slice the newest one, by the LSN of its record, and which slices which
record closed.
A slice that was proven here long ago is known by sums only; what is stored of it is equal to what
was said, and is said instead.

Only slices whose images go up beside it are spoken of: nothing is claimed that is not there.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mainstem_engine.engine import Engine
from mainstem_sync.origins.origin_state import OriginState, TableMap
from mainstem_sync.slices.manifest import Ints, Manifest, Sums
from mainstem_sync.slices.watch import EMPTY_STATED, TableWatch


def manifests_of(
    watch: TableWatch, table: TableMap, first: int, last: int
) -> Iterator[tuple[int, Manifest]]:
    """(LSN, manifest) of the slices [first, last], as records outside R. The caller holds the
    federation's lock."""
    inside = watch.slices.range(first, last + 1)
    keys = watch.slices.keys[inside]
    columns = {name: column[inside] for name, column in watch.slices.columns.items()}
    for lsn in np.unique(columns["man_lsn"]).tolist():
        at = columns["man_lsn"] == lsn
        if lsn > EMPTY_STATED:
            yield lsn, _manifest(
                watch, table, (first, first), keys[at], columns["count"][at], columns["d1"][at],
                columns["d2"][at], columns["max_lsn"][at],
            )  # fmt: skip
    nothing = np.empty(0, np.int64)
    sums = np.empty(0, np.uint64)
    # Under the records that closed them: a fork takes back what was closed beyond it, above too.
    for lsn, low, high in watch.closings_within(first, last):
        yield (
            lsn,
            _manifest(watch, table, (low, high + 1), nothing, nothing, sums, sums, sums),
        )


def stored_manifest(
    engine: Engine, state: OriginState, watch: TableWatch, table: TableMap, first: int, last: int
) -> Manifest | None:
    """What is stored of the slices of [first, last] that are closed and known by sums only; None
    without any."""
    index = engine.origin_index(state.origin)
    if index is None:
        return None
    size = table.slice_ns
    found = engine.slice_digests(
        table.local, index, first * size, (last + 1) * size, size, table.foreign_ids
    )
    keys: Ints = found.start // size
    known = np.isin(keys, watch.slices.keys)
    closed = np.array([watch.closed.covers(key, key) for key in keys.tolist()], np.bool_)
    chosen = closed & ~known
    if not chosen.any():
        return None
    stated = np.full(int(chosen.sum()), EMPTY_STATED, np.uint64)
    return _manifest(
        watch, table, (first, first), keys[chosen], found.count[chosen], found.d1[chosen],
        found.d2[chosen], stated,
    )  # fmt: skip


def _manifest(
    watch: TableWatch,
    table: TableMap,
    closed: tuple[int, int],
    keys: Ints,
    count: Ints,
    d1: Sums,
    d2: Sums,
    max_lsn: Sums,
) -> Manifest:
    size = table.slice_ns
    return Manifest(
        table.name, size, closed[0] * size, closed[1] * size, watch.lateness_ns, watch.as_of_ns,
        keys * size, np.ones(len(keys), np.uint32), count, d1, d2, max_lsn,
    )  # fmt: skip
