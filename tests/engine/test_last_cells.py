"""Cells: slots are re-used, joins do not depend on order."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mainstem_engine.accounting import NEVER_NS
from mainstem_engine.last_cells import LastCells
from mainstem_engine.model import Column, ColumnType, VersionedRows

EPOCHS = np.array([0, 1], np.uint32)
entries = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 4), st.integers(0, 1), st.integers(1, 5),
              st.none() | st.integers(0, 9)),
    max_size=12,
    unique_by=lambda e: e[:4],
)  # fmt: skip


def make_rows(some: list[tuple[int, int, int, int, int | None]]) -> VersionedRows:
    valid = np.array([e[4] is not None for e in some], np.bool_)
    return VersionedRows(
        np.array([e[0] for e in some], np.uint32),
        np.array([e[1] for e in some], np.int64),
        np.array([e[2] for e in some], np.uint16),
        np.array([e[3] for e in some], np.uint64),
        {7: Column(np.array([e[4] or 0 for e in some], np.int64), valid)},
    )


@given(st.lists(entries, max_size=4), st.sets(st.integers(0, 5)), st.sets(st.integers(0, 5)))
def test_the_newest_value_of_each_loaded_device(
    batches: list[list[tuple[int, int, int, int, int | None]]], first: set[int], later: set[int]
) -> None:
    cells = LastCells({7: ColumnType.INT64})
    cells.add(np.array(sorted(first), np.uint32), None)
    cells.remove(np.array(sorted(first & later), np.uint32))
    loaded = sorted(first ^ later)
    cells.add(cells.missing(np.array(loaded, np.uint32)), None)
    assert cells.devices.tolist() == loaded
    seen = [entry for batch in batches for entry in batch]
    for batch in batches:
        cells.join(make_rows(batch), EPOCHS, whole_rows=False)
    devices = np.array(loaded, np.uint32)
    times, (values,) = cells.read(devices)
    for at, device in enumerate(loaded):
        mine = [e for e in seen if e[0] == device]
        assert times[1, at] == max((e[1] for e in mine), default=NEVER_NS)
        held = [e for e in mine if e[4] is not None]
        best = max(held, key=lambda e: (e[1], e[2], e[3]), default=None)
        assert times[0, at] == (NEVER_NS if best is None else best[1])
        if best is not None:
            same = [e[4] for e in held if e[:4] == best[:4]]
            assert values[at] in same
    assert cells.newest(devices).tolist() == times[1].tolist()
    reached = cells.between(None, 2, 4).tolist()
    assert reached == [
        d for at, d in enumerate(loaded) if ((times[:, at] >= 2) & (times[:, at] < 4)).any()
    ]
