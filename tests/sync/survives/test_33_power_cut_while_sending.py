"""Case 33: the power goes between accepting rows and syncing them, while live data is sent with
``interval`` durability. Whatever the disk then holds, the parent has nothing that is not on it."""

from __future__ import annotations

import random
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
    received_at = dict(sent)
    cuts = [s for s in crash_states(journal, before, tears=1) if s.operations in received_at]
    assert len(cuts) >= STATES
    for number, state in enumerate(random.Random(33).sample(cuts, STATES)):
        place = tmp_path / f"after-{number}"
        place.mkdir()
        state.write(place)
        engine = Engine.open(place, EngineOptions(background=False))
        try:
            held = engine.log.appended_lsn - 1  # without the BOOT of this start
            assert held >= received_at[state.operations], state.label
        finally:
            engine.close()
