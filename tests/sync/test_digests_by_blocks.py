"""Runs go the same way whether slices are digested block by block or from merged rows."""

from __future__ import annotations

from typing import Any

import pytest

from mainstem_engine import block_digests
from mainstem_engine.known_blocks import KnownBlocks
from mainstem_sync.testing.simulation import simulate

RUNS = [(1, None), (2, None), (1, ("tamper",)), (1, ("late_restore", "rollup"))]


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "kinds"), RUNS)
def test_a_run_goes_the_same_way(
    seed: int, kinds: tuple[str, ...] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is stated of slices is in the logs, and the fingerprint is of the logs too."""
    noted: list[Any] = []
    note = KnownBlocks.note

    def noting(*args: Any) -> None:
        noted.append(args)
        note(*args)

    monkeypatch.setattr(KnownBlocks, "note", noting)
    merged = simulate(seed, wide=kinds is not None, kinds=kinds)
    assert not noted, "the parts of a run are small"
    monkeypatch.setattr(block_digests, "SINGLE_ROWS_MIN", 0)
    assert simulate(seed, wide=kinds is not None, kinds=kinds) == merged
    assert noted
    assert merged.error is None
