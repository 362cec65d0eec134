"""Case 33: the power goes between accepting rows and syncing them, while live data is sent with
``interval`` durability. Whatever the disk then holds, the parent has nothing that is not on it."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Callable
from pathlib import Path

import pytest

from mainstem_engine.engine import Engine
from mainstem_engine.options import EngineOptions
from mainstem_engine.testing.crash_states import crash_states
from mainstem_engine.testing.faulty_filesystem import FaultyFilesystem
from mainstem_sync.testing import nodes
from mainstem_sync.testing.tiers import Tiers

STATES = 25
"""Disks that are opened, of those that a power cut may leave."""


@pytest.mark.parametrize("durability", ["interval:20ms", "os"])
def test_case_33_the_parent_has_nothing_that_the_edge_lost(
    make_tiers: Callable[..., Tiers],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    durability: str,
) -> None:
    tiers = make_tiers()
    tiers.edge.stop()
    tiers.edge.durability = durability
    root = tiers.edge.directory
    before = {
        str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }
    disk = FaultyFilesystem(root)
    monkeypatch.setattr(nodes, "FaultyFilesystem", lambda _: disk)
    tiers.edge.start()
    journal = disk.journal
    sent: list[tuple[int, int]] = []
    for n in range(30):
        tiers.write(start_s=n * 10)
        if n % 7 == 6:
            tiers.edge.engine.flush()
        tiers.run(0.3)
        origins = list(tiers.plant.federation._follower.origins)
        received = max((state.received.last for state in origins), default=0)
        sent.append((len(journal), received))
    assert sent[-1][1] > 0
    moments = [length for length, _ in sent]
    states = list(crash_states(journal, before, tears=1))
    rng = random.Random(33)
    for number, state in enumerate(rng.sample(states, min(STATES, len(states)))):
        place = tmp_path / f"after-{number}"
        place.mkdir()
        state.write(place)
        # What the parent had before the last of these operations, at least.
        at = bisect_right(moments, state.operations) - 1
        if at < 0:
            continue
        engine = Engine.open(place, EngineOptions(background=False))
        try:
            assert engine.log.committed_lsn >= sent[at][1], state.label
        finally:
            engine.close()
