"""Random runs with every fault; and proof that such a run can fail."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from mainstem_sync.ranges import RangeSet
from mainstem_sync.received import RowCollector, RowGroup
from mainstem_sync.receiver import Receiver
from mainstem_sync.testing.simulation import River, run
from mainstem_sync.watch import TableWatch

SEEDS = 30
STEPS = 200


@pytest.mark.parametrize("seed", range(SEEDS))
def test_every_tier_holds_each_row_once_whatever_happened(tmp_path: Path, seed: int) -> None:
    run(tmp_path, seed, STEPS).stop()


def fails(tmp_path: Path, seeds: int = 10) -> bool:
    """True if a run of one of the seeds does not hold what it promises."""
    for seed in range(seeds):
        try:
            river = run(tmp_path / str(seed), seed, STEPS)
        except (AssertionError, TimeoutError):
            return True
        river.stop()
    return False


def test_it_fails_if_duplicates_are_applied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Receiver._log

    def without_memory(self: Receiver, *args: object) -> object:
        state = self._origin_of(*args)  # type: ignore[arg-type]
        state.logged = RangeSet(limit=10_000)
        return original(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Receiver, "_log", without_memory)
    assert fails(tmp_path)


def test_it_fails_if_rows_are_forgotten_that_count_as_received(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = RowCollector.groups
    calls = itertools.count(1)

    def forgetful(self: RowCollector) -> list[RowGroup]:
        return [] if next(calls) % 10 == 0 else groups(self)

    monkeypatch.setattr(RowCollector, "groups", forgetful)
    assert fails(tmp_path)


def test_it_fails_if_a_touched_slice_stays_proven(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changed_in_secret(river: River) -> None:
        head = river.group.engine._store.vnodes[0].head
        head.tables["meters"].chunks[-1].columns[1].values[0] = -1.0

    monkeypatch.setattr(TableWatch, "unproven", lambda self, a, b: self.slices.keys[:0])
    river = run(tmp_path, 3, STEPS)
    river.write()
    river.settle()  # so that the group has rows in its head
    changed_in_secret(river)
    with pytest.raises(AssertionError):
        river.assert_equal()
    river.stop()
